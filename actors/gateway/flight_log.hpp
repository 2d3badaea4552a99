// actors/gateway/flight_log.hpp — which requests the steps in flight of one replica compute, in words that outlive the step
// lane and its process: whoever comes next knows over whom they died. Zeros are the beginning.
//
// One writer, the lane that works. It notes a step before the plan leaves and its end when the step is over; both cost
// a few stores. A writer that dies in between leaves a step noted in part, whose plan nobody got, or none; so ids are
// believed only as far as the ledger knows them.
// G-2 While a slot is in flight, nobody else gets it (sched S-1): the newest step that names it is enough.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/protocol/step.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vdist::actors {

/// Slots of a replica at most (scheduler.max_sequences).
inline constexpr std::size_t flight_slots_max = std::size_t{1} << 16U;

/// Memory that is never touched costs nothing: pages beyond the slots in use stay empty.
struct flight_words {
  struct slot {
    std::atomic<std::uint64_t> request{0};
    std::atomic<std::uint64_t> step{0}; // the newest that computes it; written last
  };

  std::atomic<std::uint64_t> over{0};      // no step up to this one is in flight
  std::atomic<std::uint64_t> committed{0}; // the newest step that was committed
  std::atomic<std::uint64_t> judged{0};    // `committed` when a culprit was found last
  std::array<slot, flight_slots_max> slots;
};

/// The words of one replica. Borrows them. Not thread-safe.
class flight_log {
public:
  /// `slots`: those that plans name are below it.
  flight_log(flight_words& words, std::int32_t slots)
      : words_(&words), slots_(std::min(static_cast<std::size_t>(slots), flight_slots_max)) {}

  /// Before the plan leaves.
  void take_off(const protocol::step_plan& plan) {
    for (std::size_t i = 0; i < plan.sequences(); ++i) {
      if (plan.slots[i] < slots_) {
        auto& slot = words_->slots[plan.slots[i]];
        slot.request.store(plan.request_ids[i], std::memory_order_relaxed);
        slot.step.store(plan.step, std::memory_order_release);
      }
    }
  }

  /// The oldest step in flight was committed.
  void land(step_id step) {
    words_->committed.store(step.value, std::memory_order_relaxed);
    words_->over.store(step.value, std::memory_order_release);
  }

  /// The requests of all steps in flight, each once; O(slots).
  [[nodiscard]] std::vector<request_id> flying() const {
    std::vector<request_id> ids;
    const auto over = words_->over.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < slots_; ++i) {
      if (words_->slots[i].step.load(std::memory_order_acquire) > over) {
        ids.emplace_back(words_->slots[i].request.load(std::memory_order_relaxed));
      }
    }
    return ids;
  }

  /// The steps in flight, up to `last`, never happened.
  void forget(step_id last) { words_->over.store(last.value, std::memory_order_release); }

  /// A culprit was found. True: steps were committed since the one before it.
  bool judge() {
    const auto committed = words_->committed.load(std::memory_order_relaxed);
    return words_->judged.exchange(committed, std::memory_order_relaxed) != committed;
  }

private:
  flight_words* words_;
  std::size_t slots_;
};

} // namespace vdist::actors
