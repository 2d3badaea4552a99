// runtime/metrics/bounds.hpp — the bounds of all histograms, in seconds or counts. Those of vLLM where it has the metric,
// so that one dashboard reads both.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace vdist::metrics {

inline constexpr std::array first_token_bounds{0.001, 0.005, 0.01, 0.02,  0.04,  0.06,  0.08, 0.1,
                                               0.25,  0.5,   0.75, 1.0,   2.5,   5.0,   7.5,  10.0,
                                               20.0,  40.0,  80.0, 160.0, 640.0, 2560.0};

/// Between two tokens of a request.
inline constexpr std::array token_gap_bounds{0.01,
                                             0.025,
                                             0.05,
                                             0.075,
                                             0.1,
                                             0.15,
                                             0.2,
                                             0.3,
                                             0.4,
                                             0.5,
                                             0.75,
                                             1.0,
                                             2.5,
                                             5.0,
                                             7.5,
                                             10.0,
                                             20.0,
                                             40.0,
                                             80.0};

/// Of a request, and of its parts.
inline constexpr std::array request_time_bounds{0.3,  0.5,   0.8,   1.0,   1.5,   2.0,    2.5,
                                                5.0,  10.0,  15.0,  20.0,  30.0,  40.0,   50.0,
                                                60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};

inline constexpr std::array iteration_token_bounds{
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0};

/// Of a recovery and its parts, of which a second is much.
inline constexpr std::array recovery_bounds{0.0001,
                                            0.00025,
                                            0.0005,
                                            0.001,
                                            0.0025,
                                            0.005,
                                            0.01,
                                            0.025,
                                            0.05,
                                            0.1,
                                            0.25,
                                            0.5,
                                            1.0,
                                            2.5,
                                            5.0,
                                            10.0,
                                            30.0,
                                            60.0};

/// Of what happens between a client's request and its order.
inline constexpr std::array admission_bounds{0.0001,
                                             0.00025,
                                             0.0005,
                                             0.001,
                                             0.0025,
                                             0.005,
                                             0.01,
                                             0.025,
                                             0.05,
                                             0.1,
                                             0.25,
                                             0.5,
                                             1.0,
                                             2.5,
                                             5.0,
                                             10.0};

/// 1, 2, 5, 10, 20, … up to `max`.
[[nodiscard]] inline std::vector<double> token_count_bounds(std::int32_t max) {
  std::vector<double> bounds;
  for (double decade = 1; decade <= max; decade *= 10) {
    for (const auto digit : {1.0, 2.0, 5.0}) {
      if (digit * decade <= max) {
        bounds.push_back(digit * decade);
      }
    }
  }
  return bounds;
}

} // namespace vdist::metrics
