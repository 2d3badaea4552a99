#include "actors/system/node_watch.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/exit_reason.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>

#include <string>
#include <utility>

namespace vdist::actors {

namespace {

using ask_atom = caf::atom_constant<caf::atom("ask")>;

struct pulse_state {
  std::size_t waiting_for = 0; // answers to this round
  const char* name = "pulse";
};

using pulse_pointer = caf::stateful_actor<pulse_state>*;

/// Asks everybody; `done` follows the last answer, or end, of them.
void ask_all(pulse_pointer self,
             const std::vector<caf::actor>& actors,
             const std::function<void()>& done) {
  self->state.waiting_for = actors.size();
  if (actors.empty()) {
    done();
  }
  const auto on_answer = [self, done] {
    if (--self->state.waiting_for == 0) {
      done();
    }
  };
  for (const auto& one : actors) {
    // CAF answers this itself, for any actor, when its turn in the mailbox comes.
    self->request(
            one, caf::infinite, caf::sys_atom::value, caf::get_atom::value, std::string("info"))
        .then([on_answer](caf::ok_atom,
                          const std::string&,
                          const caf::strong_actor_ptr&,
                          const std::string&) { on_answer(); },
              [on_answer](const caf::error&) { on_answer(); });
  }
}

} // namespace

void actor_roll::add(const caf::strong_actor_ptr& actor) {
  const std::lock_guard lock(mutex_);
  std::erase_if(actors_, [](const caf::weak_actor_ptr& one) { return !one.lock(); });
  actors_.push_back(caf::actor_cast<caf::weak_actor_ptr>(actor));
}

std::vector<caf::actor> actor_roll::living() const {
  std::vector<caf::actor> found;
  const std::lock_guard lock(mutex_);
  for (const auto& one : actors_) {
    if (const auto strong = one.lock()) {
      found.push_back(caf::actor_cast<caf::actor>(strong));
    }
  }
  return found;
}

node_watch::node_watch(caf::actor_system& system, node_watch_config config)
    : config_(std::move(config)), rounds_(std::make_shared<rounds>()) {
  pulse_ = system.spawn([actors = config_.actors, rounds = rounds_](pulse_pointer self) {
    return caf::behavior{[self, actors, rounds](ask_atom, std::uint64_t round) {
      ask_all(self, actors(), [rounds, round] { rounds->answered = round; });
    }};
  });
}

node_watch::~node_watch() {
  caf::anon_send_exit(pulse_, caf::exit_reason::kill);
}

bool node_watch::gets_on() {
  if (rounds_->answered.load() != asked_) {
    return false;
  }
  caf::anon_send(pulse_, ask_atom::value, ++asked_);
  return lanes_get_on();
}

/// W-2.
bool node_watch::lanes_get_on() {
  auto words = config_.words();
  bool do_all = true;
  for (std::size_t i = 0; i < words.size() && i < words_.size(); ++i) {
    do_all = do_all && (words[i] != words_[i] || phase_of(words[i]) != work_phase::computing);
  }
  words_ = std::move(words);
  return do_all;
}

} // namespace vdist::actors
