#include "actors/supervisor/recovery.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <limits>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace vdist;
using namespace vdist::supervisor;
using namespace std::chrono_literals;

namespace {

/// Plays the group of workers: carries out actions at once or late, and checks while it
/// does.
class group {
public:
  explicit group(std::int32_t slots, std::int32_t max_restarts = 1000)
      : machine_({.slots = slots, .max_restarts = max_restarts}),
        alive_(static_cast<std::size_t>(slots)),
        thread_ends_(static_cast<std::size_t>(slots)) {
    machine_.start(now_);
    absorb();
  }

  recovery& machine() { return machine_; }

  /// Takes the actions and turns them into pending events.
  void absorb() {
    for (const auto& todo : machine_.take_actions()) {
      apply(todo);
      machine_.done(todo, now_);
    }
  }

  void apply(const action& todo) {
    const auto slot = static_cast<std::size_t>(std::max(todo.slot, 0));
    switch (todo.what) {
    case action::kind::spawn:
      BOOST_TEST(!alive_[slot], "R-2: one incarnation at a time");
      BOOST_TEST(!thread_ends_[slot], "R-2: the thread before has ended");
      alive_[slot] = true;
      pending_.push_back({todo, 'l'});
      break;
    case action::kind::kill:
      die(todo.slot);
      break;
    case action::kind::raise_fence:
      BOOST_TEST((todo.now > fence_), "R-1: the fence rises");
      fence_ = todo.now;
      break;
    case action::kind::prepare:
      BOOST_TEST((todo.now == fence_), "R-1: nobody is asked to stop before the fence is up");
      pending_.push_back({todo, 'q'});
      break;
    case action::kind::begin:
      begin(todo.now);
      begins_.push_back(todo);
      break;
    case action::kind::writers_gone:
      lifted_.push_back(todo.now);
      break;
    case action::kind::adopt:
      break; // groups here start from nothing
    case action::kind::retire:
      alive_[slot] = false;
      thread_ends_[slot] = true;
      dying_.push_back(todo); // its end is all that is heard of it
      break;
    case action::kind::give_up:
      given_up_ = true;
      culprit_ = todo.slot;
      break;
    }
  }

  void begin(epoch at) {
    BOOST_TEST(begun_.insert(at.value).second, "R-3: an epoch begins once");
    for (std::size_t slot = 0; slot < alive_.size(); ++slot) {
      const bool is_unknown_death =
          std::any_of(pending_.begin(), pending_.end(), [slot](const pending& p) {
            return p.kind != 'l' && p.kind != 'q'
                   && p.cause.slot == static_cast<std::int32_t>(slot);
          });
      BOOST_TEST((alive_[slot] || is_unknown_death),
                 "R-3: every worker is alive, as far as anybody can know");
    }
  }

  /// One pending event, chosen by `index`, reaches the machine.
  void deliver(std::size_t index) {
    const auto event = pending_[index];
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(index));
    const auto slot = static_cast<std::size_t>(event.cause.slot);
    if (event.kind == 'g') {
      thread_ends_[slot] = false;
      machine_.gone(event.cause.slot, event.cause.worker, now_);
    } else if (event.kind == 'h') {
      thread_ends_[slot] = false;
      machine_.halted(event.cause.slot, event.cause.worker, now_);
    } else if (event.kind == 'd') {
      machine_.died(event.cause.slot, event.cause.worker, now_);
    } else if (event.kind == 'l') {
      machine_.loaded(event.cause.slot, event.cause.worker, now_);
    } else {
      machine_.quiesced(event.cause.slot, event.cause.worker, event.cause.now, now_);
    }
    absorb();
  }

  /// The slot's actor dies now; the machine learns of it, and of the end of its thread, later, in
  /// any order.
  void die(std::int32_t slot) {
    const auto at = static_cast<std::size_t>(slot);
    if (!alive_[at]) {
      return;
    }
    alive_[at] = false;
    thread_ends_[at] = true;
    action cause{.what = action::kind::kill, .slot = slot, .worker = machine_.worker(slot)};
    pending_.push_back({cause, 'd'});
    dying_.push_back(cause);
  }

  /// A process dies and halts: it is a late writer until go() says that it has gone.
  void halt(std::int32_t slot) {
    die(slot);
    pending_.push_back({dying_.back(), 'h'});
    late_.push_back(dying_.back());
    dying_.pop_back();
    settle();
  }

  /// The oldest late writer.
  void go() {
    pending_.push_back({late_.front(), 'g'});
    late_.erase(late_.begin());
    settle();
  }

  [[nodiscard]] const action& last_begin() const { return begins_.back(); }

  /// Epochs in which the late writers were said to have gone.
  [[nodiscard]] const std::vector<epoch>& lifted() const { return lifted_; }

  /// The threads of dead actors end; that may be heard of before or after the death itself.
  void end_threads() {
    for (const auto& cause : dying_) {
      pending_.push_back({cause, 'g'});
    }
    dying_.clear();
  }

  void settle() {
    while (!pending_.empty() || !dying_.empty()) {
      end_threads();
      if (!pending_.empty()) {
        deliver(0);
      }
    }
  }

  std::size_t pending_events() const { return pending_.size(); }

  bool has_given_up() const { return given_up_; }

  /// The slot that the group was given up for.
  std::int32_t culprit() const { return culprit_; }

  void advance(duration d) { now_ += d; }

  time_point now() const { return now_; }

private:
  struct pending {
    action cause;
    char kind; // l loaded, q quiesced, d died, h halted, g gone
  };

  recovery machine_;
  time_point now_{1s};
  std::vector<bool> alive_;
  std::vector<bool> thread_ends_;
  std::vector<pending> pending_;
  std::vector<action> dying_;
  std::vector<action> late_;
  std::vector<action> begins_;
  std::vector<epoch> lifted_;
  std::set<std::uint32_t> begun_;
  epoch fence_{0};
  bool given_up_ = false;
  std::int32_t culprit_ = -2;
};

} // namespace

BOOST_AUTO_TEST_CASE(begins_the_first_epoch_when_every_worker_has_loaded) {
  group workers(3);
  BOOST_TEST((workers.machine().state() == recovery_state::starting));
  workers.settle();
  BOOST_TEST((workers.machine().state() == recovery_state::running));
  BOOST_TEST((workers.machine().current_epoch() == epoch(1)));
}

BOOST_AUTO_TEST_CASE(a_death_raises_the_epoch_and_only_the_dead_slot_is_respawned) {
  group workers(3);
  workers.settle();
  workers.die(1);
  workers.settle();
  BOOST_TEST((workers.machine().current_epoch() == epoch(2)));
  BOOST_TEST((workers.machine().worker(0) == incarnation(1)));
  BOOST_TEST((workers.machine().worker(1) == incarnation(2)));
  BOOST_TEST((workers.machine().state() == recovery_state::running));
}

BOOST_AUTO_TEST_CASE(a_failed_step_restarts_the_epoch_without_a_respawn) {
  group workers(2);
  workers.settle();
  workers.machine().step_failed(epoch(1), workers.now());
  workers.machine().step_failed(epoch(1), workers.now());
  workers.absorb();
  workers.settle();
  BOOST_TEST((workers.machine().current_epoch() == epoch(2)));
  BOOST_TEST(workers.machine().restarts() == 0U);
}

BOOST_AUTO_TEST_CASE(r4_a_survivor_that_does_not_stop_is_killed) {
  group workers(2);
  workers.settle();
  workers.die(0);
  workers.deliver(0); // the death is known, the survivor is asked to stop and does not
  workers.advance(11s);
  workers.machine().tick(workers.now());
  const auto actions = workers.machine().take_actions();
  BOOST_TEST(std::any_of(actions.begin(), actions.end(), [](const action& a) {
    return a.what == action::kind::kill && a.slot == 1;
  }));
}

BOOST_AUTO_TEST_CASE(r4_a_thread_that_never_ends_fails_the_replica) {
  group workers(2);
  workers.settle();
  workers.die(0);
  workers.deliver(0);
  workers.advance(31s);
  workers.machine().tick(workers.now());
  workers.absorb();
  BOOST_TEST(workers.has_given_up());
  BOOST_TEST(workers.culprit() == 0);
}

BOOST_AUTO_TEST_CASE(gives_up_after_too_many_deaths_of_one_slot_within_the_window) {
  group workers(2, 2);
  workers.settle();
  for (int death = 0; death < 2; ++death) {
    workers.die(1);
    workers.settle();
    BOOST_TEST(!workers.has_given_up());
  }
  workers.die(1);
  workers.settle();
  BOOST_TEST(workers.has_given_up());
  BOOST_TEST(workers.culprit() == 1);
}

BOOST_AUTO_TEST_CASE(deaths_outside_the_window_are_forgiven) {
  group workers(1, 1);
  workers.settle();
  for (int death = 0; death < 5; ++death) {
    workers.die(0);
    workers.settle();
    workers.advance(61s);
  }
  BOOST_TEST(!workers.has_given_up());
}

BOOST_AUTO_TEST_CASE(random_deaths_in_every_order_of_events_end_in_a_running_epoch) {
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    std::mt19937 random(seed);
    group workers(3);
    std::size_t deaths = 2 + random() % 3;
    for (int event = 0; event < 200; ++event) {
      workers.end_threads();
      if (deaths > 0 && random() % 4 == 0) {
        workers.die(static_cast<std::int32_t>(random() % 3));
        --deaths;
      } else if (workers.pending_events() > 0) {
        workers.deliver(random() % workers.pending_events());
      }
    }
    workers.settle();
    BOOST_REQUIRE_MESSAGE(workers.machine().state() == recovery_state::running, "seed " << seed);
  }
}

namespace {

constexpr auto start_of_time = time_point(1s);

/// What an event made the machine want, as short words: "fence 2", "prepare 0", "spawn 1".
std::vector<std::string> wanted(recovery& machine, time_point now) {
  static constexpr const char* names[] = {
      "spawn", "adopt", "kill", "fence", "prepare", "retire", "begin", "writers gone", "give up"};
  std::vector<std::string> words;
  for (const auto& todo : machine.take_actions()) {
    const bool is_of_slot = todo.slot >= 0;
    words.push_back(std::string(names[static_cast<std::size_t>(todo.what)]) + " "
                    + std::to_string(is_of_slot ? todo.slot : static_cast<int>(todo.now.value)));
    machine.done(todo, now);
  }
  return words;
}

using words = std::vector<std::string>;

/// Every slot has loaded and works in epoch 1.
recovery running_machine(const recovery_config& config, recovery_observer observer = {}) {
  recovery machine(config, std::move(observer));
  machine.start(start_of_time);
  wanted(machine, start_of_time);
  for (std::int32_t slot = 0; slot < config.slots; ++slot) {
    machine.loaded(slot, incarnation(1), start_of_time);
  }
  wanted(machine, start_of_time);
  return machine;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_recovery_can_be_read_off_its_states) {
  auto now = start_of_time;
  auto machine = running_machine({.slots = 2});
  BOOST_TEST(to_string(machine.state()) == "running");
  machine.died(0, incarnation(1), now);
  BOOST_TEST(to_string(machine.state()) == "fence");
  wanted(machine, now);
  BOOST_TEST(to_string(machine.state()) == "quiesce");
  machine.quiesced(1, incarnation(1), epoch(2), now);
  BOOST_TEST(to_string(machine.state()) == "plan", "the thread of the dead may still act");
  machine.gone(0, incarnation(1), now);
  BOOST_TEST(to_string(machine.state()) == "rebuild");
  machine.loaded(0, incarnation(2), now);
  BOOST_TEST(to_string(machine.state()) == "restore");
  wanted(machine, now);
  BOOST_TEST(to_string(machine.state()) == "running");
}

BOOST_AUTO_TEST_CASE(r4_the_next_deadline_is_the_earliest_of_all_waits) {
  auto machine = running_machine(
      {.slots = 2, .quiesce_deadline = 10s, .load_deadline = 60s, .gone_deadline = 30s});
  BOOST_TEST(!machine.next_deadline().has_value(), "who works is not waited for");
  machine.died(0, incarnation(1), start_of_time);
  BOOST_TEST((machine.next_deadline() == start_of_time + 10s), "the survivor");
  machine.quiesced(1, incarnation(1), epoch(2), start_of_time + 1s);
  BOOST_TEST((machine.next_deadline() == start_of_time + 30s), "the thread of the dead");
  machine.gone(0, incarnation(1), start_of_time + 2s);
  BOOST_TEST((machine.next_deadline() == start_of_time + 62s), "its successor");
  wanted(machine, start_of_time);
  machine.tick(start_of_time + 62s - 1ns);
  BOOST_TEST(machine.take_actions().empty());
  machine.tick(start_of_time + 62s);
  BOOST_TEST(wanted(machine, start_of_time) == words{"kill 0"}, boost::test_tools::per_element());
  BOOST_TEST((machine.next_deadline() == start_of_time + 92s), "its death");
}

// L-16 of worker_thread.hpp.
BOOST_AUTO_TEST_CASE(r4_who_ends_two_legal_steps_is_not_killed_for_it) {
  BOOST_TEST((quiesce_deadline_of(1ms) == 10s));
  BOOST_TEST((quiesce_deadline_of(2'500ms) == 10s));
  BOOST_TEST((quiesce_deadline_of(4s) == 13s));
  BOOST_TEST(
      (quiesce_deadline_of(std::chrono::milliseconds(std::numeric_limits<std::int32_t>::max()))
       > 24h));
  auto machine = running_machine({.slots = 2, .quiesce_deadline = quiesce_deadline_of(30s)});
  machine.gone(0, incarnation(1), start_of_time);
  wanted(machine, start_of_time);
  machine.loaded(0, incarnation(2), start_of_time);
  machine.tick(start_of_time + 60s); // two of them
  BOOST_TEST(machine.take_actions().empty());
  BOOST_TEST((machine.next_deadline() == start_of_time + 65s));
}

BOOST_AUTO_TEST_CASE(r4_a_kill_that_nobody_dies_of_fails_the_replica) {
  auto machine = running_machine({.slots = 1});
  machine.step_failed(epoch(1), start_of_time);
  machine.tick(start_of_time + 10s);
  wanted(machine, start_of_time);
  machine.quiesced(0, incarnation(1), epoch(2), start_of_time + 11s);
  BOOST_TEST(machine.take_actions().empty(), "R-5: its answer comes too late");
  machine.tick(start_of_time + 40s);
  BOOST_TEST((machine.state() == recovery_state::failed));
}

BOOST_AUTO_TEST_CASE(r8_replacements_of_one_slot_pause_longer_and_longer) {
  auto machine = running_machine(
      {.slots = 1, .max_restarts = 100, .restart_backoff = 50ms, .restart_backoff_max = 300ms});
  auto now = start_of_time;
  for (const auto pause : {0ms, 50ms, 100ms, 200ms, 300ms, 300ms}) {
    const auto dead = machine.worker(0);
    machine.died(0, dead, now);
    wanted(machine, now);
    machine.gone(0, dead, now);
    if (pause > 0ms) {
      BOOST_TEST((machine.slot(0) == slot_state::resting));
      BOOST_TEST((machine.next_deadline() == now + pause));
      machine.gone(0, dead, now);
      BOOST_TEST(machine.take_actions().empty(), "R-5");
      now += pause;
      machine.tick(now);
    }
    BOOST_TEST(wanted(machine, now) == words{"spawn 0"}, boost::test_tools::per_element());
    machine.loaded(0, machine.worker(0), now);
    wanted(machine, now);
  }
  BOOST_TEST(machine.restarts() == 6U);
}

BOOST_AUTO_TEST_CASE(r8_what_the_thread_needed_to_end_is_part_of_the_pause) {
  auto machine = running_machine({.slots = 1, .restart_backoff = 50ms});
  machine.gone(0, incarnation(1), start_of_time);
  machine.loaded(0, incarnation(2), start_of_time);
  machine.died(0, incarnation(2), start_of_time);
  wanted(machine, start_of_time);
  machine.gone(0, incarnation(2), start_of_time + 60ms);
  BOOST_TEST(wanted(machine, start_of_time) == words{"spawn 0"}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(r7_giving_up_ends_every_worker) {
  auto machine = running_machine({.slots = 3, .max_restarts = 0});
  machine.died(1, incarnation(1), start_of_time);
  BOOST_TEST(wanted(machine, start_of_time)
                 == (words{"fence 2", "prepare 0", "prepare 2", "give up 1", "kill 0", "kill 2"}),
             boost::test_tools::per_element());
  for (const std::int32_t slot : {0, 1, 2}) {
    machine.gone(slot, incarnation(1), start_of_time);
    BOOST_TEST((machine.slot(slot) == slot_state::absent));
  }
  BOOST_TEST(machine.take_actions().empty(), "nobody is spawned");
  BOOST_TEST(!machine.next_deadline().has_value());
}

BOOST_AUTO_TEST_CASE(r7_a_running_group_that_is_abandoned_is_fenced_first) {
  auto machine = running_machine({.slots = 1});
  machine.abandon("the disk is full", start_of_time);
  machine.abandon("the disk is still full", start_of_time);
  BOOST_TEST(wanted(machine, start_of_time)
                 == (words{"fence 2", "prepare 0", "give up 2", "kill 0"}),
             boost::test_tools::per_element());
}

/// The whole way of one slot; the other one waits idle until its new peer is there.
BOOST_AUTO_TEST_CASE(r10_a_planned_replacement_ends_its_worker_only_when_it_has_left) {
  auto machine = running_machine({.slots = 2});
  BOOST_TEST(machine.replace({incarnation(), incarnation(1)}, start_of_time));
  BOOST_TEST(wanted(machine, start_of_time) == (words{"fence 2", "prepare 0", "prepare 1"}),
             boost::test_tools::per_element());
  machine.quiesced(0, incarnation(1), epoch(2), start_of_time);
  BOOST_TEST(machine.take_actions().empty());
  machine.quiesced(1, incarnation(1), epoch(2), start_of_time);
  BOOST_TEST(wanted(machine, start_of_time) == words{"retire 1"}, boost::test_tools::per_element());
  BOOST_TEST((machine.slot(1) == slot_state::retiring));
  BOOST_TEST((machine.state() == recovery_state::plan));
  machine.quiesced(1, incarnation(1), epoch(2), start_of_time);
  BOOST_TEST(machine.take_actions().empty(), "R-5");
  machine.gone(1, incarnation(1), start_of_time);
  BOOST_TEST(wanted(machine, start_of_time) == words{"spawn 1"}, boost::test_tools::per_element());
  machine.loaded(1, incarnation(2), start_of_time);
  BOOST_TEST(wanted(machine, start_of_time) == words{"begin 2"}, boost::test_tools::per_element());
  BOOST_TEST(machine.restarts() == 0U);
}

BOOST_AUTO_TEST_CASE(r10_all_slots_are_replaced_in_one_epoch) {
  group workers(3);
  workers.settle();
  BOOST_TEST(
      workers.machine().replace({incarnation(1), incarnation(1), incarnation(1)}, workers.now()));
  workers.absorb();
  workers.settle();
  BOOST_TEST((workers.machine().state() == recovery_state::running));
  BOOST_TEST((workers.machine().current_epoch() == epoch(2)));
  for (const std::int32_t slot : {0, 1, 2}) {
    BOOST_TEST((workers.machine().worker(slot) == incarnation(2)));
  }
}

BOOST_AUTO_TEST_CASE(r10_planned_replacements_are_not_counted_and_never_rest) {
  auto machine = running_machine({.slots = 1, .max_restarts = 1, .restart_backoff = 50ms});
  machine.gone(0, incarnation(1), start_of_time); // a fault: one more is too many
  machine.loaded(0, incarnation(2), start_of_time);
  wanted(machine, start_of_time);
  for (std::uint32_t number = 2; number < 12; ++number) {
    BOOST_TEST(machine.replace({incarnation(number)}, start_of_time));
    wanted(machine, start_of_time);
    machine.quiesced(0, incarnation(number), machine.current_epoch(), start_of_time);
    machine.gone(0, incarnation(number), start_of_time);
    BOOST_TEST(wanted(machine, start_of_time) == (words{"retire 0", "spawn 0"}),
               boost::test_tools::per_element());
    machine.loaded(0, incarnation(number + 1), start_of_time);
    wanted(machine, start_of_time);
  }
  BOOST_TEST((machine.state() == recovery_state::running));
  BOOST_TEST(machine.restarts() == 1U);
}

BOOST_AUTO_TEST_CASE(r10_a_worker_that_does_not_end_by_order_is_killed) {
  auto machine = running_machine({.slots = 1, .retire_deadline = 2s});
  BOOST_TEST(machine.replace({incarnation(1)}, start_of_time));
  machine.quiesced(0, incarnation(1), epoch(2), start_of_time);
  wanted(machine, start_of_time);
  machine.tick(start_of_time + 1999ms);
  BOOST_TEST(machine.take_actions().empty());
  machine.tick(start_of_time + 2s);
  BOOST_TEST(wanted(machine, start_of_time) == words{"kill 0"}, boost::test_tools::per_element());
  machine.died(0, incarnation(1), start_of_time + 2s);
  machine.gone(0, incarnation(1), start_of_time + 2s);
  BOOST_TEST(wanted(machine, start_of_time) == words{"spawn 0"}, boost::test_tools::per_element());
  BOOST_TEST(machine.restarts() == 0U, "it is no fault");
}

BOOST_AUTO_TEST_CASE(r10_a_worker_that_dies_before_it_is_told_to_end_has_died) {
  auto machine = running_machine({.slots = 1, .max_restarts = 0});
  BOOST_TEST(machine.replace({incarnation(1)}, start_of_time));
  machine.died(0, incarnation(1), start_of_time);
  BOOST_TEST((machine.state() == recovery_state::failed), "it is counted");
}

BOOST_AUTO_TEST_CASE(r10_only_a_group_that_runs_is_replaced_and_only_by_its_own_numbers) {
  recovery loading({.slots = 1});
  loading.start(start_of_time);
  BOOST_TEST(!loading.replace({incarnation(1)}, start_of_time));
  auto machine = running_machine({.slots = 2});
  BOOST_TEST(!machine.replace({incarnation(1)}, start_of_time));
  BOOST_TEST(!machine.replace({incarnation(), incarnation()}, start_of_time));
  BOOST_TEST(!machine.replace({incarnation(1), incarnation(2)}, start_of_time));
  BOOST_TEST(machine.take_actions().empty());
  BOOST_TEST((machine.state() == recovery_state::running));
  machine.died(0, incarnation(1), start_of_time);
  BOOST_TEST(!machine.replace({incarnation(), incarnation(1)}, start_of_time));
}

BOOST_AUTO_TEST_CASE(r9_a_successor_fences_first_and_asks_the_living) {
  using kind = slot_start::kind;
  recovery machine({.slots = 4, .load_deadline = 60s, .gone_deadline = 90s});
  machine.start(start_of_time,
                {.first = epoch(9),
                 .slots = {{kind::living, incarnation(4)},
                           {kind::dying, incarnation(2)},
                           {kind::absent, incarnation(7)},
                           {kind::loading, incarnation(1)}}});
  BOOST_TEST(wanted(machine, start_of_time)
                 == (words{"fence 9", "adopt 0", "prepare 0", "spawn 2", "adopt 3", "prepare 3"}),
             boost::test_tools::per_element());
  BOOST_TEST((machine.next_deadline() == start_of_time + 10s), "who had loaded answers soon");
  BOOST_TEST((machine.worker(2) == incarnation(8)));
  machine.quiesced(0, incarnation(4), epoch(9), start_of_time);
  BOOST_TEST((machine.next_deadline() == start_of_time + 60s), "who may load has more time");
  machine.loaded(3, incarnation(1), start_of_time);
  BOOST_TEST((machine.slot(3) == slot_state::quiescing), "it has not said that it left its epoch");
  machine.quiesced(3, incarnation(1), epoch(9), start_of_time);
  machine.gone(1, incarnation(2), start_of_time);
  BOOST_TEST((machine.worker(1) == incarnation(3)));
  machine.loaded(1, incarnation(3), start_of_time);
  machine.loaded(2, incarnation(8), start_of_time);
  BOOST_TEST(wanted(machine, start_of_time) == (words{"spawn 1", "begin 9"}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(the_trace_says_when_each_part_of_a_recovery_ended) { // M-1, M-2, M-3
  std::vector<std::string> marks;
  auto machine = running_machine({.slots = 2}, [&marks](const recovery_mark& mark) {
    marks.push_back(std::string(to_string(mark.what)) + " " + std::to_string(mark.now.value));
  });
  const words first{"spawned 1", "spawned 1", "attached 1", "attached 1", "begun 1"};
  BOOST_TEST(marks == first, boost::test_tools::per_element());
  marks.clear();

  machine.died(0, incarnation(1), start_of_time + 1ms);
  wanted(machine, start_of_time + 2ms);
  machine.gone(0, incarnation(1), start_of_time + 3ms);
  wanted(machine, start_of_time + 4ms);
  machine.died(0, incarnation(2), start_of_time + 5ms); // the replacement, too
  wanted(machine, start_of_time + 6ms);
  machine.quiesced(1, incarnation(1), epoch(3), start_of_time + 7ms);
  machine.gone(0, incarnation(2), start_of_time + 8ms);
  wanted(machine, start_of_time + 9ms);
  machine.loaded(0, incarnation(3), start_of_time + 10ms);
  wanted(machine, start_of_time + 11ms);
  const words second{"detected 2",
                     "fenced 2",
                     "spawned 2",
                     "detected 3",
                     "fenced 3",
                     "quiesced 3",
                     "spawned 3",
                     "attached 3",
                     "begun 3"};
  BOOST_TEST(marks == second, boost::test_tools::per_element());

  const auto& epochs = machine.trace().epochs();
  BOOST_REQUIRE(epochs.size() == 3U);
  BOOST_TEST(!epochs[1].of(recovery_point::begun).has_value());
  const auto& last = epochs.back();
  BOOST_TEST((last.of(recovery_point::detected) == start_of_time + 5ms));
  BOOST_TEST((last.of(recovery_point::fenced) == start_of_time + 6ms));
  BOOST_TEST((last.of(recovery_point::quiesced) == start_of_time + 7ms));
  BOOST_TEST((last.of(recovery_point::spawned) == start_of_time + 9ms));
  BOOST_TEST((last.of(recovery_point::attached) == start_of_time + 10ms));
  BOOST_TEST((last.of(recovery_point::begun) == start_of_time + 11ms));
}

BOOST_AUTO_TEST_CASE(the_trace_keeps_the_newest_epochs_and_the_slowest_of_each_part) { // M-2
  recovery_trace trace;
  for (std::uint32_t number = 1; number <= 100; ++number) {
    for (const auto late : {0ms, 5ms}) {
      trace.note(
          {.now = epoch(number), .what = recovery_point::detected, .at = start_of_time + late});
      trace.note(
          {.now = epoch(number), .what = recovery_point::attached, .at = start_of_time + late});
    }
  }
  BOOST_TEST(trace.epochs().size() == recovery_trace::epochs_max);
  const auto& last = trace.epochs().back();
  BOOST_TEST((last.now == epoch(100)));
  BOOST_TEST((last.of(recovery_point::detected) == start_of_time));
  BOOST_TEST((last.of(recovery_point::attached) == start_of_time + 5ms));
}

namespace {

/// One worker that dies over its steps, and what its lane finds.
class struck_worker {
public:
  explicit struck_worker(recovery_config config) : machine(running_machine(config)) {}

  /// Dies and is replaced. Returns what the next epoch begins with; nullopt: there is none.
  std::optional<action> die() {
    const auto worker = machine.worker(0);
    machine.gone(0, worker, now);
    if (const auto due = machine.next_deadline()) {
      now = std::max(now, machine.slot(0) == slot_state::resting ? *due : now);
      machine.tick(now);
    }
    machine.loaded(0, machine.worker(0), now);
    for (const auto& todo : machine.take_actions()) {
      machine.done(todo, now);
      if (todo.what == action::kind::begin) {
        return todo;
      }
    }
    return std::nullopt;
  }

  [[nodiscard]] bool is_lost() const { return machine.state() == recovery_state::failed; }

  recovery machine;
  time_point now = start_of_time;
};

} // namespace

BOOST_AUTO_TEST_CASE(r10_culprits_one_after_the_other_cost_no_restarts) {
  struck_worker one({.slots = 1, .max_restarts = 3});
  for (int culprit = 0; culprit < 20; ++culprit) {
    for (int death = 0; death < 3; ++death) {
      const auto begun = one.die();
      BOOST_REQUIRE(begun.has_value());
      BOOST_TEST((begun->struck_by == 0));
    }
    one.machine.culprit_found(3, true, one.now); // bystanders went on in between
    BOOST_REQUIRE(!one.is_lost());
  }
}

BOOST_AUTO_TEST_CASE(r10_culprits_in_a_row_are_the_workers_fault) {
  struck_worker one({.slots = 1, .max_restarts = 3, .culprits_in_a_row_max = 3});
  for (int culprit = 0; culprit < 4; ++culprit) {
    BOOST_TEST(!one.is_lost());
    for (int death = 0; death < 3; ++death) {
      BOOST_REQUIRE(one.die().has_value());
    }
    one.machine.culprit_found(3, false, one.now);
  }
  BOOST_TEST(one.is_lost());
}

BOOST_AUTO_TEST_CASE(r10_only_deaths_over_the_culprit_are_taken_out) {
  struck_worker one({.slots = 1, .max_restarts = 3});
  BOOST_TEST(one.die().has_value()); // of something else
  BOOST_TEST(one.die().has_value());
  BOOST_TEST(one.die().has_value());
  one.machine.culprit_found(2, false, one.now); // leaves the first
  BOOST_TEST(one.die().has_value());
  BOOST_TEST(one.die().has_value());
  BOOST_TEST(!one.die().has_value());
  BOOST_TEST(one.is_lost());
}

BOOST_AUTO_TEST_CASE(r10_an_end_that_was_wished_for_strikes_nobody) {
  struck_worker one({.slots = 1});
  one.machine.expect_end(0, incarnation(1));
  BOOST_TEST(!one.die()->struck_by.has_value());
  BOOST_TEST(one.die()->struck_by.has_value(), "its successor's end was not");
}

BOOST_AUTO_TEST_CASE(r11_what_strikes_and_what_does_not) {
  const auto struck_by = [](auto fault) {
    struck_worker one({.slots = 1});
    fault(one.machine);
    one.machine.quiesced(0, incarnation(1), epoch(2), one.now);
    const auto todo = one.machine.take_actions();
    BOOST_REQUIRE((!todo.empty() && todo.back().what == action::kind::begin));
    return todo.back().struck_by;
  };
  BOOST_TEST(!struck_by([](recovery& machine) { // nobody died
                machine.step_failed(epoch(1), start_of_time);
              })
                  .has_value());
  BOOST_TEST((struck_by([](recovery& machine) { machine.executor_died(start_of_time); }) == -1));
  BOOST_TEST(!struck_by([](recovery& machine) {
                machine.peer_late(epoch(1), start_of_time);
              }).has_value());
  BOOST_TEST(!struck_by([](recovery& machine) { // who dies between epochs died over nothing
                machine.peer_late(epoch(1), start_of_time);
                machine.executor_died(start_of_time);
              })
                  .has_value());
}

BOOST_AUTO_TEST_CASE(r11_a_death_while_loading_strikes_nobody) {
  recovery machine({.slots = 1});
  machine.start(start_of_time);
  machine.gone(0, incarnation(1), start_of_time);
  machine.loaded(0, incarnation(2), start_of_time);
  const auto todo = machine.take_actions();
  BOOST_TEST((todo.back().what == action::kind::begin));
  BOOST_TEST(!todo.back().struck_by.has_value());
}

BOOST_AUTO_TEST_CASE(r12_a_successor_comes_while_its_predecessor_may_still_write) {
  group workers(3);
  workers.settle();
  BOOST_TEST(!workers.last_begin().has_late_writers);
  workers.halt(1);
  BOOST_TEST((workers.machine().worker(1) == incarnation(2)));
  BOOST_TEST((workers.machine().state() == recovery_state::running));
  BOOST_TEST(workers.last_begin().has_late_writers);
  BOOST_TEST(workers.lifted().empty());
  workers.go();
  BOOST_REQUIRE(workers.lifted().size() == 1U);
  BOOST_TEST((workers.lifted().front() == epoch(2)));
  workers.machine().gone(1, incarnation(1), workers.now());
  workers.absorb();
  BOOST_TEST(workers.lifted().size() == 1U, "once");
  workers.machine().step_failed(epoch(2), workers.now());
  workers.absorb();
  workers.settle();
  BOOST_TEST(!workers.last_begin().has_late_writers);
}

BOOST_AUTO_TEST_CASE(r12_the_last_late_writer_decides_and_a_new_epoch_says_it_anew) {
  group workers(3);
  workers.settle();
  workers.halt(1);
  workers.halt(1); // the successor, before its predecessor has gone
  workers.halt(2);
  BOOST_TEST((workers.machine().current_epoch() == epoch(4)));
  BOOST_TEST(workers.last_begin().has_late_writers);
  workers.go();
  workers.go();
  BOOST_TEST(workers.lifted().empty());
  workers.machine().peer_late(epoch(4), workers.now());
  workers.absorb();
  workers.settle();
  BOOST_TEST(workers.last_begin().has_late_writers, "one is still there");
  workers.go();
  BOOST_REQUIRE(workers.lifted().size() == 1U);
  BOOST_TEST((workers.lifted().front() == epoch(5)));
}

BOOST_AUTO_TEST_CASE(r12_no_epoch_begins_where_a_late_writer_may_still_write) {
  group workers(2);
  workers.settle();
  workers.halt(0); // it worked in the first epoch
  for (std::uint32_t now = 2; now < 8; ++now) {
    BOOST_TEST((workers.machine().state() == recovery_state::running));
    workers.machine().peer_late(epoch(now), workers.now());
    workers.absorb();
    workers.settle();
  }
  BOOST_TEST((workers.machine().current_epoch() == epoch(8)));
  BOOST_TEST((workers.machine().state() == recovery_state::running));
  workers.machine().peer_late(epoch(8), workers.now());
  workers.absorb();
  workers.settle();
  BOOST_TEST((workers.machine().state() == recovery_state::plan),
             "the ninth has the first one's memory");
  BOOST_TEST(workers.machine().next_deadline().has_value());
  workers.go();
  BOOST_TEST((workers.machine().state() == recovery_state::running));
  BOOST_TEST(!workers.last_begin().has_late_writers);
  BOOST_TEST(workers.lifted().empty(), "nobody was told of it in this epoch");
}

BOOST_AUTO_TEST_CASE(r4_a_late_writer_that_does_not_go_fails_the_replica) {
  group workers(2);
  workers.settle();
  workers.halt(1);
  BOOST_TEST((workers.machine().state() == recovery_state::running));
  workers.advance(31s);
  workers.machine().tick(workers.now());
  workers.absorb();
  BOOST_TEST(workers.has_given_up());
  BOOST_TEST(workers.culprit() == 1);
}

BOOST_AUTO_TEST_CASE(r9_late_writers_are_taken_over) {
  recovery machine({.slots = 1});
  const slot_start found{.worker = incarnation(3), .late = {incarnation(2), incarnation(3)}};
  machine.start(time_point(1s), {.first = epoch(5), .slots = {found}});
  machine.loaded(0, incarnation(4), time_point(1s));
  const auto begun = machine.take_actions().back();
  BOOST_TEST((begun.what == action::kind::begin));
  BOOST_TEST(begun.has_late_writers);
  machine.gone(0, incarnation(3), time_point(2s));
  BOOST_TEST(machine.take_actions().empty());
  machine.gone(0, incarnation(2), time_point(2s));
  const auto lifted = machine.take_actions();
  BOOST_REQUIRE(lifted.size() == 1U);
  BOOST_TEST((lifted.front().what == action::kind::writers_gone));
}

/// The lane, where it is needed: all whom the last begin struck have got tokens, or not all of them.
void acquit(struck_worker& one, bool are_innocent) {
  one.machine.suspicion_over(one.machine.current_epoch(), are_innocent);
}

BOOST_AUTO_TEST_CASE(r13_a_culprit_is_found_although_no_restart_is_left) {
  struck_worker one({.slots = 1, .max_restarts = 3, .poison_strikes = 3});
  for (int death = 0; death < 3; ++death) { // the worker's own
    BOOST_REQUIRE(one.die().has_value());
    acquit(one, true);
  }
  for (int culprit = 0; culprit < 2; ++culprit) {
    for (int death = 0; death < 3; ++death) {
      BOOST_REQUIRE(one.die().has_value());
    }
    one.machine.culprit_found(3, true, one.now);
  }
  BOOST_REQUIRE(one.die().has_value());
  acquit(one, true);
  BOOST_TEST(!one.is_lost(), "it works again");
  BOOST_TEST(!one.die().has_value());
  BOOST_TEST(one.is_lost());
}

BOOST_AUTO_TEST_CASE(r13_a_death_over_no_step_counts_at_once) {
  struck_worker one({.slots = 1, .max_restarts = 2, .poison_strikes = 2});
  for (int death = 0; death < 2; ++death) {
    one.machine.expect_end(0, one.machine.worker(0));
    BOOST_REQUIRE(one.die().has_value());
  }
  BOOST_REQUIRE(one.die().has_value()); // over a step, so it waits for its judgement
  one.machine.expect_end(0, one.machine.worker(0));
  BOOST_TEST(!one.die().has_value());
}

BOOST_AUTO_TEST_CASE(r13_what_nobody_will_ever_know_does_not_count_but_is_bounded) {
  struck_worker one(
      {.slots = 1, .max_restarts = 3, .culprits_in_a_row_max = 2, .poison_strikes = 2});
  for (int death = 0; death < 4 + 3; ++death) {
    BOOST_REQUIRE(one.die().has_value());
    acquit(one, false);
    acquit(one, true); // of what was told since: nothing
  }
  BOOST_TEST(!one.die().has_value());
}

BOOST_AUTO_TEST_CASE(r13_what_always_dies_is_given_up_unjudged) {
  struck_worker one(
      {.slots = 1, .max_restarts = 3, .culprits_in_a_row_max = 2, .poison_strikes = 2});
  for (int death = 0; death < 4 + 3; ++death) {
    BOOST_REQUIRE(one.die().has_value());
  }
  BOOST_TEST(!one.die().has_value());
}

BOOST_AUTO_TEST_CASE(r13_fewer_restarts_than_strikes_blame_the_worker_first) {
  for (const std::int32_t strikes : {0, 2, 3}) {
    struck_worker one({.slots = 1, .max_restarts = 1, .poison_strikes = strikes});
    BOOST_TEST(one.die().has_value());
    BOOST_TEST(!one.die().has_value());
  }
}

BOOST_AUTO_TEST_CASE(r13_an_acquittal_is_of_what_was_told_by_then) {
  struck_worker one(
      {.slots = 1, .max_restarts = 1, .culprits_in_a_row_max = 2, .poison_strikes = 1});
  BOOST_REQUIRE(one.die().has_value());
  const auto then = one.machine.current_epoch();
  BOOST_REQUIRE(one.die().has_value());
  one.machine.suspicion_over(then, true); // the first counts, the second waits
  BOOST_REQUIRE(one.die().has_value());   // and so does this one
  one.machine.gone(0, one.machine.worker(0), one.now);
  BOOST_TEST(one.is_lost(), "three wait, one counts, and one above two does");
}

BOOST_AUTO_TEST_CASE(r13_culprits_take_the_newest_that_are_not_judged) {
  struck_worker one({.slots = 1, .max_restarts = 2, .poison_strikes = 2});
  BOOST_REQUIRE(one.die().has_value()); // of one that waits for its turn now
  BOOST_REQUIRE(one.die().has_value()); // of another, twice
  BOOST_REQUIRE(one.die().has_value());
  one.machine.culprit_found(2, true, one.now);
  BOOST_REQUIRE(one.die().has_value()); // of the first one
  one.machine.culprit_found(2, true, one.now);
  one.machine.suspicion_over(one.machine.current_epoch(), true);
  for (int death = 0; death < 3; ++death) {
    BOOST_REQUIRE_MESSAGE(one.die().has_value(), "nothing was left of them");
    acquit(one, true);
  }
  BOOST_TEST(!one.die().has_value());
}
