#include "tests/support/metrics_page.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>
#include <utility>

namespace vdist::testing {

namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_metric_name(std::string_view name) {
  return !name.empty() && !is_digit(name[0]) && std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter(c) || is_digit(c) || c == ':';
  });
}

bool is_label_name(std::string_view name) {
  return !name.empty() && !is_digit(name[0]) && !name.starts_with("__")
         && std::all_of(
             name.begin(), name.end(), [](char c) { return is_letter(c) || is_digit(c); });
}

std::optional<double> number_in(const std::string& text) {
  if (text.empty() || (!is_digit(text[0]) && text[0] != '-' && text[0] != '+' && text != "NaN")) {
    return std::nullopt;
  }
  char* end = nullptr;
  const auto value = std::strtod(text.c_str(), &end);
  return *end == '\0' ? std::optional(value) : std::nullopt;
}

/// One line of the page, from left to right.
class line_reader {
public:
  explicit line_reader(std::string_view line) : rest_(line) {}

  std::string_view until(std::string_view any) {
    const auto end = std::min(rest_.find_first_of(any), rest_.size());
    const auto taken = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return taken;
  }

  bool eat(char c) {
    const bool is_next = !rest_.empty() && rest_.front() == c;
    rest_.remove_prefix(is_next ? 1 : 0);
    return is_next;
  }

  /// Behind its opening quote; nullopt: no legal text.
  std::optional<std::string> quoted() {
    std::string text;
    while (!rest_.empty() && rest_.front() != '"') {
      char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '\\') {
        const auto next = rest_.empty() ? '\0' : rest_.front();
        if (next != '\\' && next != '"' && next != 'n') {
          return std::nullopt;
        }
        c = next == 'n' ? '\n' : next;
        rest_.remove_prefix(1);
      }
      text += c;
    }
    return eat('"') ? std::optional(text) : std::nullopt;
  }

  [[nodiscard]] std::string_view rest() const { return rest_; }

private:
  std::string_view rest_;
};

/// The text tells what is wrong; empty: nothing.
std::string read_sample(std::string_view line, metric_sample& into) {
  line_reader at(line);
  into.name = at.until("{ ");
  if (!is_metric_name(into.name)) {
    return "illegal name";
  }
  if (at.eat('{')) {
    while (!at.eat('}')) {
      const std::string name(at.until("=}"));
      if (!is_label_name(name) || !at.eat('=') || !at.eat('"')) {
        return "illegal label";
      }
      const auto value = at.quoted();
      if (!value || !into.labels.emplace(name, *value).second) {
        return "illegal label value, or a label twice";
      }
      if (!at.eat(',') && !at.rest().starts_with('}')) {
        return "labels without an end";
      }
    }
  }
  if (!at.eat(' ')) {
    return "no value";
  }
  const auto value = number_in(std::string(at.rest())); // a time stamp is none
  if (!value) {
    return "illegal value";
  }
  into.value = *value;
  return {};
}

label_map without(label_map labels, const std::string& name) {
  labels.erase(name);
  return labels;
}

std::set<std::string> names_of(const label_map& labels) {
  std::set<std::string> names;
  for (const auto& [name, value] : labels) {
    names.insert(name);
  }
  return names;
}

/// Of one set of labels.
struct histogram_series {
  std::vector<std::pair<double, double>> buckets; // le, count
  std::vector<double> sums;
  std::vector<double> counts;
};

std::string defect_of(const histogram_series& one) {
  if (one.sums.size() != 1 || one.counts.size() != 1) {
    return "not one sum and one count";
  }
  if (one.buckets.empty() || !std::isinf(one.buckets.back().first)) {
    return "no bucket +Inf at the end";
  }
  for (std::size_t i = 1; i < one.buckets.size(); ++i) {
    if (one.buckets[i].first <= one.buckets[i - 1].first) {
      return "bounds that do not rise";
    }
    if (one.buckets[i].second < one.buckets[i - 1].second) {
      return "buckets that are not cumulative";
    }
  }
  if (one.buckets.back().second != one.counts[0]) {
    return "+Inf is not the count";
  }
  const bool is_sum = one.counts[0] > 0 ? one.sums[0] >= 0 : one.sums[0] == 0;
  return is_sum ? "" : "a sum without observations, or a negative one";
}

std::string defect_of_histogram(const metric_family& family) {
  std::map<label_map, histogram_series> series;
  for (const auto& sample : family.samples) {
    if (sample.name == family.name + "_bucket") {
      const auto bound = sample.labels.find("le");
      if (bound == sample.labels.end()) {
        return "a bucket without le";
      }
      const auto le = number_in(bound->second);
      if (!le) {
        return "le is no number";
      }
      series[without(sample.labels, "le")].buckets.emplace_back(*le, sample.value);
    } else if (sample.name == family.name + "_sum") {
      series[sample.labels].sums.push_back(sample.value);
    } else {
      series[sample.labels].counts.push_back(sample.value);
    }
  }
  for (const auto& [labels, one] : series) {
    if (auto defect = defect_of(one); !defect.empty()) {
      return defect;
    }
  }
  return {};
}

std::string defect_of(const metric_family& family) {
  if (family.samples.empty()) {
    return "no samples";
  }
  const bool is_histogram = family.type == "histogram";
  std::set<std::pair<std::string, label_map>> seen;
  for (const auto& sample : family.samples) {
    if (!seen.emplace(sample.name, sample.labels).second) {
      return "a series twice";
    }
    const auto names = names_of(without(sample.labels, is_histogram ? "le" : ""));
    if (names != names_of(without(family.samples[0].labels, is_histogram ? "le" : ""))) {
      return "samples with different labels";
    }
    if (family.type == "counter" && !(std::isfinite(sample.value) && sample.value >= 0)) {
      return "a counter that is no number, or negative";
    }
  }
  const bool is_total = family.name.ends_with("_total");
  if (family.type == "counter" ? !is_total : family.type == "gauge" && is_total) {
    return "_total belongs to counters, and to each";
  }
  return is_histogram ? defect_of_histogram(family) : "";
}

/// A sample's name as its family has it.
bool belongs(const std::string& name, const metric_family& family) {
  if (family.type != "histogram") {
    return name == family.name;
  }
  return name == family.name + "_bucket" || name == family.name + "_sum"
         || name == family.name + "_count";
}

class page_reader {
public:
  metrics_page read(std::string_view text) {
    if (text.empty() || text.back() != '\n') {
      complain("the page does not end with a line's end");
    }
    while (!text.empty()) {
      ++line_;
      const auto end = std::min(text.find('\n'), text.size());
      take(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    close();
    return std::move(page_);
  }

private:
  void complain(const std::string& what) {
    page_.violations.push_back("line " + std::to_string(line_) + ": " + what);
  }

  void close() {
    if (!page_.families.empty()) {
      if (const auto defect = defect_of(page_.families.back()); !defect.empty()) {
        complain(page_.families.back().name + ": " + defect);
      }
    }
  }

  void take(std::string_view line) {
    if (line.starts_with("# HELP ")) {
      take_help(line.substr(7));
    } else if (line.starts_with("# TYPE ")) {
      take_type(line.substr(7));
    } else {
      take_sample(line);
    }
  }

  void take_help(std::string_view line) {
    close();
    const auto space = std::min(line.find(' '), line.size());
    metric_family family{.name = std::string(line.substr(0, space)), .type = {}, .help = {}};
    family.help = line.substr(std::min(space + 1, line.size()));
    if (!is_metric_name(family.name) || family.help.empty()) {
      complain("illegal help");
    }
    if (page_.family(family.name) != nullptr) {
      complain(family.name + ": a family twice");
    }
    page_.families.push_back(std::move(family));
  }

  void take_type(std::string_view line) {
    static const std::set<std::string_view> types{"counter", "gauge", "histogram"};
    const auto space = std::min(line.find(' '), line.size());
    const auto type = line.substr(std::min(space + 1, line.size()));
    auto* const family = page_.families.empty() ? nullptr : &page_.families.back();
    const bool is_here = family != nullptr && family->name == line.substr(0, space)
                         && family->type.empty() && family->samples.empty();
    if (!is_here || !types.contains(type)) {
      complain("a type that is unknown or not behind its help");
      return;
    }
    family->type = type;
  }

  void take_sample(std::string_view line) {
    metric_sample sample;
    if (const auto defect = read_sample(line, sample); !defect.empty()) {
      complain(defect + ": " + std::string(line));
      return;
    }
    auto* const family = page_.families.empty() ? nullptr : &page_.families.back();
    if (family == nullptr || family->type.empty() || !belongs(sample.name, *family)) {
      complain(sample.name + ": a sample outside its family");
      return;
    }
    family->samples.push_back(std::move(sample));
  }

  metrics_page page_;
  std::size_t line_ = 0;
};

} // namespace

const metric_family* metrics_page::family(std::string_view name) const {
  const auto found = std::find_if(
      families.begin(), families.end(), [name](const auto& one) { return one.name == name; });
  return found == families.end() ? nullptr : &*found;
}

std::optional<double> metrics_page::value(std::string_view name, const label_map& labels) const {
  std::optional<double> sum;
  for (const auto& one : families) {
    for (const auto& sample : one.samples) {
      const bool fits = std::all_of(labels.begin(), labels.end(), [&sample](const auto& wanted) {
        const auto found = sample.labels.find(wanted.first);
        return found != sample.labels.end() && found->second == wanted.second;
      });
      if (sample.name == name && fits) {
        sum = sum.value_or(0) + sample.value;
      }
    }
  }
  return sum;
}

metrics_page read_metrics(std::string_view text) {
  return page_reader().read(text);
}

std::vector<std::string> falls(const metrics_page& before, const metrics_page& after) {
  std::vector<std::string> all;
  for (const auto& family : before.families) {
    if (family.type == "gauge") {
      continue;
    }
    for (const auto& sample : family.samples) {
      const auto now = after.value(sample.name, sample.labels);
      if (!now || *now < sample.value) {
        all.push_back(sample.name + (now ? " has fallen" : " is gone"));
      }
    }
  }
  return all;
}

} // namespace vdist::testing
