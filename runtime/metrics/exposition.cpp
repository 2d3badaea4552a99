#include "runtime/metrics/exposition.hpp"

#include "runtime/base/check.hpp"

#include <algorithm>
#include <limits>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sstream>
#include <utility>

namespace vdist::metrics {

struct exposition::impl {
  std::vector<prometheus::MetricFamily> families;

  /// E-1. There are some dozens.
  prometheus::ClientMetric& add(const family_name& what, prometheus::MetricType type, labels of) {
    auto found = std::find_if(families.begin(), families.end(), [&what](const auto& one) {
      return one.name == what.name;
    });
    if (found == families.end()) {
      families.push_back(
          {.name = std::string(what.name), .help = std::string(what.help), .type = type});
      found = std::prev(families.end());
    }
    VDIST_CHECK(found->type == type, "E-1: a family has one type");
    auto& metric = found->metric.emplace_back();
    for (auto& one : of) {
      metric.label.push_back({.name = std::move(one.name), .value = std::move(one.value)});
    }
    return metric;
  }
};

exposition::exposition() : impl_(std::make_unique<impl>()) {}

exposition::~exposition() = default;

void exposition::counter(const family_name& what, labels of, double value) {
  impl_->add(what, prometheus::MetricType::Counter, std::move(of)).counter.value = value;
}

void exposition::counter(const family_name& what, labels of, std::uint64_t value) {
  counter(what, std::move(of), static_cast<double>(value));
}

void exposition::gauge(const family_name& what, labels of, double value) {
  impl_->add(what, prometheus::MetricType::Gauge, std::move(of)).gauge.value = value;
}

/// E-2.
void exposition::histogram(const family_name& what, labels of, const histogram_snapshot& value) {
  auto& made = impl_->add(what, prometheus::MetricType::Histogram, std::move(of)).histogram;
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < value.counts.size(); ++i) {
    below += value.counts[i];
    made.bucket.push_back({.cumulative_count = below,
                           .upper_bound = i < value.bounds.size()
                                              ? value.bounds[i]
                                              : std::numeric_limits<double>::infinity()});
  }
  made.sample_count = below;
  made.sample_sum = value.sum;
}

std::string exposition::text() const {
  std::ostringstream page;
  prometheus::TextSerializer().Serialize(page, impl_->families);
  return std::move(page).str();
}

} // namespace vdist::metrics
