#include "actors/front_door/event_id.hpp"

#include <charconv>
#include <fmt/format.h>
#include <iterator>

namespace vdist::actors {

void append_event_id(std::string& out, std::span<const std::uint32_t> progress) {
  out += "id: ";
  for (std::size_t i = 0; i < progress.size(); ++i) {
    fmt::format_to(std::back_inserter(out), "{}{}", i == 0 ? "" : "-", progress[i]);
  }
  out += '\n';
}

result<std::vector<std::uint32_t>> parse_event_id(std::string_view text, std::size_t choices) {
  std::vector<std::uint32_t> progress;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (progress.size() < choices) {
    if (!progress.empty()) {
      if (at == end || *at != '-') {
        break;
      }
      ++at;
    }
    std::uint32_t number = 0;
    const auto [next, failure] = std::from_chars(at, end, number);
    if (failure != std::errc{}) {
      break;
    }
    progress.push_back(number);
    at = next;
  }
  if (at != end || progress.size() != choices) {
    return fail(errc::invalid_argument,
                fmt::format("last-event-id: must be an id of this request's events: {} numbers "
                            "with '-' between them",
                            choices));
  }
  return progress;
}

void append_event(std::string& out,
                  std::span<const std::uint32_t> progress,
                  std::string_view data) {
  append_event_id(out, progress);
  append_event(out, data);
}

void append_event(std::string& out, std::string_view data) {
  out += "data: ";
  out += data;
  out += "\n\n";
}

} // namespace vdist::actors
