#include "runtime/config/load.hpp"

#include "tests/support/temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::config;

namespace {

const std::filesystem::path shipped = std::filesystem::path(VDIST_SOURCE_DIR) / "config";

constexpr std::string_view minimal = "[model]\npath = \"m\"\n";

/// The message that a text is refused with; a test failure if it is not.
std::string refused(const std::string& text) {
  const auto config = parse(text, "c.toml");
  BOOST_REQUIRE_MESSAGE(!config.has_value(), "was accepted: " << text);
  BOOST_TEST((config.error().code == errc::bad_configuration));
  BOOST_TEST(exit_code(config.error().code) == 2);
  return config.error().context;
}

struct mistake {
  std::string text;
  std::string message;
};

} // namespace

BOOST_AUTO_TEST_SUITE(load_file)

BOOST_AUTO_TEST_CASE(a_minimal_file_gets_every_default) {
  const auto config = parse(minimal, "c.toml");
  BOOST_REQUIRE(config.has_value());
  BOOST_TEST(config->model.path == "m");
  BOOST_TEST(config->parallel.world() == 1);
  BOOST_TEST(config->scheduler.block_size == 16);
  BOOST_TEST(config->device.memory_utilization == 0.92);
  BOOST_TEST((config->cluster.isolation == isolation_kind::automatic));
  BOOST_TEST(config->nodes.empty());
  BOOST_TEST(config->source == "c.toml");
}

BOOST_AUTO_TEST_CASE(reads_every_kind_of_value) {
  const auto config = parse(R"(
model.path = "org/name"
cluster = { name = "a", isolation = "process" }
[parallel]
pipeline = 2
tensor = 2
pipeline_layers = [15, 17]
[device]
kind = "sim"
memory_utilization = 1
[device.sim]
step_us = 2.5
[scheduler]
prefix_cache = false
policy = "priority"
[server]
api_key = "sesame"
[[node]]
name = "n0"
host = "10.0.0.1"
devices = [0, 1, 2, 3]
[[node]]
name = "n1"
devices = [4]
)",
                            "c.toml");
  BOOST_REQUIRE_MESSAGE(config.has_value(),
                        (config.has_value() ? std::string() : config.error().context));
  BOOST_TEST((config->cluster.isolation == isolation_kind::process));
  BOOST_TEST(config->parallel.pipeline_layers == (std::vector<std::int32_t>{15, 17}),
             boost::test_tools::per_element());
  BOOST_TEST(config->device.memory_utilization == 1.0);
  BOOST_TEST(config->device.sim.step_us == 2.5);
  BOOST_TEST(!config->scheduler.prefix_cache);
  BOOST_TEST((config->scheduler.policy == scheduling_policy::priority));
  BOOST_TEST(config->server.api_key.reveal() == "sesame");
  BOOST_REQUIRE_EQUAL(config->nodes.size(), 2U);
  BOOST_TEST(config->nodes[0].host == "10.0.0.1");
  BOOST_TEST(config->nodes[0].devices.size() == 4U);
  BOOST_TEST(config->nodes[1].host == "127.0.0.1");
}

BOOST_AUTO_TEST_CASE(a_mistake_names_file_line_key_and_legal_values) {
  const std::vector<mistake> mistakes{
      {"[parallel]\ntensr = 2",
       "c.toml:2: unknown key parallel.tensr; did you mean parallel.tensor?"},
      {"tensor = 2", "c.toml:1: unknown key tensor; did you mean parallel.tensor?"},
      {"[paralel]\ntensor = 2", "c.toml:1: unknown key paralel; did you mean parallel?"},
      {"[device.simm]\n", "c.toml:1: unknown key device.simm; did you mean device.sim?"},
      {"[parallel]\n\ntensor = \"two\"",
       "c.toml:3: parallel.tensor: must be an integer from 1 to 4096 (got \"two\")"},
      {"[parallel]\ntensor = 0",
       "c.toml:2: parallel.tensor: must be an integer from 1 to 4096 (got 0)"},
      {"[parallel]\ntensor = 2.0",
       "c.toml:2: parallel.tensor: must be an integer from 1 to 4096 (got 2.0)"},
      {"parallel = 4", "c.toml:1: parallel: must be a table, as in [parallel] (got 4)"},
      {"[device]\nkind = \"gpu\"",
       "c.toml:2: device.kind: must be one of auto, cuda, cpu, sim (got \"gpu\")"},
      {"[device]\nkind = \"CPU\"",
       "c.toml:2: device.kind: must be one of auto, cuda, cpu, sim (got \"CPU\")"},
      {"[device]\nmemory_utilization = 0.0",
       "c.toml:2: device.memory_utilization: must be a number above 0 to 1 (got 0.0)"},
      {"[device]\nmemory_utilization = nan",
       "c.toml:2: device.memory_utilization: must be a number above 0 to 1 (got nan)"},
      {"[scheduler]\nblock_size = 24",
       "c.toml:2: scheduler.block_size: must be a power of two from 1 to 1024 (got 24)"},
      {"[scheduler]\nprefix_cache = 1",
       "c.toml:2: scheduler.prefix_cache: must be true or false (got 1)"},
      {"[parallel]\npipeline_layers = [1, \"2\"]",
       "c.toml:2: parallel.pipeline_layers: must be a list of at most 4096 integers from 1 to "
       "16777216 (got a list)"},
      {"[server]\nport = 65536",
       "c.toml:2: server.port: must be an integer from 0 to 65535 (got 65536)"},
      {"[server]\nport = 1979-05-27",
       "c.toml:2: server.port: must be an integer from 0 to 65535 (got a date or time)"},
      {"node = 3", "c.toml:1: node: must be at most 1024 tables, each under [[node]] (got 3)"},
      {"[node]\nname = \"a\"",
       "c.toml:1: node: must be at most 1024 tables, each under [[node]] (got a table)"},
      {"[[node]]\nname = \"a\"\nport = 1",
       "c.toml:3: unknown key node.port; did you mean node.host?"},
      {"[[node]]\nname = \"a\"\ndevices = [-1]",
       "c.toml:3: node.devices: must be a list of at most 1024 integers from 0 to 1023 (got a "
       "list)"},
      {"[model]\npath = \"a\\nb\"",
       "c.toml:2: model.path: must be a string of at most 4096 bytes (got \"a b\")"},
  };
  for (const mistake& m : mistakes) {
    BOOST_TEST(refused(m.text) == m.message);
  }
}

BOOST_AUTO_TEST_CASE(the_first_of_several_mistakes_is_reported) {
  BOOST_TEST(refused("[server]\nport = -1\n[device]\nkind = 1\n[cluster]\nnam = 1\n")
                 .starts_with("c.toml:2: server.port"));
}

BOOST_AUTO_TEST_CASE(text_that_is_not_toml_names_the_line) {
  BOOST_TEST(refused("[model]\npath = \"m\"\nx = = 2\n").starts_with("c.toml:3: not valid toml: "));
  BOOST_TEST(refused("[model]\npath = \"m\"\n[=\nx = 1\n")
             == "c.toml:3: not valid toml: a key or value was expected");
  BOOST_TEST(refused("[model]\npath = \"m\"\n[model]\n").starts_with("c.toml:3: not valid toml: "));
  BOOST_TEST(refused("[model]\npath = \"\xff\"\n").starts_with("c.toml:2: not valid toml: "));
}

BOOST_AUTO_TEST_CASE(a_secret_that_is_refused_is_not_shown) {
  const std::string message = refused("[server]\napi_key = 123456789\n");
  BOOST_TEST(message
             == "c.toml:2: server.api_key: must be a string of at most 4096 bytes (got (hidden))");
}

BOOST_AUTO_TEST_CASE(settings_that_exclude_each_other_are_refused) {
  const std::string head(minimal);
  const std::vector<mistake> mistakes{
      {"",
       "c.toml: model.path: is required; legal: a folder, \"org/name\" or \"random:<config "
       "folder>\""},
      {head + "[cluster]\nname = \"a/b\"",
       "c.toml:4: cluster.name: must be made of letters, digits, '-', '_' and '.', and not begin "
       "with '.' "
       "(name=\"a/b\")"},
      {head + "[parallel]\npipeline = 2\npipeline_layers = [1, 2, 3]",
       "c.toml:5: parallel.pipeline_layers: needs one entry per stage (entries=3, "
       "parallel.pipeline=2)"},
      {head + "[parallel]\ndata = 4096\ntensor = 2",
       "c.toml:3: parallel: asks for 8192 workers; legal: a product of at most 4096 (data=4096, "
       "pipeline=1, "
       "prefill_context=1, tensor=2)"},
      {head + "[scheduler]\nprefill_chunk = 9000",
       "c.toml:4: scheduler.prefill_chunk: must be at most scheduler.max_batch_tokens "
       "(prefill_chunk=9000, "
       "max_batch_tokens=8192)"},
      {head + "[fault_tolerance]\ncollective_deadline_ms = 40000",
       "c.toml:4: fault_tolerance.collective_deadline_ms: must be at most "
       "fault_tolerance.step_deadline_ms "
       "(collective_deadline_ms=40000, step_deadline_ms=30000)"},
      {head + "[server]\nhost = \"\"",
       "c.toml:4: server.host: must not be empty; legal: an address or a host name"},
      {head + "[server]\ntls_certificate = \"c.pem\"",
       "c.toml: server.tls_key: goes with server.tls_certificate: set both or none"},
      {head + "[parallel]\ndata = 3\n[server]\nport = 65534\nbalancing = \"external\"",
       "c.toml:6: server.port: is the first of one per replica, the last of which would be 65536; "
       "legal: 0 or 1..65533 (port=65534, parallel.data=3)"},
      {head + "[device.sim]\nheads = 12",
       "c.toml: device.sim.kv_heads: must divide device.sim.heads (heads=12, kv_heads=8)"},
      {head + "[[node]]\nname = \"a\"\n[[node]]\nname = \"a\"",
       "c.toml:3: node: name must be unique (name=\"a\")"},
      {head + "[[node]]\nname = \"a\"\ndevices = [1, 1]",
       "c.toml:3: node: devices must be different (name=\"a\")"},
      {head + "[[node]]\nname = \"a\"\ndevices = [1]\n[[node]]\nname = \"b\"",
       "c.toml:3: node: either all nodes list devices or none does"},
  };
  for (const mistake& m : mistakes) {
    BOOST_TEST(refused(m.text) == m.message);
  }
}

BOOST_AUTO_TEST_CASE(hostile_shapes_are_bounded_before_the_parser_sees_them) {
  BOOST_TEST(refused(std::string(config_bytes_max + 1, '#')).find("file is too large")
             != std::string::npos);
  std::string deep = "a";
  for (int i = 0; i < 1000; ++i) {
    deep += ".a";
  }
  BOOST_TEST(
      refused("\n" + deep + " = 1").starts_with("c.toml:2: line has too many dots (dots=1000)"));
  BOOST_TEST(refused("a = " + std::string(5000, '[')).starts_with("c.toml:1: not valid toml: "));
  // A ruler of dots in a comment is nobody's key.
  BOOST_TEST(
      parse("# " + std::string(200, '.') + "\n" + std::string(minimal), "c.toml").has_value());
}

BOOST_AUTO_TEST_CASE(a_missing_file_is_a_missing_resource) {
  const auto config = load("no/such/file.toml");
  BOOST_REQUIRE(!config.has_value());
  BOOST_TEST((config.error().code == errc::not_found));
  BOOST_TEST(exit_code(config.error().code) == 3);
  BOOST_TEST(config.error().context.find("file=no/such/file.toml") != std::string::npos);
  const testing::temporary_folder folder;
  BOOST_TEST((load(folder.path()).error().code == errc::io_failed));
}

BOOST_AUTO_TEST_CASE(model_paths_are_found_below_the_folder_of_the_file) {
  const testing::temporary_folder folder;
  folder.write("models/m/config.json", "{}");
  const std::string below = (folder.path() / "models/m").string();
  BOOST_TEST(resolve_model_path("models/m", folder.path()) == below);
  BOOST_TEST(resolve_model_path("random:models/m", folder.path()) == "random:" + below);
  BOOST_TEST(resolve_model_path("org/name", folder.path()) == "org/name");
  BOOST_TEST(resolve_model_path("random:", folder.path()) == "random:");
  BOOST_TEST(resolve_model_path("/absolute/m", folder.path()) == "/absolute/m");
  const auto file = folder.write("c.toml", "[model]\npath = \"models/m\"\n");
  const auto config = load(file);
  BOOST_REQUIRE(config.has_value());
  BOOST_TEST(config->model.path == below);
  BOOST_TEST(config->source == file.string());
}

BOOST_AUTO_TEST_CASE(the_current_directory_comes_before_the_folder_of_the_file) {
  const testing::temporary_folder folder;
  folder.write("m/config.json", "{}");
  folder.write("config/m/config.json", "{}");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const std::string found = resolve_model_path("m", folder.path() / "config");
  std::filesystem::current_path(before);
  BOOST_TEST(found == "m");
}

BOOST_AUTO_TEST_CASE(the_shipped_files_are_legal) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(shipped)) {
    if (entry.path().extension() == ".toml") {
      const auto config = load(entry.path());
      BOOST_TEST_INFO((config.has_value() ? std::string() : config.error().context));
      BOOST_TEST(config.has_value());
      ++files;
    }
  }
  BOOST_TEST(files >= 3);
  const auto demo = load(shipped / "demo.toml");
  BOOST_REQUIRE(demo.has_value());
  BOOST_TEST(demo->parallel.world() == 4);
  BOOST_TEST((demo->cluster.isolation == isolation_kind::process));
  const auto sim = load(shipped / "sim-64.toml");
  BOOST_REQUIRE(sim.has_value());
  BOOST_TEST(sim->parallel.world() == 64);
}

BOOST_AUTO_TEST_CASE(threads_are_an_even_share_of_the_cores) {
  device_section device;
  BOOST_TEST(threads_per_worker(device, 8, 2) == 4);
  BOOST_TEST(threads_per_worker(device, 2, 4) == 1);
  BOOST_TEST(threads_per_worker(device, 0, 0) == 1);
  device.threads = 3;
  BOOST_TEST(threads_per_worker(device, 8, 8) == 3);
}

BOOST_AUTO_TEST_SUITE_END()
