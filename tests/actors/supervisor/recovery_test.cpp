#include "actors/supervisor/recovery.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <random>
#include <set>

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
      break;
    case action::kind::give_up:
      given_up_ = true;
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
    } else if (event.kind == 'd') {
      machine_.died(event.cause.slot, event.cause.worker, now_);
    } else if (event.kind == 'l') {
      machine_.loaded(event.cause.slot, event.cause.worker);
    } else {
      machine_.quiesced(event.cause.slot, event.cause.worker, event.cause.now);
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

  void advance(duration d) { now_ += d; }

  time_point now() const { return now_; }

private:
  struct pending {
    action cause;
    char kind; // l loaded, q quiesced, d died, g gone
  };

  recovery machine_;
  time_point now_{1s};
  std::vector<bool> alive_;
  std::vector<bool> thread_ends_;
  std::vector<pending> pending_;
  std::vector<action> dying_;
  std::set<std::uint32_t> begun_;
  epoch fence_{0};
  bool given_up_ = false;
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
}

BOOST_AUTO_TEST_CASE(gives_up_after_too_many_deaths_of_one_slot_within_the_window) {
  group workers(2, 2);
  workers.settle();
  for (int death = 0; death < 2; ++death) {
    workers.die(0);
    workers.settle();
    BOOST_TEST(!workers.has_given_up());
  }
  workers.die(0);
  workers.settle();
  BOOST_TEST(workers.has_given_up());
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
