#include "actors/system/progress.hpp"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

namespace vdist::actors {

namespace {

constexpr int bar_cells = 30;

void write_stderr(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
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
  if (style_ == progress_style::silent) {
    return;
  }
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  const auto interval = style_ == progress_style::bar ? std::chrono::nanoseconds(redraw_interval)
                                                      : std::chrono::nanoseconds(line_interval);
  if (last_ == std::chrono::steady_clock::time_point{} && style_ == progress_style::lines) {
    last_ = now; // short work prints no line
  }
  if (now - last_ < interval) {
    return;
  }
  last_ = now;
  fraction = std::clamp(fraction, 0.0, 1.0);
  if (style_ == progress_style::lines) {
    write_stderr(fmt::format("  {} {:.0f} %  {}\n", label_, fraction * 100, detail));
    return;
  }
  const int full = static_cast<int>(fraction * bar_cells);
  is_drawn_ = true;
  write_stderr(fmt::format("\r\033[K  {:<10} [{}{}] {:3.0f} %  {}",
                           label_,
                           std::string(static_cast<std::size_t>(full), '='),
                           std::string(static_cast<std::size_t>(bar_cells - full), ' '),
                           fraction * 100,
                           detail));
}

std::string in_clock(std::chrono::duration<double> time) {
  const auto seconds = static_cast<std::int64_t>(std::max(0.0, time.count()));
  if (seconds < 3600) {
    return fmt::format("{}:{:02}", seconds / 60, seconds % 60);
  }
  return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

} // namespace vdist::actors
