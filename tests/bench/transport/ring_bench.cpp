// tests/bench/transport/ring_bench.cpp — vdist_bench_ring: a step between processes of one host. A
// frame of 2 KB through one ring to 1 and to 4 reader processes, an answer of 256 B from each
// through a ring of its own; checksums on all of it. One way: from before the write until a reader
// has checked the frame. Round trip: until the writer has checked the answers of all. Then what
// processes cost that wait for a frame, with the policy that a worker has.
#include "transport/shm/shm_ring.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fmt/core.h>
#include <new>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace vdist;
using namespace std::chrono_literals;
using microseconds = std::chrono::duration<double, std::micro>;

constexpr std::size_t plan_bytes = 2048;
constexpr std::size_t answer_bytes = 256;
constexpr std::size_t warm_up = 500;
constexpr auto patience = 20s;
constexpr std::uint32_t readers_max = 4;
const system_clock watch;

void require(bool is_good, std::string_view what) {
  if (!is_good) {
    fmt::print(stderr, "bench: {} failed\n", what);
    std::_Exit(1);
  }
}

template <class T>
T must(result<T> outcome, std::string_view what) {
  require(outcome.has_value(), what);
  return std::move(outcome).value();
}

/// Zero-filled memory that children share; given back at the end of the process.
std::span<std::byte> shared(std::size_t bytes) {
  void* address = mmap(
      nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  require(address != MAP_FAILED, "mmap");
  return {static_cast<std::byte*>(address), bytes};
}

template <class Body>
pid_t start(Body&& body) {
  const pid_t pid = fork();
  require(pid >= 0, "fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    body();
    std::_Exit(0);
  }
  return pid;
}

void join(const std::vector<pid_t>& children) {
  for (const auto pid : children) {
    int status = 0;
    waitpid(pid, &status, 0);
    require(status == 0, "a reader");
  }
}

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

void print_times(std::string_view what, std::vector<double> us) {
  std::sort(us.begin(), us.end());
  fmt::print("  {:<12} p50 {:8.2f} us   p99 {:8.2f} us\n",
             what,
             us[us.size() / 2],
             us[us.size() * 99 / 100]);
}

/// One ring down, one up per reader, and how all of them wait.
struct step_rings {
  step_rings(std::uint32_t readers, const frame::wait_settings& settings)
      : waits(settings, watch),
        any(*new (shared(sizeof(frame::bell)).data()) frame::bell),
        down(make({.readers_max = readers}, {})) {
    for (std::uint32_t r = 0; r < readers; ++r) {
      up.push_back(make({.slot_bytes = 4096}, {.outer = &any}));
    }
  }

  [[nodiscard]] shm::shm_ring make(const shm::ring_shape& shape,
                                   const shm::ring_links& links) const {
    const auto memory = shared(shm::ring_bytes(shape));
    require(shm::format_ring(memory, shape).has_value(), "format_ring");
    return must(shm::shm_ring::open(memory, links, waits), "open");
  }

  frame::wait_policy waits;
  frame::bell& any; // rung by all answers
  shm::shm_ring down;
  std::vector<shm::shm_ring> up;
};

time_point patiently() {
  return watch.now() + patience;
}

/// A worker process: answers every plan, notes how long it was under way.
void answer_all(const step_rings& rings, std::uint32_t index, std::span<double> one_way) {
  const auto plans = must(rings.down.open_reader(index, {}), "open_reader");
  const auto answers = must(rings.up[index].open_writer(), "open_writer");
  const std::vector<std::byte> answer(answer_bytes);
  for (auto& us : one_way) {
    const auto plan = plans->read(patiently());
    require(plan.has_value(), "read");
    us = microseconds(watch.now() - time_point(duration(plan->header.deadline_ns))).count();
    require(answers->write({}, answer, patiently()).has_value(), "answer");
  }
}

void measure_steps(std::uint32_t readers,
                   std::string_view how,
                   const frame::wait_settings& settings,
                   std::size_t steps) {
  const step_rings rings(readers, settings);
  const std::size_t total = warm_up + steps;
  const auto memory = shared(readers * total * sizeof(double));
  const std::span one_way(reinterpret_cast<double*>(memory.data()), readers * total);
  std::vector<pid_t> children;
  std::vector<std::unique_ptr<frame::frame_reader>> answers;
  for (std::uint32_t r = 0; r < readers; ++r) {
    answers.push_back(must(rings.up[r].open_reader(0, {}), "open_reader"));
    children.push_back(start([&] { answer_all(rings, r, one_way.subspan(r * total, total)); }));
  }
  const auto plans = must(rings.down.open_writer(), "open_writer");
  const std::vector<std::byte> plan(plan_bytes);
  std::vector<double> round_trip;
  for (std::size_t i = 0; i < total; ++i) {
    const auto begin = watch.now();
    const frame::envelope header{.deadline_ns = begin.time_since_epoch().count()};
    require(plans->write(header, plan, patiently()).has_value(), "write");
    for (const auto& answer : answers) {
      const auto has_come = [&answer] {
        return answer->has_frame();
      };
      require(rings.waits.wait(rings.any, has_come, {.deadline = patiently()})
                  == frame::wait_status::ok,
              "wait");
      require(answer->read(patiently()).has_value(), "read");
    }
    round_trip.push_back(microseconds(watch.now() - begin).count());
  }
  join(children);
  std::vector<double> measured;
  for (std::uint32_t r = 0; r < readers; ++r) {
    const auto own = one_way.subspan(r * total + warm_up, steps);
    measured.insert(measured.end(), own.begin(), own.end());
  }
  fmt::print("1 writer, {} reader{}, {}\n", readers, readers == 1 ? "" : "s", how);
  print_times("one way", std::move(measured));
  print_times("round trip", {round_trip.begin() + warm_up, round_trip.end()});
}

/// CPU time of processes that wait for a frame that does not come.
void measure_idle(std::uint32_t readers, std::chrono::milliseconds wall) {
  const step_rings rings(readers, {});
  const auto memory = shared(readers * sizeof(double));
  const std::span shares(reinterpret_cast<double*>(memory.data()), readers);
  std::vector<pid_t> children;
  for (std::uint32_t r = 0; r < readers; ++r) {
    children.push_back(start([&] {
      const auto plans = must(rings.down.open_reader(r, {}), "open_reader");
      const auto begin = cpu_seconds();
      require(!plans->read(watch.now() + wall), "waiting");
      shares[r] = (cpu_seconds() - begin) / std::chrono::duration<double>(wall).count();
    }));
  }
  join(children);
  fmt::print("{} idle readers: {:.3f} % of a core for the busiest of them\n",
             readers,
             100 * *std::max_element(shares.begin(), shares.end()));
}

} // namespace

int main() {
  fmt::print("{} cores\n", std::thread::hardware_concurrency());
  for (const std::uint32_t readers : {1U, readers_max}) {
    measure_steps(readers, "spinning", {.spin_budget = 10s}, 20'000);
    measure_steps(readers, "spinning 200 us, then asleep", {}, 20'000);
    measure_steps(readers, "asleep", {.spin_budget = 0us}, 3'000);
  }
  measure_idle(readers_max, 2s);
  return 0;
}
