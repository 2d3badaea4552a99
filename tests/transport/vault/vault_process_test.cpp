// The vault as a program, and clients that are processes of their own.
#include "tests/transport/vault/vault_children.hpp"
#include "tests/transport/vault/vault_conformance.hpp"
#include "tests/transport/vault/vault_fixture.hpp"

#include "transport/vault/vault_client.hpp"

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

using namespace vdist;
using namespace vdist::vault;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

struct linked_program {
  explicit linked_program(std::size_t limit_bytes)
      : server({"--limit-bytes", std::to_string(limit_bytes)}), client(server.make_client()) {}

  server_process server;
  std::unique_ptr<vault_client> client;
};

std::shared_ptr<vault::vault> make_linked_program(std::size_t limit_bytes) {
  auto both = std::make_shared<linked_program>(limit_bytes);
  return {both, both->client.get()};
}

constexpr std::size_t bytes = 5'000'000;

} // namespace

VDIST_VAULT_CONFORMANCE(vault_program_suite, make_linked_program)

BOOST_AUTO_TEST_SUITE(vault_process_suite)

BOOST_AUTO_TEST_CASE(a_killed_client_leaves_address_contents_and_hash) { // V-1, V-3
  const server_process server;
  report first;
  {
    child_process worker(server, [](vault_client& client, const socket::message_socket& parent) {
      const auto mapped = client.map(weights_of_0, bytes);
      if (mapped) {
        std::fill(mapped->memory.begin(), mapped->memory.end(), std::byte{0x5a});
      }
      static_cast<void>(client.mark_ready(weights_of_0, 4711));
      tell(parent, report_of(mapped));
      wait_for_go(parent); // never: it is killed with everything mapped
    });
    first = worker.read();
    worker.kill_now();
  }
  BOOST_TEST(first.is_new == 1U);
  const auto successor = server.make_client();
  const auto found = successor->map(weights_of_0, bytes);
  BOOST_REQUIRE(found);
  const auto second = report_of(found);
  BOOST_TEST(second.address == first.address);
  BOOST_TEST(second.is_new == 0U);
  BOOST_TEST(second.ready_hash == 4711U);
  BOOST_TEST(std::all_of(found->memory.begin(), found->memory.end(), [](std::byte b) {
    return b == std::byte{0x5a};
  }));
}

BOOST_AUTO_TEST_CASE(two_processes_share_one_memory_at_one_address) { // V-1
  const server_process server;
  const child_process other(server, [](vault_client& theirs, const socket::message_socket& parent) {
    wait_for_go(parent);
    const auto mapped = theirs.map(cache_of_0, bytes);
    if (mapped && mapped->memory.front() == std::byte{1}) {
      mapped->memory.front() = std::byte{2};
    }
    tell(parent, report_of(mapped));
    wait_for_go(parent);
  });
  const auto client = server.make_client();
  const auto mine = client->map(cache_of_0, bytes).value();
  mine.memory.front() = std::byte{1};
  other.go();
  BOOST_TEST(other.read().address == report_of(mine).address);
  BOOST_TEST((mine.memory.front() == std::byte{2}));
}

BOOST_AUTO_TEST_CASE(one_of_many_racing_processes_is_told_that_it_is_new) { // V-2
  const server_process server;
  for (std::uint32_t round = 0; round < 5; ++round) {
    const region_key key{rank_id(0), region_kind::control, round};
    const auto race = [&key](vault_client& client, const socket::message_socket& parent) {
      tell(parent, {}); // ready
      wait_for_go(parent);
      const auto mapped = client.map(key, bytes);
      const bool is_clean = mapped && is_zero(mapped->memory);
      tell(parent, is_clean ? report_of(mapped) : report{});
      wait_for_go(parent);
    };
    std::vector<std::unique_ptr<child_process>> racers;
    for (int i = 0; i < 6; ++i) {
      racers.push_back(std::make_unique<child_process>(server, race));
    }
    for (const auto& racer : racers) {
      static_cast<void>(racer->read());
    }
    for (const auto& racer : racers) {
      racer->go();
    }
    std::uint32_t told_new = 0;
    for (const auto& racer : racers) {
      const auto told = racer->read();
      BOOST_TEST(told.is_mapped == 1U);
      told_new += told.is_new;
    }
    BOOST_TEST(told_new == 1U);
  }
}

BOOST_AUTO_TEST_CASE(a_release_leaves_other_processes_their_bytes) { // V-1
  const server_process server;
  const child_process other(server, [](vault_client& theirs, const socket::message_socket& parent) {
    const auto mapped = theirs.map(weights_of_0, bytes);
    tell(parent, report_of(mapped));
    wait_for_go(parent);
    const auto released = theirs.release(weights_of_0);
    tell(parent, {.is_mapped = released ? 1U : 0U});
    wait_for_go(parent);
  });
  BOOST_TEST(other.read().is_new == 1U);
  const auto client = server.make_client();
  const auto mine = client->map(weights_of_0, bytes).value();
  mine.memory.back() = std::byte{9};
  other.go();
  BOOST_TEST(other.read().is_mapped == 1U);
  BOOST_TEST(client->total_bytes() == 0U);
  const auto fresh = client->map(weights_of_0, bytes);
  BOOST_REQUIRE(fresh);
  BOOST_TEST(fresh->is_new);
  BOOST_TEST(is_zero(fresh->memory));
  BOOST_TEST((mine.hold != fresh->hold));
  BOOST_TEST((mine.memory.back() == std::byte{9}));
}

BOOST_AUTO_TEST_CASE(a_killed_server_is_closed_at_once) { // L-3
  server_process server;
  const auto client = server.make_client();
  const auto mapped = client->map(weights_of_0, bytes).value();
  mapped.memory.front() = std::byte{4};
  BOOST_REQUIRE(kill(server.pid(), SIGKILL) == 0);
  BOOST_TEST(server.wait() == -SIGKILL);
  const auto started = vault_clock.now();
  BOOST_CHECK(client->map(cache_of_0, bytes).error().code == errc::closed);
  BOOST_CHECK(vault_clock.now() - started < 1s);
  BOOST_TEST((mapped.memory.front() == std::byte{4}));
}

BOOST_AUTO_TEST_CASE(a_stopped_server_costs_the_deadline) { // L-3, B-3
  const server_process server;
  BOOST_REQUIRE(server.make_client()->map(weights_of_0, bytes)); // it runs
  BOOST_REQUIRE(kill(server.pid(), SIGSTOP) == 0);
  BOOST_REQUIRE(waitpid(server.pid(), nullptr, WUNTRACED) == server.pid());
  const auto impatient = server.make_client({.deadline = 20ms});
  BOOST_CHECK(impatient->map(cache_of_0, bytes).error().code == errc::timed_out);
  BOOST_REQUIRE(kill(server.pid(), SIGCONT) == 0);
  const auto late = server.make_client()->map(cache_of_0, bytes);
  BOOST_REQUIRE(late);
  BOOST_TEST(!late->is_new);
}

BOOST_AUTO_TEST_CASE(the_program_ends_with_its_parent_and_not_by_an_interrupt) {
  server_process server;
  const auto client = server.make_client();
  BOOST_REQUIRE(client->map(weights_of_0, bytes));
  BOOST_REQUIRE(kill(server.pid(), SIGINT) == 0);
  BOOST_REQUIRE(client->map(weights_of_0, bytes));
  server.close();
  BOOST_TEST(server.wait() == 0);
  BOOST_CHECK(client->map(weights_of_0, bytes).error().code == errc::closed);
}

BOOST_AUTO_TEST_CASE(the_program_says_what_is_wrong_with_its_arguments) {
  const auto code_of = [](const std::vector<std::string>& arguments) {
    const auto file = socket::make_shared_file("test", 1).value();
    return wait_for(start_vault(arguments, file.get()));
  };
  BOOST_TEST(code_of({}) == 2);
  BOOST_TEST(code_of({"--control-fd"}) == 2);
  BOOST_TEST(code_of({"--control-fd", "3x"}) == 2);
  BOOST_TEST(code_of({"--control-fd", "-1"}) == 2);
  BOOST_TEST(code_of({"--control-fd", "3", "--limit-bytes", "-5"}) == 2);
  BOOST_TEST(code_of({"--control-fd", "3", "--else", "5"}) == 2);
  BOOST_TEST(code_of({"--limit-bytes", "5"}) == 2);
  BOOST_TEST(code_of({"--control-fd", "3"}) == 3);   // a file, no socket
  BOOST_TEST(code_of({"--control-fd", "999"}) == 3); // nothing
}

BOOST_AUTO_TEST_SUITE_END()
