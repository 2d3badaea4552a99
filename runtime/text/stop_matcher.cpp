#include "runtime/text/stop_matcher.hpp"

#include <fmt/format.h>

namespace vdist::text {

result<stop_matcher> stop_matcher::make(std::vector<std::string> stops, stop_string_output output) {
  std::size_t bytes = 0;
  for (const std::string& stop : stops) {
    if (stop.empty()) {
      return fail(errc::invalid_argument,
                  "stop strings: a stop string must not be empty (key=stop)");
    }
    bytes += stop.size();
  }
  if (stops.size() > stops_max || bytes > stop_bytes_max) {
    return fail(
        errc::invalid_argument,
        fmt::format(
            "stop strings: too many (key=stop, count={}, count_max={}, bytes={}, bytes_max={})",
            stops.size(),
            stops_max,
            bytes,
            stop_bytes_max));
  }
  stop_matcher made(output);
  for (std::size_t i = 0; i < stops.size(); ++i) {
    made.insert(stops[i], static_cast<std::int32_t>(i));
  }
  made.link();
  return made;
}

void stop_matcher::insert(std::string_view stop, std::int32_t index) {
  std::int32_t where = 0;
  for (const char byte : stop) {
    std::int32_t child = child_of(where, byte);
    if (child < 0) {
      child = static_cast<std::int32_t>(nodes_.size());
      nodes_.push_back(
          {.next_sibling = at(where).first_child, .depth = at(where).depth + 1, .byte = byte});
      at(where).first_child = child;
    }
    where = child;
  }
  if (at(where).stop < 0) {
    at(where).stop = index;
    at(where).stop_bytes = at(where).depth;
  }
}

void stop_matcher::link() {
  std::vector<std::int32_t> queue{
      0}; // breadth first: a fallback is shorter, so it is linked before
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const std::int32_t parent = queue[i];
    for (std::int32_t child = at(parent).first_child; child >= 0; child = at(child).next_sibling) {
      at(child).fallback = parent == 0 ? 0 : next_of(at(parent).fallback, at(child).byte);
      if (at(child).stop < 0) {
        at(child).stop = at(at(child).fallback).stop;
        at(child).stop_bytes = at(at(child).fallback).stop_bytes;
      }
      queue.push_back(child);
    }
  }
}

std::int32_t stop_matcher::child_of(std::int32_t parent, char byte) const {
  std::int32_t child = at(parent).first_child;
  while (child >= 0 && at(child).byte != byte) {
    child = at(child).next_sibling;
  }
  return child;
}

std::int32_t stop_matcher::next_of(std::int32_t from, char byte) const {
  while (true) {
    if (const std::int32_t child = child_of(from, byte); child >= 0) {
      return child;
    }
    if (from == 0) {
      return 0;
    }
    from = at(from).fallback;
  }
}

std::string stop_matcher::push(std::string_view text) {
  if (match_) {
    return {};
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    state_ = next_of(state_, text[i]);
    if (const node& here = at(state_); here.stop >= 0) {
      match_ = static_cast<std::size_t>(here.stop);
      held_.append(text.substr(0, i + 1));
      held_.resize(held_.size() - (output_ == stop_string_output::exclude ? here.stop_bytes : 0));
      return std::move(held_);
    }
  }
  held_.append(text);
  const std::size_t final_bytes = held_.size() - at(state_).depth;
  std::string out = held_.substr(0, final_bytes);
  held_.erase(0, final_bytes);
  return out;
}

std::string stop_matcher::flush() {
  std::string rest;
  if (!match_) {
    rest.swap(held_);
    state_ = 0;
  }
  return rest;
}

} // namespace vdist::text
