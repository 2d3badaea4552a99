// Regions in the memory of devices, with devices that are files (fake_device.hpp).
#include "transport/vault/device_memory.hpp"

#include "tests/support/open_fds.hpp"
#include "tests/transport/vault/fake_device.hpp"
#include "tests/transport/vault/vault_children.hpp"
#include "tests/transport/vault/vault_conformance.hpp"
#include "tests/transport/vault/vault_fixture.hpp"

using namespace vdist;
using namespace vdist::vault;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

struct linked_devices {
  explicit linked_devices(std::size_t limit_bytes)
      : server({.limit_bytes = limit_bytes, .device_limit_bytes = limit_bytes}, make_fake_memory),
        client(server.make_client({}, all_on(0))) {}

  server_thread server;
  std::unique_ptr<vault_client> client;
};

std::shared_ptr<vault::vault> make_linked_devices(std::size_t limit_bytes) {
  auto both = std::make_shared<linked_devices>(limit_bytes);
  return {both, both->client.get()};
}

const vault_factory device_factory{make_linked_devices, region_alignment};

/// A server in a process of its own, forked: the program has no fake devices.
class forked_server final : public vault_host {
public:
  forked_server() : pid_(fork()) {
    if (pid_ == 0) {
      ::close(control().fd()); // the parent's end
      vault_server server(std::move(server_end_), vault_clock, {}, make_fake_memory);
      _exit(server.run() ? 0 : 1);
    }
    server_end_.reset();
  }

  ~forked_server() override {
    close();
    BOOST_TEST(wait_for(pid_) == 0);
  }

private:
  const pid_t pid_;
};

constexpr std::size_t bytes = 5'000'000;
constexpr std::size_t granule = region_alignment;

std::uint64_t address_of(const region& mapped) {
  return reinterpret_cast<std::uintptr_t>(mapped.memory.data());
}

bool is_in_device_window(const region& mapped) {
  return address_of(mapped) >= device_window_base
         && address_of(mapped) + mapped.memory.size() <= device_window_base + device_window_bytes;
}

/// Weights and KV cache on one device, as workers have it.
device_access worker_access(std::int32_t device) {
  auto access = all_on(device);
  access.place_of = [device](const region_key& key) {
    const bool is_devices = key.kind == region_kind::weights || key.kind == region_kind::kv_cache;
    return is_devices ? memory_place{device} : host_memory;
  };
  return access;
}

/// Fails, or never comes back, where the test says.
class troubled_mapper final : public fake_mapper {
public:
  bool fails_to_map = false;
  bool fails_to_fill = false;
  std::function<void()> on_fill = [] {
  };

  result<std::shared_ptr<std::byte>>
  map(int memory, std::int32_t device, std::size_t length, std::uint64_t address) override {
    return fails_to_map ? fail(errc::resource_exhausted, "fake: no")
                        : fake_mapper::map(memory, device, length, address);
  }

  result<void> fill_zero(std::int32_t device, std::span<std::byte> mapped) override {
    on_fill();
    return fails_to_fill ? fail(errc::io_failed, "fake: no")
                         : fake_mapper::fill_zero(device, mapped);
  }
};

/// One request on a connection of its own that stays open.
struct raw_client {
  explicit raw_client(const vault_host& host) : link(host.open_client(), vault_clock) {}

  parsed_reply ask(request_message request) {
    request.sequence = ++sequence;
    BOOST_REQUIRE(link.send(std::as_bytes(std::span(&request, 1)), {}, vault_patience()));
    const auto received = link.receive(vault_patience());
    BOOST_REQUIRE(received);
    fds = received->fds.size();
    auto reply = parse_reply(received->bytes);
    BOOST_REQUIRE(reply);
    return std::move(reply).value();
  }

  socket::message_socket link;
  std::uint64_t sequence = 0;
  std::size_t fds = 0; // of the last reply
};

constexpr request_message map_weights{
    .wanted = operation::map, .kind = region_kind::weights, .bytes = bytes, .device = 1};
constexpr request_message zeroed_weights{.wanted = operation::zeroed, .kind = region_kind::weights};

/// What a client says to a reply with this head and these files to its map() of weights on device 1.
error told_of(const reply_message& head, std::span<const int> files) {
  auto ends = socket::make_socket_pair().value();
  const socket::message_socket server(std::move(ends.first), vault_clock);
  vault_client client(std::move(ends.second), vault_clock, {.deadline = 20s}, worker_access(1));
  BOOST_REQUIRE(server.send(encode_reply(head, ""), files, vault_patience()));
  const auto mapped = client.map(weights_of_0, bytes);
  return mapped ? error{errc::ok, ""} : mapped.error();
}

} // namespace

VDIST_VAULT_CONFORMANCE(device_client_suite, device_factory)

BOOST_AUTO_TEST_SUITE(device_memory_suite)

BOOST_AUTO_TEST_CASE(
    a_killed_worker_leaves_contents_address_and_hash_on_its_device) { // V-1, V-3, D-1
  const forked_server server;
  report first;
  {
    child_process worker(
        server,
        [](vault_client& client, const socket::message_socket& parent) {
          const auto mapped = client.map(weights_of_0, bytes);
          if (mapped && is_zero(mapped->memory)) {
            std::fill(mapped->memory.begin(), mapped->memory.end(), std::byte{0x5a});
          }
          static_cast<void>(client.mark_ready(weights_of_0, 4711));
          tell(parent, report_of(mapped));
          wait_for_go(parent); // never: it is killed with everything mapped
        },
        worker_access(1));
    first = worker.read();
    worker.kill_now();
  }
  BOOST_TEST(first.is_new == 1U);
  const auto successor = server.make_client({}, worker_access(1));
  const auto found = successor->map(weights_of_0, bytes);
  BOOST_REQUIRE(found);
  BOOST_TEST(address_of(*found) == first.address);
  BOOST_TEST(is_in_device_window(*found));
  BOOST_TEST(!found->is_new);
  BOOST_TEST(found->ready_hash.value() == 4711U);
  BOOST_TEST(std::all_of(found->memory.begin(), found->memory.end(), [](std::byte b) {
    return b == std::byte{0x5a};
  }));
}

BOOST_AUTO_TEST_CASE(
    who_dies_before_it_has_filled_with_zeros_leaves_that_to_the_next) { // V-2, D-2, H-5
  const forked_server server;
  auto mapper = std::make_shared<troubled_mapper>();
  auto access = worker_access(1);
  access.mapper = mapper;
  {
    child_process worker(
        server,
        [&mapper](vault_client& client, const socket::message_socket& parent) {
          mapper->on_fill = [&parent] {
            tell(parent, {});
            wait_for_go(parent); // never
          };
          static_cast<void>(client.map(weights_of_0, bytes));
        },
        access);
    static_cast<void>(worker.read());
    const auto other = server.make_client({}, worker_access(1));
    const auto refused = other->map(weights_of_0, bytes);
    BOOST_REQUIRE(!refused);
    BOOST_CHECK(refused.error().code == errc::queue_full);
    BOOST_TEST(refused.error().context
               == "vault: another process is filling the region with zeros (kind=weights rank=0 "
                  "index=0)");
    worker.kill_now();
  }
  const auto successor = server.make_client({}, worker_access(1));
  const auto found = successor->map(weights_of_0, bytes);
  BOOST_REQUIRE(found);
  BOOST_TEST(found->is_new);
  BOOST_TEST(is_zero(found->memory));
  BOOST_TEST(!successor->map(weights_of_0, bytes)->is_new);
}

BOOST_AUTO_TEST_CASE(a_region_is_new_until_a_map_has_filled_it) { // V-2, H-5
  const server_thread server({}, make_fake_memory);
  auto mapper = std::make_shared<troubled_mapper>();
  auto access = worker_access(0);
  access.mapper = mapper;
  const auto client = server.make_client({}, access);
  mapper->fails_to_map = true;
  const auto unmapped = client->map(weights_of_0, bytes);
  BOOST_REQUIRE(!unmapped);
  BOOST_CHECK(unmapped.error().code == errc::resource_exhausted);
  BOOST_TEST(unmapped.error().context
             == "vault: cannot map the region (kind=weights rank=0 index=0): fake: no");
  mapper->fails_to_map = false;
  mapper->fails_to_fill = true;
  BOOST_CHECK(client->map(weights_of_0, bytes).error().code == errc::io_failed);
  mapper->fails_to_fill = false;
  const auto mapped = client->map(weights_of_0, bytes);
  BOOST_REQUIRE(mapped);
  BOOST_TEST(mapped->is_new);
  BOOST_TEST(is_zero(mapped->memory));
  mapped->memory.front() = std::byte{1};
  const auto again = client->map(weights_of_0, bytes);
  BOOST_TEST(!again->is_new);
  BOOST_TEST((again->memory.front() == std::byte{1}));
}

BOOST_AUTO_TEST_CASE(only_whoever_was_told_may_say_that_a_region_is_zero) { // H-5
  const server_thread server({}, make_fake_memory);
  raw_client first(server);
  raw_client second(server);
  BOOST_CHECK(first.ask(zeroed_weights).head.code == errc::not_found);
  const auto made = first.ask(map_weights);
  BOOST_TEST(made.head.flags == reply_is_new);
  BOOST_TEST(first.fds == 1U);
  BOOST_CHECK(second.ask(zeroed_weights).head.code == errc::stale);
  BOOST_CHECK(second.ask(map_weights).head.code == errc::queue_full);
  BOOST_TEST(second.fds == 0U);
  BOOST_TEST(first.ask(map_weights).head.flags == reply_is_new); // it has not said so yet
  BOOST_CHECK(first.ask(zeroed_weights).head.code == errc::ok);
  BOOST_CHECK(first.ask(zeroed_weights).head.code == errc::stale);
  const auto found = second.ask(map_weights);
  BOOST_TEST(found.head.flags == 0U);
  BOOST_TEST(found.head.address == made.head.address);
  auto on_host = map_weights;
  on_host.kind = region_kind::exchange;
  on_host.device = host_memory.device;
  BOOST_TEST(second.ask(on_host).head.flags == reply_is_new);
  BOOST_TEST(first.ask(on_host).head.flags == 0U); // files are zero from the start
}

BOOST_AUTO_TEST_CASE(regions_of_one_client_lie_where_their_kind_says) { // D-3
  const server_thread server({}, make_fake_memory);
  const auto client = server.make_client({}, worker_access(2));
  const auto weights = client->map(weights_of_0, bytes).value();
  const auto cache = client->map(cache_of_0, bytes).value();
  const auto words = client->map({rank_id(0), region_kind::control, 0}, bytes).value();
  BOOST_TEST(is_in_device_window(weights));
  BOOST_TEST(is_in_device_window(cache));
  BOOST_TEST(address_of(words) >= region_window_base);
  BOOST_TEST(address_of(words) + bytes <= region_window_base + region_window_bytes);
  // Whole pages of the host, whole granules of the device.
  BOOST_TEST(client->total_bytes() == 2 * 3 * granule + 5'001'216);
}

BOOST_AUTO_TEST_CASE(a_key_is_one_region_wherever_it_is) { // H-4
  const server_thread server({}, make_fake_memory);
  const auto worker = server.make_client({}, worker_access(1));
  const auto control = server.make_client(); // knows of no devices
  BOOST_REQUIRE(worker->map(weights_of_0, bytes));
  const auto elsewhere = control->map(weights_of_0, bytes);
  BOOST_REQUIRE(!elsewhere);
  BOOST_CHECK(elsewhere.error().code == errc::invalid_argument);
  BOOST_TEST(elsewhere.error().context
             == "vault: the region exists in other memory (kind=weights rank=0 index=0 "
                "wanted=host held=device 1)");
  const auto other = server.make_client({}, worker_access(2))->map(weights_of_0, bytes);
  BOOST_CHECK(other.error().code == errc::invalid_argument);
  BOOST_REQUIRE(control->mark_ready(weights_of_0, 12));
  BOOST_TEST(control->ready_hash(weights_of_0).value() == 12U);
  BOOST_REQUIRE(control->release(weights_of_0));
  BOOST_TEST(control->total_bytes() == 0U);
  const auto moved = control->map(weights_of_0, bytes);
  BOOST_REQUIRE(moved);
  BOOST_TEST(moved->is_new);
  BOOST_TEST(!moved->ready_hash.has_value());
}

BOOST_AUTO_TEST_CASE(every_place_has_a_limit_and_regions_count_in_all) {
  const server_thread server(
      {.limit_bytes = granule, .device_limit_bytes = 2 * granule, .regions_max = 4},
      make_fake_memory);
  const auto on_0 = server.make_client({}, all_on(0));
  const auto on_1 = server.make_client({}, all_on(1));
  const auto on_host = server.make_client();
  const auto key = [](std::uint32_t index) {
    return region_key{rank_id(0), region_kind::custom, index};
  };
  BOOST_REQUIRE(on_0->map(key(0), granule + 1));
  const auto full = on_0->map(key(1), 1);
  BOOST_REQUIRE(!full);
  BOOST_TEST(full.error().context
             == "vault: the limit is reached (kind=custom rank=0 index=1 bytes=2097152 "
                "missing=2097152 held=4194304 limit=4194304)");
  BOOST_REQUIRE(on_1->map(key(1), 2 * granule));
  BOOST_REQUIRE(on_host->map(key(2), granule));
  BOOST_CHECK(on_host->map(key(3), 1).error().code == errc::resource_exhausted);
  BOOST_TEST(on_host->total_bytes() == 5 * granule);
  BOOST_TEST(on_0->limit_bytes() == granule);
  BOOST_REQUIRE(on_0->release(key(0)));
  BOOST_REQUIRE(on_0->map(key(3), 1));
  BOOST_REQUIRE(on_0->map(key(4), 1));
  BOOST_TEST(on_1->map(key(5), 1).error().context
             == "vault: too many regions (kind=custom rank=0 index=5 held=4 limit=4)");
}

BOOST_AUTO_TEST_CASE(says_what_the_source_says_and_keeps_nothing) {
  const auto fds_before = open_fds();
  {
    const server_thread server({.devices_window_bytes = 2 * device_address_granule},
                               make_fake_memory);
    const auto refused = server.make_client({}, all_on(fake_devices))->map(weights_of_0, bytes);
    BOOST_REQUIRE(!refused);
    BOOST_CHECK(refused.error().code == errc::not_found);
    BOOST_TEST(refused.error().context
               == "vault: the system refused the memory (kind=weights rank=0 index=0 bytes=6291456 "
                  "missing=6291456): fake: there is no such device");
    const auto client = server.make_client({}, all_on(0));
    const auto no_address = client->map(weights_of_0, 3 * device_address_granule);
    BOOST_REQUIRE(!no_address);
    BOOST_TEST(no_address.error().context.ends_with("no addresses left (longest_free=134217728)"));
    BOOST_TEST(client->total_bytes() == 0U);
    for (int i = 0; i < 100; ++i) {
      BOOST_REQUIRE(client->map(weights_of_0, 2 * granule));
      BOOST_REQUIRE(client->map(weights_of_0, 2 * granule)); // known: its descriptor is not needed
      BOOST_REQUIRE(client->release(weights_of_0));
    }
  }
  BOOST_TEST(open_fds() == fds_before);
}

BOOST_AUTO_TEST_CASE(a_vault_without_devices_says_so) {
  const server_thread server;
  const auto refused = server.make_client({}, all_on(0))->map(weights_of_0, bytes);
  BOOST_REQUIRE(!refused);
  BOOST_CHECK(refused.error().code == errc::unsupported);
  BOOST_TEST(refused.error().context.ends_with(": this vault has no memory of devices"));
}

BOOST_AUTO_TEST_CASE(the_program_goes_on_without_the_device_that_was_asked_for) {
  const server_process server;
  const auto refused = server.make_client({}, all_on(device_max))->map(weights_of_0, bytes);
  BOOST_REQUIRE(!refused);
  const bool is_missing = refused.error().code == errc::not_found;          // no CUDA here
  const bool is_unknown = refused.error().code == errc::resource_exhausted; // fewer devices
  BOOST_TEST((is_missing || is_unknown));
  BOOST_TEST(refused.error().context.find("): cuda: ") != std::string::npos);
  BOOST_REQUIRE(server.make_client()->map(weights_of_0, bytes));
}

BOOST_AUTO_TEST_CASE(memory_of_one_kind_is_not_taken_for_the_other) { // D-3, B-4
  const auto host_file = socket::make_shared_file("test", 6'291'456).value();
  const auto device_file = make_fake_memory(1, 6'291'456).value();
  const int host_fd = host_file.get();
  const int device_fd = device_file.get();
  const std::span on_host(&host_fd, 1);
  const std::span on_device(&device_fd, 1);
  const reply_message good{
      .sequence = 1, .region_id = 1, .address = device_window_base, .device = 1};
  BOOST_CHECK(told_of(good, on_device).code == errc::ok);
  BOOST_CHECK(told_of(good, on_host).code == errc::invalid_argument);
  BOOST_CHECK(told_of(good, {}).code == errc::corrupt);
  for (const std::int32_t device : {host_memory.device, 0, 2}) {
    auto elsewhere = good;
    elsewhere.device = device;
    BOOST_CHECK(told_of(elsewhere, on_device).code == errc::corrupt);
  }
  for (const auto address : {std::uint64_t{0},
                             device_window_base + 4096,
                             device_window_base + device_window_bytes - granule,
                             region_window_base}) {
    auto misplaced = good;
    misplaced.address = address;
    BOOST_CHECK(told_of(misplaced, on_device).code == errc::corrupt);
  }
  // And memory of a device is no host memory.
  auto ends = socket::make_socket_pair().value();
  const socket::message_socket server(std::move(ends.first), vault_clock);
  vault_client client(std::move(ends.second), vault_clock);
  BOOST_REQUIRE(
      server.send(encode_reply({.sequence = 1, .region_id = 1, .address = region_window_base}, ""),
                  on_device,
                  vault_patience()));
  BOOST_CHECK(client.map(weights_of_0, bytes).error().code == errc::invalid_argument);
}

BOOST_AUTO_TEST_SUITE_END()
