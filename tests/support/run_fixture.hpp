// tests/support/run_fixture.hpp — vdist-run in an empty working folder, with a configuration of the
// demo model.
#pragma once

#include "tests/support/isolation_under_test.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace vdist::testing {

inline const std::filesystem::path demo_model = VDIST_SOURCE_DIR "/examples/models/tiny-tales";

struct run_fixture {
  run_fixture() {
    std::filesystem::create_directory(work);
    config = write_config(demo_model);
  }

  /// Another configuration for the model in `folder`.
  std::string write_config(const std::filesystem::path& model, const std::string& more = "") {
    return folder
        .write("config" + std::to_string(++configs) + ".toml",
               "[model]\npath = \"" + model.string()
                   + "\"\nmax_model_len = 256\n[device]\nkind = \"cpu\"\nthreads = "
                     "1\nkv_cache_bytes = 16777216\n"
                   + more)
        .string();
  }

  /// vdist-run <config> <arguments>.
  process start(const std::vector<std::string>& arguments) {
    std::vector<std::string> command{VDIST_RUN, config};
    command.insert(command.end(), arguments.begin(), arguments.end());
    if (const auto isolation = isolation_under_test(); !isolation.empty()) {
      command.insert(command.end(), {"--set", "cluster.isolation=" + isolation});
    }
    return process(command, folder.path(), work.string());
  }

  process_result run(const std::vector<std::string>& arguments) { return start(arguments).wait(); }

  /// Runs it, expects success, and parses every line of stdout.
  std::vector<nlohmann::json> lines_of(const std::vector<std::string>& arguments) {
    const auto done = run(arguments);
    BOOST_REQUIRE_MESSAGE(done.exit_code == 0, done.err);
    return parse_lines(done.out);
  }

  static std::vector<nlohmann::json> parse_lines(const std::string& text) {
    std::vector<nlohmann::json> all;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      all.push_back(nlohmann::json::parse(line));
    }
    return all;
  }

  static std::string read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  temporary_folder folder;
  std::filesystem::path work =
      folder.path() / "work"; // where the program runs; stays empty unless it writes there
  std::string config;
  int configs = 0;
};

} // namespace vdist::testing
