// runtime/api/openai/chat_messages.hpp — one message of a chat from its JSON. Internal to the folder's sources.
#pragma once

#include "runtime/api/openai/chat_prompt.hpp"

namespace vdist::api::openai {

/// `path` names the message in errors.
[[nodiscard]] answer<chat_message> read_chat_message(const std::string& path,
                                                     const nlohmann::json& value);

/// P-3 of chat_prompt.hpp, for one value of the body.
[[nodiscard]] answer<void> check_width(std::string_view path, std::string_view text);

} // namespace vdist::api::openai
