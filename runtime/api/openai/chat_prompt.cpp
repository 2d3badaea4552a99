#include "runtime/api/openai/chat_prompt.hpp"

#include "runtime/api/json.hpp"
#include "runtime/api/openai/chat_messages.hpp"
#include "runtime/api/openai/json_scan.hpp"
#include "runtime/api/openai/request_body.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::api::openai {

namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 7> fields{"messages",
                                                 "tools",
                                                 "tool_choice",
                                                 "documents",
                                                 "chat_template_kwargs",
                                                 "add_generation_prompt",
                                                 "continue_final_message"};

/// The member, or null.
const json& member(const json& object, std::string_view name) {
  static const json nothing;
  const auto found = object.find(name);
  return found == object.end() ? nothing : *found;
}

/// The elements of a list field; none when it is missing.
answer<void> check_list(std::string_view field, const json& value) {
  if (value.is_null() || value.is_array()) {
    return {};
  }
  return invalid_value(field, fmt::format("{} must be a list (got {})", field, shown(value)));
}

answer<std::vector<chat_message>> read_messages(const json& value, const request_limits& limits) {
  if (value.is_null()) {
    return missing_parameter("messages", "a list of messages");
  }
  VDIST_TRY(check_list("messages", value));
  if (value.empty() || value.size() > limits.messages_max) {
    return invalid_value("messages",
                         fmt::format("messages has a wrong length (messages={}); legal: 1 to {}",
                                     value.size(),
                                     limits.messages_max));
  }
  std::vector<chat_message> messages;
  messages.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    VDIST_ASSIGN(auto message, read_chat_message(fmt::format("messages[{}]", i), value[i]));
    messages.push_back(std::move(message));
  }
  return messages;
}

answer<void> check_tool(const std::string& path, const json& tool) {
  const auto is_function = tool.is_object() && member(tool, "type") == "function";
  if (!is_function) {
    return unsupported_parameter(
        path, fmt::format("{} must be an object of type function (got {})", path, shown(tool)));
  }
  const auto& function = member(tool, "function");
  if (!function.is_object() || !member(function, "name").is_string()) {
    return invalid_value(
        path + ".function.name",
        fmt::format("{}.function must be an object with a name (got {})", path, shown(function)));
  }
  if (const auto& strict = member(function, "strict"); !strict.is_null() && strict != false) {
    return unsupported_parameter(
        path + ".function.strict",
        fmt::format(
            "{}.function.strict must be false (got {}): output is free text", path, shown(strict)));
  }
  return {};
}

/// A list of objects that the template gets as it stands in the body.
answer<std::string>
read_template_list(std::string_view field, const json& body, std::string_view text) {
  const auto& value = member(body, field);
  VDIST_TRY(check_list(field, value));
  if (value.is_null() || value.empty()) {
    return std::string();
  }
  for (std::size_t i = 0; i < value.size(); ++i) {
    const auto path = fmt::format("{}[{}]", field, i);
    if (field == "tools") {
      VDIST_TRY(check_tool(path, value[i]));
    } else if (!value[i].is_object()) {
      return invalid_value(path,
                           fmt::format("{} must be an object (got {})", path, shown(value[i])));
    }
  }
  const auto written = json_member_of(text, field);
  VDIST_TRY(check_width(field, written));
  return std::string(written);
}

answer<std::string> read_tool_choice(const json& value) {
  if (value.is_null()) {
    return std::string();
  }
  if (value != "auto" && value != "none") {
    return unsupported_parameter(
        "tool_choice",
        fmt::format("tool_choice must be auto or none (got {}): output is free text",
                    shown(value)));
  }
  return value.get<std::string>();
}

answer<std::string> read_kwargs(const json& value, std::string_view text) {
  constexpr std::string_view field = "chat_template_kwargs";
  if (value.is_null()) {
    return std::string();
  }
  if (!value.is_object()) {
    return invalid_value(field, fmt::format("{} must be an object (got {})", field, shown(value)));
  }
  for (const auto& [name, entry] : value.items()) {
    const bool is_taken = name != field && is_of_chat_prompt(name);
    if (is_taken || name == "chat_template") {
      return invalid_value(fmt::format("{}.{}", field, name),
                           fmt::format("{} is a parameter of its own", name));
    }
  }
  const auto written = json_member_of(text, field);
  VDIST_TRY(check_width(field, written));
  return value.empty() ? std::string() : std::string(written);
}

answer<void> read_ending(const json& body, chat_prompt& prompt) {
  VDIST_TRY(read_flag("continue_final_message",
                      member(body, "continue_final_message"),
                      prompt.continue_final_message));
  prompt.add_generation_prompt = !prompt.continue_final_message;
  VDIST_TRY(read_flag("add_generation_prompt",
                      member(body, "add_generation_prompt"),
                      prompt.add_generation_prompt));
  if (!prompt.continue_final_message) {
    return {};
  }
  if (prompt.add_generation_prompt) {
    return invalid_value("continue_final_message",
                         "continue_final_message and add_generation_prompt exclude each other");
  }
  const auto& last = prompt.messages.back();
  return last.content && last.tool_calls.empty()
             ? answer<void>()
             : invalid_value("continue_final_message",
                             "the last message has tool calls; legal: a message that is a text");
}

void append_member(std::string& out, std::string_view name, std::string_view value) {
  out += out.back() == '{' ? "" : ",";
  append_json_string(out, name);
  out += ':';
  out += value;
}

void append_text(std::string& out, std::string_view name, const std::optional<std::string>& text) {
  if (text) {
    append_member(out, name, "");
    append_json_string(out, *text);
  }
}

void append_message(std::string& out, const chat_message& message) {
  out += '{';
  append_text(out, "role", message.role);
  if (message.content) {
    append_text(out, "content", message.content);
  } else {
    append_member(out, "content", "null");
  }
  append_text(out, "name", message.name);
  append_text(out, "reasoning_content", message.reasoning_content);
  append_text(out, "tool_call_id", message.tool_call_id);
  if (!message.tool_calls.empty()) {
    append_member(out, "tool_calls", message.tool_calls);
  }
  out += '}';
}

} // namespace

bool is_of_chat_prompt(std::string_view field) noexcept {
  return std::find(fields.begin(), fields.end(), field) != fields.end();
}

answer<chat_prompt>
read_chat_prompt(const json& body, std::string_view text, const request_limits& limits) {
  chat_prompt prompt;
  VDIST_ASSIGN(prompt.messages, read_messages(member(body, "messages"), limits));
  VDIST_ASSIGN(prompt.tools, read_template_list("tools", body, text));
  VDIST_ASSIGN(prompt.tool_choice, read_tool_choice(member(body, "tool_choice")));
  VDIST_ASSIGN(prompt.documents, read_template_list("documents", body, text));
  VDIST_ASSIGN(prompt.template_kwargs, read_kwargs(member(body, "chat_template_kwargs"), text));
  VDIST_TRY(read_ending(body, prompt));
  return prompt;
}

std::string template_variables(const chat_prompt& prompt) {
  std::string out = R"({"messages":[)";
  for (const auto& message : prompt.messages) {
    out += out.back() == '[' ? "" : ",";
    append_message(out, message);
  }
  out += ']';
  append_member(out, "add_generation_prompt", prompt.add_generation_prompt ? "true" : "false");
  if (!prompt.tools.empty()) {
    append_member(out, "tools", prompt.tools);
  }
  if (!prompt.tool_choice.empty()) {
    append_text(out, "tool_choice", prompt.tool_choice);
  }
  if (!prompt.documents.empty()) {
    append_member(out, "documents", prompt.documents);
  }
  for (const auto& [name, value] : json_members(prompt.template_kwargs)) {
    append_member(out, name, value);
  }
  out += '}';
  return out;
}

} // namespace vdist::api::openai
