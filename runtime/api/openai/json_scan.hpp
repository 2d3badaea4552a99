// runtime/api/openai/json_scan.hpp — the members of an object and the elements of a list as they were written. Chat
// templates print what they are given, so the order of keys, and 1 against 1.0, must reach them unchanged; a parsed
// tree has lost both. Internal to the folder's sources.
//
// All functions expect text that a JSON parser has accepted: they find their way in it, they do not check it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vdist::api::openai {

/// Name, without its escapes, and the text of the value, which lies in the text given.
using json_member = std::pair<std::string, std::string_view>;

[[nodiscard]] std::vector<json_member> json_members(std::string_view object);
[[nodiscard]] std::vector<std::string_view> json_elements(std::string_view list);

/// The text of one member; empty when there is none.
[[nodiscard]] std::string_view json_member_of(std::string_view object, std::string_view name);

/// Members of the object within the value that has most of them.
[[nodiscard]] std::size_t widest_object(std::string_view value);

} // namespace vdist::api::openai
