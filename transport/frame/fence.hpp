// transport/frame/fence.hpp — one word per replica that ends every wait of a past epoch.
// A recovery raises the fence to the epoch that is about to begin; whoever waits on behalf of an
// older one stops with errc::aborted, at once also when asleep. The word is plain memory: it may
// live in a region that several processes map (placement new by the creator, reinterpretation by
// the others). N-1 the word never falls. Callable from any thread; raise() is a system call.
#pragma once

#include "runtime/base/ids.hpp"

#include <atomic>
#include <cstdint>
#include <type_traits>

namespace vdist::frame {

class alignas(64) fence {
public:
  /// Ends all waits of epochs below `to`. Raising to a lower value than before does nothing.
  void raise(epoch to) noexcept;

  /// True when work of `mine` must stop.
  [[nodiscard]] bool is_raised_above(epoch mine) const noexcept {
    return word_.load(std::memory_order_acquire) > mine.value;
  }

  /// The word that sleepers watch beside their own.
  [[nodiscard]] const std::atomic<std::uint32_t>& word() const noexcept { return word_; }

private:
  std::atomic<std::uint32_t> word_{0};
};

static_assert(std::is_standard_layout_v<fence> && sizeof(fence) == 64, "lives in shared memory");
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

} // namespace vdist::frame
