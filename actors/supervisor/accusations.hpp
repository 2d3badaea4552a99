// actors/supervisor/accusations.hpp — what is done about workers whose results differ from those of their peers although they
// report no error: once may be a particle, again and again is a device. A class without actors; counts outlive the
// workers of a slot, because the device does.
//
// J-1 A worker that a majority names is replaced: whoever follows checks the weights. Of two ranks that differ both are
//     suspected, and both are replaced when that happens again.
// J-2 A slot whose workers a majority has named `to_retire` times within the window is given up, with its device. Suspicion
//     never retires a device.
// Not thread-safe.
#pragma once

#include "runtime/base/clock.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vdist::supervisor {

class accusations {
public:
  enum class verdict : std::uint8_t { none, replace, retire };

  static constexpr std::chrono::hours window{1};
  static constexpr std::ptrdiff_t suspicions_to_replace = 2;
  static constexpr std::ptrdiff_t to_retire = 3;

  explicit accusations(std::size_t slots) : slots_(slots) {}

  /// `is_certain`: a majority has computed something else (J-1).
  [[nodiscard]] verdict accuse(std::size_t slot, bool is_certain, time_point now) {
    auto& known = slots_.at(slot);
    std::erase_if(known, [now](const accusation& one) { return now - one.at > window; });
    known.push_back({now, is_certain});
    const auto certain = std::count_if(
        known.begin(), known.end(), [](const accusation& one) { return one.is_certain; });
    if (certain >= to_retire) {
      return verdict::retire;
    }
    const auto suspicions = static_cast<std::ptrdiff_t>(known.size()) - certain;
    return is_certain || suspicions % suspicions_to_replace == 0 ? verdict::replace : verdict::none;
  }

private:
  struct accusation {
    time_point at;
    bool is_certain = false;
  };

  std::vector<std::vector<accusation>> slots_; // within the window
};

} // namespace vdist::supervisor
