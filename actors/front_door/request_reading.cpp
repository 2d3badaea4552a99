#include "actors/front_door/request_reading.hpp"

#include <utility>

namespace vdist::actors {

namespace {

namespace openai = api::openai;

constexpr std::string_view blanks = " \t\r\n\v\f";

std::string_view without_leading(std::string_view text) noexcept {
  const auto first = text.find_first_not_of(blanks);
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

std::string_view without_trailing(std::string_view text) noexcept {
  const auto last = text.find_last_not_of(blanks);
  return last == std::string_view::npos ? std::string_view() : text.substr(0, last + 1);
}

openai::answer<tokenized_prompt> tokenize(std::string_view text,
                                          bool add_special_tokens,
                                          std::string_view param,
                                          const served_model& model) {
  if (!model.tokenizer) {
    return no_tokenizer(param);
  }
  auto ids = model.tokenizer->encode(
      text, add_special_tokens ? text::special_tokens::add : text::special_tokens::omit);
  if (!ids) {
    return openai::of_engine(ids.error(), param);
  }
  return tokenized_prompt{.token_ids = std::move(*ids)};
}

} // namespace

openai::api_error no_tokenizer(std::string_view param) {
  return openai::invalid_value(param,
                               "the model has no tokenizer; send token ids to /v1/completions");
}

openai::answer<tokenized_prompt>
tokenize_text(std::string_view text, bool add_special_tokens, const served_model& model) {
  return tokenize(text, add_special_tokens, "prompt", model);
}

openai::answer<std::vector<tokenized_prompt>>
tokenize_prompts(const openai::completion_request& request, const served_model& model) {
  std::vector<tokenized_prompt> all;
  for (const auto& prompt : request.prompts) {
    if (prompt.is_tokenized()) {
      all.push_back({.token_ids = prompt.token_ids});
      continue;
    }
    if (prompt.text.empty()) {
      return openai::invalid_value("prompt", "prompt: it is empty (legal: at least one character)");
    }
    VDIST_ASSIGN(all.emplace_back(), tokenize_text(prompt.text, request.add_special_tokens, model));
  }
  return all;
}

openai::answer<tokenized_prompt>
tokenize_chat(const openai::chat_prompt& chat, bool add_special_tokens, const served_model& model) {
  auto rendered = model.chat.render(openai::template_variables(chat));
  if (rendered && chat.continue_final_message) {
    rendered = cut_behind(std::move(*rendered), chat.messages.back().content.value_or(""));
  }
  if (!rendered) {
    const auto& cause = rendered.error();
    const bool is_of_request = !model.chat.defect() && cause.code != errc::internal;
    return is_of_request ? openai::invalid_value("messages", cause.context)
                         : openai::of_engine(fail(errc::internal, cause.context));
  }
  VDIST_ASSIGN(auto prompt, tokenize(*rendered, add_special_tokens, "messages", model));
  if (prompt.token_ids.empty()) {
    return openai::invalid_value("messages", "messages: their prompt is empty");
  }
  return prompt;
}

/// As transformers does it: the last place where the text stands, whether or not the template trims it.
result<std::string> cut_behind(std::string rendered, std::string_view last_message) {
  const auto whole = without_trailing(without_leading(last_message));
  const auto at = rendered.rfind(whole);
  if (whole.empty() || at == std::string::npos) {
    return fail(
        errc::invalid_argument,
        "continue_final_message: the chat template does not print the last message as it is");
  }
  const auto kept = without_leading(last_message);
  const bool keeps_blanks = std::string_view(rendered).substr(at).starts_with(kept);
  rendered.resize(at + (keeps_blanks ? kept.size() : whole.size()));
  return rendered;
}

std::string echo_of(const openai::prompt_input& prompt,
                    const api::sampling_params& params,
                    const served_model& model) {
  if (!prompt.is_tokenized() || !model.tokenizer) {
    return prompt.text;
  }
  return model.tokenizer->decode(prompt.token_ids,
                                 params.skip_special_tokens ? text::special_tokens_output::skip
                                                            : text::special_tokens_output::keep);
}

} // namespace vdist::actors
