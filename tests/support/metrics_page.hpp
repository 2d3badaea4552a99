// tests/support/metrics_page.hpp — a page in Prometheus' text format, read as strictly as its tools read it, and more so: what
// promtool would complain of is a violation here, too.
//
// Violations: a line that is nothing; a family without HELP and TYPE in that order before its samples, or twice on the page;
// illegal names, labels, escapes and values; a series twice; samples of one family with different label names; a counter
// that does not end with _total, is negative or no number; a histogram whose buckets do not rise up to +Inf, are not
// cumulative, or whose +Inf is not its count.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::testing {

using label_map = std::map<std::string, std::string>;

struct metric_sample {
  std::string name; // with _bucket, _sum, _count
  label_map labels;
  double value = 0;
};

struct metric_family {
  std::string name;
  std::string type;
  std::string help;
  std::vector<metric_sample> samples;
};

struct metrics_page {
  std::vector<metric_family> families;
  std::vector<std::string> violations; // with line numbers

  [[nodiscard]] const metric_family* family(std::string_view name) const;

  /// Sum of the samples of this name that have these labels, others too; nullopt: there is none.
  [[nodiscard]] std::optional<double> value(std::string_view name,
                                            const label_map& labels = {}) const;
};

[[nodiscard]] metrics_page read_metrics(std::string_view text);

/// What has fallen between two pages of one process, or is gone; empty: nothing.
[[nodiscard]] std::vector<std::string> falls(const metrics_page& before, const metrics_page& after);

} // namespace vdist::testing
