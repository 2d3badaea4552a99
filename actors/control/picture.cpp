#include "actors/control/picture.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>
#include <vector>

namespace vdist::control {

namespace {

constexpr std::string_view green = "\x1b[32m";
constexpr std::string_view yellow = "\x1b[33m";
constexpr std::string_view red = "\x1b[31m";
constexpr std::string_view no_colour = "\x1b[0m";

std::string_view colour_of(std::string_view state) {
  if (state == "running") {
    return green;
  }
  return state == "failed" || state == "dying" ? red : yellow;
}

/// `text` is `state`, perhaps padded.
std::string painted(std::string text, std::string_view state, paint how) {
  return how == paint::plain ? text : fmt::format("{}{}{}", colour_of(state), text, no_colour);
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::max(seconds, 0.0));
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

/// Columns as wide as their widest cell, two blanks between them; numbers to the right, texts to the left.
class table {
public:
  enum class align : std::uint8_t { left, right };

  struct column {
    std::string_view title;
    align to = align::right;
  };

  explicit table(std::vector<column> columns) : columns_(std::move(columns)) {}

  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  /// Cells of a column "state" are painted.
  [[nodiscard]] std::string text(paint how) const {
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      widths.push_back(columns_[i].title.size());
      for (const auto& row : rows_) {
        widths[i] = std::max(widths[i], row.at(i).size());
      }
    }
    std::string all;
    for (std::size_t line = 0; line <= rows_.size(); ++line) {
      for (std::size_t i = 0; i < columns_.size(); ++i) {
        const bool is_title = line == 0;
        const std::string cell(is_title ? std::string(columns_[i].title) : rows_[line - 1][i]);
        const std::string blanks(widths[i] - cell.size(), ' ');
        const bool is_state = columns_[i].title == "state" && !is_title;
        const auto shown = is_state ? painted(cell, cell, how) : cell;
        all += i == 0 ? "" : "  ";
        all += columns_[i].to == align::right ? blanks + shown : shown + blanks;
      }
      all.erase(all.find_last_not_of(' ') + 1);
      all += '\n';
    }
    return all;
  }

private:
  std::vector<column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

constexpr auto left = table::align::left;

/// "1 of 2 workers for 0:01:02: why"
std::string capacity_text(const capacity_details& capacity, paint how) {
  const auto text = fmt::format("{} of {} workers", capacity.workers, capacity.configured);
  return capacity.reason.empty()
             ? text
             : fmt::format("{} for {}: {}",
                           painted(text, capacity.workers == 0 ? "failed" : "reduced", how),
                           clock_text(capacity.since_s),
                           capacity.reason);
}

/// "ports: 8000 (replica 0), 8001 (replica 1)"; nothing when it does not serve.
std::string draw_ports(const cluster_status& status) {
  std::string all;
  for (const auto& one : status.ports) {
    all += fmt::format("{}{}", all.empty() ? "ports: " : ", ", one.port);
    if (!one.replicas.empty()) {
      all += fmt::format(
          " (replica{} {})", one.replicas.size() == 1 ? "" : "s", fmt::join(one.replicas, " "));
    }
  }
  return all.empty() ? all : all + '\n';
}

std::string draw_head(const cluster_status& status, paint how) {
  const std::string_view draining = "draining";
  return fmt::format("cluster {}  up {}{}\nmodel {} on {}, workers are {}\n"
                     "requests: {} under way, {} finished, {} accepted\n"
                     "capacity: {}\n{}",
                     status.name,
                     clock_text(status.uptime_s),
                     status.is_draining ? "  " + painted(std::string(draining), draining, how) : "",
                     status.model,
                     status.device,
                     status.isolation == "thread" ? "threads" : "processes",
                     status.active,
                     status.finished,
                     status.accepted,
                     capacity_text(status.capacity, how),
                     draw_ports(status));
}

/// "-" as long as nothing can be said.
std::string
rate_text(const cluster_status& status, std::size_t replica, const earlier_status& earlier) {
  if (!earlier || replica >= earlier->replicas.size()) {
    return "-";
  }
  const auto before = earlier->replicas[replica].tokens;
  const auto now = status.replicas[replica].tokens;
  const double seconds = status.uptime_s - earlier->uptime_s;
  return seconds > 0 && now >= before
             ? fmt::format("{:.0f}", static_cast<double>(now - before) / seconds)
             : "-";
}

/// Of a replica that runs, whether it takes requests; else what keeps it from running.
std::string state_of(const replica_details& replica) {
  if (!replica.is_draining || replica.state != "running") {
    return replica.state;
  }
  return replica.active == 0 ? "drained" : fmt::format("draining {}", replica.active);
}

std::string draw_replicas(const cluster_status& status, const earlier_status& earlier, paint how) {
  table replicas({{"replica"},
                  {"state", left},
                  {"epoch"},
                  {"restarts"},
                  {"run"},
                  {"wait"},
                  {"KV blocks"},
                  {"tokens"},
                  {"per s"},
                  {"us/step"}});
  for (std::size_t i = 0; i < status.replicas.size(); ++i) {
    const auto& one = status.replicas[i];
    replicas.add({std::to_string(one.replica),
                  state_of(one),
                  std::to_string(one.epoch),
                  std::to_string(one.restarts),
                  std::to_string(one.running),
                  std::to_string(one.waiting),
                  fmt::format("{}/{}", one.kv_used, one.kv_total),
                  std::to_string(one.tokens),
                  rate_text(status, i, earlier),
                  fmt::format("{:.1f}", one.control_us_per_step)});
  }
  auto text = replicas.text(how);
  for (const auto& one : status.replicas) {
    if (one.capacity.workers < one.capacity.configured) {
      text += fmt::format("replica {}: {}\n", one.replica, capacity_text(one.capacity, how));
    }
  }
  return text;
}

std::string draw_workers(const cluster_status& status, paint how) {
  table workers(
      {{"worker"}, {"replica"}, {"stage"}, {"tensor"}, {"state", left}, {"incarnation"}, {"pid"}});
  for (const auto& replica : status.replicas) {
    for (const auto& one : replica.workers) {
      workers.add({std::to_string(one.rank),
                   std::to_string(replica.replica),
                   std::to_string(one.stage),
                   std::to_string(one.tensor),
                   one.state,
                   std::to_string(one.incarnation),
                   one.pid == 0 ? "-" : std::to_string(one.pid)});
    }
  }
  return workers.text(how);
}

std::string draw_processes(const cluster_status& status) {
  table processes({{"process", left}, {"pid"}});
  for (const auto& one : status.processes) {
    processes.add({one.role, std::to_string(one.pid)});
  }
  for (const auto& one : status.spares) {
    const auto whose = one.rank < 0 ? std::string() : fmt::format(" of worker {}", one.rank);
    processes.add(
        {"spare" + whose + (one.is_ready ? "" : " (not ready)"), std::to_string(one.pid)});
  }
  return processes.text(paint::plain);
}

// ---- the picture

/// "   0 running   #1 ": rank, state, incarnation.
constexpr std::size_t cell_columns = 19;
constexpr std::size_t cells_per_line = 4;

std::string repeat(std::string_view text, std::size_t count) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) {
    all += text;
  }
  return all;
}

std::string draw_cell(const worker_details& worker, paint how) {
  const auto state = fmt::format("{:<9}", worker.state);
  const auto plain = fmt::format("{:>4} {} #{:<3}", worker.rank, state, worker.incarnation);
  const std::string blanks(plain.size() < cell_columns ? cell_columns - plain.size() : 0, ' ');
  return fmt::format("{:>4} {} #{:<3}{}",
                     worker.rank,
                     painted(state, worker.state, how),
                     worker.incarnation,
                     blanks);
}

/// `inner`: columns between the side walls. `has_next`: an arrow leaves through the floor.
struct stage_box {
  std::string title;
  std::vector<worker_details> workers;
  std::size_t inner = 0;
  bool has_next = false;
};

std::string draw_box(const stage_box& box, paint how) {
  auto text = fmt::format("  ┌ {} {}┐\n", box.title, repeat("─", box.inner - box.title.size() - 2));
  for (std::size_t first = 0; first < box.workers.size(); first += cells_per_line) {
    const auto last = std::min(first + cells_per_line, box.workers.size());
    text += "  │";
    for (auto i = first; i < last; ++i) {
      text += draw_cell(box.workers[i], how);
    }
    text += std::string(box.inner - (last - first) * cell_columns, ' ') + "│\n";
  }
  const auto before = box.inner / 2;
  text += fmt::format("  └{}{}{}┘\n",
                      repeat("─", before),
                      box.has_next ? "┬" : "─",
                      repeat("─", box.inner - before - 1));
  return box.has_next ? text + std::string(before + 3, ' ') + "▼\n" : text;
}

std::string draw_replica(const cluster_status& status, const replica_details& replica, paint how) {
  auto text = fmt::format("replica {}  {}  epoch {}  restarts {}\n",
                          replica.replica,
                          painted(state_of(replica), state_of(replica), how),
                          replica.epoch,
                          replica.restarts);
  for (std::size_t stage = 0; stage < status.stages.size(); ++stage) {
    const auto& layers = status.stages[stage];
    stage_box box{
        .title = fmt::format("stage {}  layers {} to {}", stage, layers.first, layers.last - 1),
        .has_next = stage + 1 < status.stages.size()};
    for (const auto& worker : replica.workers) {
      if (worker.stage == static_cast<std::int32_t>(stage)) {
        box.workers.push_back(worker);
      }
    }
    const auto cells = std::min(box.workers.size(), cells_per_line);
    box.inner = std::max(cells * cell_columns, box.title.size() + 3);
    text += draw_box(box, how);
  }
  return text;
}

std::string_view state_text(const ledger_line& line) {
  if (line.reason != "none") {
    return line.reason;
  }
  return line.committed == 0 ? "no token yet" : "generating";
}

} // namespace

std::string draw_status(const cluster_status& status, const earlier_status& earlier, paint how) {
  return draw_head(status, how) + '\n' + draw_replicas(status, earlier, how) + '\n'
         + draw_workers(status, how) + '\n' + draw_processes(status);
}

std::string draw_topology(const cluster_status& status, paint how) {
  auto text = fmt::format("cluster {}: data {} x pipeline {} x tensor {} = {} workers\n",
                          status.name,
                          status.data,
                          status.pipeline,
                          status.tensor,
                          std::int64_t{status.data} * status.pipeline * status.tensor);
  for (const auto& replica : status.replicas) {
    text += '\n' + draw_replica(status, replica, how);
  }
  return text;
}

std::string draw_ledger(const ledger_page& page) {
  table lines({{"request"}, {"state", left}, {"prompt"}, {"generated"}, {"limit"}, {"age"}});
  for (const auto& one : page.lines) {
    lines.add({std::to_string(one.id),
               std::string(state_text(one)),
               std::to_string(one.prompt_tokens),
               std::to_string(one.committed),
               std::to_string(one.max_tokens),
               fmt::format("{:.1f} s", one.age_s)});
  }
  return fmt::format("{} requests under way, {} finished are kept; the newest {}:\n",
                     page.unfinished,
                     page.finished,
                     page.lines.size())
         + lines.text(paint::plain);
}

std::string draw_faults(const fault_page& page) {
  if (page.rules.empty()) {
    return "no fault is armed\n";
  }
  table lines({{"#"}, {"hits"}, {"rule", left}});
  for (std::size_t i = 0; i < page.rules.size(); ++i) {
    lines.add({std::to_string(i + 1), std::to_string(page.rules[i].hits), page.rules[i].rule});
  }
  return lines.text(paint::plain);
}

} // namespace vdist::control
