#include "tests/bench/serve/workload.hpp"

#include "tests/bench/serve/random_draws.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace vdist::bench::serve {

namespace {

/// Beyond it a length is a defect of the file.
constexpr std::int32_t length_max = 16 << 20;

/// A log-normal fit of ShareGPT's conversations, first turns: the means are those that the paper on vLLM gives (161 and 338
/// tokens), the deviations of the logarithm are chosen so that the tails look like it. Drawn again outside the bounds, which
/// are those of vLLM's own filter.
struct log_normal_lengths {
  double mean;
  double sigma;
  double least;
  double most;
};

constexpr log_normal_lengths sharegpt_input{161, 1.2, 4, 1024};
constexpr log_normal_lengths sharegpt_output{338, 0.9, 4, 1024};

std::int32_t draw(random_draws& draws, const log_normal_lengths& from) {
  const double mu = std::log(from.mean) - from.sigma * from.sigma / 2;
  constexpr int tries_max = 1000;
  for (int i = 0; i < tries_max; ++i) {
    const double length = std::exp(mu + from.sigma * draws.normal());
    if (length >= from.least && length <= from.most) {
      return static_cast<std::int32_t>(length);
    }
  }
  return static_cast<std::int32_t>(from.mean);
}

std::optional<std::int32_t> length_in(std::string_view text) {
  std::int32_t value = 0;
  const auto [end, cause] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_whole = cause == std::errc() && end == text.data() + text.size();
  return is_whole && value >= 1 && value <= length_max ? std::optional(value) : std::nullopt;
}

std::optional<duration> duration_of(double seconds) {
  constexpr double seconds_max = 1e9; // thirty years: well inside a duration
  if (!(seconds >= 0 && seconds <= seconds_max)) {
    return std::nullopt;
  }
  return std::chrono::duration_cast<duration>(std::chrono::duration<double>(seconds));
}

/// Calls `line` with each line, without its end; false from it counts the line as bad.
template <class F>
std::size_t for_each_line(std::string_view text, F&& line) {
  std::size_t bad = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    auto one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (one.ends_with('\r')) {
      one.remove_suffix(1);
    }
    if (!one.empty() && !line(one)) {
      ++bad;
    }
  }
  return bad;
}

/// "2023-11-16 18:17:03.9799600", in seconds since 1970.
std::optional<double> seconds_of_date(std::string_view text) {
  constexpr std::string_view form = "dddd-dd-dd dd:dd:dd";
  if (text.size() < form.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < form.size(); ++i) {
    const bool is_digit = text[i] >= '0' && text[i] <= '9';
    if (form[i] == 'd' ? !is_digit : text[i] != form[i]) {
      return std::nullopt;
    }
  }
  const auto number = [text](std::size_t at, std::size_t digits) {
    int value = 0;
    std::from_chars(text.data() + at, text.data() + at + digits, value);
    return value;
  };
  const std::chrono::year_month_day day{std::chrono::year(number(0, 4)),
                                        std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                        std::chrono::day(static_cast<unsigned>(number(8, 2)))};
  if (!day.ok()) {
    return std::nullopt;
  }
  double fraction = 0;
  if (const auto rest = text.substr(form.size()); !rest.empty()) {
    const auto [end, cause] = std::from_chars(rest.data(), rest.data() + rest.size(), fraction);
    if (rest.front() != '.' || cause != std::errc() || end != rest.data() + rest.size()) {
      return std::nullopt;
    }
  }
  const auto days = std::chrono::sys_days(day).time_since_epoch();
  return static_cast<double>(std::chrono::seconds(days).count()) + 3600 * number(11, 2)
         + 60 * number(14, 2) + number(17, 2) + fraction;
}

/// W-2, W-3. `times`: of each request, in seconds; empty: it has none.
result<workload> finished(workload load, std::vector<double> times) {
  if (load.requests.empty()) {
    return fail(errc::corrupt,
                fmt::format("trace: no line is a request (bad lines={})", load.lines_bad));
  }
  load.has_times = !times.empty();
  if (load.has_times) {
    const auto first = *std::min_element(times.begin(), times.end());
    for (std::size_t i = 0; i < times.size(); ++i) {
      load.requests[i].at = duration_of(times[i] - first).value_or(duration(0));
    }
    std::stable_sort(load.requests.begin(), load.requests.end(), [](const auto& a, const auto& b) {
      return a.at < b.at;
    });
  }
  return load;
}

std::optional<std::int32_t> length_at(const nlohmann::json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_number_integer()) {
    return std::nullopt;
  }
  const auto value = found->get<std::int64_t>();
  return value >= 1 && value <= length_max ? std::optional(static_cast<std::int32_t>(value))
                                           : std::nullopt;
}

std::optional<planned_request> request_in(const nlohmann::json& line) {
  if (!line.is_object()) {
    return std::nullopt;
  }
  planned_request made;
  const auto output = length_at(line, line.contains("max_tokens") ? "max_tokens" : "output_length");
  const auto prompt = line.find("prompt");
  if (prompt != line.end()) {
    if (!prompt->is_string() || prompt->get_ref<const std::string&>().empty()) {
      return std::nullopt;
    }
    made.text = prompt->get<std::string>();
  }
  const auto input = length_at(line, "input_length");
  if (!output || (made.text.empty() && !input)) {
    return std::nullopt;
  }
  made.input_tokens = input.value_or(0);
  made.output_tokens = *output;
  return made;
}

struct trace_name {
  std::string_view name;
  std::string_view file;
  result<workload> (*read)(std::string_view);
};

constexpr trace_name traces[] = {
    {"azure-code", "AzureLLMInferenceTrace_code.csv", read_azure_trace},
    {"azure-conv", "AzureLLMInferenceTrace_conv.csv", read_azure_trace},
    {"mooncake", "mooncake_conversation_trace.jsonl", read_jsonl_trace},
    {"mooncake-synthetic", "mooncake_synthetic_trace.jsonl", read_jsonl_trace},
};

result<workload> read_file(const std::filesystem::path& path,
                           result<workload> (*read)(std::string_view)) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return fail(errc::not_found,
                fmt::format("workload: cannot read the trace (file={})", path.string()));
  }
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto load = read(text);
  return load ? std::move(load)
              : fail(load.error().code,
                     fmt::format("{} (file={})", load.error().context, path.string()));
}

/// "1024/128"
result<workload> random_workload(std::string_view lengths, std::size_t requests) {
  const auto slash = lengths.find('/');
  const auto input = length_in(lengths.substr(0, slash));
  const auto output =
      slash == std::string_view::npos ? std::nullopt : length_in(lengths.substr(slash + 1));
  if (!input || !output) {
    return fail(errc::invalid_argument,
                fmt::format("workload: random takes IN/OUT in tokens, as random:1024/128 (got={})",
                            lengths));
  }
  workload load;
  load.requests.resize(requests,
                       {.at = {}, .input_tokens = *input, .output_tokens = *output, .text = {}});
  return load;
}

workload sharegpt_workload(std::size_t requests, std::uint64_t seed) {
  random_draws draws(seed);
  workload load;
  for (std::size_t i = 0; i < requests; ++i) {
    const auto input = draw(draws, sharegpt_input);
    const auto output = draw(draws, sharegpt_output);
    load.requests.push_back({.at = {}, .input_tokens = input, .output_tokens = output, .text = {}});
  }
  return load;
}

result<workload> named(const workload_options& options) {
  const std::string_view name = options.name;
  const auto count = options.requests == 0 ? requests_default : options.requests;
  constexpr std::string_view random_prefix = "random:";
  if (name.starts_with(random_prefix)) {
    return random_workload(name.substr(random_prefix.size()), count);
  }
  if (name == "none") {
    return workload{};
  }
  if (name == "sharegpt") {
    return sharegpt_workload(count, options.seed);
  }
  for (const auto& one : traces) {
    if (name == one.name) {
      return read_file(options.trace_folder / one.file, one.read);
    }
  }
  if (name.ends_with(".jsonl")) {
    return read_file(std::filesystem::path(name), read_jsonl_trace);
  }
  return fail(errc::invalid_argument,
              fmt::format("workload: unknown (name={} legal={})", name, workload_names()));
}

} // namespace

std::string workload_names() {
  std::string all = "none, random:IN/OUT, sharegpt";
  for (const auto& one : traces) {
    all += fmt::format(", {}", one.name);
  }
  return all + ", FILE.jsonl";
}

result<workload> read_azure_trace(std::string_view text) {
  workload load;
  std::vector<double> times;
  constexpr std::string_view title = "TIMESTAMP,";
  load.lines_bad = for_each_line(text, [&](std::string_view line) {
    if (line.starts_with(title)) {
      return true;
    }
    const auto first = line.find(',');
    const auto second = first == std::string_view::npos ? first : line.find(',', first + 1);
    if (second == std::string_view::npos) {
      return false;
    }
    const auto at = seconds_of_date(line.substr(0, first));
    const auto input = length_in(line.substr(first + 1, second - first - 1));
    const auto output = length_in(line.substr(second + 1));
    if (!at || !input || !output) {
      return false;
    }
    load.requests.push_back(
        {.at = {}, .input_tokens = *input, .output_tokens = *output, .text = {}});
    times.push_back(*at);
    return true;
  });
  return finished(std::move(load), std::move(times));
}

result<workload> read_jsonl_trace(std::string_view text) {
  workload load;
  std::vector<double> times;
  load.lines_bad = for_each_line(text, [&](std::string_view line) {
    const auto value = nlohmann::json::parse(line, nullptr, false);
    auto made = request_in(value);
    if (!made) {
      return false;
    }
    const auto time = value.find("timestamp");
    const bool has_time = time != value.end();
    if (has_time && !(time->is_number() && duration_of(time->get<double>() / 1e3))) {
      return false;
    }
    const bool is_like_the_others =
        load.requests.empty() || has_time == (times.size() == load.requests.size());
    if (!is_like_the_others) {
      return false; // some with a time and some without: no order is right
    }
    if (has_time) {
      times.push_back(time->get<double>() / 1e3);
    }
    load.requests.push_back(std::move(*made));
    return true;
  });
  return finished(std::move(load), std::move(times));
}

result<workload> make_workload(const workload_options& options) {
  VDIST_ASSIGN(auto load, named(options));
  load.name = options.name;
  if (options.requests != 0 && options.requests < load.requests.size()) {
    load.requests.resize(options.requests);
  }
  return load;
}

void arrive_by_poisson(workload& load, double per_second, std::uint64_t seed) {
  // Another stream of draws than that of the lengths, which may have been drawn with the same seed.
  constexpr std::uint64_t arrivals_salt = 0x9e3779b97f4a7c15;
  random_draws draws(seed ^ arrivals_salt);
  double at_s = 0;
  for (auto& one : load.requests) {
    at_s += std::isfinite(per_second) ? draws.exponential() / per_second : 0;
    one.at = std::chrono::duration_cast<duration>(std::chrono::duration<double>(at_s));
  }
}

void speed_up(workload& load, double speed) {
  for (auto& one : load.requests) {
    one.at = std::chrono::duration_cast<duration>(std::chrono::duration<double>(one.at) / speed);
  }
}

cut_lengths cut_to(workload& load, std::int32_t max_model_len) {
  cut_lengths cut;
  for (auto& one : load.requests) {
    if (!one.text.empty() || std::int64_t{one.input_tokens} + one.output_tokens <= max_model_len) {
      continue;
    }
    const auto output = std::min(one.output_tokens, std::max(max_model_len / 2, 1));
    const auto input = std::max(std::min(one.input_tokens, max_model_len - output), 1);
    const auto rest = std::max(std::min(one.output_tokens, max_model_len - input), 1);
    ++cut.requests;
    cut.input_tokens += one.input_tokens - input;
    cut.output_tokens += one.output_tokens - rest;
    one.input_tokens = input;
    one.output_tokens = rest;
  }
  return cut;
}

} // namespace vdist::bench::serve
