#include "actors/control/rolling_restart.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <utility>

namespace vdist::control {

namespace {

using step_kind = rolling_step::kind;
using part_kind = restart_order::kind;

/// A part that is waited for longer than this is told so.
constexpr duration quiet_max = std::chrono::seconds(1);

bool is_silence(errc code) {
  return code == errc::not_found || code == errc::closed || code == errc::timed_out;
}

restart_order order_of(const worker_details& worker) {
  return {.what = part_kind::worker, .index = worker.rank, .above = {worker.incarnation}};
}

restart_order order_of(const replica_details& replica) {
  restart_order order{.what = part_kind::replica, .index = replica.replica, .above = {}};
  for (const auto& worker : replica.workers) {
    order.above.push_back(worker.incarnation);
  }
  return order;
}

restart_order node_order(const cluster_status& now) {
  const auto node = std::find_if(now.processes.begin(), now.processes.end(), [](const auto& one) {
    return one.role == "node";
  });
  return {.what = part_kind::node, .above = {node == now.processes.end() ? 0 : node->incarnation}};
}

error no_such(const restart_order& wanted) {
  return fail(errc::invalid_argument,
              fmt::format("restart: {} is not there, or does not answer", to_string(wanted)));
}

/// R-5 around the replica as a whole.
void add_drained(std::vector<rolling_step>& steps, const replica_details& replica) {
  if (!replica.is_draining) {
    steps.push_back({.what = step_kind::drain, .order = {}, .replica = replica.replica});
  }
  steps.push_back({.order = order_of(replica)});
  if (!replica.is_draining) {
    steps.push_back({.what = step_kind::resume, .order = {}, .replica = replica.replica});
  }
}

result<std::vector<rolling_step>> plan_all(const rolling_settings& settings,
                                           const cluster_status& now) {
  std::vector<rolling_step> steps;
  for (const auto& replica : now.replicas) {
    if (replica.workers.empty()) {
      return no_such(order_of(replica));
    }
    if (settings.drains) {
      add_drained(steps, replica);
      continue;
    }
    for (const auto& worker : replica.workers) {
      steps.push_back({.order = order_of(worker)});
    }
  }
  if (now.isolation == "process") { // else its workers are its threads
    steps.push_back({.order = node_order(now)});
  }
  return steps;
}

result<std::vector<rolling_step>>
plan_replica(const rolling_settings& settings, const cluster_status& now, std::int32_t index) {
  std::vector<rolling_step> steps;
  for (const auto& replica : now.replicas) {
    if (replica.replica == index && !replica.workers.empty()) {
      if (settings.drains) {
        add_drained(steps, replica);
      } else {
        steps.push_back({.order = order_of(replica)});
      }
      return steps;
    }
  }
  return no_such({.what = part_kind::replica, .index = index, .above = {}});
}

result<std::vector<rolling_step>> plan_worker(const cluster_status& now, std::int32_t rank) {
  for (const auto& replica : now.replicas) {
    for (const auto& worker : replica.workers) {
      if (worker.rank == rank) {
        return std::vector<rolling_step>{{.order = order_of(worker)}};
      }
    }
  }
  return no_such({.what = part_kind::worker, .index = rank, .above = {}});
}

std::string name_of(const rolling_step& step) {
  switch (step.what) {
  case step_kind::replace:
    break;
  case step_kind::drain:
    return fmt::format("drain replica {}", step.replica);
  case step_kind::resume:
    return fmt::format("resume replica {}", step.replica);
  }
  return to_string(step.order);
}

/// One run over one plan.
class rolling {
public:
  rolling(const rolling_settings& settings, const rolling_links& links)
      : settings_(settings), links_(links) {}

  result<void> run() {
    VDIST_ASSIGN(const auto status, look());
    VDIST_ASSIGN(steps_, plan_rolling(settings_, status));
    const auto done = go_through();
    leave();
    return done;
  }

private:
  struct progress {
    bool is_done = false;
    std::string text;
  };

  result<void> go_through() {
    for (at_ = 0; at_ < steps_.size(); ++at_) {
      const auto began = links_.time->now();
      VDIST_ASSIGN(const auto text, fulfil(steps_[at_]));
      const std::chrono::duration<double> took = links_.time->now() - began;
      VDIST_TRY(say(fmt::format("  {}/{}  {}  {:.2f} s  {}\n",
                                at_ + 1,
                                steps_.size(),
                                name_of(steps_[at_]),
                                took.count(),
                                text)));
    }
    return {};
  }

  /// R-5 for what was not reached, and the claim. Nobody is told of a failure: the cluster is gone, or lets the claim lapse.
  void leave() {
    for (auto step = steps_.begin(); step != steps_.end(); ++step) {
      const bool is_open = drained_ == step->replica && step->what == step_kind::resume;
      if (is_open && links_.ask(request_of(*step))) {
        drained_.reset();
      }
    }
    if (drained_) {
      (void)say(fmt::format(
          "  replica {} still drains: vdist-ctl resume replica {}\n", *drained_, *drained_));
    }
    (void)links_.ask({.what = control_request::kind::restart,
                      .restart = {.what = part_kind::none, .above = {}, .claim = settings_.claim}});
  }

  /// Until it is done. Returns who is there now.
  result<std::string> fulfil(const rolling_step& step) {
    const auto began = links_.time->now();
    std::string waited_for = "it does not answer";
    std::string told;
    while (true) {
      auto outcome = attempt(step);
      if (!outcome && !is_silence(outcome.error().code)) {
        return outcome.error();
      }
      if (outcome && outcome->is_done) {
        return outcome->text;
      }
      waited_for = outcome ? outcome->text : "the node is being replaced";
      const auto waited = links_.time->now() - began;
      if (waited >= settings_.part_deadline) {
        return fail(errc::timed_out,
                    fmt::format("restart: {}: not within its deadline: {} ({})",
                                name_of(step),
                                waited_for,
                                what_is_left()));
      }
      if (waited >= quiet_max && waited_for != told) {
        VDIST_TRY(say(fmt::format(
            "  {}/{}  {}  waits: {}\n", at_ + 1, steps_.size(), name_of(step), waited_for)));
        told = waited_for;
      }
      if (links_.rest(settings_.look_interval)) {
        return fail(errc::cancelled,
                    fmt::format("restart: interrupted at {} ({})", name_of(step), what_is_left()));
      }
    }
  }

  result<progress> attempt(const rolling_step& step) {
    VDIST_ASSIGN(const auto reply, links_.ask(request_of(step)));
    if (step.what == step_kind::replace) {
      VDIST_ASSIGN(const auto restarted, decode_restart(reply));
      return progress{restarted.is_done, restarted.text};
    }
    VDIST_ASSIGN(const auto drained, decode_drain(reply));
    if (step.what == step_kind::resume) {
      drained_.reset();
      return progress{true, "it takes requests again"};
    }
    drained_ = step.replica;
    return progress{drained.active == 0,
                    drained.active == 0
                        ? std::string("its requests have ended")
                        : fmt::format("{} requests are still to end", drained.active)};
  }

  control_request request_of(const rolling_step& step) const {
    using request = control_request::kind;
    if (step.what == step_kind::replace) {
      auto order = step.order;
      order.claim = settings_.claim;
      return {.what = request::restart, .restart = std::move(order)};
    }
    return {.what = step.what == step_kind::drain ? request::drain : request::resume,
            .replica = step.replica};
  }

  /// The state of all, as soon as it is known.
  result<cluster_status> look() {
    const auto began = links_.time->now();
    while (true) {
      auto reply = links_.ask({.what = control_request::kind::status});
      if (reply) {
        return decode_status(*reply);
      }
      if (!is_silence(reply.error().code)
          || links_.time->now() - began >= settings_.part_deadline) {
        return reply.error();
      }
      if (links_.rest(settings_.look_interval)) {
        return fail(errc::cancelled, "restart: interrupted, nothing was done");
      }
    }
  }

  result<void> say(const std::string& line) const {
    return links_.write(line) ? result<void>() : fail(errc::io_failed, "stdout: cannot be written");
  }

  [[nodiscard]] std::string what_is_left() const {
    std::string left;
    for (auto step = at_ + 1; step < steps_.size(); ++step) {
      if (steps_[step].what == step_kind::replace) {
        left += (left.empty() ? "not replaced: " : ", ") + to_string(steps_[step].order);
      }
    }
    return left.empty() ? "it was the last part" : left;
  }

  const rolling_settings& settings_;
  const rolling_links& links_;
  std::vector<rolling_step> steps_;
  std::size_t at_ = 0;
  std::optional<std::int32_t> drained_; // by this run, and not resumed
};

} // namespace

result<std::vector<rolling_step>> plan_rolling(const rolling_settings& settings,
                                               const cluster_status& now) {
  if (settings.target == "all") {
    return plan_all(settings, now);
  }
  VDIST_ASSIGN(const auto wanted, parse_restart(settings.target));
  switch (wanted.what) {
  case part_kind::worker:
    return plan_worker(now, wanted.index);
  case part_kind::replica:
    return plan_replica(settings, now, wanted.index);
  case part_kind::node:
    return std::vector<rolling_step>{{.order = node_order(now)}};
  case part_kind::none:
    break;
  }
  return parse_restart("").error(); // names what is legal
}

result<void> run_rolling(const rolling_settings& settings, const rolling_links& links) {
  return rolling(settings, links).run();
}

} // namespace vdist::control
