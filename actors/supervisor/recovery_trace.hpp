// actors/supervisor/recovery_trace.hpp — when each part of a recovery ended, as plain data: for reports, pictures and tests.
//
// A mark is one moment of one epoch; each but the last two ends a state of the machine (recovery.hpp):
//   detected ends RUNNING · fenced FENCE · quiesced QUIESCE · spawned PLAN · attached REBUILD · begun RESTORE
// The difference of two neighbours is what that part of the recovery cost.
//
// M-1 Marks of an epoch keep the order of the events; a later epoch's come later.
// M-2 What happens once per epoch (detected, fenced, begun, given_up) is known by its first mark, what every worker does
//     (quiesced, spawned, attached) by its last: the slowest decides.
// M-3 A fault during a recovery opens the next epoch; the one before then never has a `begun`.
// Memory: the newest epochs_max epochs. Not thread-safe; the observer is called in the thread of whoever notes.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/ids.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

namespace vdist::supervisor {

enum class recovery_point : std::uint8_t {
  detected, // the fault was heard of
  fenced,   // every wait of the epoch before has ended
  quiesced, // a survivor left the epoch before
  spawned,  // a replacement was ordered, or a living worker adopted
  attached, // a replacement has its weights and waits
  begun,    // everybody was told to go on
  given_up, // the replica ends here
};

inline constexpr std::size_t recovery_points = 7;

[[nodiscard]] std::string_view to_string(recovery_point point) noexcept;

struct recovery_mark {
  epoch now; // that is being prepared
  recovery_point what = recovery_point::detected;
  std::int32_t slot = -1; // whose; -1: of the whole group
  incarnation worker;     // of the slot
  time_point at;
};

/// Called for every mark as it is made; may be empty, must not block.
using recovery_observer = std::function<void(const recovery_mark&)>;

/// What is known of one epoch (M-2).
struct epoch_times {
  epoch now;
  std::array<std::optional<time_point>, recovery_points> at;

  [[nodiscard]] std::optional<time_point> of(recovery_point point) const {
    return at[static_cast<std::size_t>(point)];
  }
};

class recovery_trace {
public:
  static constexpr std::size_t epochs_max = 16;

  explicit recovery_trace(recovery_observer observer = {});

  void note(const recovery_mark& mark);

  /// Oldest first.
  [[nodiscard]] const std::vector<epoch_times>& epochs() const { return epochs_; }

private:
  recovery_observer observer_;
  std::vector<epoch_times> epochs_;
};

} // namespace vdist::supervisor
