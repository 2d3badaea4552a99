#include "runtime/config/keys.hpp"

#include "runtime/config/describe.hpp"
#include "runtime/config/load.hpp"

#include <boost/test/unit_test.hpp>

#include <fmt/format.h>
#include <set>
#include <sstream>
#include <string>

using namespace vdist;
using namespace vdist::config;

namespace {

constexpr std::string_view minimal = "model.path = \"m\"\n";

cluster_config parsed(const std::string& text) {
  const auto config = parse(text, "c.toml");
  BOOST_REQUIRE_MESSAGE(config.has_value(),
                        (config.has_value() ? std::string() : config.error().context));
  return *config;
}

result<cluster_config> with_value(const config_key& key, const key_value& value) {
  const std::vector<std::string> overrides{fmt::format("{}={}", key.name, to_toml_text(value))};
  return parse(key.name == "model.path" ? "" : minimal, "c.toml", overrides);
}

} // namespace

BOOST_AUTO_TEST_SUITE(keys)

BOOST_AUTO_TEST_CASE(every_default_is_legal_and_every_key_is_described) {
  std::set<std::string_view> names;
  for (const config_key& key : config_keys()) {
    BOOST_TEST_CONTEXT(key.name) {
      BOOST_TEST(names.insert(key.name).second);
      BOOST_TEST(is_legal(key, key.read(cluster_config{})));
      BOOST_TEST(key.doc.ends_with('.'));
      BOOST_TEST(key.name.find('.') != std::string_view::npos);
      BOOST_TEST(!legal_values(key).empty());
    }
  }
  for (const node_key& key : node_keys()) {
    BOOST_TEST(is_legal(key, key.read(node_section{})));
  }
  BOOST_TEST(list_keys().size() == config_keys().size() + node_keys().size());
}

BOOST_AUTO_TEST_CASE(the_ends_of_every_range_are_accepted_and_what_lies_beyond_is_refused) {
  for (const config_key& key : config_keys()) {
    if (key.type != key_type::integer) {
      continue;
    }
    BOOST_TEST_CONTEXT(key.name) {
      const auto minimum = static_cast<std::int64_t>(key.minimum);
      const auto maximum = static_cast<std::int64_t>(key.maximum);
      BOOST_TEST(is_legal(key, minimum));
      BOOST_TEST(is_legal(key, maximum));
      for (const std::int64_t beyond : {minimum - 1, maximum + 1}) {
        const auto config = with_value(key, beyond);
        BOOST_REQUIRE(!config.has_value());
        BOOST_TEST(config.error().context.find(fmt::format("{}: must be", key.name))
                   != std::string::npos);
        BOOST_TEST(config.error().context.find(fmt::format("(got {})", beyond))
                   != std::string::npos);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(every_word_of_every_enum_comes_back) {
  for (const config_key& key : config_keys()) {
    for (const std::string_view word : key.words) {
      const auto config = with_value(key, std::string(word));
      BOOST_REQUIRE(config.has_value());
      BOOST_TEST(std::get<std::string>(key.read(*config)) == word);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_key_writes_its_own_field_and_no_other) {
  for (const config_key& key : config_keys()) {
    cluster_config changed;
    key_value value = key.read(changed);
    if (auto* number = std::get_if<std::int64_t>(&value)) {
      *number = static_cast<std::int64_t>(key.maximum);
    } else if (auto* real = std::get_if<double>(&value)) {
      *real = 0.25;
    } else if (auto* flag = std::get_if<bool>(&value)) {
      *flag = !*flag;
    } else if (std::holds_alternative<secret>(value)) {
      value = secret("x");
    } else if (key.type == key_type::word) {
      const auto current = std::get<std::string>(value);
      value = std::string(key.words[0] == current ? key.words[1] : key.words[0]);
    } else if (key.type == key_type::integers) {
      value = std::vector<std::int64_t>{3, 4};
    } else {
      value = std::string("x");
    }
    key.write(changed, value);
    for (const config_key& other : config_keys()) {
      const bool is_same = other.read(changed) == other.read(cluster_config{});
      BOOST_TEST_INFO(key.name << " and " << other.name);
      BOOST_TEST(is_same == (other.name != key.name));
    }
  }
}

BOOST_AUTO_TEST_CASE(the_dump_reads_back_to_the_same_values) {
  cluster_config config = parsed(std::string(minimal));
  config.model.path = "with \"quotes\" and \\";
  config.parallel.pipeline = 2;
  config.parallel.pipeline_layers = {1, 2};
  config.device.sim.step_us = 1e6;
  config.device.memory_utilization = 1;
  config.device.kv_cache_bytes = std::int64_t{1} << 40;
  config.nodes = {{"a", "h", {0, 3}}, {"b", "h", {1}}};
  const cluster_config again = parsed(to_toml(config));
  for (const config_key& key : config_keys()) {
    BOOST_TEST_INFO(key.name);
    BOOST_TEST((key.read(again) == key.read(config)));
  }
  BOOST_REQUIRE_EQUAL(again.nodes.size(), 2U);
  for (const node_key& key : node_keys()) {
    BOOST_TEST((key.read(again.nodes[0]) == key.read(config.nodes[0])));
  }
}

BOOST_AUTO_TEST_CASE(secrets_are_never_printed) {
  cluster_config config = parsed(std::string(minimal));
  config.server.api_key = secret("sesame");
  const std::string text = to_toml(config);
  BOOST_TEST(text.find("sesame") == std::string::npos);
  BOOST_TEST(text.find("# api_key = \"(hidden)\"") != std::string::npos);
  BOOST_TEST(parsed(text).server.api_key.is_empty());
  std::ostringstream out;
  out << config.server.api_key;
  BOOST_TEST(out.str() == "(hidden)");
}

BOOST_AUTO_TEST_CASE(the_help_text_names_every_key_with_default_unit_and_range) {
  const std::string text = describe_keys();
  BOOST_TEST(text.find("fault_tolerance.detect_ms = 300 ms\n") != std::string::npos);
  BOOST_TEST(text.find("legal: an integer from 1 to 86400000\n") != std::string::npos);
  for (const key_info& key : list_keys()) {
    BOOST_TEST(text.find(key.name + " = " + key.default_value) != std::string::npos);
  }
}

BOOST_AUTO_TEST_SUITE_END()
