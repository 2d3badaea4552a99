// tests/support/actor_fixture.hpp — actors on one thread, step by step, with time that the test
// moves. settle() runs what is ready and never a timeout; advance() moves the actors' clock. Actors
// that a case leaves behind must be ended before the fixture goes: end() them, or the actor system
// waits for ever.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>

namespace vdist::testing {

class actor_fixture {
public:
  actor_fixture() {
    log::initialise("off");
    settings_.set("scheduler.policy", caf::atom("testing"));
    settings_.set("logger.verbosity", caf::atom("quiet"));
    system_ = std::make_unique<caf::actor_system>(settings_);
    scheduler_ = &dynamic_cast<caf::scheduler::test_coordinator&>(system_->scheduler());
  }

  [[nodiscard]] caf::actor_system& actors() { return *system_; }

  /// Handles one message of the actor that is the `turn`-th in the queue. False: none is ready.
  bool run_one(std::size_t turn = 0) {
    auto& ready = scheduler_->jobs;
    if (!ready.empty()) {
      const auto chosen = static_cast<std::ptrdiff_t>(turn % ready.size());
      std::rotate(ready.begin(), ready.begin() + chosen, ready.end());
    }
    return scheduler_->try_run_once();
  }

  void settle() {
    while (scheduler_->try_run_once()) {
    }
  }

  /// Both clocks: the actors' timers and `time`, which components read.
  void advance(duration by) {
    time.advance(by);
    scheduler_->advance_time(by);
    settle();
  }

  template <class Handle>
  void end(const Handle& actor, caf::exit_reason why = caf::exit_reason::kill) {
    if (actor) {
      caf::anon_send_exit(actor, why);
      settle();
    }
  }

  /// It ends before it looks at anything that waits in its mailbox; nothing runs yet.
  void strike(const caf::strong_actor_ptr& actor) {
    if (actor) {
      actor->enqueue(nullptr,
                     caf::make_message_id(caf::message_priority::high),
                     caf::make_message(caf::exit_msg{actor->address(), caf::exit_reason::kill}),
                     nullptr);
    }
  }

  /// Sends and runs everything that follows from it.
  template <class Handle, class Message>
  void tell(const Handle& actor, Message message) {
    caf::anon_send(actor, std::move(message));
    settle();
  }

  /// Asks and runs until the answer is there.
  template <class Answer, class Handle, class Message>
  Answer ask(const Handle& actor, Message message) {
    caf::scoped_actor self{*system_};
    auto pending = self->request(actor, caf::infinite, std::move(message));
    settle();
    Answer answer;
    pending.receive([&answer](const Answer& value) { answer = value; }, [](const caf::error&) {});
    return answer;
  }

  /// Timers of ended actors do not keep anybody waiting.
  ~actor_fixture() {
    settle();
    scheduler_->clock().cancel_all();
  }

  manual_clock time;

private:
  caf::actor_system_config settings_;
  std::unique_ptr<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
};

} // namespace vdist::testing
