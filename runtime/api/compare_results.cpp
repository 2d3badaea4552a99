#include "runtime/api/compare_results.hpp"

#include "runtime/api/json.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace vdist::api {

namespace {

using nlohmann::json;

constexpr std::size_t depth_max = 8; // of a result line

using stream_key = std::pair<std::string, std::int64_t>; // id, index

/// What must not depend on faults.
struct stream_facts {
  json tokens;
  json text;
  json reason;
  json logprobs;
  json error_code;

  bool operator==(const stream_facts&) const = default;
};

json member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? json() : *found;
}

std::string name_of(const stream_key& key) {
  return key.second == 0 ? fmt::format("\"{}\"", key.first)
                         : fmt::format("\"{}\" index {}", key.first, key.second);
}

/// Where two streams part, for people.
std::string difference(const stream_facts& a, const stream_facts& b) {
  if (a.error_code != b.error_code) {
    return fmt::format("error {} became {}", a.error_code.dump(), b.error_code.dump());
  }
  if (a.tokens != b.tokens) {
    const auto& first = a.tokens;
    const auto& second = b.tokens;
    std::size_t at = 0;
    while (at < first.size() && at < second.size() && first[at] == second[at]) {
      ++at;
    }
    return fmt::format("tokens part at {} (lengths {} and {})", at, first.size(), second.size());
  }
  return a.reason != b.reason ? fmt::format("reason {} became {}", a.reason.dump(), b.reason.dump())
         : a.text != b.text   ? "its text differs"
                              : "its log probabilities differ";
}

using take_stream = std::function<void(stream_key, stream_facts)>;

/// Each result of a file, in its order.
result<void> read_results(const std::filesystem::path& file, const take_stream& take) {
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    return fail(errc::not_found, fmt::format("{}: cannot be read", file.string()));
  }
  std::string line;
  for (std::uint64_t number = 1; std::getline(in, line); ++number) {
    const auto object = parse_object(line, depth_max);
    const auto id = object ? member(*object, "id") : json();
    const auto index = object ? member(*object, "index") : json();
    if (!id.is_string() || (!index.is_null() && !index.is_number_integer())) {
      return fail(errc::corrupt, fmt::format("{}:{}: not a result", file.string(), number));
    }
    const auto failure = member(*object, "error");
    take({id.get<std::string>(), index.is_null() ? 0 : index.get<std::int64_t>()},
         {.tokens = member(*object, "token_ids"),
          .text = member(*object, "text"),
          .reason = member(*object, "finish_reason"),
          .logprobs = member(*object, "logprobs"),
          .error_code = failure.is_object() ? member(failure, "code") : json()});
  }
  return {};
}

} // namespace

result<results_comparison> compare_results(const std::filesystem::path& undisturbed,
                                           const std::filesystem::path& disturbed) {
  results_comparison found;
  const auto give_example = [&found](std::string text) {
    if (found.examples.size() < comparison_examples_max) {
      found.examples.push_back(std::move(text));
    }
  };
  std::map<stream_key, stream_facts> expected;
  VDIST_TRY(read_results(undisturbed, [&expected](stream_key key, stream_facts facts) {
    expected.insert_or_assign(std::move(key), std::move(facts));
  }));
  found.compared = expected.size();
  std::map<stream_key, std::uint64_t> seen;
  VDIST_TRY(read_results(
      disturbed, [&found, &expected, &seen, &give_example](stream_key key, stream_facts facts) {
        if (++seen[key] == 2) {
          ++found.doubled;
          give_example(fmt::format("{} is there twice", name_of(key)));
        }
        const auto wanted = expected.find(key);
        if (wanted == expected.end()) {
          ++found.altered;
          give_example(fmt::format("{} is new", name_of(key)));
        } else if (seen[key] == 1 && wanted->second != facts) {
          ++found.altered;
          give_example(fmt::format("{}: {}", name_of(key), difference(wanted->second, facts)));
        }
      }));
  for (const auto& [key, facts] : expected) {
    if (!seen.contains(key)) {
      ++found.lost;
      give_example(fmt::format("{} is lost", name_of(key)));
    }
  }
  return found;
}

} // namespace vdist::api
