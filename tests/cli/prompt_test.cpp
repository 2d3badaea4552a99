// One prompt, and the looks at the plan.
#include "tests/support/run_fixture.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

using namespace vdist::testing;
using nlohmann::json;
using namespace std::chrono_literals;

namespace {

std::vector<std::string> story(const std::vector<std::string>& more,
                               const std::string& seed = "1") {
  std::vector<std::string> all{
      "--prompt", "Once upon a time", "--max-tokens", "24", "--seed", seed};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(one_prompt, run_fixture)

BOOST_AUTO_TEST_CASE(a_json_line_has_all_its_fields) {
  const auto lines = lines_of(story({"--json"}));
  BOOST_REQUIRE(lines.size() == 1U);
  const auto& line = lines[0];
  BOOST_TEST(line.size() == 6U);
  BOOST_TEST(line.at("id").is_string());
  BOOST_TEST(!line.at("text").get<std::string>().empty());
  BOOST_TEST(line.at("token_ids").size() == 24U);
  BOOST_TEST(line.at("finish_reason") == "length");
  BOOST_TEST(line.at("prompt_tokens") == 6);
  for (const char* name : {"ttft_ms", "tpot_ms", "total_ms"}) {
    BOOST_TEST(line.at("timings").at(name).get<double>() > 0);
  }
}

BOOST_AUTO_TEST_CASE(the_models_own_default_bounds_a_request_that_names_no_length) {
  const auto model = folder.path() / "brief";
  std::filesystem::copy(demo_model, model);
  std::ofstream(model / "generation_config.json") << R"({"eos_token_id": 1, "max_new_tokens": 5})";
  const auto set = "model.path=" + model.string();
  const auto brief =
      lines_of({"--prompt", "Once upon a time", "--seed", "1", "--json", "--set", set});
  BOOST_TEST(brief.at(0).at("token_ids").size() == 5U);
  BOOST_TEST(lines_of(story({"--json", "--set", set})).at(0).at("token_ids").size() == 24U);
}

BOOST_AUTO_TEST_CASE(the_same_seed_gives_the_same_ids_on_every_split) {
  const auto first = lines_of(story({"--json"}))[0].at("token_ids");
  BOOST_TEST(lines_of(story({"--json"}))[0].at("token_ids") == first, "twice");
  for (const char* split :
       {"parallel.tensor=2", "parallel.pipeline=4", "parallel.data=2", "device.threads=2"}) {
    BOOST_TEST(lines_of(story({"--json", "--set", split}))[0].at("token_ids") == first, split);
  }
  BOOST_TEST(lines_of(story({"--json"}, "2"))[0].at("token_ids") != first);
}

BOOST_AUTO_TEST_CASE(text_streams_to_stdout_with_its_prompt_and_nothing_else_goes_there) {
  const auto done = run(story({}));
  BOOST_TEST(done.exit_code == 0);
  const auto text = lines_of(story({"--json"}))[0].at("text").get<std::string>();
  BOOST_TEST(done.out == "Once upon a time" + text + "\n");
  BOOST_TEST(done.err.find("blocks of 16 tokens") != std::string::npos, done.err);
  const auto quiet = run(story({"--quiet"}));
  BOOST_TEST(quiet.out == done.out);
  BOOST_TEST(quiet.err == "");
}

BOOST_AUTO_TEST_CASE(log_probabilities_come_with_the_top_tokens) {
  const auto line = lines_of(story(
      {"--logprobs", "3", "--temperature", "0", "--set", "model.generation_config=neutral"}))[0];
  const auto& positions = line.at("logprobs");
  BOOST_REQUIRE(positions.size() == line.at("token_ids").size());
  for (const auto& position : positions) {
    const auto text = position.dump();
    BOOST_TEST(position.contains("top"), text);
    const auto& top = position.at("top");
    BOOST_REQUIRE(top.size() == 3U);
    double mass = 0;
    for (const auto& one : top) {
      mass += std::exp(one.at("logprob").get<double>());
    }
    BOOST_TEST(mass <= 1.0001);
    BOOST_TEST(top[0].at("logprob").get<double>() >= top[2].at("logprob").get<double>());
    BOOST_TEST(position.at("logprob") == top[0].at("logprob"), "greedy takes the likeliest");
  }
}

BOOST_AUTO_TEST_CASE(stop_strings_end_the_text) {
  const auto whole = lines_of(story({"--json"}))[0].at("text").get<std::string>();
  const auto stop = whole.substr(whole.size() / 2, 3);
  const auto cut = lines_of(story({"--json", "--stop", stop}))[0];
  BOOST_TEST(cut.at("text").get<std::string>() == whole.substr(0, whole.find(stop)));
  BOOST_TEST(cut.at("finish_reason") == "stop");
}

BOOST_AUTO_TEST_CASE(check_prints_the_plan_and_loads_nothing) {
  const auto done = run({"--check",
                         "--set",
                         "parallel.tensor=2",
                         "--set",
                         "parallel.pipeline=2",
                         "--set",
                         "server.port=0"});
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(done.out.find("KV cache") != std::string::npos, done.out);
  BOOST_TEST(done.err.find("weights ") == std::string::npos, done.err);
}

BOOST_AUTO_TEST_CASE(the_dumped_shards_cover_every_weight_once) {
  const auto done = run({"--dump-topology",
                         "--set",
                         "parallel.tensor=2",
                         "--set",
                         "parallel.pipeline_layers=[3,5]",
                         "--set",
                         "parallel.pipeline=2",
                         "--set",
                         "parallel.data=2"});
  BOOST_REQUIRE_MESSAGE(done.exit_code == 0, done.err);
  const auto dump = json::parse(done.out);
  BOOST_TEST(dump.at("sizes").at("world") == 8);
  BOOST_TEST(dump.at("ranks").size() == 8U);
  BOOST_TEST(dump.at("stages") == json::parse("[[0,3],[3,8]]"));
  for (const auto& [kind, groups] : dump.at("groups").items()) {
    std::set<int> members;
    for (const auto& group : groups) {
      for (const auto& rank : group) {
        members.insert(rank.get<int>());
      }
    }
    BOOST_TEST(members.size() == 8U, "every rank is in one group of each kind: " << kind);
  }
  // Elements of each tensor that the ranks of replica 0 hold together: at least all of it.
  std::ifstream file(demo_model / "model.safetensors", std::ios::binary);
  std::uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof(length));
  std::string text(length, '\0');
  file.read(text.data(), static_cast<std::streamsize>(length));
  const auto header = json::parse(text);
  std::map<std::string, std::set<std::int64_t>> rows_held;
  std::map<std::string, std::set<std::int64_t>> columns_held;
  for (std::size_t rank = 0; rank < 4; ++rank) {
    for (const auto& weight : dump.at("ranks")[rank].at("weights")) {
      for (const auto& slice : weight.at("slices")) {
        for (auto row = slice.at("rows")[0].get<std::int64_t>();
             row < slice.at("rows")[1].get<std::int64_t>();
             ++row) {
          rows_held[slice.at("tensor")].insert(row);
        }
        for (auto at = slice.at("columns")[0].get<std::int64_t>();
             at < slice.at("columns")[1].get<std::int64_t>();
             ++at) {
          columns_held[slice.at("tensor")].insert(at);
        }
      }
    }
  }
  for (const auto& [name, tensor] : header.items()) {
    if (name == "__metadata__") {
      continue;
    }
    const auto rows = tensor.at("shape")[0].get<std::size_t>();
    BOOST_TEST(rows_held[name].size() == rows, name);
    if (tensor.at("shape").size() == 2) {
      BOOST_TEST(columns_held[name].size() == tensor.at("shape")[1].get<std::size_t>(), name);
    }
  }
}

BOOST_AUTO_TEST_CASE(an_interrupt_ends_it_with_130) {
  for (const int number : {SIGINT, SIGTERM}) {
    config = write_config("", "[device.sim]\nstep_us = 20000\n[parallel]\ntensor = 2\n");
    const auto input =
        folder
            .write("slow.jsonl",
                   "{\"token_ids\": [1, 2], \"max_tokens\": 200, \"ignore_eos\": true}\n")
            .string();
    auto running = start(
        {"--set", "device.kind=sim", "--input", input, "--output", "out" + std::to_string(number)});
    while (running.err().find("weights ") == std::string::npos
           && running.err().find("vdist-run:") == std::string::npos) {
      std::this_thread::yield();
    }
    running.signal(number);
    const auto done = running.wait();
    BOOST_TEST(done.exit_code == 130, done.err);
    BOOST_TEST(done.err.find("interrupted") != std::string::npos, done.err);
  }
}

BOOST_AUTO_TEST_CASE(help_and_version_are_no_errors) {
  const auto help = run({"--help"});
  BOOST_TEST(help.exit_code == 0);
  BOOST_TEST(help.out.find("parallel.tensor") != std::string::npos, "all keys are listed");
  BOOST_TEST(run({"--version"}).exit_code == 0);
}

BOOST_AUTO_TEST_SUITE_END()
