// tests/host/probe_folder.hpp — a folder with the programs of a host in which workers and control process are stand-ins
// (probe_program.cpp), and VDIST_PROGRAMS naming it.
#pragma once

#include "tests/support/process_tree.hpp"
#include "tests/support/temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/types.h>

namespace vdist::testing {

struct probe_folder {
  explicit probe_folder(bool has_real_run) {
    namespace fs = std::filesystem;
    fs::create_symlink(VDIST_VAULT, programs() / "vdist-vault");
    fs::create_symlink(VDIST_PROBE, programs() / "vdist-worker");
    fs::create_symlink(VDIST_PROBE, programs() / "vdist-node");
    fs::create_symlink(has_real_run ? VDIST_RUN : VDIST_PROBE, programs() / "vdist-run");
    ::setenv("VDIST_PROGRAMS", programs().c_str(), 1);
    ::setenv("VDIST_PROBE_FOLDER", programs().c_str(), 1);
  }

  [[nodiscard]] const std::filesystem::path& programs() const { return folder.path(); }

  temporary_folder folder;
};

/// State letter of a process; 0: there is none.
inline char state_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(stat, text, '\0'); // empty when it ends meanwhile
  const auto name_end = text.rfind(')');
  return name_end == std::string::npos ? '\0' : text[name_end + 2];
}

inline bool is_running(pid_t pid) {
  const auto state = state_of(pid);
  return state != '\0' && state != 'Z' && state != 'X';
}

} // namespace vdist::testing
