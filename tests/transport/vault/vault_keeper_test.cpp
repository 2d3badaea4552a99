// A vault that dies and the next one: whoever uses its regions notices nothing.
#include "transport/vault/vault_keeper.hpp"

#include "tests/transport/vault/fake_device.hpp"
#include "tests/transport/vault/vault_conformance.hpp"
#include "tests/transport/vault/vault_fixture.hpp"

#include "transport/vault/vault_client.hpp"

#include <atomic>
#include <csignal>
#include <cstring>
#include <map>
#include <poll.h>
#include <random>
#include <set>
#include <sys/wait.h>
#include <unistd.h>

using namespace vdist;
using namespace vdist::vault;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t bytes = 100'000;

region_key key_number(std::uint32_t index) {
  return {rank_id(0), region_kind::custom, index};
}

std::uintptr_t address_of(const region& mapped) {
  return reinterpret_cast<std::uintptr_t>(mapped.memory.data());
}

void fill(const region& mapped, int value) {
  std::fill(mapped.memory.begin(), mapped.memory.end(), static_cast<std::byte>(value));
}

bool holds(const region& mapped, int value) {
  return std::all_of(mapped.memory.begin(), mapped.memory.end(), [value](std::byte b) {
    return b == static_cast<std::byte>(value);
  });
}

/// The parent of one vdist-vault after the other.
class kept_vault {
public:
  kept_vault() { start(); }

  ~kept_vault() {
    if (pid_ > 0) {
      kill_now();
    }
  }

  kept_vault(const kept_vault&) = delete;
  kept_vault& operator=(const kept_vault&) = delete;

  void start() {
    auto ends = socket::make_socket_pair().value();
    pid_ = start_vault({"--control-fd", "3"}, ends.second.get());
    ends.second.reset();
    BOOST_REQUIRE(keeper.hand_over(std::move(ends.first), vault_patience()));
  }

  void kill_now() {
    ::kill(pid_, SIGKILL);
    BOOST_TEST(wait_for(std::exchange(pid_, -1)) == -SIGKILL);
    BOOST_TEST(keeper.listen().has_value());
  }

  void replace() {
    kill_now();
    start();
  }

  /// Several of them in this process: only the first one to map a region does so at its address.
  std::unique_ptr<vault_client> make_client() {
    return std::make_unique<vault_client>(keeper.new_client(vault_patience()).value(),
                                          vault_clock,
                                          vault_client_settings{.may_move = true});
  }

  /// Until the vault has said something and `what` holds.
  template <class What>
  void listen_until(const What& what) {
    while (!what()) {
      pollfd said{.fd = keeper.fd(), .events = POLLIN, .revents = 0};
      BOOST_REQUIRE(poll(&said, 1, 20'000) == 1);
      BOOST_REQUIRE(keeper.listen());
    }
  }

  [[nodiscard]] pid_t pid() const { return pid_; }

  vault_keeper keeper{vault_clock};

private:
  pid_t pid_ = -1;
};

/// A client's end in the test's own hands.
class raw_client {
public:
  explicit raw_client(kept_vault& at)
      : link_(at.keeper.new_client(vault_patience()).value(), vault_clock) {}

  void ask(operation wanted, std::uint64_t sequence, const region_key& key) const {
    const request_message request{.wanted = wanted,
                                  .sequence = sequence,
                                  .rank = key.rank.value,
                                  .index = key.index,
                                  .kind = key.kind,
                                  .bytes = wanted == operation::map ? bytes : 0};
    BOOST_REQUIRE(link_.send(std::as_bytes(std::span(&request, 1)), {}, vault_patience()));
  }

  [[nodiscard]] reply_message hear() const {
    const auto received = link_.receive(vault_patience());
    BOOST_REQUIRE(received);
    const auto reply = parse_reply(received->bytes);
    BOOST_REQUIRE(reply);
    return reply->head;
  }

  /// What the next vault says first.
  void expect_to_ask_again() const {
    const auto told = hear();
    BOOST_TEST(told.sequence == 0U);
    BOOST_TEST(told.flags == reply_ask_again);
  }

private:
  socket::message_socket link_;
};

constexpr auto is_new = reply_is_new;

} // namespace

BOOST_AUTO_TEST_SUITE(vault_keeper_suite)

BOOST_AUTO_TEST_CASE(regions_outlive_their_vault_and_so_do_clients) { // H-7, L-4, V-1
  kept_vault vault;
  const auto client = vault.make_client();
  const auto first = client->map(weights_of_0, bytes).value();
  fill(first, 5);
  BOOST_REQUIRE(client->mark_ready(weights_of_0, 4711));
  const auto held = client->total_bytes();
  for (int death = 0; death < 3; ++death) {
    vault.replace();
    const auto again = client->map(weights_of_0, bytes).value();
    BOOST_TEST(address_of(again) == address_of(first));
    BOOST_TEST(!again.is_new);
    BOOST_TEST(again.ready_hash.value_or(0) == 4711U);
    BOOST_TEST(holds(again, 5));
    BOOST_TEST(client->total_bytes() == held);
  }
  const auto newcomer = vault.make_client();
  BOOST_TEST(newcomer->ready_hash(weights_of_0).value_or(0) == 4711U);
  const auto other = newcomer->map(cache_of_0, bytes).value();
  BOOST_TEST(other.is_new);
  BOOST_TEST(address_of(other) >= address_of(first) + region_alignment);
  BOOST_REQUIRE(client->release(weights_of_0));
  BOOST_TEST(client->ready_hash(weights_of_0).has_value() == false);
  vault.replace();
  BOOST_TEST(client->ready_hash(weights_of_0).has_value() == false);
  BOOST_TEST(client->map(weights_of_0, bytes).value().is_new);
}

BOOST_AUTO_TEST_CASE(who_asks_while_there_is_no_vault_is_answered_by_the_next) { // L-4, V-2
  kept_vault vault;
  const auto early = vault.make_client();
  BOOST_REQUIRE(early->map(key_number(0), bytes));
  vault.kill_now();
  const auto late = vault.make_client(); // made without a vault
  std::atomic<int> asked = 0;
  result<region> of_early = fail(errc::internal, "not asked");
  result<region> of_late = fail(errc::internal, "not asked");
  std::thread one([&] {
    ++asked;
    of_early = early->map(key_number(1), bytes);
  });
  std::thread two([&] {
    ++asked;
    of_late = late->map(key_number(2), bytes);
  });
  while (asked < 2) {
    std::this_thread::yield();
  }
  vault.start();
  one.join();
  two.join();
  BOOST_REQUIRE(of_early);
  BOOST_REQUIRE(of_late);
  BOOST_TEST(of_early->is_new);
  BOOST_TEST(of_late->is_new);
}

BOOST_AUTO_TEST_CASE(what_a_vault_had_done_before_it_died_is_not_done_again) { // B-5, V-2
  kept_vault vault;
  const raw_client client(vault);
  const auto others = vault.make_client();
  client.ask(operation::map, 1, key_number(0));
  const auto made = client.hear(); // as if it had not come
  BOOST_TEST(made.flags == is_new);
  vault.replace();
  client.expect_to_ask_again();
  client.ask(operation::map, 1, key_number(0));
  const auto made_again = client.hear();
  BOOST_TEST(made_again.flags == is_new);
  BOOST_TEST(made_again.region_id == made.region_id);
  BOOST_TEST(made_again.address == made.address);
  BOOST_TEST(!others->map(key_number(0), bytes).value().is_new);

  client.ask(operation::release, 2, key_number(0));
  BOOST_CHECK(client.hear().code == errc::ok);
  BOOST_TEST(others->map(key_number(0), bytes).value().is_new); // another region of this key
  vault.replace();
  client.expect_to_ask_again();
  client.ask(operation::release, 2, key_number(0));
  BOOST_CHECK(client.hear().code == errc::ok);
  BOOST_TEST(!others->map(key_number(0), bytes).value().is_new, "theirs is still there");
  client.ask(operation::release, 3, key_number(7));
  BOOST_CHECK(client.hear().code == errc::not_found);
}

BOOST_AUTO_TEST_CASE(an_address_comes_again_as_late_as_if_no_vault_had_died) { // W-2
  kept_vault vault;
  const raw_client client(vault);
  client.ask(operation::map, 1, key_number(0));
  const auto first = client.hear();
  client.ask(operation::release, 2, key_number(0));
  BOOST_CHECK(client.hear().code == errc::ok);
  vault.replace();
  client.expect_to_ask_again();
  client.ask(operation::map, 3, key_number(0));
  const auto second = client.hear();
  BOOST_TEST(second.address >= first.address + region_alignment);
  BOOST_TEST(second.region_id != first.region_id);
}

BOOST_AUTO_TEST_CASE(a_second_copy_of_a_request_is_dropped) { // B-5
  kept_vault vault;
  const raw_client client(vault);
  client.ask(operation::map, 1, key_number(0));
  client.ask(operation::map, 1, key_number(0));
  client.ask(operation::usage, 2, key_number(0));
  BOOST_TEST(client.hear().sequence == 1U);
  BOOST_TEST(client.hear().sequence == 2U);
}

BOOST_AUTO_TEST_CASE(a_region_of_before_is_not_taken_for_one_that_was_made_since) { // L-1
  kept_vault vault;
  const auto one = vault.make_client();
  const auto two = vault.make_client();
  const auto first = one->map(key_number(0), bytes).value();
  fill(first, 3);
  BOOST_REQUIRE(two->release(key_number(0)));
  vault.replace(); // nothing is left of the region, but for its number
  const auto second = two->map(key_number(0), bytes).value();
  BOOST_TEST(second.is_new);
  BOOST_TEST(address_of(second) != address_of(first), "the address is still held"); // W-2
  BOOST_TEST(is_zero(second.memory));
  fill(second, 4);
  BOOST_TEST(holds(one->map(key_number(0), bytes).value(), 4));
}

BOOST_AUTO_TEST_CASE(memory_of_devices_is_kept_and_so_is_who_fills_it) { // H-5, D-2
  const auto make_server = [](vault_keeper& keeper) {
    auto ends = socket::make_socket_pair().value();
    auto server = std::make_unique<vault_server>(
        std::move(ends.second), vault_clock, vault_server_settings{}, make_fake_memory);
    BOOST_REQUIRE(keeper.hand_over(std::move(ends.first), vault_patience()));
    return std::thread([server = std::move(server)] { static_cast<void>(server->run()); });
  };

  struct late_mapper final : fake_mapper {
    result<void> fill_zero(std::int32_t device, std::span<std::byte> mapped) override {
      return is_able ? fake_mapper::fill_zero(device, mapped) : fail(errc::io_failed, "not yet");
    }

    bool is_able = false;
  };

  vault_keeper keeper(vault_clock);
  auto first = make_server(keeper);
  const auto mapper = std::make_shared<late_mapper>();
  const auto client_of = [&keeper](auto by) {
    return std::make_unique<vault_client>(keeper.new_client(vault_patience()).value(),
                                          vault_clock,
                                          vault_client_settings{},
                                          all_on(1, std::move(by)));
  };
  const auto one = client_of(mapper);
  const auto two = client_of(std::make_shared<fake_mapper>());
  BOOST_CHECK(one->map(weights_of_0, bytes).error().code == errc::io_failed);
  BOOST_REQUIRE(keeper.listen());
  auto second = make_server(keeper); // lets go of the first one
  first.join();
  BOOST_CHECK(two->map(weights_of_0, bytes).error().code == errc::queue_full);
  mapper->is_able = true;
  const auto filled = one->map(weights_of_0, bytes).value();
  BOOST_TEST(filled.is_new);
  fill(filled, 9);
  BOOST_REQUIRE(keeper.listen());
  auto third = make_server(keeper);
  second.join();
  const auto kept = one->map(weights_of_0, bytes).value();
  BOOST_TEST(!kept.is_new);
  BOOST_TEST(address_of(kept) == address_of(filled));
  BOOST_TEST(holds(kept, 9));
  keeper.forget();
  third.join();
}

BOOST_AUTO_TEST_CASE(clients_that_end_are_forgotten_with_or_without_a_vault) {
  kept_vault vault;
  auto one = vault.make_client();
  auto two = vault.make_client();
  BOOST_REQUIRE(one->map(key_number(0), bytes));
  BOOST_TEST(vault.keeper.clients() == 2U);
  one.reset();
  vault.listen_until([&] { return vault.keeper.clients() == 1; });
  BOOST_TEST(vault.keeper.regions() == 1U);
  vault.kill_now();
  two.reset();
  vault.start();
  vault.listen_until([&] { return vault.keeper.clients() == 0 && vault.keeper.has_taken_over(); });
}

BOOST_AUTO_TEST_CASE(says_whether_a_vault_has_lived_to_take_over) { // N-2
  kept_vault vault;
  BOOST_TEST(vault.keeper.has_taken_over(), "there was nothing");
  const auto client = vault.make_client();
  BOOST_REQUIRE(client->map(key_number(0), bytes));
  vault.replace();
  BOOST_TEST(!vault.keeper.has_taken_over(), "it has not said so yet");
  vault.listen_until([&] { return vault.keeper.has_taken_over(); });
  vault.kill_now();
  BOOST_TEST(vault.keeper.has_taken_over(), "it had");
  BOOST_TEST(vault.keeper.can_go_on());
  for (int given = 1; given <= 3; ++given) {
    auto ends = socket::make_socket_pair().value();
    ends.second.reset();
    BOOST_REQUIRE(vault.keeper.hand_over(std::move(ends.first), vault_patience()));
    BOOST_REQUIRE(vault.keeper.listen());
    BOOST_TEST(!vault.keeper.has_taken_over());
    BOOST_TEST(vault.keeper.can_go_on() == (given < 3));
    BOOST_TEST(vault.keeper.fd() == -1);
  }
  vault.start();
  vault.listen_until([&] { return vault.keeper.has_taken_over(); });
  BOOST_TEST(vault.keeper.can_go_on());
}

BOOST_AUTO_TEST_CASE(what_is_forgotten_is_gone) {
  kept_vault vault;
  const auto client = vault.make_client();
  BOOST_REQUIRE(client->map(key_number(0), bytes));
  vault.kill_now();
  vault.keeper.forget();
  BOOST_TEST(vault.keeper.regions() == 0U);
  vault.start();
  BOOST_CHECK(client->map(key_number(0), bytes).error().code == errc::closed);
  BOOST_TEST(vault.make_client()->map(key_number(0), bytes).value().is_new);
}

BOOST_AUTO_TEST_CASE(a_vault_that_is_given_nonsense_ends) {
  const quiet_log quiet;
  const record_message region{
      .what = record_kind::region, .region_id = 1, .address = region_window_base, .bytes = bytes};
  const auto ended_with = [](const std::vector<record_message>& records) {
    auto ends = socket::make_socket_pair().value();
    const auto pid = start_vault({"--control-fd", "3"}, ends.second.get());
    ends.second.reset();
    const socket::message_socket control(std::move(ends.first), vault_clock);
    const auto file = socket::make_shared_file("region", bytes).value();
    for (const auto& record : records) {
      const int given = file.get();
      const std::size_t count = record.what == record_kind::region ? 1 : 0;
      static_cast<void>(control.send(
          std::as_bytes(std::span(&record, 1)), std::span(&given, count), vault_patience()));
    }
    return wait_for(pid);
  };
  auto outside = region;
  outside.address = region_window_base - region_alignment;
  BOOST_TEST(ended_with({region}) == 3);                           // nothing has begun
  BOOST_TEST(ended_with({{}, region, region}) == 3);               // twice
  BOOST_TEST(ended_with({{}, outside}) == 3);                      // no address of ours
  BOOST_TEST(ended_with({{}, {}}) == 3);                           // begun twice
  BOOST_TEST(ended_with({{}, {.what = record_kind::begun}}) == 3); // what only a vault says
}

BOOST_AUTO_TEST_CASE(a_vault_that_says_nonsense_is_let_go) { // N-2
  for (const auto what : {record_kind::begin, record_kind::released, record_kind::region}) {
    vault_keeper keeper(vault_clock);
    auto ends = socket::make_socket_pair().value();
    BOOST_REQUIRE(keeper.hand_over(std::move(ends.first), vault_patience()));
    const socket::message_socket server(std::move(ends.second), vault_clock);
    const record_message begun{.what = record_kind::begun};
    BOOST_REQUIRE(server.send(std::as_bytes(std::span(&begun, 1)), {}, vault_patience()));
    BOOST_REQUIRE(keeper.listen());
    BOOST_TEST(keeper.has_taken_over());
    const record_message nonsense{.what = what};
    BOOST_REQUIRE(server.send(std::as_bytes(std::span(&nonsense, 1)), {}, vault_patience()));
    BOOST_CHECK(keeper.listen().error().code == errc::corrupt);
    BOOST_TEST(!keeper.can_go_on());
    BOOST_TEST(keeper.fd() == -1);
  }
}

/// Whoever asks gets what an undying vault would have answered, wherever the vaults die.
BOOST_AUTO_TEST_CASE(vaults_that_die_at_any_moment_change_no_answer) { // H-7, B-5, V-2
  kept_vault vault;
  std::atomic<bool> is_over = false;
  std::vector<std::string> wrong;
  std::vector<std::unique_ptr<vault_client>> clients;
  clients.push_back(vault.make_client());
  clients.push_back(vault.make_client());
  std::thread user([&] {
    struct expected {
      int value = 0;
      std::uint64_t hash = 0; // 0: none
    };

    std::map<std::uint32_t, expected> there;
    std::minstd_rand random(7);
    for (int i = 1; i <= 2000; ++i) {
      const auto& client = clients[random() % clients.size()];
      const auto index = static_cast<std::uint32_t>(random() % 6);
      const auto known = there.find(index);
      const auto check = [&](bool is_right, const char* what) {
        if (!is_right) {
          wrong.push_back(std::to_string(i) + ": " + what);
        }
      };
      switch (random() % 4) {
      case 0:
      case 1: {
        const auto mapped = client->map(key_number(index), bytes);
        check(mapped.has_value(), "map");
        if (!mapped) {
          break;
        }
        check(mapped->is_new == (known == there.end()), "is_new");
        check(holds(*mapped, known == there.end() ? 0 : known->second.value), "contents");
        check(mapped->ready_hash.value_or(0) == (known == there.end() ? 0 : known->second.hash),
              "hash");
        const int value = 1 + i % 200;
        fill(*mapped, value);
        there[index].value = value;
        break;
      }
      case 2:
        check(client->mark_ready(key_number(index), 1000U + index).has_value()
                  == (known != there.end()),
              "mark_ready");
        if (known != there.end()) {
          known->second.hash = 1000U + index;
        }
        break;
      default:
        check(client->release(key_number(index)).has_value() == (known != there.end()), "release");
        if (known != there.end()) {
          there.erase(known);
        }
      }
    }
    is_over = true;
  });
  std::minstd_rand random(11);
  int deaths = 0;
  while (!is_over) {
    // Between two deaths as many records as happen to come.
    for (auto records = random() % 40; records > 0 && !is_over; --records) {
      pollfd said{.fd = vault.keeper.fd(), .events = POLLIN, .revents = 0};
      if (poll(&said, 1, 50) == 1) {
        BOOST_TEST(vault.keeper.listen().has_value());
      }
    }
    vault.replace();
    ++deaths;
  }
  user.join();
  BOOST_TEST(wrong == std::vector<std::string>{}, boost::test_tools::per_element());
  BOOST_TEST(deaths > 5);
  BOOST_TEST_MESSAGE(deaths << " vaults died");
}

BOOST_AUTO_TEST_SUITE_END()
