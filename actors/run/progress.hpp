// actors/run/progress.hpp — what a person sees while something takes long: a bar on a terminal, plain lines elsewhere.
// All output goes to stderr; stdout belongs to results. Thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
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

/// How fast a count of bytes has grown lately. Not thread-safe.
class transfer_rate {
public:
  static constexpr std::chrono::seconds window{10};
  static constexpr std::chrono::milliseconds sample_interval{250};

  /// The first call is where counting begins: what was there already, a part of a file that was
  /// downloaded before, is not speed. A count that falls, of what is done again, stands still.
  void note(std::chrono::steady_clock::time_point now, std::uint64_t done);

  /// Over the window, or since the beginning; 0 as long as nothing can be said.
  [[nodiscard]] double bytes_per_second() const;

private:
  struct sample {
    std::chrono::steady_clock::time_point at;
    std::uint64_t done;
  };

  std::deque<sample> samples_; // oldest first; at most window / sample_interval + 2
};

/// "1.25 of 4.00 GB  2.31 GB/s  0:01 left"; without the last two as long as the rate is 0.
[[nodiscard]] std::string
transfer_text(std::uint64_t done, std::uint64_t total, double bytes_per_second);

/// A bar that is redrawn at most every redraw_interval, or a line every line_interval.
class progress_bar {
public:
  static constexpr std::chrono::milliseconds redraw_interval{100};
  static constexpr std::chrono::seconds line_interval{5};

  progress_bar(progress_style style, std::string label);
  ~progress_bar(); // ends the line of a bar that was drawn

  /// `detail` stands behind the bar: a rate, a remaining time. Cut to the width of the terminal.
  void update(double fraction, const std::string& detail);

  /// Bytes of a transfer, its rate and the remaining time: what transfer_text() says.
  void update_bytes(std::uint64_t done, std::uint64_t total);

private:
  /// Whether it is time to show something. mutex_ is held.
  [[nodiscard]] bool is_due(std::chrono::steady_clock::time_point now);
  void show(double fraction, const std::string& detail);

  progress_style style_;
  std::string label_;
  std::mutex mutex_; // guards the rest
  std::chrono::steady_clock::time_point last_{};
  transfer_rate rate_;
  bool is_drawn_ = false;
};

/// "1:05" or "2:03:04".
[[nodiscard]] std::string in_clock(std::chrono::duration<double> time);

} // namespace vdist::actors
