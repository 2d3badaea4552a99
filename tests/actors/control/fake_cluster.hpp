// tests/actors/control/fake_cluster.hpp — a cluster that says what a test wants, and notes what it was told.
#pragma once

#include "actors/control/cluster_status.hpp"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

namespace vdist::testing {

/// Two stages of two workers; worker 1 is being replaced.
inline control::cluster_status example_status() {
  return {.name = "demo",
          .isolation = "process",
          .model = "tiny-tales",
          .device = "cpu",
          .uptime_s = 3723.5,
          .active = 3,
          .accepted = 15,
          .finished = 12,
          .pipeline = 2,
          .tensor = 2,
          .capacity = {.workers = 4, .configured = 4},
          .stages = {{0, 4}, {4, 8}},
          .replicas = {{.state = "recovering",
                        .epoch = 2,
                        .restarts = 1,
                        .running = 3,
                        .kv_used = 12,
                        .kv_cached = 4,
                        .kv_total = 1024,
                        .steps = 100,
                        .tokens = 4012,
                        .control_us_per_step = 13.42,
                        .capacity = {.workers = 4, .configured = 4},
                        .workers = {{0, 0, 0, "running", 1, 4711},
                                    {1, 0, 1, "loading", 2, 4720},
                                    {2, 1, 0, "quiescing", 1, 4713},
                                    {3, 1, 1, "running", 1, 4714}}}},
          .processes = {{"run", 4708}, {"vault", 4709}, {"node", 4710}},
          .ports = {{8000, {0}}, {8001, {1, 2}}}};
}

class fake_cluster final : public control::controllable {
public:
  [[nodiscard]] control::cluster_status details() const override { return status; }

  [[nodiscard]] control::ledger_page ledger(std::size_t max) const override {
    auto cut = page;
    cut.lines.resize(std::min(cut.lines.size(), max));
    return cut;
  }

  [[nodiscard]] result<control::drain_progress> drain() override {
    ++drains;
    return control::drain_progress{7};
  }

  [[nodiscard]] result<control::drain_progress> drain_replica(std::int32_t replica,
                                                              bool is_on) override {
    drained.emplace_back(replica, is_on);
    if (replica > 1) {
      return fail(errc::invalid_argument, "drain: no such replica");
    }
    return control::drain_progress{is_on ? active : 0};
  }

  [[nodiscard]] result<control::restart_progress>
  restart(const control::restart_order& order) override {
    restarts.push_back(order);
    return on_restart ? on_restart(order)
                      : control::restart_progress{.is_done = true, .text = "incarnation 2"};
  }

  [[nodiscard]] result<std::string> kill(const control::kill_target& target) override {
    killed.push_back(target);
    if (target.rank > 3) {
      return fail(errc::invalid_argument, "kill: no such target here");
    }
    return victim;
  }

  [[nodiscard]] result<control::fault_page> faults(const control::fault_order& order) override {
    orders.push_back(order);
    if (order.rule == "nonsense") {
      return fail(errc::invalid_argument, "no such point \"nonsense\"");
    }
    if (order.what == control::fault_order::kind::arm) {
      armed.rules.push_back({order.rule, 0});
    } else if (order.what == control::fault_order::kind::clear) {
      armed.rules.clear();
    }
    return armed;
  }

  control::cluster_status status = example_status();
  control::ledger_page page{
      .unfinished = 1,
      .finished = 1,
      .lines = {{1, 6, 64, 64, "length", 9.25}, {2, 900, 64, 0, "none", 0.5}}};
  int drains = 0;
  std::uint64_t active = 2; // of a replica that drains
  std::vector<std::pair<std::int32_t, bool>> drained;
  std::vector<control::restart_order> restarts;
  std::function<result<control::restart_progress>(const control::restart_order&)> on_restart;
  std::vector<control::kill_target> killed;
  std::string victim = "somebody";
  control::fault_page armed{.rules = {{"worker.step_begin rank=1 kill9", 2}}};
  std::vector<control::fault_order> orders;
};

} // namespace vdist::testing
