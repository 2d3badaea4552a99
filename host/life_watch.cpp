#include "host/life_watch.hpp"

#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <fmt/format.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace vdist::host {

namespace {

/// Longest single sleep: a lost wake-up costs this, and pidfds tell the same a little later.
constexpr std::time_t sleep_slice_s = 1;

std::uint32_t* address(std::atomic<std::uint32_t>& word) {
  return reinterpret_cast<std::uint32_t*>(&word);
}

void wake(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, address(word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

#ifdef FUTEX_32
futex_waitv waiter_on(std::atomic<std::uint32_t>& word, std::uint32_t seen) {
  futex_waitv waiter{};
  waiter.val = seen;
  waiter.uaddr = reinterpret_cast<std::uintptr_t>(&word);
  waiter.flags = FUTEX_32; // not private: others hold them
  return waiter;
}

/// Until a word is no longer as seen, or the slice is over.
void sleep_on(std::vector<futex_waitv>& waiters) {
  timespec end{};
  ::clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += sleep_slice_s;
  ::syscall(SYS_futex_waitv,
            waiters.data(),
            static_cast<unsigned>(waiters.size()),
            0U,
            &end,
            CLOCK_MONOTONIC);
}
#endif

} // namespace

bool life_watch::is_possible() {
#ifdef FUTEX_32
  // No words at all is refused with EINVAL by a kernel that knows the call.
  static const bool has_call =
      ::syscall(SYS_futex_waitv, nullptr, 0U, 0U, nullptr, 0) == -1 && errno == EINVAL;
  return has_call;
#else
  return false;
#endif
}

life_watch::life_watch(board_words& words, socket::unique_fd event)
    : words_(words), event_(std::move(event)) {}

result<std::unique_ptr<life_watch>> life_watch::start(board_words& words) {
  if (!is_possible()) {
    return fail(errc::unsupported, "life watch: this kernel has no futex_waitv (needs Linux 5.16)");
  }
  socket::unique_fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) {
    return fail(errc::resource_exhausted,
                fmt::format("life watch: eventfd: {}", std::strerror(errno)));
  }
  return std::unique_ptr<life_watch>(new life_watch(words, std::move(event)));
}

life_watch::~life_watch() {
  is_stopping_ = true;
  for (auto& one : groups_) {
    ++one.changes;
    wake(one.changes);
    if (one.sleeper.joinable()) {
      one.sleeper.join();
    }
  }
}

void life_watch::watch(std::uint32_t index) {
  auto& of = groups_.at(index / words_per_thread);
  change(of, index % words_per_thread, true);
  const std::lock_guard lock(mutex_);
  if (!of.sleeper.joinable()) {
    of.sleeper = std::thread([this, group_index = index / words_per_thread] {
      pthread_setname_np(pthread_self(), "life-watch");
      run(group_index);
    });
  }
}

void life_watch::forget(std::uint32_t index) {
  change(groups_.at(index / words_per_thread), index % words_per_thread, false);
  const std::lock_guard lock(mutex_);
  std::erase(dead_, index); // its next holder is somebody else
}

void life_watch::change(group& of, std::size_t bit, bool is_watched) {
  {
    const std::lock_guard lock(mutex_);
    of.watched.set(bit, is_watched);
  }
  ++of.changes;
  wake(of.changes);
}

std::vector<std::uint32_t> life_watch::take_dead() {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(event_.get(), &count, sizeof count);
  const std::lock_guard lock(mutex_);
  return std::exchange(dead_, {});
}

std::vector<std::uint32_t> life_watch::look(std::size_t group_index) {
  auto& mine = groups_.at(group_index);
  std::vector<std::uint32_t> sleeping_on;
  bool has_news = false;
  const std::lock_guard lock(mutex_);
  for (std::size_t bit = 0; bit < words_per_thread; ++bit) {
    if (!mine.watched.test(bit)) {
      continue;
    }
    const auto index = static_cast<std::uint32_t>(group_index * words_per_thread + bit);
    if (is_marked_dead(words_.lives.at(index))) {
      mine.watched.reset(bit);
      dead_.push_back(index);
      has_news = true;
    } else {
      sleeping_on.push_back(index);
    }
  }
  if (has_news) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof one);
  }
  return sleeping_on;
}

void life_watch::run([[maybe_unused]] std::size_t group_index) {
#ifdef FUTEX_32
  auto& mine = groups_.at(group_index);
  std::vector<futex_waitv> waiters;
  while (!is_stopping_) {
    // Values are read before the look: what changes after it ends the sleep at once.
    waiters.assign(1, waiter_on(mine.changes, mine.changes.load()));
    std::array<std::uint32_t, words_per_thread> seen{};
    for (std::size_t bit = 0; bit < words_per_thread; ++bit) {
      seen[bit] = words_.lives.at(group_index * words_per_thread + bit).owner.load();
    }
    for (const auto index : look(group_index)) {
      waiters.push_back(waiter_on(words_.lives.at(index).owner, seen.at(index % words_per_thread)));
    }
    if (!is_stopping_) {
      sleep_on(waiters);
    }
  }
#endif
}

} // namespace vdist::host
