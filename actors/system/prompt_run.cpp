#include "actors/system/prompt_run.hpp"

#include "actors/system/collected.hpp"
#include "actors/system/interrupt.hpp"

#include <cstdio>

namespace vdist::actors {

namespace {

constexpr std::chrono::milliseconds look_up_interval{50};

result<void> write_out(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return fail(errc::io_failed, "stdout: cannot be written");
  }
  return {};
}

result<void>
follow(engine& engine, text_stream& stream, collected_sequence& into, prompt_output output) {
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
    if (output == prompt_output::stream) {
      VDIST_TRY(write_out(chunk->text));
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
  VDIST_ASSIGN(auto generation,
               engine.generate({.prompt = prompt, .token_ids = {}, .params = params}));
  if (output == prompt_output::stream) {
    VDIST_TRY(write_out(prompt));
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
    VDIST_TRY(follow(engine, stream, collected, output));
    VDIST_TRY(write_out(output == prompt_output::json ? collected.to_line(stream.times()) : "\n"));
  }
  return {};
}

} // namespace vdist::actors
