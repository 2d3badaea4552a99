// actors/run/time_line.hpp — tokens per second over time, with faults marked, as one SVG without anything outside of it:
// no script, no font, no link. Readable on light and dark ground (the viewer's colour scheme decides).
// Pure function; texts are escaped, sizes bounded: a picture of any run has at most columns_max columns.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vdist::actors {

struct time_line_mark {
  double at_ms = 0;               // since the beginning of the line
  std::optional<double> stall_ms; // shaded behind the mark
  std::string text;               // in the legend
};

struct time_line {
  std::string title;
  std::string note; // below the title: the verdict
  double bucket_ms = 10;
  std::vector<std::uint32_t> tokens; // by bucket
  std::vector<time_line_mark> marks; // by time
};

inline constexpr std::size_t time_line_columns_max = 430;
/// Marks that the legend names; the others are only drawn.
inline constexpr std::size_t time_line_legend_max = 24;

[[nodiscard]] std::string draw_time_line(const time_line& line);

} // namespace vdist::actors
