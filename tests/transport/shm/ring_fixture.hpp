// tests/transport/shm/ring_fixture.hpp — memory for rings (own or shared, mapped once or twice),
// child processes, and the handful of calls that every test of the ring begins with.
#pragma once

#include "tests/transport/channel_conformance.hpp"

#include "transport/shm/shm_ring.hpp"

#include <csignal>
#include <cstdlib>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace vdist::testing {

struct alignas(64) memory_line {
  std::byte bytes[64];
};

/// Zero-filled memory of this process alone.
class heap_memory {
public:
  explicit heap_memory(std::size_t bytes) : lines_(bytes / sizeof(memory_line) + 1) {}

  [[nodiscard]] std::span<std::byte> span() {
    return std::as_writable_bytes(std::span(lines_))
        .first((lines_.size() - 1) * sizeof(memory_line));
  }

private:
  std::vector<memory_line> lines_;
};

/// Zero-filled memory that forked children share, mapped at two addresses.
class shared_memory {
public:
  explicit shared_memory(std::size_t bytes) : bytes_(bytes) {
    const int file = memfd_create("ring", MFD_CLOEXEC);
    BOOST_REQUIRE(file >= 0);
    BOOST_REQUIRE(ftruncate(file, static_cast<off_t>(bytes)) == 0);
    for (auto& address : addresses_) {
      address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
      BOOST_REQUIRE(address != MAP_FAILED);
    }
    ::close(file);
  }

  ~shared_memory() {
    for (auto* address : addresses_) {
      munmap(address, bytes_);
    }
  }

  shared_memory(const shared_memory&) = delete;
  shared_memory& operator=(const shared_memory&) = delete;

  [[nodiscard]] std::span<std::byte> span(std::size_t mapping = 0) {
    return {static_cast<std::byte*>(addresses_[mapping]), bytes_};
  }

  /// The memory as one object that all zeros are a good value of.
  template <class T>
  [[nodiscard]] T& as() {
    BOOST_REQUIRE(sizeof(T) <= bytes_);
    return *static_cast<T*>(addresses_[0]);
  }

private:
  std::size_t bytes_;
  void* addresses_[2]{};
};

/// A child process that runs `body` and ends with what it returns. It dies with its parent.
class forked {
public:
  template <class Body>
  explicit forked(Body&& body) : pid_(fork()) {
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
        std::signal(number, SIG_DFL); // the test's own handlers would go on with the next test
      }
      _exit(body());
    }
    BOOST_REQUIRE(pid_ > 0);
  }

  forked(forked&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}

  forked& operator=(forked&& other) noexcept {
    std::swap(pid_, other.pid_);
    return *this;
  }

  ~forked() {
    if (pid_ > 0) {
      kill();
    }
  }

  [[nodiscard]] pid_t pid() const { return pid_; }

  /// SIGKILL, and waits until the process has gone.
  void kill() {
    ::kill(pid_, SIGKILL);
    static_cast<void>(wait());
  }

  /// Its exit code, or 128 + the signal that ended it.
  [[nodiscard]] int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

private:
  pid_t pid_;
};

/// Whether the longer form of a test was asked for.
inline bool is_long_run() {
  const char* wanted = std::getenv("VDIST_TEST_LONG");
  return wanted != nullptr && std::string_view(wanted) == "1";
}

/// Sleeps at once and for longer than any test takes: every lost wake-up shows.
inline const frame::wait_policy sleeper({.spin_budget = 0us, .slice_max = 60s}, channel_clock);

/// Time that tells when a waiter looks at it: a wait that sleeps at once does so after it has seen
/// its condition for the last time, so whoever makes that true from then on has to wake it.
class noticed_clock final : public clock {
public:
  [[nodiscard]] time_point now() const override {
    ++looks_;
    return channel_clock.now();
  }

  /// Runs `work` in a thread, `end_it` when that is about to sleep.
  template <class Work, class End>
  void run_until_asleep(Work&& work, End&& end_it) const {
    const auto before = looks_.load();
    std::thread working(work);
    while (looks_ == before) {
      std::this_thread::yield();
    }
    end_it();
    working.join();
  }

private:
  mutable std::atomic<std::uint64_t> looks_{0};
};

inline shm::shm_ring open_ring(std::span<std::byte> memory,
                               const shm::ring_links& links = {},
                               const frame::wait_policy& waits = sleeper) {
  auto ring = shm::shm_ring::open(memory, links, waits);
  BOOST_REQUIRE(ring);
  return std::move(ring).value();
}

inline shm::shm_ring make_ring(std::span<std::byte> memory,
                               const shm::ring_shape& shape,
                               const shm::ring_links& links = {},
                               const frame::wait_policy& waits = sleeper) {
  BOOST_REQUIRE(shm::format_ring(memory, shape));
  return open_ring(memory, links, waits);
}

inline std::unique_ptr<frame::frame_writer> writer_of(const shm::shm_ring& ring) {
  auto writer = ring.open_writer();
  BOOST_REQUIRE(writer);
  return std::move(writer).value();
}

inline std::unique_ptr<frame::frame_reader> reader_of(const shm::shm_ring& ring,
                                                      std::uint32_t index = 0) {
  auto reader = ring.open_reader(index, test_peer());
  BOOST_REQUIRE(reader);
  return std::move(reader).value();
}

inline errc write_error(frame::frame_writer& writer,
                        std::uint64_t n,
                        std::size_t bytes,
                        duration d = patience) {
  return error_of(writer.write(test_header(), test_body(n, bytes), after(d)));
}

} // namespace vdist::testing
