#include "tests/bench/serve/own_server.hpp"

#include "tests/bench/serve/fetch.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temporary_folder.hpp"

#include "runtime/config/environment.hpp"
#include "runtime/config/load.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <optional>
#include <poll.h>
#include <sstream>
#include <string_view>
#include <utility>

namespace vdist::bench::serve {

namespace {

using namespace std::chrono_literals;

/// Between two looks at what has no event of its own: a line of text, a state over HTTP.
constexpr auto look_interval = 20ms;
constexpr auto answer_time = 5s;
constexpr std::size_t last_words_max = 2000;
/// Longer than vdist-run takes to end all its processes.
constexpr auto end_time = 10s;

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool is_alive(pid_t pid) {
  const auto stat = text_of(fmt::format("/proc/{}/stat", pid));
  const auto behind_name = stat.rfind(')');
  return behind_name != std::string::npos && stat[behind_name + 2] != 'Z';
}

double cpu_seconds_of(pid_t pid) {
  double sum = 0;
  std::error_code ended;
  for (const auto& task :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), ended)) {
    std::istringstream text(text_of(task.path() / "schedstat"));
    double on_cpu_ns = 0;
    text >> on_cpu_ns;
    sum += on_cpu_ns * 1e-9;
  }
  return sum;
}

/// "VmRSS" and the like, in MiB.
double memory_of(const std::string& status, std::string_view name) {
  const auto at = status.find(name);
  constexpr double kib_per_mib = 1024;
  return at == std::string::npos ? 0 : std::atof(status.c_str() + at + name.size()) / kib_per_mib;
}

std::vector<pid_t> with_children(pid_t parent) {
  std::vector<pid_t> all{parent};
  std::istringstream children(text_of(fmt::format("/proc/{}/task/{}/children", parent, parent)));
  for (pid_t child = 0; children >> child;) {
    all.push_back(child);
  }
  return all;
}

void pause() {
  ::poll(nullptr, 0, static_cast<int>(look_interval.count()));
}

} // namespace

struct own_server::impl {
  impl(const own_server_options& options, const std::filesystem::path& program)
      : run(command_of(options, program), folder.path(), std::filesystem::current_path().string()) {
  }

  static std::vector<std::string> command_of(const own_server_options& options,
                                             const std::filesystem::path& program) {
    std::vector<std::string> command{program.string(), options.config};
    for (const auto& one : options.overrides) {
      command.insert(command.end(), {"--set", one});
    }
    command.insert(command.end(), {"--set", "server.port=0", "--set", "run.prompt="});
    return command;
  }

  /// Of the line that says where it serves.
  [[nodiscard]] std::optional<endpoint> place() const {
    constexpr std::string_view mark = "vdist-run: serving at ";
    const auto text = run.err();
    const auto at = text.find(mark);
    const auto end = at == std::string::npos ? at : text.find_first_of(" \n", at + mark.size());
    if (end == std::string::npos) {
      return std::nullopt;
    }
    auto parsed =
        parse_url(std::string_view(text).substr(at + mark.size(), end - at - mark.size()));
    return parsed ? std::optional(std::move(parsed).value()) : std::nullopt;
  }

  result<void> await_ready(const own_server_options& options) {
    const auto deadline = std::chrono::steady_clock::now() + options.start_time;
    bool is_placed = false;
    for (; std::chrono::steady_clock::now() < deadline; pause()) {
      if (options.stop != nullptr && options.stop->load()) {
        return fail(errc::cancelled, "server: interrupted while it started");
      }
      if (!is_alive(run.pid())) {
        const auto text = run.err();
        return fail(errc::closed,
                    fmt::format("server: it ended instead of serving\n{}",
                                text.substr(text.size() - std::min(text.size(), last_words_max))));
      }
      if (!is_placed) {
        const auto found = place();
        is_placed = found.has_value();
        to = found.value_or(endpoint{});
        continue;
      }
      const auto ready = fetch(to, get_of(to, "/ready", key), answer_time);
      if (ready && ready->status == 200) {
        return {};
      }
    }
    return fail(errc::timed_out,
                fmt::format("server: it does not serve (waited={} s)", options.start_time.count()));
  }

  testing::temporary_folder folder;
  testing::process run;
  endpoint to;
  std::string key;
  std::map<pid_t, double> cpu_before;
};

result<std::unique_ptr<own_server>> own_server::start(const own_server_options& options) {
  VDIST_ASSIGN(const auto config, config::load(options.config, options.overrides));
  if (!config.server.tls_certificate.empty()) {
    return fail(errc::unsupported, "server: only http can be measured (server.tls_certificate)");
  }
  std::error_code unknown;
  const auto program =
      std::filesystem::read_symlink("/proc/self/exe", unknown).parent_path() / "vdist-run";
  const auto named = config::read_environment().programs;
  const auto found = named.empty() ? program : named / "vdist-run";
  if (!std::filesystem::exists(found)) {
    return fail(
        errc::not_found,
        fmt::format("server: there is no vdist-run beside this program (file={})", found.string()));
  }
  std::unique_ptr<own_server> made(new own_server(std::make_unique<impl>(options, found)));
  made->impl_->key = config.server.api_key.reveal();
  VDIST_TRY(made->impl_->await_ready(options));
  (void)made->costs();
  return made;
}

own_server::own_server(std::unique_ptr<impl> inside) : impl_(std::move(inside)) {}

/// SIGINT, so that it ends its processes itself; killed it would take them along as well, but they would not be waited for.
own_server::~own_server() {
  const auto processes = with_children(impl_->run.pid());
  impl_->run.signal(SIGINT);
  const auto deadline = std::chrono::steady_clock::now() + end_time;
  const auto lives = [&processes] {
    return std::any_of(processes.begin(), processes.end(), is_alive);
  };
  while (lives() && std::chrono::steady_clock::now() < deadline) {
    pause();
  }
}

const endpoint& own_server::where() const {
  return impl_->to;
}

const std::string& own_server::api_key() const {
  return impl_->key;
}

std::vector<process_cost> own_server::costs() {
  std::vector<process_cost> all;
  for (const auto pid : with_children(impl_->run.pid())) {
    const auto status = text_of(fmt::format("/proc/{}/status", pid));
    const auto name = text_of(fmt::format("/proc/{}/comm", pid));
    const double cpu = cpu_seconds_of(pid);
    auto& before = impl_->cpu_before[pid];
    all.push_back({.name = name.substr(0, name.find('\n')),
                   .pid = pid,
                   .memory_mib = memory_of(status, "VmRSS:"),
                   .memory_peak_mib = memory_of(status, "VmHWM:"),
                   .cpu_seconds = cpu - std::exchange(before, cpu)});
  }
  return all;
}

} // namespace vdist::bench::serve
