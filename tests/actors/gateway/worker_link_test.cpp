#include "actors/gateway/worker_link.hpp"

#include "transport/vault/memory_vault.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 20s;
constexpr std::uint32_t slots = 64; // of a link in each direction

struct link_fixture {
  [[nodiscard]] time_point soon() const { return time.now() + patience; }

  [[nodiscard]] control_end make(const worker_identity& of) {
    auto made = make_worker_link(of, memory, bell, waits);
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().context));
    return std::move(*made);
  }

  [[nodiscard]] worker_end open(const worker_identity& of) {
    auto opened = open_worker_link(of, memory, bell, waits);
    BOOST_REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().context));
    return std::move(*opened);
  }

  template <class Message>
  static std::vector<std::byte> encoded(const Message& message) {
    std::vector<std::byte> out;
    protocol::encode(message, out);
    return out;
  }

  [[nodiscard]] result<void> command(control_end& from, const protocol::worker_command& what) {
    return from.commands->write(
        link_header(who, protocol::worker_command_kind), encoded(what), soon());
  }

  [[nodiscard]] result<void> tell(worker_end& from, const protocol::worker_event& what) {
    return from.events->write(link_header(who, protocol::worker_event_kind), encoded(what), soon());
  }

  /// Whether the control side believes an event with this header.
  [[nodiscard]] bool
  is_believed(control_end& by, worker_end& from, const frame::envelope& header) const {
    const std::vector<std::byte> body(10);
    BOOST_REQUIRE(from.events->write(header, body, soon()).has_value());
    return by.events->read(time_point{}).has_value();
  }

  /// The same for a command.
  [[nodiscard]] bool
  is_obeyed(worker_end& by, control_end& from, const frame::envelope& header) const {
    const std::vector<std::byte> body(10);
    BOOST_REQUIRE(from.commands->write(header, body, soon()).has_value());
    return by.commands->read(time_point{}).has_value();
  }

  system_clock time;
  frame::wait_policy waits{{.spin_budget = 0us, .slice_max = 60s}, time};
  frame::bell bell;
  vault::memory_vault memory;
  worker_identity who{.cluster = 42, .replica = 1, .rank = rank_id(5), .worker = incarnation(3)};
};

using spoil = std::function<void(frame::envelope&)>;

} // namespace

BOOST_AUTO_TEST_SUITE(worker_link_rules)

BOOST_FIXTURE_TEST_CASE(commands_go_down_and_events_up_in_order, link_fixture) {
  auto control = make(who);
  BOOST_REQUIRE(command(control, {protocol::worker_command::kind::load}).has_value());
  auto worker = open(who); // late: what was sent before is there
  BOOST_REQUIRE(command(control, {protocol::worker_command::kind::prepare, 4}).has_value());
  for (const auto& expected :
       {protocol::worker_command{protocol::worker_command::kind::load},
        protocol::worker_command{protocol::worker_command::kind::prepare, 4}}) {
    const auto frame = worker.commands->read(soon());
    BOOST_REQUIRE(frame.has_value());
    BOOST_TEST(frame->header.kind == protocol::worker_command_kind);
    protocol::worker_command got;
    BOOST_REQUIRE(protocol::decode(frame->body, got).has_value());
    BOOST_TEST((got == expected));
  }
  // Longer than a slot of the ring.
  const protocol::worker_event failed{.what = protocol::worker_event::kind::failed,
                                      .slot = 1,
                                      .worker = who.worker,
                                      .status = errc::resource_exhausted,
                                      .text = std::string(10'000, 'x')};
  const protocol::worker_event loaded{.slot = 1, .worker = who.worker};
  BOOST_REQUIRE(tell(worker, loaded).has_value());
  BOOST_REQUIRE(tell(worker, failed).has_value());
  for (const auto& expected : {loaded, failed}) {
    const auto frame = control.events->read(soon());
    BOOST_REQUIRE(frame.has_value());
    BOOST_TEST(frame->header.sender == 5);
    protocol::worker_event got;
    BOOST_REQUIRE(protocol::decode(frame->body, got).has_value());
    BOOST_TEST((got == expected));
  }
  BOOST_TEST((control.events->read(time_point{}).error().code == errc::timed_out));
  BOOST_TEST((worker.commands->read(time_point{}).error().code == errc::timed_out));
}

BOOST_FIXTURE_TEST_CASE(an_event_rings_the_bell_that_the_control_side_sleeps_on, link_fixture) {
  auto control = make(who);
  auto worker = open(who);
  std::atomic<int> polls{0};
  std::optional<frame::wait_status> ended;
  const auto since = time.now();
  std::thread sleeper([this, &control, &polls, &ended] {
    ended = waits.wait(bell,
                       [&control, &polls] {
                         ++polls;
                         return control.events->has_frame();
                       },
                       {.deadline = soon()});
  });
  while (polls < 2) { // the second look is the last one before it sleeps
    std::this_thread::yield();
  }
  const auto told = tell(worker, {.slot = 1, .worker = who.worker});
  sleeper.join();
  BOOST_TEST(told.has_value());
  BOOST_TEST((ended == frame::wait_status::ok));
  BOOST_TEST((time.now() - since < patience / 2), "it was woken, not timed out");
}

BOOST_FIXTURE_TEST_CASE(events_of_anybody_else_are_dropped_and_counted, link_fixture) { // P-3
  auto control = make(who);
  auto worker = open(who);
  const auto good = link_header(who, protocol::worker_event_kind);
  const auto spoiled = [&good](const spoil& change) {
    auto header = good;
    change(header);
    return header;
  };
  BOOST_TEST(is_believed(control, worker, good));
  for (const std::uint32_t other : {2U, 4U}) {
    BOOST_TEST(!is_believed(control, worker, spoiled([other](auto& h) { h.incarnation = other; })),
               "incarnation " << other);
  }
  BOOST_TEST(control.events->drops().of(frame::drop_reason::stale_incarnation) == 2U);
  const std::vector<spoil> foreign{[](auto& h) { h.cluster = 43; },
                                   [](auto& h) { h.group = 0; },
                                   [](auto& h) { h.sender = 4; },
                                   [](auto& h) { h.sender = frame::sender_control; },
                                   [](auto& h) { h.protocol = protocol::worker_protocol + 1; },
                                   [](auto& h) {
                                     h.version = protocol::worker_version + 1;
                                   }};
  for (std::size_t i = 0; i < foreign.size(); ++i) {
    BOOST_TEST(!is_believed(control, worker, spoiled(foreign[i])), "change " << i);
  }
  BOOST_TEST(control.events->drops().of(frame::drop_reason::foreign) == foreign.size());
  // Theirs took numbers of the channel: that is said once, then the worker is heard again.
  BOOST_REQUIRE(tell(worker, {.slot = 1, .worker = who.worker}).has_value());
  BOOST_TEST((control.events->read(time_point{}).error().code == errc::corrupt));
  BOOST_TEST(control.events->read(time_point{}).has_value());
}

BOOST_FIXTURE_TEST_CASE(commands_of_anybody_but_the_control_side_are_not_obeyed,
                        link_fixture) { // P-3
  auto control = make(who);
  auto worker = open(who);
  const auto good = link_header(who, protocol::worker_command_kind);
  BOOST_TEST((good.sender == frame::sender_control));
  auto to_another = good;
  to_another.incarnation = 2;
  BOOST_TEST(!is_obeyed(worker, control, to_another));
  BOOST_TEST(is_obeyed(worker, control, good));
  auto of_a_worker = good;
  of_a_worker.sender = who.rank.value;
  BOOST_TEST(!is_obeyed(worker, control, of_a_worker));
}

BOOST_FIXTURE_TEST_CASE(the_late_bytes_of_a_dead_incarnation_reach_nobody, link_fixture) { // P-3
  auto past_control = make(who);
  auto past_worker = open(who);
  auto successor = who;
  successor.worker = who.worker.next();
  auto control = make(successor);
  auto worker = open(successor);
  BOOST_REQUIRE(tell(past_worker, {.slot = 1, .worker = who.worker}).has_value());
  BOOST_REQUIRE(command(past_control, {}).has_value());
  BOOST_TEST((control.events->read(time_point{}).error().code == errc::timed_out));
  BOOST_TEST((worker.commands->read(time_point{}).error().code == errc::timed_out));
  BOOST_TEST(control.events->drops().total() == 0U, "it is not even in the same memory");
}

BOOST_FIXTURE_TEST_CASE(a_full_link_holds_its_writer_up_until_the_deadline, link_fixture) {
  auto control = make(who);
  auto worker = open(who);
  const auto header = link_header(who, protocol::worker_event_kind);
  const std::vector<std::byte> body(10);
  for (std::uint32_t i = 0; i < slots; ++i) {
    BOOST_REQUIRE(worker.events->write(header, body, time_point{}).has_value());
  }
  const auto refused = worker.events->write(header, body, time.now() + 1ms);
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == errc::timed_out));
  BOOST_TEST(control.events->read(time_point{}).has_value());
  BOOST_TEST(worker.events->write(header, body, soon()).has_value());
}

BOOST_FIXTURE_TEST_CASE(a_successor_of_the_control_side_takes_the_link_over, link_fixture) {
  auto dead = make(who);
  auto worker = open(who);
  BOOST_REQUIRE(command(dead, {protocol::worker_command::kind::load}).has_value());
  for (std::uint32_t i = 0; i < slots; ++i) { // nobody reads: the ring is full
    BOOST_REQUIRE(tell(worker, {.slot = 1, .worker = who.worker}).has_value());
  }
  auto reopened = reopen_worker_link(who, memory, bell, waits);
  BOOST_REQUIRE(reopened.has_value());
  BOOST_TEST((dead.commands
                  ->write(link_header(who, protocol::worker_command_kind),
                          encoded(protocol::worker_command{}),
                          time_point{})
                  .error()
                  .code
              == errc::closed));
  // What was said before is lost, what comes is heard; the commands of both come in order.
  BOOST_TEST((reopened->events->read(time_point{}).error().code == errc::timed_out));
  BOOST_REQUIRE(command(*reopened, {protocol::worker_command::kind::prepare, 9}).has_value());
  for (const auto expected :
       {protocol::worker_command::kind::load, protocol::worker_command::kind::prepare}) {
    const auto frame = worker.commands->read(soon());
    BOOST_REQUIRE(frame.has_value());
    protocol::worker_command got;
    BOOST_REQUIRE(protocol::decode(frame->body, got).has_value());
    BOOST_TEST((got.what == expected));
  }
  BOOST_REQUIRE(tell(worker,
                     {.what = protocol::worker_event::kind::quiesced,
                      .slot = 1,
                      .worker = who.worker,
                      .now = epoch(9)})
                    .has_value());
  BOOST_TEST(reopened->events->read(soon()).has_value());
}

BOOST_FIXTURE_TEST_CASE(a_link_that_nobody_made_cannot_be_taken_over, link_fixture) {
  const auto reopened = reopen_worker_link(who, memory, bell, waits);
  BOOST_REQUIRE(!reopened.has_value());
  BOOST_TEST((reopened.error().code == errc::corrupt));
}

BOOST_FIXTURE_TEST_CASE(a_link_is_made_once_and_before_the_worker_comes, link_fixture) {
  const auto early = open_worker_link(who, memory, bell, waits);
  BOOST_REQUIRE(!early.has_value());
  BOOST_TEST((early.error().code == errc::corrupt));
  auto control = make(who);
  const auto again = make_worker_link(who, memory, bell, waits);
  BOOST_REQUIRE(!again.has_value());
  BOOST_TEST((again.error().code == errc::invalid_argument));
  auto worker = open(who); // the refusal has harmed nothing
  BOOST_REQUIRE(tell(worker, {.slot = 1, .worker = who.worker}).has_value());
  BOOST_TEST(control.events->read(soon()).has_value());
}

BOOST_FIXTURE_TEST_CASE(a_region_is_given_back_and_open_ends_outlive_it, link_fixture) { // V-1
  const auto before = memory.total_bytes();
  auto control = make(who);
  auto worker = open(who);
  BOOST_TEST(memory.total_bytes() > before);
  BOOST_REQUIRE(memory.release(worker_link_key(who.rank, who.worker)).has_value());
  BOOST_TEST(memory.total_bytes() == before);
  BOOST_TEST(tell(worker, {.slot = 1, .worker = who.worker}).has_value());
  BOOST_TEST(control.events->read(soon()).has_value());
}

BOOST_FIXTURE_TEST_CASE(thousands_of_incarnations_leave_no_memory, link_fixture) {
  const auto before = memory.total_bytes();
  for (std::uint32_t i = 1; i <= 2'000; ++i) {
    who.worker = incarnation(i);
    auto control = make(who);
    auto worker = open(who);
    BOOST_REQUIRE(memory.release(worker_link_key(who.rank, who.worker)).has_value());
  }
  BOOST_TEST(memory.total_bytes() == before);
}

BOOST_FIXTURE_TEST_CASE(a_full_vault_is_an_error_that_says_so, link_fixture) {
  vault::memory_vault small(4096);
  const auto made = make_worker_link(who, small, bell, waits);
  BOOST_REQUIRE(!made.has_value());
  BOOST_TEST((made.error().code == errc::resource_exhausted));
  BOOST_TEST(small.total_bytes() == 0U);
}

BOOST_AUTO_TEST_SUITE_END()
