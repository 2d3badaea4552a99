#include "actors/run/batch_run.hpp"

#include "actors/run/collected.hpp"
#include "actors/run/interrupt.hpp"

#include "runtime/api/request_file.hpp"
#include "runtime/api/result_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <list>
#include <utility>

namespace vdist::actors {

namespace {

constexpr std::chrono::milliseconds look_up_interval{10};

std::string system_error() {
  return std::strerror(errno);
}

std::size_t count_lines(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::size_t lines = 0;
  std::string buffer(1 << 16, '\0');
  char last = '\n';
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()))
         || file.gcount() > 0) {
    const auto end = buffer.begin() + static_cast<std::ptrdiff_t>(file.gcount());
    lines += static_cast<std::size_t>(std::count(buffer.begin(), end, '\n'));
    last = *(end - 1);
  }
  return lines + (last == '\n' ? 0 : 1);
}

/// The same for the same line in every run (FNV-1a).
std::uint64_t derived_seed(std::uint64_t base, const std::string& id) {
  std::uint64_t hash = 0xcbf29ce484222325ULL ^ base;
  for (const char letter : id) {
    hash = (hash ^ static_cast<unsigned char>(letter)) * 0x100000001b3ULL;
  }
  return hash;
}

/// Names a line of a run: who takes the run over asks for the same sequences again (B-6).
std::uint64_t key_of(const std::string& output, std::uint64_t line) {
  return derived_seed(line, output) | 1U; // never 0, which means none
}

/// One run over one file. Single-threaded: streams buffer what is not read yet.
class batch {
public:
  batch(engine& engine, const batch_options& options)
      : engine_(engine),
        options_(options),
        is_late_(engine.is_draining()),
        bar_(options.style, "requests"),
        started_(std::chrono::steady_clock::now()) {}

  result<batch_summary> run() {
    VDIST_TRY(open());
    api::request_reader reader(input_, options_.input, options_.defaults);
    bool is_read = false;
    while (!is_read || pending_ || !flying_.empty()) {
      if (is_interrupted()) {
        return fail(errc::cancelled,
                    fmt::format("interrupted: {} results are in {}; run again to go on",
                                summary_.finished,
                                options_.output));
      }
      if (const auto failure = engine_.failure()) {
        return *failure;
      }
      if (engine_.is_draining()) { // B-4
        summary_.is_drained |= (!is_read && !is_late_) || pending_.has_value();
        is_read = is_read || !is_late_;
        pending_.reset();
      }
      VDIST_TRY(start_pending());
      while (!is_read && !pending_ && flying_.size() < options_.in_flight_max) {
        VDIST_ASSIGN(is_read, take_line(reader));
      }
      VDIST_TRY(collect());
      show_progress(reader.line());
    }
    return summary_;
  }

private:
  struct flight {
    std::shared_ptr<text_stream> stream; // shared with the router
    collected_sequence sequence;
  };

  result<void> open() {
    summary_.lines = count_lines(options_.input);
    input_.open(options_.input, std::ios::binary);
    if (!input_) {
      return fail(errc::not_found,
                  fmt::format("{}: cannot be read: {}", options_.input, system_error()));
    }
    VDIST_ASSIGN(finished_, api::read_finished(options_.output));
    std::error_code code;
    if (std::filesystem::exists(options_.output, code)) {
      std::filesystem::resize_file(options_.output, finished_.valid_bytes, code);
    }
    output_.open(options_.output, std::ios::binary | std::ios::app);
    if (code || !output_) {
      return fail(errc::io_failed,
                  fmt::format("{}: cannot be written: {}", options_.output, system_error()));
    }
    return {};
  }

  /// True: the input has ended.
  result<bool> take_line(api::request_reader& reader) {
    auto next = reader.next();
    if (!next) {
      const auto id = std::to_string(reader.line());
      if (finished_.has(id, 0)) {
        ++summary_.skipped;
        return false;
      }
      VDIST_TRY(write_error(id, next.error(), std::nullopt));
      return false;
    }
    if (!*next) {
      return true;
    }
    VDIST_TRY(start(std::move(**next)));
    return false;
  }

  result<void> start_pending() {
    if (!pending_) {
      return {};
    }
    auto request = std::move(*pending_);
    pending_.reset();
    return start(std::move(request));
  }

  /// A request that finds the engine full waits here while others are under way; one that finds it
  /// draining is put down by the loop.
  result<void> start(api::file_request request) {
    if (finished_.is_finished(request.id, request.params.n)) {
      ++summary_.skipped;
      return {};
    }
    if (options_.seed_base && !request.params.seed) {
      request.params.seed = derived_seed(*options_.seed_base, request.id);
    }
    const auto submitted = std::chrono::steady_clock::now();
    auto generation = engine_.generate({.prompt = request.prompt,
                                        .token_ids = request.token_ids,
                                        .params = request.params,
                                        .client_key = key_of(options_.output, request.line)});
    const auto status = generation ? errc::ok : generation.error().code;
    if (status == errc::closed && engine_.is_draining() && is_late_) { // B-4: it is new
      summary_.is_drained = true;
      return {};
    }
    if ((status == errc::queue_full && !flying_.empty())
        || (status == errc::closed && engine_.is_draining())) {
      pending_ = std::move(request);
      return {};
    }
    if (!generation) {
      return write_error(request.id, generation.error(), std::nullopt);
    }
    for (std::size_t index = 0; index < generation->sequences.size(); ++index) {
      sequence_facts facts{.id = request.id,
                           .prompt_tokens = generation->prompt_tokens,
                           .wants_logprobs = request.params.logprobs.has_value(),
                           .submitted = submitted};
      if (request.params.n > 1) {
        facts.index = static_cast<std::int32_t>(index);
      }
      auto& stream = generation->sequences[index];
      if (finished_.has(request.id, static_cast<std::int32_t>(index))) {
        stream->cancel(); // an interrupted run has this one already
        continue;
      }
      flying_.push_back({stream, collected_sequence(std::move(facts))});
    }
    return {};
  }

  /// Takes what has arrived; waits a little on the oldest when nothing has.
  result<void> collect() {
    bool has_any = false;
    for (auto flying = flying_.begin(); flying != flying_.end();) {
      VDIST_ASSIGN(const bool has_ended, poll(*flying, duration::zero(), has_any));
      flying = has_ended ? flying_.erase(flying) : std::next(flying);
    }
    if (!has_any && !flying_.empty()) {
      VDIST_ASSIGN(const bool has_ended, poll(flying_.front(), look_up_interval, has_any));
      if (has_ended) {
        flying_.pop_front();
      }
    }
    return {};
  }

  result<bool> poll(flight& flying, duration timeout, bool& has_any) {
    VDIST_ASSIGN(auto chunk, flying.stream->next(timeout));
    if (!chunk) {
      return false;
    }
    has_any = true;
    summary_.tokens += chunk->token_ids.size();
    const bool has_failed = chunk->reason == protocol::finish_reason::failed;
    flying.sequence.add(std::move(*chunk));
    if (!flying.sequence.has_ended()) {
      return false;
    }
    ++(has_failed ? summary_.failed : summary_.finished);
    VDIST_TRY(write(flying.sequence.to_line(flying.stream->times())));
    return true;
  }

  result<void>
  write_error(const std::string& id, const error& cause, std::optional<std::int32_t> index) {
    ++summary_.failed;
    return write(api::error_line(id, cause, index));
  }

  /// B-1: a line is whole in the file before the next one begins.
  result<void> write(const std::string& line) {
    if (engine_.points().is_armed()) { // B-5
      VDIST_TRY(failure_of(engine_.points().reach("batch.write", {}), "batch.write"));
    }
    output_ << line;
    output_.flush();
    if (!output_) {
      return fail(errc::io_failed,
                  fmt::format("{}: cannot be written: {}", options_.output, system_error()));
    }
    return {};
  }

  void show_progress(std::uint64_t line) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started_;
    const auto done = summary_.skipped + summary_.finished + summary_.failed;
    const auto total = std::max<std::size_t>(
        {summary_.lines, done + flying_.size(), static_cast<std::size_t>(line)});
    const double fraction = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
    const auto fresh = static_cast<double>(done - summary_.skipped);
    const auto left = static_cast<double>(total - done);
    const auto eta = fresh > 0 ? in_clock(elapsed * (left / fresh)) : std::string("?");
    bar_.update(fraction,
                fmt::format("{}/{}  {:.0f} tokens/s  ETA {}",
                            done,
                            total,
                            static_cast<double>(summary_.tokens) / std::max(elapsed.count(), 1e-9),
                            eta));
  }

  engine& engine_;
  const batch_options& options_;
  const bool is_late_; // B-4: what was accepted before is among the lines
  progress_bar bar_;
  std::chrono::steady_clock::time_point started_;
  std::ifstream input_;
  std::ofstream output_;
  api::finished_requests finished_;
  std::list<flight> flying_; // oldest first
  std::optional<api::file_request> pending_;
  batch_summary summary_;
};

} // namespace

result<void> check_batch_files(const batch_options& options) {
  if (!std::ifstream(options.input)) {
    return fail(errc::not_found,
                fmt::format("{}: cannot be read: {}", options.input, system_error()));
  }
  std::error_code code;
  const bool existed = std::filesystem::exists(options.output, code);
  if (!std::ofstream(options.output, std::ios::binary | std::ios::app)) {
    return fail(errc::io_failed,
                fmt::format("{}: cannot be written: {}", options.output, system_error()));
  }
  if (!existed) {
    std::filesystem::remove(options.output, code);
  }
  return {};
}

result<batch_summary> run_batch(engine& engine, const batch_options& options) {
  return batch(engine, options).run();
}

} // namespace vdist::actors
