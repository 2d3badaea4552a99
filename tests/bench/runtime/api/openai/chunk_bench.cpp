// vdist_bench_openai — CPU time for one chunk of a stream, and for one request's body. Best of five.
#include "runtime/api/openai/chat_request.hpp"
#include "runtime/api/openai/chunk_writer.hpp"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>
#include <string>
#include <vector>

namespace {

using namespace vdist;
using namespace vdist::api::openai;

constexpr int repetitions = 5;

/// CPU time of this thread.
double seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <class Call>
void measure(std::string_view name, int calls, Call call) {
  double best = 1e9;
  std::size_t bytes = 0;
  for (int i = 0; i < repetitions; ++i) {
    const double begin = seconds();
    for (int n = 0; n < calls; ++n) {
      bytes = call();
    }
    best = std::min(best, seconds() - begin);
  }
  fmt::print("{:<44} {:>8.3f} us  {:>6} bytes\n", name, best / calls * 1e6, bytes);
}

void measure_chunks(std::string_view name, chunk_writer::kind kind, std::size_t alternatives) {
  constexpr int calls = 200'000;
  const chunk_writer writer(kind,
                            {.id = chat_id(1, 2),
                             .created = 1'700'000'000,
                             .model = "meta-llama/Llama-3.1-8B-Instruct",
                             .system_fingerprint = "fp_0123456789"},
                            {.include_usage = true});
  const api::token_info token{.id = 5, .text = " token", .logprob = -0.125F};
  const std::vector<api::position_logprobs> positions{
      {token, std::vector<api::token_info>(alternatives, token)}};
  choice_text choice{.text = " token"};
  if (alternatives > 0) {
    choice.logprobs = positions;
  }
  std::string out;
  measure(name, calls, [&] {
    out.clear();
    writer.add(out, choice, {});
    return out.size();
  });
}

} // namespace

int main() {
  measure_chunks("chunk of a chat, one token", chunk_writer::kind::chat, 0);
  measure_chunks("chunk of a completion, one token", chunk_writer::kind::completion, 0);
  measure_chunks("chunk of a chat, 20 alternatives", chunk_writer::kind::chat, 20);
  const std::string names[] = {"m"};
  std::string body = R"({"model":"m","messages":[{"role":"system","content":"be brief"})";
  for (int i = 0; i < 20; ++i) {
    body += R"(,{"role":"user","content":")" + std::string(200, 'x') + "\"}";
  }
  body += R"(],"max_completion_tokens":64,"temperature":0.5,"stream":true})";
  measure("body of a chat, 21 messages", 2'000, [&] {
    return parse_chat_request(body, {.models = names}, {}).has_value() ? body.size() : 0;
  });
  return 0;
}
