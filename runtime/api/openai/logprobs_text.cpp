#include "runtime/api/openai/logprobs_text.hpp"

#include "runtime/api/json.hpp"
#include "runtime/api/openai/response_text.hpp"

#include <algorithm>

namespace vdist::api::openai {

namespace {

/// [a,b,…] of what append() writes for each position.
template <class List, class Append>
void append_list(std::string& out, const List& list, Append append) {
  out += '[';
  bool is_first = true;
  for (const auto& entry : list) {
    out += is_first ? "" : ",";
    is_first = false;
    append(entry);
  }
  out += ']';
}

/// Tokens that differ may have one text, and one name may stand in an object only once. They are few.
bool is_written(std::string_view key, std::span<const std::string> keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

void append_alternatives(std::string& out, const position_logprobs& position) {
  std::vector<std::string> keys; // as JSON: what is not UTF-8 is one text, too
  const auto append = [&out, &keys](const token_info& token) {
    std::string key;
    append_json_string(key, token.text);
    if (is_written(key, keys)) {
      return;
    }
    out += keys.empty() ? "" : ",";
    out += key;
    out += ':';
    append_logprob(out, token.logprob);
    keys.push_back(std::move(key));
  };
  out += '{';
  for (const auto& token : position.top) {
    append(token);
  }
  append(position.chosen);
  out += '}';
}

void append_token(std::string& out, const token_info& token) {
  out += R"({"token":)";
  append_json_string(out, token.text);
  out += R"(,"logprob":)";
  append_logprob(out, token.logprob);
  out += R"(,"bytes":)";
  append_list(
      out, token.text, [&out](char byte) { append_number(out, static_cast<unsigned char>(byte)); });
}

} // namespace

void append_completion_logprobs(std::string& out, const choice_text& choice) {
  if (!choice.logprobs) {
    out += "null";
    return;
  }
  const auto positions = *choice.logprobs;
  out += R"({"tokens":)";
  append_list(out, positions, [&out](const position_logprobs& position) {
    append_json_string(out, position.chosen.text);
  });
  out += R"(,"token_logprobs":)";
  append_list(out, positions, [&out](const position_logprobs& position) {
    append_logprob(out, position.chosen.logprob);
  });
  out += R"(,"top_logprobs":)";
  append_list(out, positions, [&out](const position_logprobs& position) {
    append_alternatives(out, position);
  });
  out += R"(,"text_offset":)";
  auto offset = choice.text_offset;
  append_list(out, positions, [&out, &offset](const position_logprobs& position) {
    append_number(out, static_cast<std::int64_t>(offset));
    offset += count_characters(position.chosen.text);
  });
  out += '}';
}

void append_chat_logprobs(std::string& out, const choice_text& choice) {
  if (!choice.logprobs) {
    out += "null";
    return;
  }
  out += R"({"content":)";
  append_list(out, *choice.logprobs, [&out](const position_logprobs& position) {
    append_token(out, position.chosen);
    out += R"(,"top_logprobs":)";
    append_list(out, position.top, [&out](const token_info& token) {
      append_token(out, token);
      out += '}';
    });
    out += '}';
  });
  out += R"(,"refusal":null})";
}

} // namespace vdist::api::openai
