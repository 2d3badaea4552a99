#include "tests/bench/system/stream_stall.hpp"

#include "tests/support/process.hpp"
#include "tests/support/temporary_folder.hpp"

#include "actors/control/control_client.hpp"
#include "actors/control/protocol.hpp"
#include "actors/system/engine.hpp"

#include "runtime/base/log.hpp"
#include "runtime/config/load.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <optional>
#include <thread>
#include <utility>

namespace vdist::bench {

namespace {

using actors::engine;
using actors::generate_request;
using actors::generation;

using steady = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto patience = 30s;
/// Tokens between injections: what was disturbed is over.
constexpr int pieces_apart = 20;
constexpr std::int32_t story_tokens = 200;

double ms_between(steady::time_point from, steady::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

/// A sequence that is begun anew when it ends.
class endless_reader {
public:
  explicit endless_reader(engine& engine) : engine_(engine) {}

  /// When the next tokens have come.
  result<steady::time_point> next() {
    while (true) {
      VDIST_TRY(begin_if_needed());
      VDIST_ASSIGN(auto chunk, stream_->next(patience));
      if (!chunk) {
        return fail(errc::timed_out, "bench: no token comes");
      }
      const bool has_tokens = !chunk->token_ids.empty();
      heard_.insert(heard_.end(), chunk->token_ids.begin(), chunk->token_ids.end());
      if (chunk->reason == protocol::finish_reason::failed) {
        return fail(errc::internal, "bench: " + chunk->message);
      }
      if (chunk->reason != protocol::finish_reason::none) {
        VDIST_TRY(compare());
        stream_.reset();
      }
      if (has_tokens) {
        return steady::now();
      }
    }
  }

  static result<generation> submit(engine& engine, std::int32_t tokens) {
    generate_request request{.prompt = "Once upon a time", .token_ids = {}, .params = {}};
    request.params.temperature = 0;
    request.params.max_tokens = tokens;
    request.params.ignore_eos = true;
    return engine.generate(request);
  }

private:
  result<void> begin_if_needed() {
    if (stream_) {
      return {};
    }
    VDIST_ASSIGN(auto generation, submit(engine_, story_tokens));
    stream_ = generation.sequences.front();
    return {};
  }

  /// The first sequence ends before the first fault.
  result<void> compare() {
    first_ = first_.empty() ? heard_ : std::move(first_);
    return std::exchange(heard_, {}) == first_
               ? result<void>()
               : fail(errc::internal, "bench: a stream has changed");
  }

  engine& engine_;
  std::shared_ptr<actors::text_stream> stream_; // shared with the router
  std::vector<token_id> heard_;
  std::vector<token_id> first_;
};

/// One fault, and the longest wait for tokens around it.
result<double> strike(engine& engine, endless_reader& reader, std::string_view rule) {
  engine.points().clear();
  VDIST_ASSIGN(auto last, reader.next());
  VDIST_TRY(engine.faults({.what = control::fault_order::kind::arm, .rule = std::string(rule)}));
  VDIST_ASSIGN(const auto other, endless_reader::submit(engine, 1));
  double longest = 0;
  const auto deadline = steady::now() + patience;
  for (int behind = 0; behind < pieces_apart;) {
    VDIST_ASSIGN(const auto now, reader.next());
    longest = std::max(longest, ms_between(std::exchange(last, now), now));
    behind += engine.points().hits().at(0) > 0 ? 1 : 0;
    if (now > deadline) {
      return fail(errc::timed_out, fmt::format("bench: never hit: {}", rule));
    }
  }
  while (true) { // it ends too
    VDIST_ASSIGN(const auto chunk, other.sequences.front()->next(patience));
    if (!chunk || chunk->reason != protocol::finish_reason::none) {
      return longest;
    }
  }
}

/// One story of vdist-run, and how long it stood still.
struct told {
  std::string text;
  double stall_ms = 0;
};

class storyteller {
public:
  storyteller(const stream_stall_options& options, std::string program, std::string cluster)
      : options_(options), program_(std::move(program)), cluster_(std::move(cluster)) {}

  /// `is_struck`: the vault is killed in the middle.
  result<told> tell(bool is_struck) {
    const testing::temporary_folder folder;
    std::vector<std::string> command{program_,
                                     options_.config,
                                     "--prompt",
                                     "Once upon a time",
                                     "--seed",
                                     "1",
                                     "--max-tokens",
                                     std::to_string(story_tokens),
                                     "--quiet"};
    for (const auto& setting : options_.overrides) {
      command.insert(command.end(), {"--set", setting});
    }
    testing::process story(command, folder.path(), std::filesystem::current_path().string());
    told outcome;
    if (is_struck) {
      outcome.stall_ms = strike(story);
    }
    const auto done = story.wait();
    if (done.exit_code != 0) {
      return fail(errc::internal, "bench: vdist-run: " + done.err);
    }
    outcome.text = done.out;
    return outcome;
  }

private:
  static bool wait_for(const testing::process& story, std::size_t bytes) {
    const auto deadline = steady::now() + patience;
    while (story.out().size() < bytes && steady::now() < deadline) {
      std::this_thread::sleep_for(500us); // a file tells nobody that it grew
    }
    return story.out().size() >= bytes;
  }

  [[nodiscard]] double strike(const testing::process& story) const {
    constexpr std::size_t some = 100; // bytes: it tells
    if (!wait_for(story, some)) {
      return 0;
    }
    const auto killing = control::encode(
        control::control_request{.what = control::control_request::kind::kill,
                                 .target = {.what = control::kill_target::kind::vault},
                                 .order = {}});
    const auto begun = steady::now();
    static_cast<void>(control::ask({.name = cluster_, .pid = story.pid()}, killing, patience));
    // What was on its way comes still; behind the gap comes more than one piece.
    double longest = 0;
    auto last = begun;
    auto seen = story.out().size();
    while (longest < least_ms && ms_between(begun, last) < least_ms) {
      if (!wait_for(story, seen + 1)) {
        return 0;
      }
      seen = story.out().size();
      const auto now = steady::now();
      longest = std::max(longest, ms_between(std::exchange(last, now), now));
    }
    return longest;
  }

  /// All processes are started again: no stall is shorter.
  static constexpr double least_ms = 20;

  const stream_stall_options& options_;
  std::string program_;
  std::string cluster_;
};

} // namespace

result<std::string> find_vdist_run() {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "vdist-run";
  return std::filesystem::exists(program)
             ? result<std::string>(program.string())
             : fail(errc::not_found, "bench: there is no " + program.string());
}

result<std::vector<double>> stalls_of_actor(const stream_stall_options& options,
                                            std::string_view rule) {
  auto overrides = options.overrides;
  overrides.insert(overrides.end(),
                   {"fault_tolerance.max_restarts=10000",
                    "fault_tolerance.restart_window_s=1",
                    "fault_tolerance.restart_backoff_ms=0"});
  VDIST_ASSIGN(auto config, config::load(options.config, overrides));
  log::initialise("off");
  VDIST_ASSIGN(auto engine, engine::start(config, config::read_environment(), {}));
  std::vector<double> stalls;
  endless_reader reader(*engine);
  for (std::int32_t i = 0; i < story_tokens; ++i) { // the first one is read to its end
    VDIST_TRY(reader.next());
  }
  for (std::int32_t i = 0; i < options.injections; ++i) {
    VDIST_ASSIGN(const auto stall, strike(*engine, reader, rule));
    stalls.push_back(stall);
  }
  return stalls;
}

result<std::vector<double>> stalls_of_vault(const stream_stall_options& options) {
  VDIST_ASSIGN(const auto program, find_vdist_run());
  VDIST_ASSIGN(const auto config, config::load(options.config, options.overrides));
  storyteller teller(options, program, config.cluster.name);
  VDIST_ASSIGN(const auto undisturbed, teller.tell(false));
  std::vector<double> stalls;
  for (std::int32_t i = 0; i < options.injections; ++i) {
    VDIST_ASSIGN(const auto story, teller.tell(true));
    if (story.text != undisturbed.text) {
      return fail(errc::internal, "bench: the text has changed");
    }
    stalls.push_back(story.stall_ms);
  }
  return stalls;
}

} // namespace vdist::bench
