// runtime/metrics/exposition.hpp — numbers of a moment as a page in Prometheus' text format (version 0.0.4).
// Why collect first: a family's samples stand together on the page, while who has them goes replica by replica.
//
// E-1 A family has one type and one help text, and stands once on the page; families keep the order in which they came.
// E-2 A histogram's buckets are cumulative, the last one is +Inf and equal to its count.
// Labels are escaped here; names are the caller's, and legal. Not thread-safe: one page, one thread. Its size follows from
// the configuration: no label's value is a client's.
#pragma once

#include "runtime/metrics/histogram.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::metrics {

struct label {
  std::string name;
  std::string value;
};

using labels = std::vector<label>;

/// What a family is called, and what it means.
struct family_name {
  std::string_view name;
  std::string_view help; // one sentence
};

/// The media type of a page.
inline constexpr std::string_view text_format = "text/plain; version=0.0.4; charset=utf-8";

class exposition {
public:
  exposition();
  ~exposition();
  exposition(const exposition&) = delete;
  exposition& operator=(const exposition&) = delete;

  /// A number that only rises, as long as the process lives. `what.name` ends with _total.
  void counter(const family_name& what, labels of, double value);
  void counter(const family_name& what, labels of, std::uint64_t value);
  void gauge(const family_name& what, labels of, double value);
  void histogram(const family_name& what, labels of, const histogram_snapshot& value);

  /// The page.
  [[nodiscard]] std::string text() const;

private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

} // namespace vdist::metrics
