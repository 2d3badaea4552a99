#include "actors/run/progress.hpp"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace vdist::actors {

namespace {

constexpr int bar_cells = 30;
constexpr std::size_t columns_usual = 80; // where the terminal does not say

void write_stderr(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

/// A line that wraps cannot be drawn over.
std::size_t terminal_columns() {
  winsize size{};
  const bool is_known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return is_known ? size.ws_col : columns_usual;
}

/// In the unit of `scale`: both numbers of a pair are in the same one.
std::string in_unit(std::uint64_t bytes, std::uint64_t scale) {
  constexpr double giga = 1e9;
  constexpr double mega = 1e6;
  return fmt::format("{:.2f}", static_cast<double>(bytes) / (scale >= 1'000'000'000 ? giga : mega));
}

} // namespace

progress_style progress_style_of(bool is_quiet) {
  if (is_quiet) {
    return progress_style::silent;
  }
  return ::isatty(STDERR_FILENO) == 1 ? progress_style::bar : progress_style::lines;
}

phase_log::phase_log(progress_style style)
    : style_(style), last_(std::chrono::steady_clock::now()) {}

void phase_log::done(std::string_view phase, const std::string& outcome) {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  const std::chrono::duration<double, std::milli> elapsed = now - last_;
  last_ = now;
  if (style_ != progress_style::silent) {
    const auto* clear =
        style_ == progress_style::bar ? "\r\033[K" : ""; // a bar may stand on the line
    write_stderr(
        fmt::format("{}  {:<10} {:>8.1f} ms  {}\n", clear, phase, elapsed.count(), outcome));
  }
}

progress_bar::progress_bar(progress_style style, std::string label)
    : style_(style), label_(std::move(label)) {}

progress_bar::~progress_bar() {
  if (is_drawn_) {
    write_stderr("\r\033[K");
  }
}

void progress_bar::update(double fraction, const std::string& detail) {
  const std::lock_guard lock(mutex_);
  if (is_due(std::chrono::steady_clock::now())) {
    show(fraction, detail);
  }
}

void progress_bar::update_bytes(std::uint64_t done, std::uint64_t total) {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  rate_.note(now, done);
  if (is_due(now)) {
    const double fraction = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
    show(fraction, transfer_text(done, total, rate_.bytes_per_second()));
  }
}

bool progress_bar::is_due(std::chrono::steady_clock::time_point now) {
  if (style_ == progress_style::silent) {
    return false;
  }
  const auto interval = style_ == progress_style::bar ? std::chrono::nanoseconds(redraw_interval)
                                                      : std::chrono::nanoseconds(line_interval);
  if (last_ == std::chrono::steady_clock::time_point{} && style_ == progress_style::lines) {
    last_ = now; // short work prints no line
  }
  if (now - last_ < interval) {
    return false;
  }
  last_ = now;
  return true;
}

void progress_bar::show(double fraction, const std::string& detail) {
  fraction = std::clamp(fraction, 0.0, 1.0);
  if (style_ == progress_style::lines) {
    write_stderr(fmt::format("  {} {:.0f} %  {}\n", label_, fraction * 100, detail));
    return;
  }
  const int full = static_cast<int>(fraction * bar_cells);
  const auto line = fmt::format("  {:<10} [{}{}] {:3.0f} %  {}",
                                label_,
                                std::string(static_cast<std::size_t>(full), '='),
                                std::string(static_cast<std::size_t>(bar_cells - full), ' '),
                                fraction * 100,
                                detail);
  is_drawn_ = true;
  write_stderr("\r\033[K" + line.substr(0, terminal_columns() - 1));
}

void transfer_rate::note(std::chrono::steady_clock::time_point now, std::uint64_t done) {
  if (!samples_.empty()) {
    done = std::max(done, samples_.back().done);
  }
  // The newest sample moves until it is an interval away from the one before it.
  if (samples_.size() > 1
      && samples_.back().at - samples_[samples_.size() - 2].at < sample_interval) {
    samples_.back() = {now, done};
  } else {
    samples_.push_back({now, done});
  }
  while (samples_.size() > 2 && now - samples_[1].at >= window) {
    samples_.pop_front();
  }
}

double transfer_rate::bytes_per_second() const {
  if (samples_.size() < 2) {
    return 0;
  }
  const std::chrono::duration<double> time = samples_.back().at - samples_.front().at;
  const auto bytes = static_cast<double>(samples_.back().done - samples_.front().done);
  return time.count() > 0 ? bytes / time.count() : 0;
}

std::string transfer_text(std::uint64_t done, std::uint64_t total, double bytes_per_second) {
  constexpr std::uint64_t gigabyte = 1'000'000'000;
  auto text = fmt::format(
      "{} of {} {}", in_unit(done, total), in_unit(total, total), total >= gigabyte ? "GB" : "MB");
  if (bytes_per_second >= 1) {
    const bool is_fast = bytes_per_second >= 1e8;
    const auto left = static_cast<double>(total - std::min(done, total)) / bytes_per_second;
    text += fmt::format("  {:.2f} {}  {} left",
                        bytes_per_second / (is_fast ? 1e9 : 1e6),
                        is_fast ? "GB/s" : "MB/s",
                        in_clock(std::chrono::duration<double>(left)));
  }
  return text;
}

std::string in_clock(std::chrono::duration<double> time) {
  const auto seconds = static_cast<std::int64_t>(std::max(0.0, time.count()));
  if (seconds < 3600) {
    return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
  }
  return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

} // namespace vdist::actors
