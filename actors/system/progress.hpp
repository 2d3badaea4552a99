// actors/system/progress.hpp — what a person sees while something takes long: a bar on a terminal, plain lines elsewhere.
// All output goes to stderr; stdout belongs to results. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace vdist::actors {

/// How stderr is used.
enum class progress_style : std::uint8_t { silent, lines, bar };

/// bar on a terminal, lines elsewhere, silent when asked for.
[[nodiscard]] progress_style progress_style_of(bool is_quiet);

/// One line per finished phase, with the time since the one before.
class phase_log {
public:
  explicit phase_log(progress_style style);
  void done(std::string_view phase, const std::string& outcome);

private:
  progress_style style_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point last_;
};

/// A bar that is redrawn at most every redraw_interval, or a line every line_interval.
class progress_bar {
public:
  static constexpr std::chrono::milliseconds redraw_interval{100};
  static constexpr std::chrono::seconds line_interval{5};

  progress_bar(progress_style style, std::string label);
  ~progress_bar(); // ends the line of a bar that was drawn

  /// `detail` stands behind the bar: a rate, a remaining time.
  void update(double fraction, const std::string& detail);

private:
  progress_style style_;
  std::string label_;
  std::mutex mutex_;
  std::chrono::steady_clock::time_point last_{};
  bool is_drawn_ = false;
};

/// "1:05" or "2:03:04".
[[nodiscard]] std::string in_clock(std::chrono::duration<double> time);

} // namespace vdist::actors
