#include "transport/vault/vault_client.hpp"

#include "tests/support/open_fds.hpp"
#include "tests/transport/vault/vault_conformance.hpp"
#include "tests/transport/vault/vault_fixture.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

using namespace vdist;
using namespace vdist::vault;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

/// A client together with its server on a thread.
struct linked_vault {
  explicit linked_vault(std::size_t limit_bytes)
      : server({.limit_bytes = limit_bytes}), client(server.make_client()) {}

  server_thread server;
  std::unique_ptr<vault_client> client;
};

std::shared_ptr<vault::vault> make_linked_vault(std::size_t limit_bytes) {
  auto both = std::make_shared<linked_vault>(limit_bytes);
  return {both, both->client.get()};
}

constexpr std::size_t bytes = 100'000;

region_key key_number(std::uint32_t index) {
  return {rank_id(0), region_kind::custom, index};
}

std::uintptr_t address_of(const region& mapped) {
  return reinterpret_cast<std::uintptr_t>(mapped.memory.data());
}

/// A server of two granules: every address comes again at every second region.
constexpr vault_server_settings tiny_window{.window_bytes = 2 * region_alignment};

/// The server's end of a client's socket in the test's own hands.
struct scripted_server {
  scripted_server() : scripted_server(socket::make_socket_pair().value()) {}

  explicit scripted_server(socket::socket_pair ends)
      : link(std::move(ends.first), vault_clock),
        client(std::move(ends.second), vault_clock, {.deadline = 20ms}) {}

  void reply(const reply_message& head, std::span<const int> fds = {}) {
    BOOST_REQUIRE(link.send(encode_reply(head, ""), fds, vault_patience()));
  }

  socket::message_socket link;
  vault_client client;
};

} // namespace

VDIST_VAULT_CONFORMANCE(vault_client_suite, make_linked_vault)

BOOST_AUTO_TEST_SUITE(vault_client_own_suite)

BOOST_AUTO_TEST_CASE(maps_in_the_window_and_once_per_process) { // L-1
  const server_thread server;
  const auto client = server.make_client();
  const auto first = client->map(key_number(0), bytes).value();
  const auto second = client->map(key_number(0), bytes).value();
  BOOST_TEST(address_of(first) >= region_window_base);
  BOOST_TEST(address_of(first) + bytes <= region_window_base + region_window_bytes);
  BOOST_TEST((first.hold == second.hold));
  // A second client of this process has no place left for the same region.
  const auto taken = server.make_client()->map(key_number(0), bytes);
  BOOST_REQUIRE(!taken);
  BOOST_CHECK(taken.error().code == errc::resource_exhausted);
  BOOST_TEST(taken.error().context.find(
                 "vault: cannot map the region (kind=custom rank=0 index=0): shared file: the "
                 "address is taken in this process")
             == 0U);
}

BOOST_AUTO_TEST_CASE(a_client_that_may_move_finds_the_same_bytes_elsewhere) { // L-1
  const server_thread server;
  const auto client = server.make_client();
  const auto mine = client->map(key_number(0), bytes).value();
  const auto moved = server.make_client({.may_move = true});
  const auto theirs = moved->map(key_number(0), bytes);
  BOOST_REQUIRE(theirs);
  BOOST_TEST(address_of(*theirs) != address_of(mine));
  BOOST_TEST((moved->map(key_number(0), bytes)->hold == theirs->hold));
  mine.memory.back() = std::byte{8};
  BOOST_TEST((theirs->memory.back() == std::byte{8}));
  // Where the address is free, it is taken.
  const auto free = moved->map(key_number(1), bytes).value();
  const auto window_end = region_window_base + region_window_bytes;
  BOOST_TEST((address_of(free) >= region_window_base && address_of(free) < window_end));
}

BOOST_AUTO_TEST_CASE(what_another_process_released_is_not_taken_for_the_new_region) { // L-1
  const server_thread server(tiny_window);
  const auto client = server.make_client();
  const auto other = server.make_client();
  const auto first = address_of(client->map(key_number(0), bytes).value());
  BOOST_REQUIRE(other->release(key_number(0)));
  const auto again = client->map(key_number(0), bytes);
  BOOST_REQUIRE(again);
  BOOST_TEST(again->is_new);
  BOOST_TEST(address_of(*again) != first);
}

BOOST_AUTO_TEST_CASE(a_mapping_that_another_process_released_makes_room_for_the_next_there) { // L-1
  const server_thread server(tiny_window);
  const auto client = server.make_client();
  const auto other = server.make_client();
  const auto first = address_of(client->map(key_number(0), bytes).value());
  BOOST_REQUIRE(other->release(key_number(0)));
  BOOST_REQUIRE(client->map(key_number(1), bytes));
  BOOST_REQUIRE(other->release(key_number(1)));
  const auto next = client->map(key_number(2), bytes);
  BOOST_REQUIRE(next);
  BOOST_TEST(address_of(*next) == first);
  BOOST_TEST(next->is_new);
}

BOOST_AUTO_TEST_CASE(a_hold_keeps_its_address_even_when_it_comes_again) { // V-1
  const server_thread server(tiny_window);
  const auto client = server.make_client();
  const auto kept = client->map(key_number(0), bytes).value();
  kept.memory.front() = std::byte{1};
  BOOST_REQUIRE(client->release(key_number(0)));
  BOOST_REQUIRE(client->map(key_number(1), bytes));
  const auto refused = client->map(key_number(2), bytes); // at the address of `kept`
  BOOST_REQUIRE(!refused);
  BOOST_CHECK(refused.error().code == errc::resource_exhausted);
  BOOST_TEST((kept.memory.front() == std::byte{1}));
}

BOOST_AUTO_TEST_CASE(a_forgotten_region_is_mapped_by_its_holds_alone_and_lives_on) { // L-1
  const auto mappings = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n');
  };
  const server_thread server;
  const auto client = server.make_client();
  const auto other = server.make_client({.may_move = true});
  const auto before = mappings();
  for (std::uint32_t i = 0; i < 200; ++i) { // as a worker that survives so many epochs
    {
      const auto mine = client->map(key_number(i), bytes).value();
      client->forget(key_number(i));
      mine.memory.front() = std::byte{9};
    }
    BOOST_REQUIRE(other->release(key_number(i)));
  }
  BOOST_TEST(mappings() <= before + 1);
  const auto mine = client->map(key_number(0), bytes).value();
  mine.memory.front() = std::byte{3};
  client->forget(key_number(0));
  client->forget(key_number(0)); // nothing is left to forget
  BOOST_TEST((other->map(key_number(0), bytes)->memory.front() == std::byte{3}));
}

BOOST_AUTO_TEST_CASE(says_when_regions_or_addresses_are_used_up) {
  const server_thread server({.regions_max = 3, .window_bytes = 4 * region_alignment});
  const auto client = server.make_client();
  BOOST_REQUIRE(client->map(key_number(0), 3 * region_alignment));
  const auto no_address = client->map(key_number(1), 2 * region_alignment);
  BOOST_REQUIRE(!no_address);
  BOOST_CHECK(no_address.error().code == errc::resource_exhausted);
  BOOST_TEST(no_address.error().context
             == "vault: the system refused the memory (kind=custom rank=0 index=1 bytes=4194304 "
                "missing=4194304): no addresses left (longest_free=2097152)");
  BOOST_REQUIRE(client->map(key_number(1), 1));
  BOOST_CHECK(client->map(key_number(2), 1).error().code == errc::resource_exhausted);
  BOOST_REQUIRE(client->release(key_number(0)));
  BOOST_REQUIRE(client->map(key_number(2), 1));
  BOOST_REQUIRE(client->map(key_number(3), 1));
  const auto too_many = client->map(key_number(4), 1);
  BOOST_REQUIRE(!too_many);
  BOOST_TEST(too_many.error().context
             == "vault: too many regions (kind=custom rank=0 index=4 held=3 limit=3)");
}

BOOST_AUTO_TEST_CASE(a_client_beyond_the_limit_is_closed) {
  const quiet_log quiet;
  const server_thread server({.clients_max = 1});
  auto first = server.make_client();
  BOOST_REQUIRE(first->map(key_number(0), bytes));
  BOOST_CHECK(server.make_client()->map(key_number(1), bytes).error().code == errc::closed);
  BOOST_REQUIRE(first->map(key_number(1), bytes));
}

BOOST_AUTO_TEST_CASE(leaks_no_descriptor_and_leaves_nothing_in_shared_memory) {
  const auto entries = [] {
    const std::filesystem::directory_iterator found("/dev/shm");
    return std::distance(begin(found), end(found));
  };
  const auto entries_before = entries();
  const auto fds_before = open_fds();
  {
    const server_thread server;
    const auto client = server.make_client();
    BOOST_REQUIRE(client->map(key_number(0), bytes));
    const auto fds_running = open_fds();
    for (int i = 0; i < 1000; ++i) {
      BOOST_REQUIRE(client->map(key_number(1), bytes));
      BOOST_REQUIRE(client->map(key_number(1), bytes)); // known: its descriptor is not needed
      BOOST_REQUIRE(client->release(key_number(1)));
    }
    BOOST_TEST(open_fds() == fds_running);
    BOOST_TEST(client->total_bytes() == 102'400U);
    BOOST_TEST(entries() == entries_before);
  }
  BOOST_TEST(open_fds() == fds_before);
}

BOOST_AUTO_TEST_CASE(without_a_server_calls_are_closed_and_mappings_stay) { // L-3
  auto server = std::make_unique<server_thread>();
  const auto client = server->make_client();
  const auto mapped = client->map(key_number(0), bytes).value();
  mapped.memory.back() = std::byte{5};
  server.reset();
  BOOST_CHECK(client->map(key_number(0), bytes).error().code == errc::closed);
  BOOST_CHECK(client->mark_ready(key_number(0), 1).error().code == errc::closed);
  BOOST_CHECK(client->release(key_number(0)).error().code == errc::closed);
  BOOST_TEST(!client->ready_hash(key_number(0)).has_value());
  BOOST_TEST(client->total_bytes() == 102'400U); // as it was
  BOOST_TEST((mapped.memory.back() == std::byte{5}));
  mapped.memory.front() = std::byte{6};
}

BOOST_AUTO_TEST_CASE(a_server_that_is_late_costs_the_deadline_and_no_more) { // L-3, B-3
  scripted_server late;
  const auto started = vault_clock.now();
  BOOST_CHECK(late.client.mark_ready(key_number(0), 1).error().code == errc::timed_out);
  BOOST_CHECK(vault_clock.now() - started >= 20ms);
  const auto file = socket::make_shared_file("test", bytes).value();
  const int fd = file.get();
  const auto fds_before = open_fds();
  late.reply({.sequence = 1, .flags = reply_has_ready_hash}, std::span(&fd, 1)); // far too late
  late.reply({.sequence = 2, .ready_hash = 77, .flags = reply_has_ready_hash});
  BOOST_TEST(late.client.ready_hash(key_number(0)).value() == 77U);
  BOOST_TEST(open_fds() == fds_before);
}

BOOST_AUTO_TEST_CASE(replies_that_make_no_sense_are_refused) {
  const auto file = socket::make_shared_file("test", bytes).value();
  const std::array<int, 2> files{file.get(), file.get()};
  const reply_message good{.sequence = 1, .region_id = 1, .address = region_window_base};
  const auto code_of = [&files](reply_message head, std::size_t file_count) {
    scripted_server server;
    server.reply(head, std::span(files).first(file_count));
    const auto mapped = server.client.map(key_number(0), bytes);
    return mapped ? errc::ok : mapped.error().code;
  };
  const auto with_address = [&good](std::uint64_t address) {
    auto head = good;
    head.address = address;
    return head;
  };
  const auto fds_before = open_fds();
  BOOST_CHECK(code_of(good, 1) == errc::ok);
  BOOST_CHECK(code_of(good, 0) == errc::corrupt);
  BOOST_CHECK(code_of(good, 2) == errc::corrupt);
  for (const auto address : {std::uint64_t{0},
                             region_window_base + 4096,
                             region_window_base - region_alignment,
                             region_window_base + region_window_bytes,
                             ~std::uint64_t{0} & ~(region_alignment - 1)}) {
    BOOST_CHECK(code_of(with_address(address), 1) == errc::corrupt);
  }
  auto ahead = good;
  ahead.sequence = 2;
  BOOST_CHECK(code_of(ahead, 1) == errc::corrupt);
  {
    scripted_server short_file;
    short_file.reply(good, std::span(files).first(1));
    BOOST_CHECK(short_file.client.map(key_number(0), bytes + 4096).error().code
                == errc::invalid_argument);
  }
  BOOST_TEST(open_fds() == fds_before);
}

BOOST_AUTO_TEST_CASE(mapping_a_gibibyte_touches_nothing) {
  const server_thread server;
  const auto client = server.make_client();
  auto best = duration::max();
  for (std::uint32_t i = 0; i < 20; ++i) {
    const auto started = vault_clock.now();
    BOOST_REQUIRE(client->map(key_number(i), std::size_t{1} << 30U));
    best = std::min(best, vault_clock.now() - started);
  }
  std::cout << "map() of 1 GiB: " << std::chrono::duration<double, std::micro>(best).count()
            << " us (best of 20)\n";
  BOOST_CHECK(best < 100ms); // zeroing a GiB takes longer
}

BOOST_AUTO_TEST_SUITE_END()
