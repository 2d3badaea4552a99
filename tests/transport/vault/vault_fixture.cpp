#include "tests/transport/vault/vault_fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vdist::testing {

vault_host::vault_host() {
  auto ends = socket::make_socket_pair();
  BOOST_REQUIRE(ends);
  control_ = std::make_unique<socket::message_socket>(std::move(ends->first), vault_clock);
  server_end_ = std::move(ends->second);
}

socket::unique_fd vault_host::open_client() const {
  auto end = vault::open_vault_client(*control_, vault_patience());
  BOOST_REQUIRE(end);
  return std::move(end).value();
}

std::unique_ptr<vault::vault_client>
vault_host::make_client(const vault::vault_client_settings& settings,
                        const vault::device_access& devices) const {
  return std::make_unique<vault::vault_client>(open_client(), vault_clock, settings, devices);
}

server_thread::server_thread(const vault::vault_server_settings& settings,
                             const vault::device_memory_source& devices) {
  auto server =
      std::make_unique<vault::vault_server>(std::move(server_end_), vault_clock, settings, devices);
  thread_ = std::thread([this, server = std::move(server)] { served_ = server->run(); });
}

server_thread::~server_thread() {
  close();
  thread_.join();
  BOOST_TEST(served_.has_value());
}

pid_t start_vault(const std::vector<std::string>& arguments, int control) {
  std::vector<std::string> words{VDIST_VAULT};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (auto& word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, control, 3);
  pid_t child = -1;
  const int status = posix_spawn(&child, VDIST_VAULT, &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  BOOST_REQUIRE(status == 0);
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  BOOST_REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

server_process::server_process(const std::vector<std::string>& arguments) {
  std::vector<std::string> all{"--control-fd", "3"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  pid_ = start_vault(all, server_end_.get());
  server_end_.reset();
}

int server_process::wait() {
  return wait_for(std::exchange(pid_, -1));
}

server_process::~server_process() {
  close();
  if (pid_ > 0) {
    wait();
  }
}

} // namespace vdist::testing
