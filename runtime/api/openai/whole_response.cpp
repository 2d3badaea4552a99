#include "runtime/api/openai/whole_response.hpp"

#include "runtime/api/json.hpp"
#include "runtime/api/openai/logprobs_text.hpp"
#include "runtime/api/openai/response_text.hpp"

namespace vdist::api::openai {

namespace {

/// The comma in front of every entry of a list but the first.
class separator {
public:
  void append(std::string& out) {
    out += is_first_ ? "" : ",";
    is_first_ = false;
  }

private:
  bool is_first_ = true;
};

void close(std::string& out, const usage& spent) {
  out += R"(],"usage":)";
  append_usage(out, spent);
  out += '}';
}

} // namespace

void append_completion(std::string& out,
                       const response_head& head,
                       std::span<const choice_text> choices,
                       const usage& spent) {
  out += opened(head, "text_completion");
  separator comma;
  for (const auto& choice : choices) {
    comma.append(out);
    out += R"({"index":)";
    append_number(out, choice.index);
    out += R"(,"text":)";
    append_json_string(out, choice.text);
    out += R"(,"logprobs":)";
    append_completion_logprobs(out, choice);
    out += ',';
    append_end(out, choice);
    out += '}';
  }
  close(out, spent);
}

void append_chat(std::string& out,
                 const response_head& head,
                 std::span<const choice_text> choices,
                 const usage& spent) {
  out += opened(head, "chat.completion");
  separator comma;
  for (const auto& choice : choices) {
    comma.append(out);
    out += R"({"index":)";
    append_number(out, choice.index);
    out += R"(,"message":{"role":"assistant","content":)";
    append_json_string(out, choice.text);
    out += R"(,"refusal":null},"logprobs":)";
    append_chat_logprobs(out, choice);
    out += ',';
    append_end(out, choice);
    out += '}';
  }
  close(out, spent);
}

void append_model(std::string& out, const model_entry& model) {
  out += R"({"id":)";
  append_json_string(out, model.id);
  out += R"(,"object":"model","created":)";
  append_number(out, model.created);
  out += R"(,"owned_by":"vdist","max_model_len":)";
  append_number(out, model.max_model_len);
  out += '}';
}

void append_models(std::string& out, std::span<const model_entry> models) {
  out += R"({"object":"list","data":[)";
  separator comma;
  for (const auto& model : models) {
    comma.append(out);
    append_model(out, model);
  }
  out += "]}";
}

void append_tokens(std::string& out,
                   std::span<const token_id> tokens,
                   std::int32_t max_model_len,
                   const std::optional<std::vector<std::string>>& texts) {
  out += R"({"count":)";
  append_number(out, static_cast<std::int64_t>(tokens.size()));
  out += R"(,"max_model_len":)";
  append_number(out, max_model_len);
  out += R"(,"tokens":[)";
  separator comma;
  for (const token_id token : tokens) {
    comma.append(out);
    append_number(out, token);
  }
  out += R"(],"token_strs":)";
  if (texts) {
    out += '[';
    separator between;
    for (const auto& text : *texts) {
      between.append(out);
      append_json_string(out, text);
    }
    out += ']';
  } else {
    out += "null";
  }
  out += '}';
}

void append_detokenized(std::string& out, std::string_view text) {
  out += R"({"prompt":)";
  append_json_string(out, text);
  out += '}';
}

} // namespace vdist::api::openai
