#include "actors/run/time_line.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace vdist::actors {

namespace {

// Pixels of the picture.
constexpr double left = 64;
constexpr double top = 84;
constexpr double plot_width = 860;
constexpr double plot_height = 220;
constexpr double right = 24;
constexpr double width = left + plot_width + right;
constexpr double bottom = top + plot_height;
constexpr double legend_row = 18;
constexpr double legend_columns = 2;
constexpr double flag_radius = 8;

constexpr const char* style = R"(<style>
  svg { color-scheme: light dark; }
  .ground { fill: #ffffff; } .ink { fill: #1f2933; } .soft { fill: #64707d; }
  .grid { stroke: #e3e8ee; } .axis { stroke: #9aa5b1; }
  .area { fill: #2f7ed8; fill-opacity: .18; } .line { stroke: #2f7ed8; }
  .mark { stroke: #d64545; } .flag { fill: #d64545; } .stall { fill: #d64545; fill-opacity: .14; }
  .flagtext { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #14181d; } .ink { fill: #e6ebf0; } .soft { fill: #93a1af; }
    .grid { stroke: #283038; } .axis { stroke: #55616d; }
    .area { fill: #6db1ff; fill-opacity: .22; } .line { stroke: #6db1ff; }
    .mark { stroke: #ff7b72; } .flag { fill: #ff7b72; } .stall { fill: #ff7b72; fill-opacity: .2; }
    .flagtext { fill: #14181d; }
  }
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; }
  .title { font-size: 16px; font-weight: 600; } .small { font-size: 11px; }
</style>
)";

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char letter : text) {
    switch (letter) {
    case '&':
      safe += "&amp;";
      break;
    case '<':
      safe += "&lt;";
      break;
    case '>':
      safe += "&gt;";
      break;
    case '"':
      safe += "&quot;";
      break;
    default:
      safe += static_cast<unsigned char>(letter) < 0x20 ? ' ' : letter;
    }
  }
  return safe;
}

/// 1, 2 or 5 times a power of ten, not below `least`.
double round_step(double least) {
  const double power = std::pow(10, std::floor(std::log10(std::max(least, 1e-9))));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least) {
      return factor * power;
    }
  }
  return 10 * power;
}

/// Buckets joined so that no more than time_line_columns_max are left.
struct columns {
  double ms = 0;             // of one
  std::vector<double> rates; // tokens per second
};

columns columns_of(const time_line& line) {
  const auto joined = std::max<std::size_t>(
      1, (line.tokens.size() + time_line_columns_max - 1) / time_line_columns_max);
  columns made{.ms = line.bucket_ms * static_cast<double>(joined)};
  for (std::size_t from = 0; from < line.tokens.size(); from += joined) {
    const auto to = std::min(from + joined, line.tokens.size());
    double sum = 0;
    for (std::size_t i = from; i < to; ++i) {
      sum += line.tokens[i];
    }
    made.rates.push_back(sum * 1000 / (line.bucket_ms * static_cast<double>(to - from)));
  }
  return made;
}

/// Draws into one text; knows the scales.
class painter {
public:
  painter(const time_line& line, columns made)
      : line_(line),
        columns_(std::move(made)),
        total_ms_(std::max(1.0, columns_.ms * static_cast<double>(columns_.rates.size()))) {
    for (const auto& mark : line.marks) {
      total_ms_ = std::max(total_ms_, mark.at_ms);
    }
    const auto highest = std::max_element(columns_.rates.begin(), columns_.rates.end());
    rate_step_ = round_step((highest == columns_.rates.end() ? 1 : std::max(1.0, *highest)) / 4);
    rate_max_ = highest == columns_.rates.end()
                    ? rate_step_
                    : std::max(rate_step_, std::ceil(*highest / rate_step_) * rate_step_);
  }

  std::string draw() {
    const auto named = std::min(line_.marks.size(), time_line_legend_max);
    const double rows = std::ceil(static_cast<double>(named) / legend_columns);
    const double height = bottom + 58 + rows * legend_row + 12;
    out_ = fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
                       "width=\"{0:.0f}\" height=\"{1:.0f}\" role=\"img\">\n",
                       width,
                       height);
    out_ += fmt::format("<title>{}</title>\n", escaped(line_.title));
    out_ += style;
    out_ += fmt::format(
        "<rect class=\"ground\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"8\"/>\n", width, height);
    text(left, 30, "ink title", "start", line_.title);
    text(left, 50, "soft", "start", line_.note);
    draw_grid();
    draw_stalls();
    draw_rates();
    draw_marks();
    draw_legend(named);
    return out_ + "</svg>\n";
  }

private:
  [[nodiscard]] double x(double ms) const {
    return left + plot_width * std::clamp(ms / total_ms_, 0.0, 1.0);
  }

  [[nodiscard]] double y(double rate) const { return bottom - plot_height * rate / rate_max_; }

  void text(double at_x,
            double at_y,
            std::string_view style_class,
            std::string_view anchor,
            std::string_view words) {
    out_ +=
        fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n",
                    style_class,
                    at_x,
                    at_y,
                    anchor,
                    escaped(words));
  }

  void stroke(std::string_view style_class, double x1, double y1, double x2, double y2) {
    out_ += fmt::format(
        "<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n",
        style_class,
        x1,
        y1,
        x2,
        y2);
  }

  void draw_grid() {
    for (double rate = 0; rate <= rate_max_ * 1.0001; rate += rate_step_) {
      stroke(rate == 0 ? "axis" : "grid", left, y(rate), left + plot_width, y(rate));
      text(left - 8, y(rate) + 4, "soft small", "end", fmt::format("{:g}", rate));
    }
    text(left, top - 14, "soft small", "start", "tokens per second");
    const double step = round_step(total_ms_ / 9);
    for (double ms = 0; ms <= total_ms_ * 1.0001; ms += step) {
      stroke("axis", x(ms), bottom, x(ms), bottom + 4);
      text(x(ms), bottom + 18, "soft small", "middle", fmt::format("{:g}", ms / 1000));
    }
    text(left + plot_width, bottom + 34, "soft small", "end", "seconds");
  }

  void draw_stalls() {
    for (const auto& mark : line_.marks) {
      if (mark.stall_ms) {
        const double from = x(mark.at_ms);
        out_ += fmt::format("<rect class=\"stall\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" "
                            "height=\"{:.1f}\"/>\n",
                            from,
                            top,
                            std::max(1.5, x(mark.at_ms + *mark.stall_ms) - from),
                            plot_height);
      }
    }
  }

  /// Steps, not slopes: a bucket without tokens is seen as one.
  void draw_rates() {
    if (columns_.rates.empty()) {
      return;
    }
    std::string path;
    for (std::size_t i = 0; i < columns_.rates.size(); ++i) {
      const double from = x(columns_.ms * static_cast<double>(i));
      const double to = x(columns_.ms * static_cast<double>(i + 1));
      path +=
          fmt::format("{}{:.1f} {:.1f}H{:.1f}", i == 0 ? "M" : "L", from, y(columns_.rates[i]), to);
    }
    const double end = x(columns_.ms * static_cast<double>(columns_.rates.size()));
    out_ += fmt::format("<path class=\"area\" d=\"{}L{:.1f} {:.1f}L{:.1f} {:.1f}Z\"/>\n",
                        path,
                        end,
                        bottom,
                        left,
                        bottom);
    out_ += fmt::format("<path class=\"line\" fill=\"none\" stroke-width=\"1.5\" "
                        "stroke-linejoin=\"round\" d=\"{}\"/>\n",
                        path);
  }

  /// Flags of marks that lie close together go down one by one.
  void draw_marks() {
    double last = 0;
    double flag_y = top;
    for (std::size_t i = 0; i < line_.marks.size(); ++i) {
      const double at = x(line_.marks[i].at_ms);
      stroke("mark", at, top, at, bottom);
      flag_y = i > 0 && at - last < 2 * flag_radius ? flag_y + 2 * flag_radius : top;
      flag_y = flag_y > bottom - flag_radius ? top : flag_y;
      last = at;
      if (i < time_line_legend_max) {
        out_ += fmt::format("<circle class=\"flag\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.0f}\"/>\n",
                            at,
                            flag_y,
                            flag_radius);
        text(at, flag_y + 4, "flagtext small", "middle", std::to_string(i + 1));
      }
    }
  }

  void draw_legend(std::size_t named) {
    const auto rows =
        static_cast<std::size_t>(std::ceil(static_cast<double>(named) / legend_columns));
    for (std::size_t i = 0; i < named; ++i) {
      const double at_x = left + (i < rows ? 0 : plot_width / legend_columns);
      const double at_y =
          bottom + 58 + legend_row * static_cast<double>(i % std::max<std::size_t>(rows, 1));
      text(at_x, at_y, "ink small", "start", fmt::format("{}  {}", i + 1, line_.marks[i].text));
    }
  }

  const time_line& line_;
  columns columns_;
  double total_ms_;
  double rate_step_ = 1;
  double rate_max_ = 1;
  std::string out_;
};

} // namespace

std::string draw_time_line(const time_line& line) {
  return painter(line, columns_of(line)).draw();
}

} // namespace vdist::actors
