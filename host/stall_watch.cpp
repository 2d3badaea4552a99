#include "host/stall_watch.hpp"

#include <algorithm>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <system_error>
#include <unistd.h>

namespace vdist::host {

namespace {

/// The first bytes of a file of /proc; shorter than `size` when there is less.
template <std::size_t Size>
std::string_view read_into(char (&buffer)[Size], const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return {};
  }
  const auto got = ::read(fd, buffer, Size - 1);
  ::close(fd);
  const auto bytes = got > 0 ? static_cast<std::size_t>(got) : 0;
  buffer[bytes] = '\0';
  return {buffer, bytes};
}

bool is_ready(const std::string& folder) {
  char text[512];
  const auto stat = read_into(text, folder + "/stat");
  const auto name_end = stat.rfind(')');
  return name_end != std::string_view::npos && name_end + 2 < stat.size()
         && stat[name_end + 2] == 'R';
}

} // namespace

duration cpu_wait_meter::waited(pid_t pid, duration elapsed) {
  const auto folder = fmt::format("/proc/{}/task", pid);
  std::map<pid_t, thread_times> now;
  const bool is_first = threads_.empty();
  std::uint64_t waited_ns = 0;
  std::error_code gone; // threads and the process may end meanwhile
  for (auto entry = std::filesystem::directory_iterator(folder, gone);
       !gone && entry != std::filesystem::directory_iterator();
       entry.increment(gone)) {
    const auto task = entry->path().string();
    int tid = 0;
    if (std::sscanf(entry->path().filename().c_str(), "%d", &tid) != 1) {
      continue;
    }
    char text[128];
    unsigned long long run = 0;
    unsigned long long delay = 0;
    if (read_into(text, task + "/schedstat").empty()
        || std::sscanf(text, "%llu %llu", &run, &delay) != 2) {
      return elapsed; // a kernel that does not count: nobody is accused
    }
    now[tid] = {run, delay};
    const auto before = threads_.find(tid);
    if (before == threads_.end()) {
      continue;
    }
    waited_ns += delay - before->second.delay_ns;
    if (run == before->second.run_ns && is_ready(task)) {
      waited_ns += static_cast<std::uint64_t>(std::chrono::nanoseconds(elapsed).count());
    }
  }
  threads_ = std::move(now);
  return is_first ? elapsed : std::min(elapsed, duration(std::chrono::nanoseconds(waited_ns)));
}

stall_watch::verdict
stall_watch::look(const progress_cell& cell, time_point now, const wait_source& waited) {
  const auto word = cell.word.load(std::memory_order_acquire);
  const std::chrono::milliseconds budget(cell.budget_ms.load(std::memory_order_relaxed));
  const auto phase = phase_of(word);
  const bool can_be_late =
      (phase == work_phase::computing || phase == work_phase::loading) && budget.count() > 0; // V-1
  if (word != word_ || !can_be_late || since_ == time_point{}) {
    word_ = word;
    since_ = now;
    is_probing_ = false;
    return verdict::fine;
  }
  if (!is_probing_) {
    if (now - since_ < budget) {
      return verdict::fine;
    }
    is_probing_ = true;
    counted_ = duration(0);
    looked_ = now;
    (void)waited(duration(0)); // from here on
    return verdict::probing;
  }
  const auto elapsed = now - looked_;
  looked_ = now;
  counted_ += elapsed - std::min(elapsed, waited(elapsed)); // V-2
  return counted_ < probe_ ? verdict::probing : verdict::stuck;
}

} // namespace vdist::host
