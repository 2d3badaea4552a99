#include "runtime/api/openai/chat_messages.hpp"

#include "runtime/api/json.hpp"
#include "runtime/api/openai/json_scan.hpp"
#include "runtime/api/openai/request_body.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::api::openai {

namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 5> roles{"system", "developer", "user", "assistant", "tool"};

answer<std::string> read_string_of(const std::string& path, const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string()) {
    return invalid_value(
        path + "." + name,
        fmt::format("{}.{} must be a string (got {})",
                    path,
                    name,
                    found == object.end() ? std::string("nothing") : shown(*found)));
  }
  return found->get<std::string>();
}

/// Refuses the first member whose name is not in the list.
template <std::size_t N>
answer<void> check_names(const std::string& path,
                         const json& object,
                         const std::array<std::string_view, N>& known) {
  for (const auto& [name, value] : object.items()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return unknown_parameter(path + "." + name);
    }
  }
  return {};
}

answer<void> check_object(const std::string& path, const json& value) {
  return value.is_object()
             ? answer<void>()
             : invalid_value(path,
                             fmt::format("{} must be an object (got {})", path, shown(value)));
}

answer<std::string> read_part(const std::string& path, const json& value) {
  VDIST_TRY(check_object(path, value));
  VDIST_ASSIGN(const auto type, read_string_of(path, value, "type"));
  if (type != "text") {
    return unsupported_parameter(
        path + ".type",
        fmt::format("{}.type must be text (got {}): text is all there is", path, shown_text(type)));
  }
  VDIST_TRY(check_names(path, value, std::array<std::string_view, 2>{"type", "text"}));
  return read_string_of(path, value, "text");
}

/// A text, or a list of text parts, which become lines of one text.
answer<std::string> read_content(const std::string& path, const json& value) {
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (!value.is_array() || value.empty()) {
    return invalid_value(
        path,
        fmt::format("{} must be a string or a list of text parts (got {})", path, shown(value)));
  }
  std::string content;
  for (std::size_t i = 0; i < value.size(); ++i) {
    VDIST_ASSIGN(const auto text, read_part(fmt::format("{}[{}]", path, i), value[i]));
    content += i == 0 ? "" : "\n";
    content += text;
  }
  return content;
}

/// Arguments come as a text that holds JSON; templates want the object.
answer<std::string> read_arguments(const std::string& path, const json& function) {
  VDIST_ASSIGN(auto text, read_string_of(path, function, "arguments"));
  const auto at = path + ".arguments";
  if (text.empty()) {
    return std::string("{}");
  }
  if (const auto parsed = parse_object(text, body_depth_max); !parsed) {
    return invalid_value(at, fmt::format("{}: {}", at, parsed.error().context));
  }
  text = body_text(text);
  VDIST_TRY(check_width(at, text));
  return text;
}

answer<void> append_tool_call(const std::string& path, const json& call, std::string& out) {
  VDIST_TRY(check_object(path, call));
  VDIST_TRY(check_names(path, call, std::array<std::string_view, 3>{"id", "type", "function"}));
  VDIST_ASSIGN(const auto id, read_string_of(path, call, "id"));
  VDIST_ASSIGN(const auto type, read_string_of(path, call, "type"));
  if (type != "function") {
    return unsupported_parameter(
        path + ".type", fmt::format("{}.type must be function (got {})", path, shown_text(type)));
  }
  const auto function = call.find("function");
  const auto inner = path + ".function";
  VDIST_TRY(check_object(inner, function == call.end() ? json() : *function));
  VDIST_TRY(check_names(inner, *function, std::array<std::string_view, 2>{"name", "arguments"}));
  VDIST_ASSIGN(const auto name, read_string_of(inner, *function, "name"));
  VDIST_ASSIGN(const auto arguments, read_arguments(inner, *function));
  out += R"({"id":)";
  append_json_string(out, id);
  out += R"(,"type":"function","function":{"name":)";
  append_json_string(out, name);
  out += R"(,"arguments":)" + arguments + "}}";
  return {};
}

answer<std::string> read_tool_calls(const std::string& path, const json& value) {
  if (!value.is_array()) {
    return invalid_value(path, fmt::format("{} must be a list (got {})", path, shown(value)));
  }
  std::string calls;
  for (std::size_t i = 0; i < value.size(); ++i) {
    calls += i == 0 ? "[" : ",";
    VDIST_TRY(append_tool_call(fmt::format("{}[{}]", path, i), value[i], calls));
  }
  return calls.empty() ? calls : calls + "]";
}

/// Fields of a message that only some roles have.
std::string_view owner_of(std::string_view field) noexcept {
  if (field == "tool_calls" || field == "reasoning_content" || field == "refusal"
      || field == "audio" || field == "function_call") {
    return "assistant";
  }
  return field == "tool_call_id" ? "tool" : "";
}

answer<void>
take(const std::string& path, std::string_view field, const json& value, chat_message& message) {
  const auto text_into = [&path, &value](std::optional<std::string>& out) {
    return read_text(path, value, out.emplace());
  };
  if (field == "content") {
    VDIST_ASSIGN(message.content, read_content(path, value));
  } else if (field == "name") {
    return text_into(message.name);
  } else if (field == "reasoning_content") {
    return text_into(message.reasoning_content);
  } else if (field == "tool_call_id") {
    return text_into(message.tool_call_id);
  } else if (field == "tool_calls") {
    VDIST_ASSIGN(message.tool_calls, read_tool_calls(path, value));
  } else {
    return unsupported_parameter(
        path,
        fmt::format("{} must be null (got {}): templates do not know it", path, shown(value)));
  }
  return {};
}

} // namespace

answer<void> check_width(std::string_view path, std::string_view text) {
  const auto members = widest_object(text);
  if (members <= template_members_max) {
    return {};
  }
  return invalid_value(path,
                       fmt::format("{} has too large an object (members={}); legal: at most {}",
                                   path,
                                   members,
                                   template_members_max));
}

answer<chat_message> read_chat_message(const std::string& path, const json& value) {
  VDIST_TRY(check_object(path, value));
  chat_message message;
  VDIST_ASSIGN(message.role, read_string_of(path, value, "role"));
  if (std::find(roles.begin(), roles.end(), message.role) == roles.end()) {
    return invalid_value(path + ".role",
                         fmt::format("{}.role must be one of {} (got {})",
                                     path,
                                     fmt::join(roles, ", "),
                                     shown_text(message.role)));
  }
  constexpr std::array<std::string_view, 9> known{"role",
                                                  "content",
                                                  "name",
                                                  "tool_calls",
                                                  "tool_call_id",
                                                  "reasoning_content",
                                                  "refusal",
                                                  "audio",
                                                  "function_call"};
  VDIST_TRY(check_names(path, value, known));
  for (const auto& [field, entry] : value.items()) {
    if (field == "role" || entry.is_null()) {
      continue;
    }
    const auto owner = owner_of(field);
    if (!owner.empty() && owner != message.role) {
      return invalid_value(path + "." + field,
                           fmt::format("{}.{} belongs to messages of role {}", path, field, owner));
    }
    VDIST_TRY(take(path + "." + field, field, entry, message));
  }
  if (!message.content && message.tool_calls.empty()) {
    return missing_parameter(path + ".content", "a string or a list of text parts");
  }
  if (message.role == "tool" && !message.tool_call_id) {
    return missing_parameter(path + ".tool_call_id", "the id of the call that it answers");
  }
  return message;
}

} // namespace vdist::api::openai
