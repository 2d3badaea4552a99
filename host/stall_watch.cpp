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
#include <utility>

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

/// Part of the time that threads may run and still stand still: what looks at signals or at a clock.
constexpr int little_part = 10;

/// As in /proc/<pid>/stat: R runs or wants to, S sleeps, D waits for a device. A thread that has ended: '\0'.
char state_of(const std::string& folder) {
  char text[512];
  const auto stat = read_into(text, folder + "/stat");
  const auto name_end = stat.rfind(')');
  return name_end != std::string_view::npos && name_end + 2 < stat.size() ? stat[name_end + 2]
                                                                          : '\0';
}

std::uint64_t ns_of(duration time) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
}

} // namespace

cpu_use cpu_meter::use(pid_t pid, duration elapsed) {
  const auto folder = fmt::format("/proc/{}/task", pid);
  std::map<pid_t, thread_times> now;
  const bool is_first = threads_.empty();
  std::uint64_t waited_ns = 0;
  std::uint64_t run_ns = 0;
  bool all_sleep = true;
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
      return {.waited = elapsed}; // a kernel that does not count: nobody is accused
    }
    now[tid] = {run, delay};
    const auto state = state_of(task);
    all_sleep = all_sleep && state == 'S';
    const auto before = threads_.find(tid);
    if (before == threads_.end()) {
      run_ns += run;
      continue;
    }
    waited_ns += delay - before->second.delay_ns;
    run_ns += run - before->second.run_ns;
    if (run == before->second.run_ns && state == 'R') {
      waited_ns += ns_of(elapsed);
    }
  }
  threads_ = std::move(now);
  if (is_first) {
    return {.waited = elapsed};
  }
  return {.waited = std::min(elapsed, duration(std::chrono::nanoseconds(waited_ns))),
          .is_standstill = all_sleep && run_ns + waited_ns < ns_of(elapsed) / little_part};
}

stall_watch::verdict
stall_watch::look(const progress_cell& cell, time_point now, const use_source& use) {
  const auto word = cell.word.load(std::memory_order_acquire);
  const bounds now_bound{
      patience_ * std::chrono::milliseconds(cell.budget_ms.load(std::memory_order_relaxed)), // V-5
      std::chrono::milliseconds(cell.standstill_ms.load(std::memory_order_relaxed))};
  const auto phase = phase_of(word);
  const bool can_be_late =
      (phase == work_phase::computing || phase == work_phase::loading)
      && (now_bound.budget > duration(0) || now_bound.standstill > duration(0));
  due_.reset();
  if (word != word_ || !can_be_late || since_ == time_point{}) { // V-1
    word_ = word;
    since_ = now;
    is_metered_ = false;
    return verdict::fine;
  }
  measure(now_bound, now, use);
  const auto stuck_at = since_ + now_bound.standstill + probe_;
  const bool has_stood = now_bound.standstill > duration(0) && stood_ >= probe_;
  if (is_metered_ && (counted_ >= probe_ || (has_stood && now >= stuck_at))) {
    return verdict::stuck;
  }
  if (now_bound.standstill > duration(0) && now < stuck_at) {
    due_ = stuck_at;
  }
  return is_over(now_bound.budget, now) || is_over(now_bound.standstill, now) ? verdict::probing
                                                                              : verdict::fine;
}

bool stall_watch::is_over(duration bound, time_point now) const {
  return bound > duration(0) && silence(now) >= bound;
}

void stall_watch::measure(const bounds& within, time_point now, const use_source& use) {
  if (!is_metered_) {
    if (is_over(within.budget, now) || is_over(within.standstill / 2, now)) {
      is_metered_ = true;
      counted_ = duration(0);
      stood_ = duration(0);
      looked_ = now;
      (void)use(duration(0)); // from here on
    }
    return;
  }
  const auto elapsed = now - std::exchange(looked_, now);
  const auto used = use(elapsed);
  const auto counts = std::min(elapsed, probe_ / 2); // V-4
  if (is_over(within.budget, now)) {
    const auto behind = std::min(counts, silence(now) - within.budget);
    counted_ += behind - std::min(behind, used.waited); // V-2
  }
  const bool is_unbroken = used.is_standstill && elapsed < within.standstill + probe_; // V-4
  stood_ =
      (is_unbroken ? stood_ : duration(0)) + (used.is_standstill ? counts : duration(0)); // V-3
}

} // namespace vdist::host
