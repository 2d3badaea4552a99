#include "runtime/config/load.hpp"

#include <boost/test/unit_test.hpp>

#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::config;

namespace {

constexpr std::string_view file = "[model]\npath = \"m\"\n[parallel]\ntensor = 8\n";

result<cluster_config> with(const std::vector<std::string>& overrides) {
  return parse(file, "c.toml", overrides);
}

cluster_config accepted(const std::vector<std::string>& overrides) {
  const auto config = with(overrides);
  BOOST_REQUIRE_MESSAGE(config.has_value(),
                        (config.has_value() ? std::string() : config.error().context));
  return *config;
}

std::string refused(const std::string& override_text) {
  const auto config = with({override_text});
  BOOST_REQUIRE_MESSAGE(!config.has_value(), "was accepted: " << override_text);
  BOOST_TEST((config.error().code == errc::bad_configuration));
  return config.error().context;
}

} // namespace

BOOST_AUTO_TEST_SUITE(overrides)

BOOST_AUTO_TEST_CASE(overrides_win_over_the_file_and_the_last_one_wins) {
  BOOST_TEST(accepted({"parallel.tensor=2", "parallel.tensor=4"}).parallel.tensor == 4);
}

BOOST_AUTO_TEST_CASE(values_have_toml_syntax) {
  const cluster_config c = accepted({"scheduler.prefix_cache=false",
                                     "device.memory_utilization=0.5",
                                     "scheduler.max_batch_tokens=16_384",
                                     "parallel.pipeline=2",
                                     "parallel.pipeline_layers=[3, 5]",
                                     "server.host=\"::1\"",
                                     "node=[{name=\"a\", devices=[0]}]"});
  BOOST_TEST(!c.scheduler.prefix_cache);
  BOOST_TEST(c.device.memory_utilization == 0.5);
  BOOST_TEST(c.scheduler.max_batch_tokens == 16384);
  BOOST_TEST(c.parallel.pipeline_layers.size() == 2U);
  BOOST_TEST(c.server.host == "::1");
  BOOST_TEST(c.nodes.at(0).name == "a");
}

BOOST_AUTO_TEST_CASE(a_whole_table_can_be_set) {
  const cluster_config c = accepted({"device={kind=\"sim\", sim={step_us=7}}"});
  BOOST_TEST((c.device.kind == device_kind::sim));
  BOOST_TEST(c.device.sim.step_us == 7.0);
}

BOOST_AUTO_TEST_CASE(text_needs_no_quotes) {
  const cluster_config c = accepted({"device.kind=sim",
                                     "model.path=/models/a b=c",
                                     "server.host=127.0.0.1",
                                     "cluster.name=64",
                                     "server.model_name="});
  BOOST_TEST((c.device.kind == device_kind::sim));
  BOOST_TEST(c.model.path == "/models/a b=c");
  BOOST_TEST(c.server.host == "127.0.0.1");
  BOOST_TEST(c.cluster.name == "64");
  BOOST_TEST(c.server.model_name.empty());
}

BOOST_AUTO_TEST_CASE(a_mistake_names_the_override) {
  BOOST_TEST(
      refused("parallel.tensor=x")
      == "--set parallel.tensor=x: parallel.tensor: must be an integer from 1 to 4096 (got \"x\")");
  BOOST_TEST(
      refused("parallel.tensor=")
      == "--set parallel.tensor=: parallel.tensor: must be an integer from 1 to 4096 (got \"\")");
  BOOST_TEST(
      refused("parallel.tensr=2")
      == "--set parallel.tensr=2: unknown key parallel.tensr; did you mean parallel.tensor?");
  BOOST_TEST(
      refused("device.kind=gpu")
      == "--set device.kind=gpu: device.kind: must be one of auto, cuda, cpu, sim (got \"gpu\")");
  BOOST_TEST(refused("parallel.tensor")
             == "--set parallel.tensor: must have the form full.key=value");
  BOOST_TEST(refused("=2") == "--set =2: must have the form full.key=value");
  BOOST_TEST(refused("parallel=2")
             == "--set parallel=2: parallel: must be a table, as in [parallel] (got 2)");
  BOOST_TEST(refused("device={knd=1}")
             == "--set device={knd=1}: unknown key device.knd; did you mean device.kind?");
  BOOST_TEST(refused("parallel={tensor=").starts_with("--set parallel={tensor=: not valid toml: "));
  BOOST_TEST(refused("server.host=\"a").starts_with("--set server.host=\"a: not valid toml: "));
}

BOOST_AUTO_TEST_CASE(a_combination_rule_names_the_override_that_broke_it) {
  BOOST_TEST(refused("parallel.pipeline_layers=[1, 2]")
             == "--set parallel.pipeline_layers=[1, 2]: parallel.pipeline_layers: needs one entry "
                "per stage "
                "(entries=2, parallel.pipeline=1)");
}

BOOST_AUTO_TEST_CASE(an_override_cannot_smuggle_further_keys) {
  BOOST_TEST(refused("parallel.tensor=2\nserver = 3").find("must be one value")
             != std::string::npos);
  BOOST_TEST(refused("parallel.tensor=2\n[server]\nport = 1").find("must be one value")
             != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_secret_in_an_override_is_not_shown) {
  const std::string message = refused("server.api_key=\"sesame");
  BOOST_TEST(message.find("sesame") == std::string::npos);
  BOOST_TEST(message.starts_with("--set server.api_key=(hidden): "));
  BOOST_TEST(accepted({"server.api_key=sesame"}).server.api_key.reveal() == "sesame");
}

BOOST_AUTO_TEST_CASE(an_override_is_bounded) {
  BOOST_TEST(refused("model.path=" + std::string(override_bytes_max, 'a')).find("too long")
             != std::string::npos);
  BOOST_TEST(refused("device={" + std::string(5000, 'a')).find("not valid toml")
             != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
