#include "runtime/api/openai/chunk_writer.hpp"

#include "runtime/api/json.hpp"
#include "runtime/api/openai/logprobs_text.hpp"
#include "runtime/api/openai/response_text.hpp"

namespace vdist::api::openai {

namespace {

constexpr std::string_view chat_object = "chat.completion.chunk";
constexpr std::string_view completion_object = "text_completion"; // streamed or not

/// {} at the end, where nothing was added.
void append_delta(std::string& out, const choice_text& choice) {
  out += R"(,"delta":{)";
  if (!choice.text.empty() || choice.reason == protocol::finish_reason::none) {
    out += R"("content":)";
    append_json_string(out, choice.text);
  }
  out += R"(},"logprobs":)";
  append_chat_logprobs(out, choice);
}

} // namespace

chunk_writer::chunk_writer(kind what, const response_head& head, const stream_options& options)
    : kind_(what),
      options_(options),
      opening_(opened(head, what == kind::chat ? chat_object : completion_object)) {}

void chunk_writer::begin(std::string& out, std::int32_t index, const usage& so_far) const {
  if (kind_ == kind::completion) {
    return;
  }
  out += opening_;
  out += R"({"index":)";
  append_number(out, index);
  out += R"(,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null})";
  close(out, so_far);
}

void chunk_writer::add(std::string& out, const choice_text& choice, const usage& so_far) const {
  out += opening_;
  out += R"({"index":)";
  append_number(out, choice.index);
  if (kind_ == kind::chat) {
    append_delta(out, choice);
  } else {
    out += R"(,"text":)";
    append_json_string(out, choice.text);
    out += R"(,"logprobs":)";
    append_completion_logprobs(out, choice);
  }
  out += ',';
  append_end(out, choice);
  out += '}';
  close(out, so_far);
}

void chunk_writer::finish(std::string& out, const usage& spent) const {
  if (!options_.include_usage) {
    return;
  }
  out += opening_;
  out += R"(],"usage":)";
  append_usage(out, spent);
  out += '}';
}

void chunk_writer::close(std::string& out, const usage& so_far) const {
  if (!options_.include_usage) {
    out += "]}";
    return;
  }
  out += R"(],"usage":)";
  if (options_.continuous_usage_stats) {
    append_usage(out, so_far);
  } else {
    out += "null";
  }
  out += '}';
}

} // namespace vdist::api::openai
