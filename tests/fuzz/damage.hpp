// tests/fuzz/damage.hpp — memory that somebody writes to who must not: an image, and inputs that are scripts of what is done
// to it. A script's operations are 12 bytes each, so that inputs stay short where images are long, and a shrunk one says which
// words matter.
#pragma once

#include "tests/fuzz/mutation.hpp"

#include <cstring>
#include <stdexcept>
#include <sys/mman.h>

namespace vdist::testing::fuzz {

struct operation {
  std::uint8_t what = 0;  // for the test to say
  std::uint8_t how = 0;   // of poke(): which change
  std::uint16_t word = 0; // of poke(): which of the targets
  std::uint64_t value = 0;
};

inline constexpr std::size_t operation_bytes = 12;

inline bytes encoded(const operation& one) {
  bytes out(operation_bytes);
  out[0] = static_cast<std::byte>(one.what);
  out[1] = static_cast<std::byte>(one.how);
  std::memcpy(out.data() + 2, &one.word, sizeof one.word);
  std::memcpy(out.data() + 4, &one.value, sizeof one.value);
  return out;
}

/// A rest that is no whole operation is left out.
inline std::vector<operation> script_of(std::span<const std::byte> input) {
  std::vector<operation> script;
  for (; input.size() >= operation_bytes; input = input.subspan(operation_bytes)) {
    auto& one = script.emplace_back();
    one.what = std::to_integer<std::uint8_t>(input[0]);
    one.how = std::to_integer<std::uint8_t>(input[1]);
    std::memcpy(&one.word, input.data() + 2, sizeof one.word);
    std::memcpy(&one.value, input.data() + 4, sizeof one.value);
  }
  return script;
}

/// Scripts to begin with: `count` operations of the kinds below `kinds`, edge numbers more often than others.
inline material scripts(std::uint8_t kinds, std::size_t count) {
  numbers draw(kinds);
  material made{.bytes_max = 32 * operation_bytes};
  const auto any = [&draw, kinds] {
    return encoded({.what = static_cast<std::uint8_t>(draw.below(kinds)),
                    .how = static_cast<std::uint8_t>(draw.next()),
                    .word = static_cast<std::uint16_t>(draw.next()),
                    .value = draw.one_in(3) ? edge_number(draw) : draw.below(64)});
  };
  made.specimens.emplace_back(); // nothing is done
  for (int i = 0; i < 16; ++i) {
    auto& one = made.specimens.emplace_back();
    for (std::size_t n = 0; n < count; ++n) {
      one.units.push_back(any());
    }
  }
  for (int i = 0; i < 256; ++i) {
    made.pieces.push_back(any());
  }
  return made;
}

/// Changes one word of 8, 4 or 1 bytes among `targets`, offsets of words of 8.
inline void
poke(std::span<std::byte> memory, std::span<const std::uint32_t> targets, const operation& one) {
  auto* const at = memory.data() + targets[one.word % targets.size()];
  const auto half = (one.how >> 3U & 1U) * 4U;
  std::uint64_t whole_word = 0;
  std::memcpy(&whole_word, at, sizeof whole_word);
  std::uint32_t half_word = 0;
  std::memcpy(&half_word, at + half, sizeof half_word);
  switch (one.how % 6) {
  case 0:
    whole_word = one.value;
    break;
  case 1:
    whole_word ^= std::uint64_t{1} << one.value % 64;
    break;
  case 2:
    whole_word += one.value % 16 - 8;
    break;
  case 3:
    half_word = static_cast<std::uint32_t>(one.value);
    std::memcpy(at + half, &half_word, sizeof half_word);
    return;
  case 4:
    half_word += static_cast<std::uint32_t>(one.value % 16) - 8;
    std::memcpy(at + half, &half_word, sizeof half_word);
    return;
  default:
    at[one.how / 6 % 8] = static_cast<std::byte>(one.value);
    return;
  }
  std::memcpy(at, &whole_word, sizeof whole_word);
}

/// Memory that ends where an unreadable page begins: reading past it is a crash.
class guarded_memory {
public:
  explicit guarded_memory(std::size_t bytes)
      : bytes_(bytes), mapped_((bytes + page_bytes - 1) / page_bytes * page_bytes + page_bytes) {
    void* const at =
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED
        || mprotect(static_cast<std::byte*>(at) + mapped_ - page_bytes, page_bytes, PROT_NONE)
               != 0) {
      throw std::runtime_error("no guarded memory");
    }
    base_ = static_cast<std::byte*>(at);
  }

  guarded_memory(const guarded_memory&) = delete;
  guarded_memory& operator=(const guarded_memory&) = delete;

  ~guarded_memory() { munmap(base_, mapped_); }

  [[nodiscard]] std::span<std::byte> span() const {
    return {base_ + mapped_ - page_bytes - bytes_, bytes_};
  }

  void set(std::span<const std::byte> image) const {
    std::memcpy(span().data(), image.data(), image.size());
  }

private:
  static constexpr std::size_t page_bytes = std::size_t{64} << 10U; // whole pages everywhere
  std::size_t bytes_;
  std::size_t mapped_;
  std::byte* base_ = nullptr;
};

} // namespace vdist::testing::fuzz
