// runtime/api/openai/chat_prompt.hpp — the part of a chat's body that a chat template turns into a prompt: messages,
// tools, and what the client tells the template.
#pragma once

#include "runtime/api/openai/api_error.hpp"
#include "runtime/api/openai/request.hpp"

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::api::openai {

/// JSON texts are kept as the client wrote them: templates print keys in their order.
struct chat_message {
  std::string role;                   // system, developer, user, assistant or tool
  std::optional<std::string> content; // text parts joined by '\n'; nullopt: null, beside tool_calls
  std::optional<std::string> name;
  std::optional<std::string> reasoning_content; // of an assistant
  std::optional<std::string> tool_call_id;      // of a tool
  std::string tool_calls; // of an assistant: JSON, a list; arguments are objects; empty: none

  friend bool operator==(const chat_message&, const chat_message&) = default;
};

/// P-1 Not both of add_generation_prompt and continue_final_message. P-2 A message to continue has content. P-3 No
/// object in it has more than template_members_max members.
struct chat_prompt {
  std::vector<chat_message> messages; // at least one
  std::string tools;                  // JSON, a list of function tools; empty: none
  std::string tool_choice;            // auto or none; empty: not said
  std::string documents;              // JSON, a list of objects; empty: none
  std::string template_kwargs;        // JSON, an object; empty: none
  bool add_generation_prompt = true;
  bool continue_final_message = false; // the answer goes on with the last message

  friend bool operator==(const chat_prompt&, const chat_prompt&) = default;
};

/// What the template sees, as one JSON object: messages, add_generation_prompt, tools, tool_choice, documents, and
/// the members of template_kwargs. BOS and EOS texts are the model's to add.
[[nodiscard]] std::string template_variables(const chat_prompt& prompt);

/// Takes the fields of `body` that make a prompt; `text` is what body was parsed from. Errors name paths:
/// messages[2].content[0].type.
[[nodiscard]] answer<chat_prompt>
read_chat_prompt(const nlohmann::json& body, std::string_view text, const request_limits& limits);

/// Whether read_chat_prompt() takes this field.
[[nodiscard]] bool is_of_chat_prompt(std::string_view field) noexcept;

} // namespace vdist::api::openai
