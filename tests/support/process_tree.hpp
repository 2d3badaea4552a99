// tests/support/process_tree.hpp — the processes that a vdist-run has started, as /proc shows them.
#pragma once

#include "tests/support/process.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace vdist::testing {

/// One process of /proc.
struct process_entry {
  pid_t pid = 0;
  pid_t parent = 0;
  std::string command; // words separated by blanks
};

inline std::vector<process_entry> all_processes() {
  std::vector<process_entry> all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    process_entry found{.pid = static_cast<pid_t>(std::stol(name))};
    std::ifstream stat(entry.path() / "stat");
    std::string text;
    std::getline(stat, text, '\0'); // empty when it ends meanwhile
    const auto behind_name = text.rfind(')');
    if (behind_name == std::string::npos || text[behind_name + 2] == 'Z') {
      continue; // gone, or dead and only not yet waited for
    }
    found.parent = static_cast<pid_t>(std::stol(text.substr(behind_name + 4)));
    std::ifstream words(entry.path() / "cmdline");
    for (std::string word; std::getline(words, word, '\0');) {
      found.command += word + ' ';
    }
    all.push_back(std::move(found));
  }
  return all;
}

inline bool is_alive(pid_t pid) {
  const auto all = all_processes();
  return std::any_of(all.begin(), all.end(), [pid](const auto& one) { return one.pid == pid; });
}

/// Looks until it is so, or fails the test.
inline void wait_until(const std::string& what, const std::function<bool()>& is_so) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!is_so()) {
    BOOST_REQUIRE_MESSAGE(std::chrono::steady_clock::now() < deadline, "never: " << what);
    std::this_thread::yield();
  }
}

/// By program and, for workers, rank: "worker 1".
using process_tree = std::map<std::string, pid_t>;

inline process_tree children_of(pid_t parent) {
  process_tree children;
  for (const auto& one : all_processes()) {
    if (one.parent != parent) {
      continue;
    }
    for (const std::string program : {"vdist-vault", "vdist-node", "vdist-worker"}) {
      if (one.command.find(program + " ") == std::string::npos) {
        continue;
      }
      const auto rank = one.command.find("--rank ");
      const bool is_worker = rank != std::string::npos;
      children[is_worker ? "worker " + one.command.substr(rank + 7, 1) : program] = one.pid;
    }
  }
  return children;
}

/// Waits until that many are there: vault, control process and workers.
inline process_tree wait_for_children(const process& parent, std::size_t count) {
  process_tree children;
  wait_until("all processes run", [&parent, &children, count] {
    children = children_of(parent.pid());
    return children.size() == count;
  });
  return children;
}

/// Waits until `name` is another process than `before`, or its parent has ended. Returns its pid, or 0.
inline pid_t wait_for_successor(const process& parent, const std::string& name, pid_t before) {
  pid_t successor = 0;
  wait_until("a successor of " + name, [&] {
    const auto now = children_of(parent.pid());
    const auto found = now.find(name);
    successor = found != now.end() && found->second != before ? found->second : 0;
    return successor != 0 || !is_alive(parent.pid());
  });
  return successor;
}

inline void check_nothing_stays(const process_tree& children) {
  for (const auto& [name, pid] : children) {
    wait_until(name + " has ended", [pid = pid] { return !is_alive(pid); });
  }
}

inline std::set<std::string> shared_memory_files() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

} // namespace vdist::testing
