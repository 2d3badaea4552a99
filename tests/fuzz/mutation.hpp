// tests/fuzz/mutation.hpp — inputs that nobody wrote, made of inputs that somebody did, and the way back from one of them
// to its smallest part that still shows the same.
// A specimen is a valid input in units: the fields of a message, the words of a text, the operations of a script. Units
// are repeated, dropped, swapped and replaced first; then bytes are flipped, cut, spliced and made to lie about lengths.
// M-1 An input is a function of the specimens and one number: the number replays it, on every machine.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::testing::fuzz {

using bytes = std::vector<std::byte>;

inline bytes bytes_of(std::string_view text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

inline std::string_view text_of(std::span<const std::byte> input) {
  return {reinterpret_cast<const char*>(input.data()), input.size()};
}

inline void append(bytes& to, std::span<const std::byte> more) {
  to.insert(to.end(), more.begin(), more.end());
}

/// splitmix64: any number is a good seed, neighbours too.
class numbers {
public:
  explicit numbers(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    auto mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31U);
  }

  /// In [0, bound); 0 when bound is 0.
  std::size_t below(std::size_t bound) {
    return bound == 0 ? 0 : static_cast<std::size_t>(next() % bound);
  }

  bool one_in(std::size_t n) { return below(n) == 0; }

private:
  std::uint64_t state_;
};

/// Numbers at which widths, signs and limits end.
inline std::uint64_t edge_number(numbers& draw) {
  constexpr std::array<std::uint64_t, 16> edges{0,
                                                1,
                                                2,
                                                0x7f,
                                                0x80,
                                                0xff,
                                                0x7fff,
                                                0xffff,
                                                0x10000,
                                                0x7fff'ffff,
                                                0x8000'0000,
                                                0xffff'ffff,
                                                std::uint64_t{1} << 47U,
                                                std::uint64_t{1} << 62U,
                                                std::uint64_t{1} << 63U,
                                                ~std::uint64_t{0}};
  return edges[draw.below(edges.size())] + draw.below(3) - 1;
}

struct specimen {
  bytes prefix; // before the units; never moved
  std::vector<bytes> units;
  bool is_counted = false; // a msgpack array: its head with the number of units stands before them
};

inline bytes whole(const specimen& one, std::size_t claimed) {
  bytes out = one.prefix;
  if (one.is_counted) {
    const auto low = [claimed](unsigned shift) {
      return static_cast<std::byte>(claimed >> shift);
    };
    if (claimed < 16) {
      out.push_back(std::byte{0x90} | low(0));
    } else {
      out.insert(out.end(), {std::byte{0xdc}, low(8), low(0)});
    }
  }
  for (const auto& unit : one.units) {
    append(out, unit);
  }
  return out;
}

inline bytes whole(const specimen& one) {
  return whole(one, one.units.size());
}

/// What inputs are made of.
struct material {
  std::vector<specimen> specimens; // at least one
  std::vector<bytes> pieces;       // units that no specimen has: lies, limits, other types
  std::size_t bytes_max = 4096;    // of an input
};

namespace detail {

inline const bytes& any_unit(const material& from, numbers& draw) {
  if (!from.pieces.empty() && draw.one_in(3)) {
    return from.pieces[draw.below(from.pieces.size())];
  }
  const auto& one = from.specimens[draw.below(from.specimens.size())];
  return one.units.empty() ? one.prefix : one.units[draw.below(one.units.size())];
}

inline void edit_units(std::vector<bytes>& units, const material& from, numbers& draw) {
  const auto at = static_cast<std::ptrdiff_t>(draw.below(units.size()));
  const auto other = draw.below(units.size());
  const bytes unit = draw.one_in(2) ? any_unit(from, draw) : units.empty() ? bytes() : units[other];
  switch (units.empty() ? 0 : draw.below(5)) {
  case 0:
    units.insert(units.begin() + at, unit);
    break;
  case 1:
    units.erase(units.begin() + at);
    break;
  case 2:
    std::swap(units[static_cast<std::size_t>(at)], units[other]);
    break;
  case 3:
    units.resize(static_cast<std::size_t>(at));
    break;
  default:
    units[static_cast<std::size_t>(at)] = unit;
    break;
  }
}

/// A number of 1, 2, 4 or 8 bytes in either order of bytes, where there may be a length.
inline void lie(bytes& input, numbers& draw) {
  const std::size_t width = std::size_t{1} << draw.below(4);
  const auto value = draw.one_in(2) ? edge_number(draw) : draw.below(2 * input.size());
  const bool is_little = draw.one_in(2);
  const auto at = draw.below(input.size());
  for (std::size_t i = 0; i < width && at + i < input.size(); ++i) {
    const auto shift = 8 * (is_little ? i : width - 1 - i);
    input[at + i] = static_cast<std::byte>(value >> shift);
  }
}

inline void edit_bytes(bytes& input, const material& from, numbers& draw) {
  if (input.empty()) {
    input = any_unit(from, draw);
    return;
  }
  const auto at = draw.below(input.size());
  const auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
  const auto length = 1 + draw.below(std::min<std::size_t>(input.size() - at, 40));
  const auto end = place + static_cast<std::ptrdiff_t>(std::min(length, input.size() - at));
  const bytes part(place, end);
  switch (draw.below(9)) {
  case 0:
  case 1:
    *place ^= static_cast<std::byte>(1U << draw.below(8));
    break;
  case 2:
    *place = static_cast<std::byte>(draw.next());
    break;
  case 3:
    lie(input, draw);
    break;
  case 4: // cut
    input.erase(place, end);
    break;
  case 5: // the same again
    input.insert(place, part.begin(), part.end());
    break;
  case 6: { // splice
    const auto& piece = any_unit(from, draw);
    input.insert(place, piece.begin(), piece.end());
    break;
  }
  case 7: { // a part elsewhere
    const auto to = draw.below(input.size());
    std::copy_n(part.begin(),
                std::min(part.size(), input.size() - to),
                input.begin() + static_cast<std::ptrdiff_t>(to));
    break;
  }
  default:
    if (draw.one_in(3)) {
      input.resize(at);
    }
    break;
  }
}

inline bytes noise(const material& from, numbers& draw) {
  bytes input;
  if (draw.one_in(2)) {
    input = from.specimens[draw.below(from.specimens.size())].prefix;
  }
  for (auto left = draw.below(draw.one_in(4) ? 400 : 24); left > 0; --left) {
    input.push_back(static_cast<std::byte>(draw.next()));
  }
  return input;
}

/// Units of anywhere behind a head that counts them.
inline bytes medley(const material& from, numbers& draw) {
  auto one = from.specimens[draw.below(from.specimens.size())];
  const auto count = one.units.size();
  for (auto& unit : one.units) {
    unit = draw.one_in(3) ? any_unit(from, draw) : unit;
  }
  return whole(one, count);
}

} // namespace detail

/// M-1.
inline bytes input_of(const material& from, std::uint64_t seed) {
  numbers draw(seed);
  bytes input;
  const auto way = draw.below(16);
  if (way == 0) {
    return detail::noise(from, draw);
  }
  if (way == 1) {
    input = detail::medley(from, draw);
  } else {
    auto one = from.specimens[draw.below(from.specimens.size())];
    const auto before = one.units.size();
    for (auto edits = draw.below(3); edits > 0; --edits) {
      detail::edit_units(one.units, from, draw);
    }
    input = draw.one_in(4) ? whole(one, before) : whole(one);
  }
  for (auto edits = draw.one_in(4) ? 0 : draw.below(5); edits > 0; --edits) {
    detail::edit_bytes(input, from, draw);
  }
  input.resize(std::min(input.size(), from.bytes_max));
  return input;
}

/// The smallest input that was found to fail, starting from one that does: parts are left out, from halves down to
/// single bytes, then bytes become 0. Asks at most `tries` times.
template <class Fails>
bytes shrunk(bytes input, std::size_t tries, Fails&& fails) {
  const auto accept = [&input, &tries, &fails](const bytes& candidate) {
    if (tries == 0) {
      return false;
    }
    --tries;
    const bool is_smaller = fails(candidate);
    if (is_smaller) {
      input = candidate;
    }
    return is_smaller;
  };
  for (auto part = input.size() / 2; part > 0; part /= 2) {
    for (std::size_t at = 0; at < input.size() && tries > 0;) {
      auto candidate = input;
      const auto first = candidate.begin() + static_cast<std::ptrdiff_t>(at);
      candidate.erase(first,
                      first + static_cast<std::ptrdiff_t>(std::min(part, input.size() - at)));
      at += accept(candidate) ? 0 : part;
    }
  }
  for (std::size_t at = 0; at < input.size() && tries > 0; ++at) {
    if (input[at] != std::byte{0}) {
      auto candidate = input;
      candidate[at] = std::byte{0};
      accept(candidate);
    }
  }
  return input;
}

inline std::string hex(std::span<const std::byte> input) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const auto one : input) {
    const auto number = std::to_integer<unsigned>(one);
    text += digits[number >> 4U];
    text += digits[number & 15U];
  }
  return text;
}

} // namespace vdist::testing::fuzz
