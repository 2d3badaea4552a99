// A file of requests: bad lines, every kind of parameter, and what an interrupted run leaves.
#include "tests/support/run_fixture.hpp"

#include <map>
#include <random>

using namespace vdist::testing;
using nlohmann::json;

namespace {

struct batch_fixture : run_fixture {
  std::string write_input(const std::string& lines) {
    return folder.write("in.jsonl", lines).string();
  }

  process_result run_batch(const std::string& input) {
    return run({"--input", input, "--output", output.string()});
  }

  /// id and index → the line without its times.
  std::map<std::string, json> results() const {
    std::map<std::string, json> all;
    for (auto& line : parse_lines(read(output))) {
      line.erase("timings");
      const auto key = line.at("id").get<std::string>()
                       + (line.contains("index") ? "#" + line["index"].dump() : "");
      BOOST_TEST(all.emplace(key, line).second, "once: " << key);
    }
    return all;
  }

  std::filesystem::path output = work / "out.jsonl";
};

std::string many_requests() {
  std::string lines;
  for (int i = 0; i < 12; ++i) {
    lines += json{{"id", "r" + std::to_string(i)},
                  {"prompt", i % 2 == 0 ? "Once upon a time" : "The little rabbit"},
                  {"max_tokens", 3 + i},
                  {"seed", i},
                  {"n", i % 4 == 0 ? 2 : 1}}
                 .dump()
             + "\n";
  }
  return lines;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(batch_of_requests, batch_fixture)

BOOST_AUTO_TEST_CASE(a_bad_line_fails_alone) { // B-2
  const auto done =
      run_batch(write_input("{\"id\": \"a\", \"prompt\": \"Once\", \"max_tokens\": 2}\n"
                            "this is no json\n"
                            "{\"id\": \"utf\", \"prompt\": \"\xff\xfe\", \"max_tokens\": 2}\n"
                            "\n"
                            "{\"id\": \"c\", \"prompt\": \"Once\", \"max_tokns\": 2}\n"
                            "{\"id\": \"d\", \"prompt\": \"\", \"max_tokens\": 2}\n"
                            "{\"id\": \"e\", \"token_ids\": [0, 999999], \"max_tokens\": 2}\n"
                            "{\"id\": \"f\", \"prompt\": \"Once\", \"max_tokens\": 5000}\n"
                            "{\"id\": \"z\", \"token_ids\": [0, 48, 1387], \"max_tokens\": 2}"));
  BOOST_TEST(done.exit_code == 0, done.err);
  const auto lines = parse_lines(read(output));
  BOOST_TEST(lines.size() == 8U);
  std::map<std::string, json> by_id;
  for (const auto& line : lines) {
    by_id[line.at("id")] = line;
  }
  for (const char* good : {"a", "z"}) {
    BOOST_TEST(by_id.at(good).at("token_ids").size() == 2U);
  }
  std::size_t errors = 0;
  for (const auto& line : lines) {
    if (line.contains("error")) {
      ++errors;
      BOOST_TEST(!line.at("error").at("message").get<std::string>().empty());
      BOOST_TEST(line.at("error").at("code") == "invalid_argument", line.dump());
    }
  }
  BOOST_TEST(errors == 6U);
  BOOST_TEST(by_id.at("2").at("error").at("message").get<std::string>().find(":2")
                 != std::string::npos,
             by_id.at("2").dump());
  BOOST_TEST(done.err.find("6 failed") != std::string::npos, done.err);
}

BOOST_AUTO_TEST_CASE(an_interrupted_run_goes_on_and_repeats_nothing) { // B-1
  const auto input = write_input(many_requests());
  BOOST_REQUIRE(run_batch(input).exit_code == 0);
  const auto expected = results();
  BOOST_TEST(expected.size() == 15U);
  const auto whole = read(output);
  std::mt19937 random(3);
  for (int round = 0; round < 4; ++round) {
    const auto kept = round == 0 ? whole.size() : random() % whole.size();
    std::filesystem::resize_file(output, kept);
    const auto done = run_batch(input);
    BOOST_TEST(done.exit_code == 0, done.err);
    BOOST_TEST((results() == expected), "after a cut at byte " << kept);
    BOOST_TEST(
        read(output).starts_with(whole.substr(0, whole.rfind('\n', kept == 0 ? 0 : kept - 1) + 1)),
        "what was there stays");
    std::filesystem::remove(output);
    std::ofstream(output, std::ios::binary) << whole;
  }
}

BOOST_AUTO_TEST_CASE(an_output_that_is_no_result_file_is_not_touched) {
  std::ofstream(output) << "my diary\nof two lines\nand three\n";
  const auto done = run_batch(write_input(many_requests()));
  BOOST_TEST(done.exit_code == 3, done.err);
  BOOST_TEST(done.err.find("out.jsonl") != std::string::npos, done.err);
  BOOST_TEST(read(output) == "my diary\nof two lines\nand three\n");
}

BOOST_AUTO_TEST_CASE(an_engine_with_little_room_fails_nobody) {
  const auto input = write_input(many_requests());
  BOOST_REQUIRE(run_batch(input).exit_code == 0);
  const auto expected = results();
  std::filesystem::remove(output);
  const auto done = run({"--input",
                         input,
                         "--output",
                         output.string(),
                         "--set",
                         "scheduler.max_waiting=1",
                         "--set",
                         "scheduler.max_sequences=2"});
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST((results() == expected));
}

BOOST_AUTO_TEST_CASE(an_empty_input_gives_an_empty_output) {
  const auto done = run_batch(write_input(""));
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST(read(output) == "");
}

BOOST_AUTO_TEST_CASE(the_split_changes_no_result) {
  const auto input = write_input(many_requests());
  BOOST_REQUIRE(run_batch(input).exit_code == 0);
  const auto expected = results();
  std::filesystem::remove(output);
  const auto done = run({"--input",
                         input,
                         "--output",
                         output.string(),
                         "--set",
                         "parallel.tensor=2",
                         "--set",
                         "parallel.data=2",
                         "--set",
                         "scheduler.max_sequences=2"});
  BOOST_TEST(done.exit_code == 0, done.err);
  BOOST_TEST((results() == expected));
}

BOOST_AUTO_TEST_SUITE_END()
