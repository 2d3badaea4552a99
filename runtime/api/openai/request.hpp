// runtime/api/openai/request.hpp — what requests of the OpenAI API have in common, as plain values.
// Bodies come from outside and are never trusted: they are bounded, invalid UTF-8, doubled, unknown and mistyped
// fields are refused.
// Q-1 A parameter is either obeyed or refused by its name; those that may be there without effect are the table of
// passive_fields.hpp. Q-2 null is the same as a field that is missing. Q-3 What is accepted has passed validate() of its
// sampling_params.
// Pure functions, callable from any thread.
#pragma once

#include "runtime/api/sampling_params.hpp"

#include <cstddef>
#include <span>
#include <string>

namespace vdist::api::openai {

/// What this server takes.
struct request_limits {
  std::span<const std::string> models; // names that requests may use; borrowed for the call
  std::size_t body_bytes_max = std::size_t{8} << 20U; // a tree of it takes up to 35 times as much
  std::size_t prompts_max = 1024;                     // of one completion request
  std::size_t messages_max = 4096;                    // of one chat
};

/// Levels of a body: schemas of tools are nested.
inline constexpr std::size_t body_depth_max = 64;
/// Members of one object of what goes to the chat template, where looking a name up is linear.
inline constexpr std::size_t template_members_max = 256;
/// OpenAI's default for /v1/completions; a chat may go on to the end of the context.
inline constexpr std::int32_t completion_max_tokens_default = 16;

/// stream_options.
struct stream_options {
  bool include_usage = false;          // one more chunk at the end, with the usage
  bool continuous_usage_stats = false; // and the usage so far in every chunk

  friend bool operator==(const stream_options&, const stream_options&) = default;
};

/// The parameters that completions and chats share.
struct generation_request {
  std::string model;      // one of request_limits::models
  sampling_params params; // complete and valid
  bool is_stream = false;
  stream_options streaming;        // all false unless is_stream
  bool add_special_tokens = false; // when texts become tokens: the model's BOS and the like

  friend bool operator==(const generation_request&, const generation_request&) = default;
};

} // namespace vdist::api::openai
