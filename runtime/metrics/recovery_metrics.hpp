// runtime/metrics/recovery_metrics.hpp — faults of one replica and how long each part of its recoveries took. Written by
// its supervisor's thread and its step thread (actors/supervisor/recovery_meter.hpp), read by anybody.
#pragma once

#include "runtime/metrics/bounds.hpp"
#include "runtime/metrics/counter.hpp"
#include "runtime/metrics/histogram.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vdist::metrics {

/// In order. fence … restore are the states of the recovery machine, and add up to what lies between the fault's being
/// heard of and the order to go on.
enum class recovery_phase : std::uint8_t {
  detection, // last tokens before the fault … it was heard of: with the step under way, so at most
  fence,     // … every wait of the epoch has ended
  quiesce,   // … the last survivor has left the epoch
  respawn,   // … the last replacement was ordered
  rebuild,   // … the last replacement has its weights
  restore,   // … everybody was told to go on
  first_token, // … tokens again
  stall,       // all of it: last tokens before the fault … first ones behind it
};

inline constexpr std::size_t recovery_phases = 8;

/// For labels.
[[nodiscard]] constexpr std::string_view to_string(recovery_phase phase) noexcept {
  constexpr std::array<std::string_view, recovery_phases> names{
      "detection", "fence", "quiesce", "respawn", "rebuild", "restore", "first_token", "stall"};
  return names[static_cast<std::size_t>(phase)];
}

struct recovery_metrics {
  counter recoveries{0};    // that ended in a running epoch; planned replacements too
  counter fences{0};        // raised
  counter disagreements{0}; // of ranks about a step
  counter executors{0};     // that took the place of another
  std::array<histogram, recovery_phases> phases{histogram::of_seconds(recovery_bounds),
                                                histogram::of_seconds(recovery_bounds),
                                                histogram::of_seconds(recovery_bounds),
                                                histogram::of_seconds(recovery_bounds),
                                                histogram::of_seconds(recovery_bounds),
                                                histogram::of_seconds(recovery_bounds),
                                                histogram::of_seconds(recovery_bounds),
                                                histogram::of_seconds(recovery_bounds)};
  // Answers of workers that nobody took, by why; counted when their epoch ends.
  counter frames_stale{0};   // of an epoch, incarnation or sequence of the past
  counter frames_damaged{0}; // bytes that were no frame any more, and gaps
  counter frames_foreign{0}; // of somebody else

  [[nodiscard]] histogram& of(recovery_phase phase) {
    return phases[static_cast<std::size_t>(phase)];
  }

  [[nodiscard]] const histogram& of(recovery_phase phase) const {
    return phases[static_cast<std::size_t>(phase)];
  }
};

} // namespace vdist::metrics
