#include "actors/run/prompt_run.hpp"

#include "actors/run/collected.hpp"
#include "actors/run/interrupt.hpp"

#include <cstdio>

namespace vdist::actors {

namespace {

constexpr std::chrono::milliseconds look_up_interval{50};
/// A run has one prompt: who follows a dead process asks for its sequences by this.
constexpr std::uint64_t prompt_key = 1;

/// What the user reads: records, written to stdout here or handed to vdist-run, which writes each byte once, also when
/// this process dies and a successor says all of it again (H-8).
class user_output {
public:
  explicit user_output(host::host_link* parent) : parent_(parent) {}

  /// The next part of a record that goes out as it comes.
  result<void> stream(const std::string& text) { return write(text, true, false); }

  /// A whole record, or the end of one that streamed.
  result<void> finish(const std::string& text) {
    const bool is_stream = offset_ > 0;
    return write(text, is_stream, true);
  }

private:
  result<void> write(const std::string& text, bool is_stream, bool is_end) {
    if (parent_ == nullptr) {
      const auto written = std::fwrite(text.data(), 1, text.size(), stdout);
      return written == text.size() && std::fflush(stdout) == 0
                 ? result<void>()
                 : fail(errc::io_failed, "stdout: cannot be written");
    }
    const auto* bytes = reinterpret_cast<const std::byte*>(text.data());
    VDIST_TRY(parent_->write_output({.record = record_,
                                     .offset = offset_,
                                     .bytes = {bytes, bytes + text.size()},
                                     .is_stream = is_stream,
                                     .is_end = is_end}));
    offset_ = is_end ? 0 : offset_ + text.size();
    record_ += is_end ? 1 : 0;
    return {};
  }

  host::host_link* parent_;
  std::uint64_t record_ = 0;
  std::uint64_t offset_ = 0;
};

result<void>
follow(engine& engine, text_stream& stream, collected_sequence& into, user_output* streamed) {
  while (!into.has_ended()) {
    if (is_interrupted()) {
      stream.cancel();
      return fail(errc::cancelled, "interrupted");
    }
    if (const auto failure = engine.failure()) {
      return *failure;
    }
    VDIST_ASSIGN(auto chunk, stream.next(look_up_interval));
    if (!chunk) {
      continue;
    }
    if (streamed != nullptr) {
      VDIST_TRY(streamed->stream(chunk->text));
    }
    if (chunk->reason == protocol::finish_reason::failed) {
      return fail(errc::internal, "request: " + chunk->message);
    }
    into.add(std::move(*chunk));
  }
  return {};
}

} // namespace

result<void> run_prompt(engine& engine,
                        const std::string& prompt,
                        const api::sampling_params& params,
                        prompt_output output) {
  const auto submitted = std::chrono::steady_clock::now();
  VDIST_ASSIGN(
      auto generation,
      engine.generate(
          {.prompt = prompt, .token_ids = {}, .params = params, .client_key = prompt_key}));
  user_output out(engine.parent());
  const bool is_stream = output == prompt_output::stream;
  if (is_stream) {
    VDIST_TRY(out.stream(prompt));
  }
  for (std::size_t index = 0; index < generation.sequences.size(); ++index) {
    auto& stream = *generation.sequences[index];
    sequence_facts facts{.id = "0",
                         .prompt_tokens = generation.prompt_tokens,
                         .wants_logprobs = params.logprobs.has_value(),
                         .submitted = submitted};
    if (params.n > 1) {
      facts.index = static_cast<std::int32_t>(index);
    }
    collected_sequence collected(std::move(facts));
    VDIST_TRY(follow(engine, stream, collected, is_stream ? &out : nullptr));
    VDIST_TRY(out.finish(is_stream ? "\n" : collected.to_line(stream.times())));
  }
  return {};
}

} // namespace vdist::actors
