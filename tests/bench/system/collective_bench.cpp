#include "tests/bench/system/collective_bench.hpp"

#include "tests/bench/system/gloo_all_reduce.hpp"

#include "transport/tensor/gloo_communicator.hpp"
#include "transport/tensor/shared_communicator.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vdist::bench {

namespace {

using steady = std::chrono::steady_clock;

constexpr std::size_t slot_floats = std::size_t{64} << 10U; // as the workers have it
constexpr std::size_t sizes_max = 32;
constexpr std::size_t promised_bytes = 8192; // the size for which a ratio is promised
constexpr std::chrono::seconds operation_timeout{10};

enum class carrier : std::uint8_t { shared, gloo, gloo_itself };
constexpr std::size_t carriers = 3;

constexpr std::array<std::string_view, 7> operations{"all_reduce",
                                                     "reduce_scatter",
                                                     "all_gather",
                                                     "all_to_all",
                                                     "broadcast",
                                                     "barrier",
                                                     "send/recv"};

struct figure {
  double p50_us = 0; // 0: not measured
  double p99_us = 0;
};

/// What the processes share: plain memory, zero-filled.
struct board {
  std::array<std::array<std::array<figure, operations.size()>, sizes_max>, carriers> figures;
  std::array<char, 300> failure;
};

/// The board and both regions, in anonymous memory that forked processes share.
class shared_area {
public:
  explicit shared_area(std::int32_t ranks)
      : exchange_bytes_(whole_pages(tensor::exchange_bytes(ranks, slot_floats))),
        rendezvous_bytes_(whole_pages(tensor::gloo_rendezvous_bytes(ranks))),
        memory_(mmap(nullptr,
                     bytes(),
                     PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                     -1,
                     0)) {}

  ~shared_area() {
    if (is_mapped()) {
      munmap(memory_, bytes());
    }
  }

  shared_area(const shared_area&) = delete;
  shared_area& operator=(const shared_area&) = delete;

  [[nodiscard]] bool is_mapped() const { return memory_ != MAP_FAILED; }

  [[nodiscard]] bench::board& board() const { return *static_cast<bench::board*>(memory_); }

  [[nodiscard]] std::span<std::byte> exchange() const {
    return {begin() + whole_pages(sizeof(bench::board)), exchange_bytes_};
  }

  [[nodiscard]] std::span<std::byte> rendezvous() const {
    return {begin() + whole_pages(sizeof(bench::board)) + exchange_bytes_, rendezvous_bytes_};
  }

private:
  static std::size_t whole_pages(std::size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

  [[nodiscard]] std::size_t bytes() const {
    return whole_pages(sizeof(bench::board)) + exchange_bytes_ + rendezvous_bytes_;
  }

  [[nodiscard]] std::byte* begin() const { return static_cast<std::byte*>(memory_); }

  std::size_t exchange_bytes_;
  std::size_t rendezvous_bytes_;
  void* memory_;
};

/// Buffers of one rank for one size, and every operation on them.
class operation_set {
public:
  operation_set(tensor::communicator& group, std::size_t bytes)
      : group_(group),
        ranks_(static_cast<std::size_t>(group.size())),
        part_((bytes + sizeof(float) * ranks_ - 1) / (sizeof(float) * ranks_)),
        whole_(part_ * ranks_), // zeros: sums of sums stay what they are
        other_(part_ * ranks_),
        single_(part_) {}

  /// Once. send/recv goes there and back between the first two ranks.
  result<void> run(std::size_t operation) {
    const auto bytes = std::as_writable_bytes(std::span(whole_));
    switch (operation) {
    case 0:
      return group_.all_reduce_sum(whole_);
    case 1:
      return group_.reduce_scatter_sum(whole_, single_);
    case 2:
      return group_.all_gather(single_, other_, 1);
    case 3:
      return group_.all_to_all(bytes, std::as_writable_bytes(std::span(other_)));
    case 4:
      return group_.broadcast(bytes, group_.size() - 1);
    case 5:
      return group_.barrier();
    default:
      return ping_pong(bytes);
    }
  }

private:
  result<void> ping_pong(std::span<std::byte> bytes) {
    if (group_.rank() == 0) {
      VDIST_TRY(group_.send(bytes, 1));
      return group_.recv(bytes, 1);
    }
    if (group_.rank() == 1) {
      VDIST_TRY(group_.recv(bytes, 0));
      return group_.send(bytes, 0);
    }
    return {};
  }

  tensor::communicator& group_;
  const std::size_t ranks_;
  const std::size_t part_; // floats of one rank's part
  std::vector<float> whole_;
  std::vector<float> other_;
  std::vector<float> single_;
};

/// A barrier has no size.
bool has_row(std::size_t operation, std::size_t size_index) {
  return size_index == 0 || operations[operation] != "barrier";
}

/// Times of `rounds` calls, after a tenth to warm up.
result<figure> measure(int rounds, const std::function<result<void>()>& call) {
  std::vector<double> times;
  for (int i = -rounds / 10 - 1; i < rounds; ++i) {
    const auto start = steady::now();
    VDIST_TRY(call());
    if (i >= 0) {
      times.push_back(std::chrono::duration<double, std::micro>(steady::now() - start).count());
    }
  }
  std::sort(times.begin(), times.end());
  return figure{times[times.size() / 2], times[times.size() * 99 / 100]};
}

/// Enough for a p99 of what is small, and done in a second for what is large.
int rounds_of(carrier by, std::size_t bytes) {
  const std::size_t budget =
      by == carrier::shared ? std::size_t{64} << 20U : std::size_t{16} << 20U;
  const std::size_t most = by == carrier::shared ? 4000 : 500;
  return static_cast<int>(std::clamp<std::size_t>(budget / bytes, 30, most));
}

result<std::unique_ptr<tensor::communicator>>
join(carrier by, const shared_area& area, std::int32_t rank, std::int32_t ranks) {
  static const system_clock time;
  const frame::wait_policy waits({}, time); // spins with yields, then sleeps
  if (by == carrier::shared) {
    return tensor::make_shared_communicator(
        area.exchange(),
        {.rank = rank, .size = ranks, .slot_floats = slot_floats, .timeout = operation_timeout},
        waits);
  }
  return tensor::make_gloo_communicator(
      area.rendezvous(), {.rank = rank, .size = ranks, .timeout = operation_timeout}, waits);
}

result<void> measure_communicator(carrier by,
                                  const shared_area& area,
                                  std::int32_t rank,
                                  const collective_options& wanted) {
  VDIST_ASSIGN(const auto group, join(by, area, rank, wanted.ranks));
  VDIST_TRY(group->start_epoch(epoch(1)));
  for (std::size_t i = 0; i < wanted.bytes.size(); ++i) {
    operation_set set(*group, wanted.bytes[i]);
    for (std::size_t operation = 0; operation < operations.size(); ++operation) {
      if (!has_row(operation, i)) {
        continue;
      }
      VDIST_TRY(group->barrier());
      VDIST_ASSIGN(auto taken, measure(rounds_of(by, wanted.bytes[i]), [&set, operation] {
                     return set.run(operation);
                   }));
      if (operations[operation] == "send/recv") {
        taken = {taken.p50_us / 2, taken.p99_us / 2}; // one way
      }
      if (rank == 0) {
        area.board().figures[static_cast<std::size_t>(by)][i][operation] = taken;
      }
    }
  }
  return group->barrier();
}

/// Gloo's own all-reduce.
result<void> measure_gloo_itself(const shared_area& area,
                                 const std::string& folder,
                                 std::int32_t rank,
                                 const collective_options& wanted) {
  VDIST_ASSIGN(const auto group, gloo_all_reduce::join(folder, rank, wanted.ranks));
  for (std::size_t i = 0; i < wanted.bytes.size(); ++i) {
    std::vector<float> data(wanted.bytes[i] / sizeof(float));
    VDIST_ASSIGN(const auto taken,
                 measure(rounds_of(carrier::gloo_itself, wanted.bytes[i]),
                         [&group, &data] { return group->run(data); }));
    if (rank == 0) {
      area.board().figures[static_cast<std::size_t>(carrier::gloo_itself)][i][0] = taken;
    }
  }
  return {};
}

result<void> run_rank(const shared_area& area,
                      const std::string& folder,
                      std::int32_t rank,
                      const collective_options& wanted) {
  VDIST_TRY(measure_communicator(carrier::shared, area, rank, wanted));
  VDIST_TRY(measure_communicator(carrier::gloo, area, rank, wanted));
  return measure_gloo_itself(area, folder, rank, wanted);
}

/// Forks the ranks and waits for their end.
result<void>
run_ranks(const shared_area& area, const std::string& folder, const collective_options& wanted) {
  std::vector<pid_t> children;
  for (std::int32_t rank = 0; rank < wanted.ranks; ++rank) {
    const pid_t child = fork();
    if (child == 0) {
      const auto outcome = run_rank(area, folder, rank, wanted);
      if (!outcome) {
        auto& text = area.board().failure;
        outcome.error().context.copy(text.data(), text.size() - 1);
      }
      _exit(outcome ? 0 : 1);
    }
    if (child > 0) {
      children.push_back(child);
    }
  }
  bool is_right = children.size() == static_cast<std::size_t>(wanted.ranks);
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    is_right = is_right && status == 0;
  }
  if (!is_right) {
    return fail(errc::io_failed,
                fmt::format("collective: a rank failed ({})", area.board().failure.data()));
  }
  return {};
}

void print(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
}

std::string columns(const figure& taken, std::size_t bytes) {
  const double rate = static_cast<double>(bytes) / taken.p50_us / 1e3;
  return fmt::format("{:9.1f} {:9.1f} {:7.2f}", taken.p50_us, taken.p99_us, rate);
}

void print_table(const board& results, const collective_options& wanted) {
  print(fmt::format("collective  {} processes; microseconds, and GB/s of a rank's largest buffer",
                    wanted.ranks));
  print(fmt::format("{:<15} {:>8}  {:>9} {:>9} {:>7}  {:>9} {:>9} {:>7} {:>7}",
                    "operation",
                    "bytes",
                    "shm p50",
                    "p99",
                    "GB/s",
                    "gloo p50",
                    "p99",
                    "GB/s",
                    "ratio"));
  const auto& [shared, gloo, gloo_itself] = results.figures;
  for (std::size_t operation = 0; operation < operations.size(); ++operation) {
    for (std::size_t i = 0; i < wanted.bytes.size() && has_row(operation, i); ++i) {
      const auto line = [&](std::string_view name, const figure& theirs) {
        const auto& ours = shared[i][operation];
        print(fmt::format("{:<15} {:>8}  {}  {} {:7.1f}",
                          name,
                          wanted.bytes[i],
                          columns(ours, wanted.bytes[i]),
                          columns(theirs, wanted.bytes[i]),
                          theirs.p50_us / ours.p50_us));
      };
      line(operations[operation], gloo[i][operation]);
      if (operation == 0) {
        line("  gloo's own", gloo_itself[i][operation]);
      }
    }
  }
}

void print_promise(const board& results, const collective_options& wanted) {
  const auto at = std::find(wanted.bytes.begin(), wanted.bytes.end(), promised_bytes);
  if (at == wanted.bytes.end()) {
    return;
  }
  const auto i = static_cast<std::size_t>(at - wanted.bytes.begin());
  const auto& [shared, gloo, gloo_itself] = results.figures;
  const double best = std::min(gloo[i][0].p50_us, gloo_itself[i][0].p50_us);
  print(
      fmt::format("collective  all-reduce of 8 KB, {} processes    {:8.1f} times faster than Gloo "
                  "({:.1f} us, {:.1f} us)",
                  wanted.ranks,
                  best / shared[i][0].p50_us,
                  shared[i][0].p50_us,
                  best));
}

result<void> check(const collective_options& wanted) {
  const bool has_sizes = !wanted.bytes.empty() && wanted.bytes.size() <= sizes_max
                         && *std::min_element(wanted.bytes.begin(), wanted.bytes.end()) >= 4;
  if (wanted.ranks < 2 || wanted.ranks > 16 || !has_sizes) {
    return fail(errc::invalid_argument,
                fmt::format("collective: ranks must be 2 to 16, sizes 1 to {}, of 4 bytes at least "
                            "(ranks={} sizes={})",
                            sizes_max,
                            wanted.ranks,
                            wanted.bytes.size()));
  }
  return {};
}

} // namespace

result<void> bench_collective(const collective_options& wanted) {
  VDIST_TRY(check(wanted));
  const shared_area area(wanted.ranks);
  auto folder = (std::filesystem::temp_directory_path() / "vdist-bench-XXXXXX").string();
  if (!area.is_mapped() || mkdtemp(folder.data()) == nullptr) {
    return fail(errc::io_failed, "collective: no shared memory, or no temporary folder");
  }
  const auto outcome = run_ranks(area, folder, wanted);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  VDIST_TRY(outcome);
  print_table(area.board(), wanted);
  print_promise(area.board(), wanted);
  return {};
}

} // namespace vdist::bench
