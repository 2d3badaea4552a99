// tests/support/process_tree.hpp — the processes that a vdist-run has started, as /proc shows them.
#pragma once

#include "tests/support/process.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>

namespace vdist::testing {

/// Empty, or cut, where the process ends meanwhile.
inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf(); // a read that fails ends it, and throws nothing
  return text.str();
}

/// Not so for one that is dead and only not yet waited for.
inline bool is_alive(pid_t pid) {
  const auto stat = text_of("/proc/" + std::to_string(pid) + "/stat");
  const auto behind_name = stat.rfind(')');
  return behind_name != std::string::npos && stat[behind_name + 2] != 'Z';
}

/// Looks until it is so, or fails the test.
inline void wait_until(const std::string& what, const std::function<bool()>& is_so) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!is_so()) {
    BOOST_REQUIRE_MESSAGE(std::chrono::steady_clock::now() < deadline, "never: " << what);
    std::this_thread::yield();
  }
}

/// The word behind `option` in the command of a process; empty: there is none.
inline std::string option_of(pid_t pid, const std::string& option) {
  const auto words = text_of("/proc/" + std::to_string(pid) + "/cmdline");
  const auto found = words.find(option + '\0');
  if (found == std::string::npos) {
    return {};
  }
  const auto from = found + option.size() + 1;
  return words.substr(from, words.find('\0', from) - from);
}

/// Of a worker; empty: it stands by. One that stood by before says its rank in its name alone.
inline std::string rank_of(pid_t worker) {
  if (auto rank = option_of(worker, "--rank"); !rank.empty()) {
    return rank;
  }
  const std::string_view prefix = "vdist-worker-";
  auto name = text_of("/proc/" + std::to_string(worker) + "/comm");
  return name.starts_with(prefix) ? name.substr(prefix.size(), name.find('\n') - prefix.size())
                                  : std::string();
}

/// By what they are: "vault", "node", and for workers "worker <rank>".
using process_tree = std::map<std::string, pid_t>;

/// Read anew at every call; one that ends meanwhile is absent.
inline process_tree children_of(pid_t parent) {
  const auto own = "/proc/" + std::to_string(parent);
  std::istringstream children(text_of(own + "/task/" + std::to_string(parent) + "/children"));
  process_tree found;
  for (pid_t child = 0; children >> child;) {
    const auto words = text_of("/proc/" + std::to_string(child) + "/cmdline");
    const auto program = words.substr(0, words.find('\0'));
    if (program.ends_with("vdist-vault")) {
      found["vault"] = child;
    } else if (program.ends_with("vdist-node")) {
      found["node"] = child;
    } else if (program.ends_with("vdist-worker")) {
      if (const auto rank = rank_of(child); !rank.empty()) {
        found["worker " + rank] = child;
      }
    }
  }
  return found;
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
