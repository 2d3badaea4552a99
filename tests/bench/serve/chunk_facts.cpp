#include "tests/bench/serve/chunk_facts.hpp"

#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

namespace vdist::bench::serve {

namespace {

using nlohmann::json;

/// Where a value stands; what is nested elsewhere is `other`.
enum class place : std::uint8_t {
  outside,
  chunk,
  choices,
  choice,
  delta,
  tool_calls,
  usage,
  other
};

/// Deeper is no chunk.
constexpr std::size_t depth_max = 64;

/// What the parser tells its events to.
class chunk_listener {
public:
  [[nodiscard]] const chunk_facts& facts() const { return facts_; }

  [[nodiscard]] bool is_object() const { return is_object_; }

  bool null() { return true; }

  bool boolean(bool) { return of_error(); }

  bool number_integer(json::number_integer_t value) { return number(value); }

  bool number_unsigned(json::number_unsigned_t value) {
    return number(static_cast<std::int64_t>(value));
  }

  bool number_float(json::number_float_t, const std::string&) { return of_error(); }

  bool string(const std::string& value) {
    const auto at = now();
    const bool is_text =
        (at == place::choice && key_ == "text")
        || (at == place::delta && (key_ == "content" || key_ == "reasoning_content"));
    facts_.has_text |= is_text && !value.empty();
    return of_error();
  }

  bool binary(const json::binary_t&) { return true; }

  bool start_object(std::size_t) {
    if (depth_ == 0) {
      is_object_ = true;
      return push(place::chunk);
    }
    const auto at = now();
    facts_.has_text |= at == place::tool_calls;
    if (at == place::choices) {
      const bool is_first = !facts_.has_choice;
      facts_.has_choice = true;
      return push(is_first ? place::choice : place::other);
    }
    if (at == place::choice && key_ == "delta") {
      return push(place::delta);
    }
    if (at == place::chunk && key_ == "usage") {
      facts_.has_usage = true;
      return push(place::usage);
    }
    of_error();
    return push(place::other);
  }

  bool start_array(std::size_t) {
    const auto at = now();
    of_error();
    return push(at == place::chunk && key_ == "choices"      ? place::choices
                : at == place::delta && key_ == "tool_calls" ? place::tool_calls
                                                             : place::other);
  }

  bool key(const std::string& name) {
    key_ = name;
    return true;
  }

  bool end_object() { return pop(); }

  bool end_array() { return pop(); }

  bool parse_error(std::size_t, const std::string&, const json::exception&) { return false; }

private:
  [[nodiscard]] place now() const { return depth_ == 0 ? place::outside : stack_.at(depth_ - 1); }

  bool push(place where) {
    if (depth_ == depth_max) {
      return false;
    }
    stack_.at(depth_++) = where;
    return true;
  }

  bool pop() {
    --depth_;
    return true;
  }

  /// A value that is not null.
  bool of_error() {
    facts_.has_error |= now() == place::chunk && key_ == "error";
    return true;
  }

  bool number(std::int64_t value) {
    if (now() == place::usage && key_ == "prompt_tokens") {
      facts_.prompt_tokens = value;
    } else if (now() == place::usage && key_ == "completion_tokens") {
      facts_.completion_tokens = value;
    }
    return of_error();
  }

  chunk_facts facts_;
  std::array<place, depth_max> stack_{};
  std::size_t depth_ = 0;
  std::string key_; // the last one
  bool is_object_ = false;
};

} // namespace

std::optional<chunk_facts> read_chunk(std::string_view data) {
  chunk_listener listener;
  const bool is_legal = json::sax_parse(data.begin(), data.end(), &listener);
  return is_legal && listener.is_object() ? std::optional(listener.facts()) : std::nullopt;
}

} // namespace vdist::bench::serve
