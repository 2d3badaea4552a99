// tests/bench/kernels/collective_cuda_bench.cpp — vdist_bench_collectives_cuda [--gpus N] [--quick] [--thresholds]: time of
// the collectives between the GPUs of this machine, in groups of the first 2, 4 and 8, beside NCCL's all-reduce where NCCL
// can be loaded (VDIST_NCCL_SO_PATH).
//
// --gpus N      no more than N GPUs
// --quick       fewer sizes and rounds
// --thresholds  instead: every way that a sum can take, at sizes around the thresholds of choose_sum_path()
//
// Ours run inside a recorded graph, as in a step. Of NCCL there are four columns: called one by one or recorded, in plain
// memory or in symmetric windows. All of them work in place on the same sizes, calls behind each other, all ranks at once;
// the data of one call is checked before each line is measured. NVLink multicast is off for NCCL: we do not use it either.
#include "tests/bench/kernels/collective_bench_nccl.hpp"
#include "tests/bench/kernels/collective_bench_ranks.hpp"
#include "tests/bench/kernels/cuda_driver.hpp"

#include "transport/tensor/nccl_api.hpp"

#include "kernels/collective/exchange_layout.hpp"
#include "kernels/cuda_module.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vdist::kernels::bench {

namespace {

constexpr std::size_t kib = 1024;
constexpr std::size_t mib = 1024 * kib;

constexpr std::size_t largest_sum = 128 * mib;
constexpr std::size_t largest_part = 32 * mib; // of a gather, a broadcast, a pipe

struct options {
  std::int32_t gpus = group_ranks_max;
  bool is_quick = false;
  bool finds_thresholds = false;
};

struct sum_size {
  dtype type;
  std::size_t bytes;
};

std::vector<sum_size> sizes_of_sums(bool is_quick) {
  std::vector<sum_size> out;
  const auto add = [&out](dtype type, std::initializer_list<std::size_t> sizes) {
    for (const auto bytes : sizes) {
      out.push_back({type, bytes});
    }
  };
  if (is_quick) {
    add(dtype::float32, {4 * kib, 64 * kib, 256 * kib, 1 * mib, 16 * mib});
    add(dtype::bfloat16, {64 * kib});
    return out;
  }
  add(dtype::float32, {1 * kib, 4 * kib, 16 * kib, 64 * kib, 128 * kib, 256 * kib, 512 * kib});
  add(dtype::float32, {1 * mib, 4 * mib, 16 * mib, 64 * mib, largest_sum});
  add(dtype::bfloat16, {16 * kib, 128 * kib, 1 * mib, 16 * mib});
  return out;
}

std::vector<std::size_t> sizes_around_thresholds(bool is_quick) {
  if (is_quick) {
    return {16 * kib, 64 * kib, 128 * kib, 256 * kib, 1 * mib, 4 * mib};
  }
  std::vector<std::size_t> out;
  for (std::size_t bytes = 8 * kib; bytes < 8 * mib; bytes *= 2) {
    out.push_back(bytes);
    out.push_back(bytes + bytes / 2);
  }
  out.push_back(8 * mib);
  return out;
}

std::string size_text(std::size_t bytes) {
  return bytes < mib || bytes % mib != 0 ? std::to_string(bytes / kib) + " KB"
                                         : std::to_string(bytes / mib) + " MB";
}

std::string fixed(double value, int digits) {
  std::array<char, 32> text{};
  (void)std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

const char* type_text(dtype type) {
  return type == dtype::bfloat16 ? "bfloat16" : "float32";
}

constexpr std::array paths{sum_path::words, sum_path::one_shot, sum_path::two_shot};

const char* path_text(sum_path path) {
  switch (path) {
  case sum_path::words:
    return "words";
  case sum_path::one_shot:
    return "one_shot";
  case sum_path::two_shot:
    break;
  }
  return "two_shot";
}

/// Bytes per second over the links in each direction, if every rank did what is least: the measure of NCCL's own tests.
double bus_rate(std::size_t bytes, std::size_t ranks, double seconds) {
  const auto n = static_cast<double>(ranks);
  return 2 * (n - 1) / n * static_cast<double>(bytes) / seconds;
}

collective_trial
sum_trial(dtype type, std::size_t bytes, std::size_t ranks, std::optional<sum_path> forced) {
  return {.name = std::string("all_reduce ") + type_text(type),
          .bytes = bytes,
          .call =
              [type, bytes, forced](collective_rank& mine) {
                mine.group->all_reduce({.data = mine.in,
                                        .count = static_cast<std::int64_t>(bytes / size_of(type)),
                                        .type = type,
                                        .forced = forced});
              },
          .input = [type, bytes](std::size_t rank) { return stored_values(type, bytes, rank); },
          .wanted =
              [type, bytes, ranks](std::size_t) {
                return stored_sums(type, bytes, ranks);
              }};
}

collective_trial gather_trial(std::size_t bytes, std::size_t ranks) {
  return {.name = "all_gather",
          .bytes = bytes,
          .call =
              [bytes](collective_rank& mine) {
                mine.group->all_gather(
                    {.in = mine.in, .out = mine.out, .bytes = static_cast<std::int64_t>(bytes)});
              },
          .input = [bytes](std::size_t rank) { return stored_values(dtype::float32, bytes, rank); },
          .wanted =
              [bytes, ranks](std::size_t) {
                std::vector<std::byte> all;
                for (std::size_t r = 0; r < ranks; ++r) {
                  const auto part = stored_values(dtype::float32, bytes, r);
                  all.insert(all.end(), part.begin(), part.end());
                }
                return all;
              },
          .is_gathered = true};
}

/// Everybody ends with what rank 0 had: a broadcast, or a pipe.
collective_trial
copy_trial(std::string name, std::size_t bytes, std::function<void(collective_rank&)> call) {
  return {.name = std::move(name),
          .bytes = bytes,
          .call = std::move(call),
          .input = [bytes](std::size_t rank) { return stored_values(dtype::float32, bytes, rank); },
          .wanted =
              [bytes](std::size_t) {
                return stored_values(dtype::float32, bytes, 0);
              }};
}

/// NCCL's ranks, as long as they work.
class rival {
public:
  rival(const nccl_library* nccl, cuda_module& module, std::size_t ranks) {
    std::string why;
    const auto* driver = cuda_driver::load(why);
    if (nccl == nullptr) {
      return; // said at the top
    }
    if (driver == nullptr) {
      give_up(why);
      return;
    }
    try {
      ranks_ = std::make_unique<nccl_ranks>(*nccl, *driver, module, ranks, largest_sum);
    } catch (const std::exception& cause) {
      give_up(cause.what());
      return;
    }
    if (!ranks_->why_not_symmetric().empty()) {
      std::printf("no symmetric windows: %s\n", ranks_->why_not_symmetric().c_str());
    }
  }

  /// Nothing: it cannot.
  std::optional<double> measure(const nccl_trial& trial, const pace& how_often) {
    if (ranks_ == nullptr || (trial.is_symmetric && !ranks_->why_not_symmetric().empty())) {
      return std::nullopt;
    }
    try {
      return ranks_->measure(trial, how_often);
    } catch (const std::exception& cause) {
      give_up(cause.what());
      return std::nullopt;
    }
  }

private:
  void give_up(const std::string& why) {
    std::fprintf(stderr, "\nno NCCL in this group from here on: %s\n", why.c_str());
    ranks_.reset();
  }

  std::unique_ptr<nccl_ranks> ranks_;
};

void print_sums(collective_ranks& ours, rival& theirs, bool is_quick) {
  const auto n = ours.size();
  std::printf("\nall_reduce, %zu GPUs: us of a call; GB/s = 2 (n-1)/n x size / time; gain: of us "
              "over the best of NCCL\n",
              n);
  std::printf("%-9s %7s %-9s %9s %7s | %9s %9s %9s %9s %7s %7s\n",
              "type",
              "size",
              "path",
              "us",
              "GB/s",
              "NCCL",
              "in graph",
              "symmetric",
              "in graph",
              "GB/s",
              "gain");
  for (const auto& [type, bytes] : sizes_of_sums(is_quick)) {
    const auto how_often = pace_of(bytes, is_quick);
    const double seconds = ours.measure(sum_trial(type, bytes, n, std::nullopt), how_often);
    std::printf("%-9s %7s %-9s %9.2f %7.1f |",
                type_text(type),
                size_text(bytes).c_str(),
                path_text(choose_sum_path(bytes, static_cast<std::int32_t>(n))),
                seconds * 1e6,
                bus_rate(bytes, n, seconds) * 1e-9);
    std::fflush(stdout);
    double best = std::numeric_limits<double>::infinity();
    for (const bool is_symmetric : {false, true}) {
      for (const bool is_recorded : {false, true}) {
        const auto taken = theirs.measure({type, bytes, is_symmetric, is_recorded}, how_often);
        best = std::min(best, taken.value_or(best));
        std::printf(" %9s", taken ? fixed(*taken * 1e6, 2).c_str() : "-");
      }
    }
    const bool is_there = std::isfinite(best);
    std::printf(" %7s %7s\n",
                is_there ? fixed(bus_rate(bytes, n, best) * 1e-9, 1).c_str() : "-",
                is_there ? fixed(best / seconds, 2).c_str() : "-");
    std::fflush(stdout);
  }
}

/// us of every path; marked is what choose_sum_path() takes.
void print_thresholds(collective_ranks& ours, bool is_quick) {
  const auto n = ours.size();
  std::printf(
      "\nall_reduce float32, %zu GPUs: us by path; loss: of the chosen one over the fastest\n", n);
  std::printf("%-9s %10s %10s %10s   %-9s %-9s %6s\n",
              "size",
              path_text(paths[0]),
              path_text(paths[1]),
              path_text(paths[2]),
              "fastest",
              "chosen",
              "loss");
  for (const auto bytes : sizes_around_thresholds(is_quick)) {
    std::array<double, paths.size()> seconds{};
    std::transform(paths.begin(), paths.end(), seconds.begin(), [&](sum_path path) {
      return ours.measure(sum_trial(dtype::float32, bytes, n, path), pace_of(bytes, is_quick));
    });
    const auto fastest = static_cast<std::size_t>(std::min_element(seconds.begin(), seconds.end())
                                                  - seconds.begin());
    const auto path = choose_sum_path(bytes, static_cast<std::int32_t>(n));
    const auto chosen =
        static_cast<std::size_t>(std::find(paths.begin(), paths.end(), path) - paths.begin());
    std::printf("%-9s %10.2f %10.2f %10.2f   %-9s %-9s %5.1f%%\n",
                size_text(bytes).c_str(),
                seconds[0] * 1e6,
                seconds[1] * 1e6,
                seconds[2] * 1e6,
                path_text(paths[fastest]),
                path_text(path),
                100 * (seconds[chosen] / seconds[fastest] - 1));
    std::fflush(stdout);
  }
}

constexpr std::size_t part_sizes[] = {16 * kib, 1 * mib, largest_part};

void print_copy(collective_ranks& ranks, const collective_trial& trial, bool is_quick) {
  const double moved = static_cast<double>(trial.bytes)
                       * static_cast<double>(trial.is_gathered ? ranks.size() - 1 : 1);
  const double seconds = ranks.measure(trial, pace_of(static_cast<std::size_t>(moved), is_quick));
  std::printf("%-12s %7s %9.2f %7.1f\n",
              trial.name.c_str(),
              size_text(trial.bytes).c_str(),
              seconds * 1e6,
              moved / seconds * 1e-9);
  std::fflush(stdout);
}

void print_copies(cuda_module& module, collective_ranks& ours, bool is_quick) {
  const auto n = ours.size();
  std::printf("\nother operations, %zu GPUs: us of a call; GB/s that a rank receives\n", n);
  std::printf("%-12s %7s %9s %7s\n", "operation", "size", "us", "GB/s");
  for (const auto bytes : part_sizes) {
    print_copy(ours, gather_trial(bytes, n), is_quick);
  }
  for (const auto bytes : part_sizes) {
    print_copy(ours,
               copy_trial("broadcast",
                          bytes,
                          [bytes](collective_rank& mine) {
                            mine.group->broadcast({.data = mine.in,
                                                   .bytes = static_cast<std::int64_t>(bytes),
                                                   .root = 0});
                          }),
               is_quick);
  }
  if (n != 2) {
    return;
  }
  collective_ranks pipe(module, pipe_layout(), {.in_bytes = largest_part});
  for (const auto part : part_sizes) {
    const auto bytes = static_cast<std::int64_t>(part);
    print_copy(pipe,
               copy_trial("send, recv",
                          part,
                          [bytes](collective_rank& mine) {
                            if (mine.index == 0) {
                              mine.group->send({.data = mine.in, .bytes = bytes});
                            } else {
                              mine.group->recv({.data = mine.in, .bytes = bytes});
                            }
                          }),
               is_quick);
  }
}

/// What the figures are of.
void print_machine(cuda_module& module,
                   std::int32_t gpus,
                   const nccl_library* nccl,
                   const std::string& why) {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  std::array<char, 32> date{};
  (void)std::strftime(date.data(), date.size(), "%F %H:%M UTC", gmtime_r(&now, &utc));
  std::printf("date     %s\n", date.data());
  for (std::int32_t i = 0; i < gpus; ++i) {
    std::string failure;
    const auto facts = module.facts_of(i, failure);
    if (!failure.empty()) {
      throw std::runtime_error(failure);
    }
    std::printf("device %d %s, %d multiprocessors\n", i, facts.name.c_str(), facts.multiprocessors);
  }
  std::string driver;
  std::ifstream version("/proc/driver/nvidia/version");
  (void)std::getline(version, driver);
  std::printf("driver   %s\n", driver.empty() ? "does not tell its version" : driver.c_str());
  if (nccl == nullptr) {
    std::printf("NCCL     none: %s\n", why.c_str());
  } else {
    std::printf("NCCL     %s (%s), NCCL_NVLS_ENABLE=0\n",
                tensor::nccl_version_text(nccl->api.version).c_str(),
                nccl->api.path.c_str());
  }
  std::fflush(stdout);
}

/// Throws std::runtime_error with the reason if a device fails.
void run(const options& wanted) {
  // Before CUDA starts: no kernel is loaded while another one waits for a peer.
  (void)setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  std::string why;
  std::string why_no_nccl;
  const auto nccl = load_nccl_library(why_no_nccl);
  auto* module = load_cuda_module(why);
  const std::int32_t there = module == nullptr ? 0 : module->device_count();
  const std::int32_t gpus = std::min(there, wanted.gpus);
  if (gpus < 2) {
    std::printf("vdist_bench_collectives_cuda: it takes at least 2 GPUs, here are %d%s%s\n",
                there,
                why.empty() ? "" : ": ",
                why.c_str());
    return;
  }
  print_machine(*module, gpus, nccl.get(), why_no_nccl);
  for (std::int32_t n = 2; n <= std::min(gpus, group_ranks_max); n *= 2) {
    const auto ranks = static_cast<std::size_t>(n);
    collective_ranks ours(
        *module, group_layout(n), {.in_bytes = largest_sum, .out_bytes = largest_part * ranks});
    if (wanted.finds_thresholds) {
      print_thresholds(ours, wanted.is_quick);
      continue;
    }
    {
      rival theirs(nccl.get(), *module, ranks);
      print_sums(ours, theirs, wanted.is_quick);
    }
    print_copies(*module, ours, wanted.is_quick);
  }
}

/// Nothing: they are not legal.
std::optional<options> options_of(int argc, char** argv) {
  options out;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--quick") {
      out.is_quick = true;
    } else if (word == "--thresholds") {
      out.finds_thresholds = true;
    } else if (word == "--gpus" && i + 1 < argc) {
      out.gpus = std::atoi(argv[++i]);
    } else {
      return std::nullopt;
    }
  }
  return out.gpus < 2 ? std::nullopt : std::optional(out);
}

} // namespace

} // namespace vdist::kernels::bench

int main(int argc, char** argv) {
  const auto wanted = vdist::kernels::bench::options_of(argc, argv);
  if (!wanted) {
    std::fprintf(stderr,
                 "usage: vdist_bench_collectives_cuda [--gpus N] [--quick] [--thresholds]\n");
    return 2;
  }
  try {
    vdist::kernels::bench::run(*wanted);
    return 0;
  } catch (const std::exception& cause) {
    std::fprintf(stderr, "vdist_bench_collectives_cuda: %s\n", cause.what());
    return 1;
  }
}
