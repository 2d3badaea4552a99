// tests/bench/serve/request_text.hpp — the bytes of a request: where a server is, and what is asked of it.
// T-1 The same workload, index and seed give the same prompt; two indices give prompts that share no block. T-2 The API key is
// in the request and nowhere else.
#pragma once

#include "tests/bench/serve/workload.hpp"

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vdist::bench::serve {

/// http://HOST:PORT/PREFIX
struct endpoint {
  std::string host; // a name or an address, without brackets
  std::uint16_t port = 80;
  std::string prefix; // of all paths, without a slash at its end; "/v1" is taken off: paths have it
};

/// Errors: invalid_argument, unsupported (https).
[[nodiscard]] result<endpoint> parse_url(std::string_view url);

/// Which usage a server is asked to report in streams.
enum class usage_request : std::uint8_t {
  none,       // tokens are counted by events
  final,      // include_usage: OpenAI's
  continuous, // continuous_usage_stats beside it: vdist's and vLLM's
};

struct request_form {
  endpoint to;
  std::string api_key; // empty: none
  std::string model;
  bool is_chat = false;
  bool is_stream = true;
  bool ignores_end = true; // ignore_eos, so that answers have the length that is planned
  usage_request usage = usage_request::final;
  std::uint32_t vocabulary = 1024; // token ids of prompts are below
  std::uint64_t seed = 0;
};

/// The JSON. Completions get token ids, chats words; where the workload has a text, both get that.
[[nodiscard]] std::string
body_of(const planned_request& planned, std::size_t index, const request_form& form);

/// Head and body.
[[nodiscard]] std::string
request_of(const planned_request& planned, std::size_t index, const request_form& form);

/// A GET.
[[nodiscard]] std::string
get_of(const endpoint& from, std::string_view path, std::string_view api_key);

} // namespace vdist::bench::serve
