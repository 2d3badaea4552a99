// transport/frame/futex.hpp — the kernel's wait and wake on one or two 32-bit words, usable across
// processes. Internal to transport/frame: everybody else waits through wait_policy.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace vdist::frame::futex {

/// Wakes everybody who sleeps on `word`.
void wake_all(const std::atomic<std::uint32_t>& word) noexcept;

/// Sleeps at most `at_most` while word == seen. Returns early for any reason: check again.
void wait(const std::atomic<std::uint32_t>& word,
          std::uint32_t seen,
          std::chrono::nanoseconds at_most) noexcept;

/// Sleeps at most `at_most` while both words are as seen. Where the kernel cannot wait for two
/// words (before Linux 5.16, or forbidden), sleeps on `word` for at most two_words_poll.
void wait_two(const std::atomic<std::uint32_t>& word,
              std::uint32_t seen,
              const std::atomic<std::uint32_t>& other,
              std::uint32_t other_seen,
              std::chrono::nanoseconds at_most) noexcept;

inline constexpr std::chrono::milliseconds two_words_poll{2};

} // namespace vdist::frame::futex
