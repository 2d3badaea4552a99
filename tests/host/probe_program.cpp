// A stand-in for the programs of a host, by the name that it is called by. As vdist-worker it does what its order says in
// words; as vdist-node it asks for two workers and writes down what it found; as vdist-run it supervises both. Then tests
// of the host see real processes and need no model.
#include "runtime/base/log.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>

#include "host/board.hpp"
#include "host/host_link.hpp"
#include "host/standby.hpp"
#include "host/supervisor.hpp"

using namespace vdist;
using namespace vdist::host;
using namespace std::chrono_literals;

namespace {

std::string argument(const char* name, int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string(argv[i]) == name) {
      return argv[i + 1];
    }
  }
  return {};
}

life_entry* hold(int argc, char** argv) {
  auto held = hold_life_on(socket::unique_fd(std::stoi(argument("--board-fd", argc, argv))),
                           static_cast<std::uint32_t>(std::stoul(argument("--life", argc, argv))));
  return held ? held->entry : nullptr;
}

std::string setting(const char* name, const char* otherwise = "") {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

/// Appears whole or not at all.
void write_down(const std::string& name, const std::string& text) {
  const auto path = std::filesystem::path(setting("VDIST_PROBE_FOLDER")) / name;
  std::ofstream(path.string() + ".part") << text;
  std::filesystem::rename(path.string() + ".part", path);
}

[[noreturn]] void sleep_for_ever() {
  while (true) {
    ::pause();
  }
}

void work_for(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

std::string read_words(const socket::unique_fd& order) {
  char text[64] = {};
  [[maybe_unused]] const auto got = ::pread(order.get(), text, sizeof text - 1, 0);
  return text;
}

/// What it prepares for may be words, too: "dies", or "hangs <budget ms>" while it loads.
socket::unique_fd wait_for_order(const standby_link& link, progress_cell& cell) {
  auto given = link.wait();
  if (given && given->what == standby_step::prepare) {
    std::istringstream words(read_words(given->order));
    std::string what;
    int budget = 0;
    words >> what >> budget;
    if (what == "dies") {
      ::_exit(5);
    }
    progress_word progress(cell);
    progress.enter(work_phase::loading, {.budget = std::chrono::milliseconds(budget)});
    if (what == "hangs") {
      sleep_for_ever();
    }
    progress.enter(work_phase::idle);
    link.say_ready();
    given = link.wait();
  }
  if (!given) {
    ::_exit(4);
  }
  return std::move(given->order);
}

/// "idle", "waiting", "stuck <budget ms>", "busy <budget ms>", "asleep <standstill ms>", "tired <budget ms>".
[[noreturn]] void be_worker(int argc, char** argv) {
  auto* const life = hold(argc, argv);
  socket::unique_fd order;
  if (const auto standby = argument("--standby-fd", argc, argv); !standby.empty()) {
    const standby_link link(socket::unique_fd(std::stoi(standby)));
    order = wait_for_order(link, life->progress);
  } else {
    order = socket::unique_fd(std::stoi(argument("--order-fd", argc, argv)));
  }
  std::istringstream words(read_words(order));
  std::string what;
  int budget = 0;
  words >> what >> budget;
  progress_word progress(life->progress);
  if (what == "waiting") {
    progress.enter(work_phase::waiting, {.budget = 10ms, .standstill = 10ms});
  }
  if (what == "tired") { // it has worked, faster than anybody looks
    progress.enter(work_phase::loading);
    for (int step = 0; step < 8; ++step) {
      progress.enter(work_phase::idle);
      progress.enter(work_phase::computing);
    }
  }
  if (what == "stuck" || what == "busy" || what == "tired") {
    progress.enter(work_phase::computing, {.budget = std::chrono::milliseconds(budget)});
  }
  if (what == "asleep") { // in a step that might take half a minute
    progress.enter(work_phase::computing,
                   {.budget = 30s, .standstill = std::chrono::milliseconds(budget)});
  }
  while (what == "busy") {
    work_for(2ms);
    progress.bump();
  }
  sleep_for_ever();
}

/// Adopts workers and starts those that are missing; what it does later the test says (VDIST_PROBE_LIVES: exits with 0 in that one).
int be_node(int argc, char** argv) {
  (void)hold(argc, argv);
  auto link = host_link::open(socket::unique_fd(std::stoi(argument("--host-link", argc, argv))));
  if (!link) {
    return 4;
  }
  const auto starts = (*link)->node_starts();
  auto report = fmt::format("{}\n", ::getpid());
  for (const auto& one : (*link)->living()) {
    report += fmt::format("living {} {} {}\n", one.key.rank, one.pid, one.order_hash);
  }
  const auto lives =
      static_cast<std::uint32_t>(std::stoul(setting("VDIST_PROBE_LIVES", "1000000")));
  constexpr std::array<std::byte, 4> idle{
      std::byte{'i'}, std::byte{'d'}, std::byte{'l'}, std::byte{'e'}};
  for (std::int32_t rank = 0; rank < 2; ++rank) {
    const auto& living = (*link)->living();
    if (std::any_of(living.begin(), living.end(), [rank](const auto& one) {
          return one.key.rank == rank;
        })) {
      continue;
    }
    (void)(*link)->spawn({.key = {.rank = rank, .incarnation = (*link)->last_incarnation(rank) + 1},
                          .order = {idle.begin(), idle.end()},
                          .order_hash = 7},
                         {.on_ended = [](const auto&) {}, .on_dying = {}});
  }
  for (const auto& one : (*link)->living()) {
    (void)(*link)->adopt(
        one.key,
        {.on_ended =
             [](const auto& how) {
               write_down(fmt::format("ended-{}-{}", how.key.rank, how.key.incarnation), how.text);
             },
         .on_dying = {}});
  }
  const auto pid_of = [&link](std::int32_t rank) {
    for (const auto& one : (*link)->processes()) {
      if (one.key.role == protocol::process_role::worker && one.key.rank == rank) {
        return one.pid;
      }
    }
    return 0;
  };
  while (pid_of(0) == 0 || pid_of(1) == 0) {
    std::this_thread::yield();
  }
  report += fmt::format(
      "worker {}\nworker {}\nvault {}\n", pid_of(0), pid_of(1), (*link)->processes().at(1).pid);
  if (setting("VDIST_PROBE_WANTS") != "") { // that many vaults, one after the other
    const auto vaults = (*link)->board()->vault_starts.load();
    if (vaults < std::stoul(setting("VDIST_PROBE_WANTS"))) {
      (*link)->board()->vault_wanted = vaults + 1;
    }
  }
  write_down(fmt::format("node-{}", starts), report);
  if (starts >= lives) {
    return 0;
  }
  if (setting("VDIST_PROBE_EXIT") != "") {
    ::_exit(std::stoi(setting("VDIST_PROBE_EXIT")));
  }
  sleep_for_ever();
}

int be_run() {
  log::initialise("error");
  supervisor run({.programs = setting("VDIST_PROGRAMS"),
                  .control_arguments = std::vector<std::string>{},
                  .restarts = {.restarts_max = std::stoul(setting("VDIST_PROBE_RESTARTS", "5")),
                               .backoff = 1ms},
                  .keeps_workers = setting("VDIST_PROBE_KEEPS") == "1",
                  .keeps_ledger = setting("VDIST_PROBE_KEEPS") == "1"});
  auto done = run.start();
  auto ended = done ? run.run() : result<int>(done.error());
  if (!ended) {
    std::fprintf(stderr, "%s\n", ended.error().context.c_str());
    return exit_code(ended.error().code);
  }
  return *ended;
}

} // namespace

int main(int argc, char** argv) {
  const auto name = std::filesystem::path(argv[0]).filename();
  if (name == "vdist-worker") {
    be_worker(argc, argv);
  }
  return name == "vdist-node" ? be_node(argc, argv) : be_run();
}
