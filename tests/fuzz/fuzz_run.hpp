// tests/fuzz/fuzz_run.hpp — feeds one decoder with many inputs and says what is wrong with it.
// F-1 It neither crashes nor hangs: the inputs run in a child process, whose end by a signal is a finding like any other.
// F-2 It refuses with its own error code and one line of text. F-3 It asks the heap for no more than is promised, whatever
// lengths the input claims. F-4 What it accepts means one thing: encoded and decoded again it is equal, and encoded a second time it
// is the same bytes.
// A finding is printed with the number that replays it (VDIST_TEST_SEED=number VDIST_TEST_ROUNDS=1) and with its bytes, shrunk.
#pragma once

#include "tests/fuzz/mutation.hpp"

#include "runtime/base/result.hpp"

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace vdist::testing::fuzz {

struct judgement {
  bool is_accepted = false;
  std::string complaint; // empty: none
};

inline judgement refused() {
  return {};
}

inline judgement accepted() {
  return {.is_accepted = true};
}

inline judgement wrong(std::string complaint) {
  return {.complaint = std::move(complaint)};
}

struct subject {
  std::string name;
  material from;
  std::function<judgement(std::span<const std::byte>)> judge;
  bool takes_specimens = true; // every specimen must be accepted as it is
};

struct finding {
  std::uint64_t seed = 0; // replays it
  std::string cause;
  bytes input;
  bytes shrunk;       // its smallest part that was found to fail …
  std::string result; // … maybe in another way
};

struct outcome {
  std::uint64_t accepted = 0; // inputs
  std::uint64_t refused = 0;
  std::optional<finding> found; // the first one; ends the search
};

/// The inputs of the seeds `first`, `first` + 1, … A decoder hangs that keeps `patience` waiting.
[[nodiscard]] outcome search(const subject& one,
                             std::uint64_t first,
                             std::uint64_t inputs,
                             std::chrono::milliseconds patience = std::chrono::seconds(20));

/// As many inputs as VDIST_TEST_ROUNDS says, 20,000 without it. Fails the test case with what was found. Also when nothing at all
/// is accepted or refused: then the inputs test nothing.
void run(const subject& one);

/// Bytes that this thread has asked the heap for.
[[nodiscard]] std::size_t heap_bytes() noexcept;

/// A promise about the heap: `fixed` and so many times the input.
struct heap_bound {
  std::size_t fixed = 1024; // error texts
  std::size_t times = 4;

  [[nodiscard]] std::size_t of(std::size_t input_bytes) const {
    return fixed + times * input_bytes;
  }
};

/// F-2. Without an expected code: the input says which, and maybe nothing more.
[[nodiscard]] inline judgement judge_error(const error& cause, std::optional<errc> expected) {
  const bool is_one_line = (!cause.context.empty() || !expected)
                           && std::none_of(cause.context.begin(), cause.context.end(), [](char c) {
                                return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
                              });
  if (expected && cause.code != *expected) {
    return wrong("another error code: " + std::string(to_string(cause.code)));
  }
  return is_one_line ? refused() : wrong("an error text that is not one line: " + cause.context);
}

/// A decoder with its encoder.
template <class T>
struct codec {
  std::function<result<T>(std::span<const std::byte>)> decode;
  std::function<bytes(const T&)> encode;
  std::function<bool(const T&, const T&)> is_same;
  std::optional<errc> refusal = errc::corrupt; // as judge_error
  heap_bound bound{};
};

/// F-2 to F-4.
template <class T>
judgement judge_codec(const codec<T>& under_test, std::span<const std::byte> input) {
  const auto before = heap_bytes();
  const auto value = under_test.decode(input);
  const auto taken = heap_bytes() - before;
  if (taken > under_test.bound.of(input.size())) {
    return wrong("it asked the heap for " + std::to_string(taken) + " bytes");
  }
  if (!value) {
    return judge_error(value.error(), under_test.refusal);
  }
  const auto once = under_test.encode(*value);
  const auto again = under_test.decode(once);
  if (!again) {
    return wrong("what it accepted is refused once encoded: " + again.error().context);
  }
  if (!under_test.is_same(*value, *again)) {
    return wrong("decode(encode(x)) is not x; encoded: " + hex(once));
  }
  return under_test.encode(*again) == once ? accepted() : wrong("encoded twice it is two things");
}

template <class T>
subject subject_of(std::string name, material from, codec<T> under_test) {
  return {.name = std::move(name),
          .from = std::move(from),
          .judge = [under_test = std::move(under_test)](std::span<const std::byte> input) {
            return judge_codec(under_test, input);
          }};
}

} // namespace vdist::testing::fuzz
