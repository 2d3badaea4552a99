// How a cell of the matrix is brought about: its fault script (fault_cells.hpp).
#include "tests/fault/fault_cells.hpp"

#include "runtime/base/failpoint_rule.hpp"

#include <fmt/format.h>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace vdist::testing {

namespace {

using place = fault_place;

/// Steps that lie in a phase: the first prompt is computed in steps 1 to 4 when it is cut, else in the first.
int step_in(fault_phase phase) {
  switch (phase) {
  case fault_phase::prefill:
    return 1;
  case fault_phase::chunked_prefill:
  case fault_phase::admission: // others run
    return 3;
  case fault_phase::decode:
    return 20;
  case fault_phase::recovery:
    return 6; // when the fault before it strikes
  }
  return 1;
}

/// Writes rules in the words of scripts; slots are of replica 0.
class script_writer {
public:
  script_writer(const fault_cell& cell, std::size_t results)
      : what_(*cell.what), phase_(cell.phase), split_(*cell.split), results_(results) {}

  std::optional<fault_plan> write() {
    if (what_.action == "flip_bit" && split_.tensor == 1) {
      return std::nullopt; // nobody computes the same and could tell
    }
    return phase_ == fault_phase::recovery ? in_recovery() : in_step();
  }

private:
  /// Its number is the plan's next one.
  void add(std::string rule) { plan_.rules.push_back(std::move(rule)); }

  [[nodiscard]] std::string
  worker(std::string_view point, int slot, int step, std::string_view action) const {
    return fmt::format("{} replica=0 rank={} step={} {}", point, slot, step, action);
  }

  /// One rank of the last stage, and with one stage and one rank the only worker.
  [[nodiscard]] int victim() const { return split_.last_slot(); }

  [[nodiscard]] std::string frame(std::string_view point, int number) const {
    const bool is_plan = what_.place == place::plans || what_.place == place::plan_slot;
    return fmt::format("{} replica=0 {}={} nth={} {}",
                       point,
                       is_plan ? "stage" : "rank",
                       is_plan ? split_.pipeline - 1 : victim(),
                       number,
                       what_.action);
  }

  /// Requests go to the replicas in turn.
  [[nodiscard]] std::string added(int submission) const {
    return fmt::format("scheduler.add replica=0 nth={} {}",
                       split_.data == 1 ? submission : (submission + 1) / 2,
                       what_.action);
  }

  /// The victim of a recovery in which the fault comes.
  void kill_before(int step) { add(worker("worker.step_begin", victim(), step, "kill9")); }

  std::optional<fault_plan> in_step() {
    const int step = step_in(phase_);
    switch (what_.place) {
    case place::worker_begin:
      add(worker("worker.step_begin", victim(), step, what_.action));
      break;
    case place::worker_end:
      add(worker("worker.step_end", victim(), step, what_.action));
      break;
    case place::two_workers:
      add(worker("worker.step_begin", victim(), step, what_.action));
      add(split_.data == 1
              ? worker("worker.step_begin", 0, step, what_.action)
              : fmt::format("worker.step_begin replica=1 step={} {}", step, what_.action));
      break;
    case place::replacement:
      kill_before(step);
      add(fmt::format("worker.load replica=0 rank={} {}", victim(), what_.action));
      break;
    case place::executor:
      add(fmt::format("executor.before_send replica=0 step={} {}", step, what_.action));
      break;
    case place::plans:
      add(frame("channel.plans", step));
      break;
    case place::results:
      add(frame("channel.results", step));
      break;
    case place::plan_slot:
      add(frame("slot.plans", step));
      break;
    case place::result_slot:
      add(frame("slot.results", step));
      break;
    case place::supervisor:
    case place::stage:
      kill_before(step);
      add(fmt::format("{} replica=0 {}", event_point(), what_.action));
      break;
    case place::router_submit:
    case place::scheduler:
      return at_submission(step);
    case place::router_tokens:
      return phase_ == fault_phase::prefill || phase_ == fault_phase::decode
                 ? single(fmt::format("router.tokens replica=0 nth={} {}",
                                      phase_ == fault_phase::prefill ? 1 : 15,
                                      what_.action))
                 : std::nullopt;
    case place::poison:
      return phase_ == fault_phase::admission
                 ? std::nullopt
                 : single(fmt::format("worker.step_begin replica=0 rank={} step={} request=1 {}",
                                      victim(),
                                      step,
                                      what_.action));
    case place::outside:
      return from_outside(step);
    case place::commands:
    case place::events:
    case place::command_slot:
    case place::event_slot:
      return std::nullopt; // but for what reminds (L-17) they travel in recoveries only
    }
    if (phase_ == fault_phase::admission) {
      hold_admission();
    }
    return plan_;
  }

  /// Means something only to a worker that computes.
  [[nodiscard]] bool is_of_steps() const {
    const auto action = action_of(what_.action);
    return action && !find_failpoint("worker.load")->actions.has(*action);
  }

  [[nodiscard]] std::string_view event_point() const {
    return what_.place == place::supervisor ? "supervisor.event" : "stage.event";
  }

  std::optional<fault_plan> single(std::string rule) {
    add(std::move(rule));
    return plan_;
  }

  /// The second request is between ledger and router when the fault, which is rule 1, strikes: the lane goes on only then.
  void hold_admission() {
    const auto lane = plan_.rules.size() + 1;
    add(fmt::format("executor.before_send replica=0 step=2 wait({})", lane + 1));
    add("router.submit nth=2 wait(1)");
  }

  /// The third request is held until the lane is in the phase.
  std::optional<fault_plan> at_submission(int step) {
    const bool is_router = what_.place == place::router_submit;
    if (phase_ == fault_phase::admission) {
      add(is_router ? fmt::format("router.submit nth=3 {}", what_.action) : added(3));
      return plan_;
    }
    add("router.submit nth=3 wait(2)");
    add(fmt::format("executor.before_send replica=0 step={} delay(0)", step));
    add(is_router ? fmt::format("router.submit nth=3 {}", what_.action) : added(3));
    return plan_;
  }

  /// Held until the signal has ended what is held, or something that must come later has come.
  std::optional<fault_plan> from_outside(int step) {
    const bool is_worker = what_.victim == "worker";
    if (phase_ == fault_phase::admission) {
      add("router.submit nth=2 wait(2)");
    } else {
      add(fmt::format("executor.before_send replica=0 step={} wait(2)", step));
    }
    plan_.held = 0;
    plan_.victim = is_worker ? fmt::format("worker {}", victim()) : std::string(what_.victim);
    add(is_worker ? fmt::format("worker.load replica=0 rank={} delay(0)", victim()) : released());
    return plan_;
  }

  /// Says that the victim has been replaced: the next vault is there, and of others those that were held are gone with them.
  [[nodiscard]] std::string released() const {
    return what_.victim == "vault" ? "vault.take_over delay(0)"
                                   : fmt::format("batch.write nth={} delay(0)", results_);
  }

  /// Rule 1 starts the recovery.
  std::optional<fault_plan> in_recovery() {
    const int step = step_in(phase_);
    // Two steps are under way at most, so this is the first that is sent behind the recovery.
    const int first_behind = step + 2;
    switch (what_.place) {
    case place::worker_begin:
    case place::worker_end:
      if (what_.action.find("slow") != std::string_view::npos || what_.action == "hang") {
        return std::
            nullopt; // what loads has no step to be slow in; a stuck load has a class of its own
      }
      kill_before(step);
      add(is_of_steps() ? worker("worker.step_begin", victim(), first_behind, what_.action)
                        : fmt::format("worker.load replica=0 rank={} {}", victim(), what_.action));
      return plan_;
    case place::executor:
      kill_before(step);
      return single(
          fmt::format("executor.before_send replica=0 step={} {}", first_behind, what_.action));
    case place::plans:
      kill_before(step);
      return single(frame("channel.plans", first_behind));
    case place::results:
      kill_before(step);
      return single(frame("channel.results", step));
    case place::commands:
      kill_before(step);
      return single(frame("channel.commands", 1));
    case place::events:
      kill_before(step);
      return single(frame("channel.events", 1));
    case place::plan_slot:
      kill_before(step);
      return single(frame("slot.plans", first_behind));
    case place::result_slot:
      kill_before(step);
      return single(frame("slot.results", step));
    case place::command_slot:
      kill_before(step);
      return single(frame("slot.commands", 1));
    case place::event_slot:
      kill_before(step);
      return single(frame("slot.events", 1));
    case place::supervisor:
    case place::stage:
      kill_before(step);
      return single(fmt::format("{} replica=0 nth=2 {}", event_point(), what_.action));
    case place::router_submit:
    case place::scheduler:
      kill_before(2);
      add("router.submit nth=3 wait(3)");
      add(fmt::format("worker.load replica=0 rank={} wait(4)", victim()));
      return single(what_.place == place::router_submit
                        ? fmt::format("router.submit nth=3 {}", what_.action)
                        : added(3));
    case place::outside:
      if (what_.victim == "worker") {
        return std::nullopt; // replacements are in the class of their own
      }
      kill_before(step);
      add(fmt::format("worker.load replica=0 rank={} wait(3)", victim()));
      plan_.held = 1;
      plan_.victim = what_.victim;
      return single(released());
    case place::two_workers:
    case place::poison:
    case place::replacement:
    case place::router_tokens:
      return std::nullopt; // no tokens come; the others are recoveries themselves
    }
    return std::nullopt;
  }

  const fault_class& what_;
  fault_phase phase_;
  const fault_split& split_;
  std::size_t results_;
  fault_plan plan_;
};

} // namespace

std::string fault_plan::text() const {
  std::string script = "seed = 1\n";
  for (const auto& rule : rules) {
    script += fmt::format("[[fault]]\nrule = \"{}\"\n", rule);
  }
  return script;
}

std::optional<fault_plan> plan_of(const fault_cell& cell, std::size_t results) {
  return script_writer(cell, results).write();
}

} // namespace vdist::testing
