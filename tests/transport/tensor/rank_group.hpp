// tests/transport/tensor/rank_group.hpp — the ranks of a group as threads or as processes, over one
// piece of memory that all of them map: a board for the test, then the region of the communicators.
// Every process maps it once more, at an address of its own.
#pragma once

#include "tests/transport/tensor/group_fixture.hpp"

#include <array>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vdist::testing {

/// Words that the test and its ranks share.
struct test_board {
  frame::fence stop;
  std::array<std::atomic<std::uint32_t>, 16> counters;
  std::atomic<std::uint32_t> failures;
  std::array<char, 400> first_failure; // written by whoever counted the first one
};

/// Waits for `ready`, which another rank or process makes true; false after a generous deadline.
template <class Ready>
bool comes_true(Ready&& ready, std::chrono::milliseconds at_most = 20s) {
  const auto deadline = group_clock.now() + at_most;
  while (!ready()) {
    if (group_clock.now() > deadline) {
      return false;
    }
    std::this_thread::yield();
  }
  return true;
}

/// Anonymous memory that processes share: board, then region.
class shared_memory {
public:
  explicit shared_memory(std::size_t region_bytes)
      : bytes_((region_at + region_bytes + page - 1) / page * page),
        file_(memfd_create("rank_group", MFD_CLOEXEC)),
        places_(mmap(nullptr, places_max * bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (file_ < 0 || ftruncate(file_, static_cast<off_t>(bytes_)) != 0 || places_ == MAP_FAILED) {
      throw std::runtime_error("no shared memory");
    }
    map(0);
  }

  ~shared_memory() {
    munmap(places_, places_max * bytes_);
    close(file_);
  }

  shared_memory(const shared_memory&) = delete;
  shared_memory& operator=(const shared_memory&) = delete;

  /// In a forked process: leaves the inherited mapping for one at an address of the rank's own.
  void map_elsewhere(std::int32_t rank) {
    munmap(memory_, bytes_);
    map(static_cast<std::size_t>(rank) + 1);
  }

  [[nodiscard]] test_board& board() const { return *reinterpret_cast<test_board*>(memory_); }

  [[nodiscard]] std::span<std::byte> region() const {
    return {memory_ + region_at, bytes_ - region_at};
  }

private:
  static constexpr std::size_t page = 4096;
  static constexpr std::size_t region_at = page;
  static constexpr std::size_t places_max = 17;
  static_assert(sizeof(test_board) <= region_at);

  void map(std::size_t place) {
    void* const at = static_cast<std::byte*>(places_) + place * bytes_;
    if (mmap(at, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file_, 0) != at) {
      throw std::runtime_error("cannot map shared memory");
    }
    memory_ = static_cast<std::byte*>(at);
  }

  std::size_t bytes_;
  int file_;
  void* places_; // reserved addresses, one mapping each
  std::byte* memory_ = nullptr;
};

/// Settings of a group that all kinds of communicators understand.
struct group_shape {
  std::int32_t size = 2;
  std::size_t slot_floats = 256;
  std::size_t one_shot_floats_max = 100;
  std::chrono::milliseconds timeout = 20s;
  std::chrono::microseconds spin_budget = 50us;
};

/// What a kind of communicator needs to be made.
struct group_place {
  std::span<std::byte> region;
  const group_shape& shape;
  std::int32_t rank = 0;
  const frame::fence* stop = nullptr;
};

struct communicator_kind {
  std::function<std::size_t(const group_shape&)> region_bytes;
  std::function<result<std::unique_ptr<tensor::communicator>>(const group_place&)> join;
};

/// One rank of a test, in its thread or process. Boost.Test's macros work in neither.
class test_rank {
public:
  test_rank(const communicator_kind& kind,
            const group_shape& shape,
            const shared_memory& memory,
            std::int32_t rank)
      : kind_(kind), shape_(shape), memory_(memory), rank_(rank) {}

  [[nodiscard]] std::int32_t rank() const { return rank_; }

  [[nodiscard]] std::int32_t size() const { return shape_.size; }

  [[nodiscard]] const group_shape& shape() const { return shape_; }

  [[nodiscard]] test_board& board() const { return memory_.board(); }

  /// A communicator for this rank's place.
  [[nodiscard]] std::unique_ptr<tensor::communicator> join() const {
    auto made = kind_.join({memory_.region(), shape_, rank_, &board().stop});
    if (!made) {
      throw std::runtime_error(made.error().context);
    }
    return std::move(made).value();
  }

  void expect(bool is_right, std::string_view what) const {
    if (!is_right && board().failures.fetch_add(1) == 0) {
      const auto text = "rank " + std::to_string(rank_) + ": " + std::string(what);
      text.copy(board().first_failure.data(), board().first_failure.size() - 1);
    }
  }

  void expect(const result<void>& outcome, std::string_view what) const {
    if (!outcome) {
      expect(false, std::string(what) + ": " + outcome.error().context);
    }
  }

  void expect_error(const result<void>& outcome, errc wanted, std::string_view what) const {
    const errc got = outcome ? errc::ok : outcome.error().code;
    if (got != wanted) {
      expect(false,
             std::string(what) + ": " + std::string(to_string(got)) + " instead of "
                 + std::string(to_string(wanted))
                 + (outcome ? "" : ": " + outcome.error().context));
    }
  }

private:
  const communicator_kind& kind_;
  const group_shape& shape_;
  const shared_memory& memory_;
  std::int32_t rank_;
};

/// What every rank does; may not touch anything else of the test, which may be another process.
using rank_body = std::function<void(test_rank&)>;

inline void run_guarded(const rank_body& body, test_rank& rank) {
  try {
    body(rank);
  } catch (const std::exception& cause) {
    rank.expect(false, cause.what());
  }
}

/// A forked process that is one rank. It is killed when the object ends.
class rank_process {
public:
  rank_process(const communicator_kind& kind,
               const group_shape& shape,
               shared_memory& memory,
               std::int32_t rank,
               const rank_body& body) {
    std::fflush(nullptr); // what is buffered is written once
    pid_ = fork();
    BOOST_REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      alarm(120); // whatever happens, it ends
      std::signal(SIGPIPE, SIG_DFL);
      memory.map_elsewhere(rank);
      test_rank self(kind, shape, memory, rank);
      run_guarded(body, self);
      _exit(0);
    }
  }

  ~rank_process() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }

  rank_process(const rank_process&) = delete;
  rank_process& operator=(const rank_process&) = delete;

  void signal(int number) const { ::kill(pid_, number); }

  /// Waits until a SIGSTOP has worked.
  void wait_stopped() const {
    int status = 0;
    ::waitpid(pid_, &status, WUNTRACED);
    BOOST_REQUIRE(WIFSTOPPED(status));
  }

  /// Waits for its end; 0 when it ended as it should.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return status;
  }

private:
  pid_t pid_ = 0;
};

/// How the ranks of a group are run.
enum class rank_host : std::uint8_t { thread, process };

inline void require_no_failure(const test_board& board) {
  BOOST_REQUIRE_MESSAGE(board.failures == 0,
                        board.failures << " failures, first: " << board.first_failure.data());
}

inline void run_group(rank_host host,
                      const communicator_kind& kind,
                      const group_shape& shape,
                      const rank_body& body) {
  shared_memory memory(kind.region_bytes(shape));
  if (host == rank_host::thread) {
    std::vector<std::thread> threads;
    for (std::int32_t r = 0; r < shape.size; ++r) {
      threads.emplace_back([&, r] {
        test_rank self(kind, shape, memory, r);
        run_guarded(body, self);
      });
    }
    for (auto& thread : threads) {
      thread.join();
    }
  } else {
    std::vector<std::unique_ptr<rank_process>> processes;
    for (std::int32_t r = 0; r < shape.size; ++r) {
      processes.push_back(std::make_unique<rank_process>(kind, shape, memory, r, body));
    }
    for (auto& process : processes) {
      BOOST_TEST(process->wait() == 0);
    }
  }
  require_no_failure(memory.board());
}

} // namespace vdist::testing
