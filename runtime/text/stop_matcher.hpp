// runtime/text/stop_matcher.hpp — ends an answer at the first stop string, also when it arrives in
// portions. The match is the one that is complete first; of several that end together, the longest.
// So the result does not depend on how the text was cut. S-1 text returned by push() never contains
// a byte that a later match would remove. S-2 held back is exactly the longest end of the text that
// begins a stop string. An Aho-Corasick automaton: amortised constant time per byte, whatever the
// stop strings. Not thread-safe.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::text {

/// Whether the stop string itself is part of the text (vLLM's include_stop_str_in_output).
enum class stop_string_output : std::uint8_t { exclude, include };

class stop_matcher {
public:
  static constexpr std::size_t stops_max = 256;
  static constexpr std::size_t stop_bytes_max = 64 * 1024; // all stop strings together

  /// errc::invalid_argument when a stop string is empty or there are too many. None at all is
  /// allowed.
  [[nodiscard]] static result<stop_matcher> make(std::vector<std::string> stops,
                                                 stop_string_output output);

  /// Returns the text that is final. After a match returns nothing: the answer has ended.
  [[nodiscard]] std::string push(std::string_view text);
  /// The end of the text: what was held back. Nothing after a match.
  [[nodiscard]] std::string flush();

  /// Index of the stop string that matched, in the order given to make().
  [[nodiscard]] std::optional<std::size_t> match() const noexcept { return match_; }

private:
  struct node {
    std::int32_t first_child = -1;
    std::int32_t next_sibling = -1;
    std::int32_t fallback = 0;    // the longest proper end of this node's text that is a node
    std::int32_t stop = -1;       // index of the longest stop string that ends here
    std::uint32_t depth = 0;      // bytes of this node's text
    std::uint32_t stop_bytes = 0; // length of `stop`
    char byte = 0;
  };

  explicit stop_matcher(stop_string_output output) : output_(output) {}

  void insert(std::string_view stop, std::int32_t index);
  void link();
  [[nodiscard]] std::int32_t child_of(std::int32_t parent, char byte) const;
  [[nodiscard]] std::int32_t next_of(std::int32_t from, char byte) const;

  [[nodiscard]] node& at(std::int32_t index) { return nodes_[static_cast<std::size_t>(index)]; }

  [[nodiscard]] const node& at(std::int32_t index) const {
    return nodes_[static_cast<std::size_t>(index)];
  }

  stop_string_output output_;
  std::vector<node> nodes_ = std::vector<node>(1); // nodes_[0]: the empty text
  std::int32_t state_ = 0;
  std::string held_; // the text of nodes_[state_]
  std::optional<std::size_t> match_;
};

} // namespace vdist::text
