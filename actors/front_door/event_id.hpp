// actors/front_door/event_id.hpp — the `id` of a server-sent event: how far each choice has come for who has read the
// event, "17" for one choice, "17-4-0" for three.
// I-1 The number of a choice is that of its tokens, and one more when its end was told; it never falls within a stream.
// Pure functions.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::actors {

/// Appends `id: …` as a line of an event.
void append_event_id(std::string& out, std::span<const std::uint32_t> progress);

/// What a client sends as Last-Event-ID, for a request of so many choices. Error: invalid_argument.
[[nodiscard]] result<std::vector<std::uint32_t>> parse_event_id(std::string_view text,
                                                                std::size_t choices);

/// Appends a whole event. `data` is one line.
void append_event(std::string& out, std::span<const std::uint32_t> progress, std::string_view data);

/// One without an id: whoever resumes gets it again.
void append_event(std::string& out, std::string_view data);

} // namespace vdist::actors
