// tests/model/hub/hub_server.hpp — hub_server.py as a child process, for one test case.
#pragma once

#include "tests/support/temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <spawn.h>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern char** environ;

namespace vdist::hub::testing {

inline constexpr const char* commit = "0123456789abcdef0123456789abcdef01234567";

/// One request that the server saw.
struct seen_request {
  std::string server; // "host" or "store"
  std::string method;
  std::string path;
  std::string range; // empty: none
  std::string token; // likewise
};

class hub_server {
public:
  /// Serves the files of `folder`. `scenario`: see hub_server.py.
  hub_server(const std::filesystem::path& folder, const nlohmann::json& scenario) {
    int in[2];
    int out[2];
    BOOST_REQUIRE(::pipe2(in, O_CLOEXEC) == 0);
    BOOST_REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
    to_server_ = in[1];
    from_server_ = out[0];
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], 0);
    posix_spawn_file_actions_adddup2(&files, out[1], 1);
    std::vector<std::string> words{VDIST_PYTHON,
                                   VDIST_SOURCE_DIR "/tests/model/hub/hub_server.py",
                                   folder.string(),
                                   log().string(),
                                   scenario.dump()};
    std::vector<char*> arguments;
    for (std::string& word : words) {
      arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    BOOST_REQUIRE(posix_spawn(&pid_, arguments[0], &files, nullptr, arguments.data(), environ)
                  == 0);
    posix_spawn_file_actions_destroy(&files);
    ::close(in[0]);
    ::close(out[1]);
    std::istringstream ports(next_line());
    std::string word;
    ports >> word >> port_ >> store_port_;
    BOOST_REQUIRE(word == "ports");
  }

  hub_server(const hub_server&) = delete;
  hub_server& operator=(const hub_server&) = delete;

  ~hub_server() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::close(to_server_);
    ::close(from_server_);
  }

  [[nodiscard]] std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }

  /// The next line that the server prints.
  std::string next_line() {
    std::string line;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (char letter = 0; letter != '\n';) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      pollfd wait{.fd = from_server_, .events = POLLIN, .revents = 0};
      BOOST_REQUIRE(::poll(&wait, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())))
                    == 1);
      BOOST_REQUIRE(::read(from_server_, &letter, 1) == 1);
      line += letter;
    }
    line.pop_back();
    return line;
  }

  /// All requests so far.
  [[nodiscard]] std::vector<seen_request> requests() const {
    std::vector<seen_request> all;
    std::ifstream file(log());
    for (std::string line; std::getline(file, line);) {
      const auto entry = nlohmann::json::parse(line);
      const auto text = [&entry](const char* key) {
        return entry[key].is_null() ? std::string() : entry[key].get<std::string>();
      };
      all.push_back({text("server"), text("method"), text("path"), text("range"), text("token")});
    }
    return all;
  }

  /// Ranges of the downloads of one file, in order; "" is a whole one.
  [[nodiscard]] std::vector<std::string> downloads(const std::string& file) const {
    std::vector<std::string> ranges;
    for (const seen_request& request : requests()) {
      const std::string path = request.path.substr(0, request.path.find('?'));
      const bool is_large = file.ends_with(".safetensors");
      if (request.method == "GET" && path.ends_with("/" + file)
          && request.server == (is_large ? "store" : "host")) {
        ranges.push_back(request.range);
      }
    }
    return ranges;
  }

private:
  [[nodiscard]] std::filesystem::path log() const { return folder_.path() / "requests"; }

  vdist::testing::temporary_folder folder_;
  pid_t pid_ = 0;
  int to_server_ = -1; // the server ends when this closes
  int from_server_ = -1;
  int port_ = 0;
  int store_port_ = 0;
};

} // namespace vdist::hub::testing
