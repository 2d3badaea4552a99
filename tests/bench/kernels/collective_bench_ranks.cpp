#include "tests/bench/kernels/collective_bench_ranks.hpp"

#include <algorithm>
#include <stdexcept>

namespace vdist::kernels::bench {

namespace {

constexpr std::chrono::seconds device_wait{20}; // of a rank for another, on the device

void require(bool is_good, const std::string& why) {
  if (!is_good) {
    throw std::runtime_error(why);
  }
}

std::string fault_text(const fault_record& fault) {
  return "it left (fault=" + std::to_string(static_cast<int>(fault.fault))
         + " operation=" + std::to_string(static_cast<int>(fault.operation))
         + " peer=" + std::to_string(fault.peer) + ")";
}

} // namespace

collective_ranks::collective_ranks(cuda_module& module,
                                   const exchange_layout& layout,
                                   collective_memory memory)
    : module_(module), memory_(memory), ranks_(static_cast<std::size_t>(layout.ranks)) {
  std::string why;
  device_group_config config{.ranks = layout.ranks, .layout = layout, .wait = device_wait};
  for (std::size_t r = 0; r < ranks_.size(); ++r) {
    auto& mine = ranks_[r];
    mine.device = static_cast<std::int32_t>(r);
    mine.index = r;
    const auto allocate = [&](std::size_t bytes) {
      auto* made = static_cast<std::byte*>(
          module_.allocate(mine.device, std::max<std::size_t>(bytes, 1), why));
      require(made != nullptr, why);
      return made;
    };
    mine.region = allocate(layout.region_bytes());
    mine.in = allocate(memory.in_bytes);
    mine.out = allocate(memory.out_bytes);
    config.regions[r] = mine.region;
  }
  for (auto& mine : ranks_) {
    mine.ops = module_.make_backend({.device = mine.device,
                                     .max_positions = 64,
                                     .max_tokens = 16,
                                     .max_heads = 1,
                                     .max_head_dim = 64,
                                     .max_logit_rows = 1},
                                    why);
    require(mine.ops != nullptr, why);
    config.rank = static_cast<std::int32_t>(mine.index);
    mine.group = mine.ops->join_group(config, why);
    require(mine.group != nullptr, why);
  }
  for (auto& mine : ranks_) {
    use(mine);
    require(mine.group->start_epoch(1, rank_patience), mine.ops->queue().failure());
  }
}

collective_ranks::~collective_ranks() {
  for (auto& mine : ranks_) {
    use(mine);
    mine.group.reset();
    mine.ops.reset();
  }
  for (auto& mine : ranks_) {
    for (auto* memory : {mine.region, mine.in, mine.out}) {
      module_.release(mine.device, memory);
    }
  }
}

double collective_ranks::measure(const collective_trial& trial, const pace& how_often) {
  ++last_key_;
  round_times seconds(size());
  run_together(size(), [&](std::size_t r, meeting& together) {
    auto& mine = ranks_[r];
    use(mine);
    check_data(trial, mine, together);
    seconds[r] = time_rounds(trial, how_often, mine, together);
  });
  return median_round(seconds);
}

/// The calling thread's device becomes the rank's.
void collective_ranks::use(const collective_rank& mine) {
  std::string why;
  (void)module_.use_device(mine.device, why);
}

void collective_ranks::wait(const collective_trial& trial, collective_rank& mine, queue_mark mark) {
  const bool is_there = mine.ops->queue().wait(mark, rank_patience);
  const auto fault = mine.group->fault();
  if (is_there && fault.fault == group_fault::none) {
    return;
  }
  const auto& failure = mine.ops->queue().failure();
  const auto cause = !failure.empty() ? failure : is_there ? fault_text(fault) : "no answer";
  throw std::runtime_error(trial.name + ": " + cause + " (rank=" + std::to_string(mine.index)
                           + " bytes=" + std::to_string(trial.bytes) + ")");
}

void collective_ranks::check_data(const collective_trial& trial,
                                  collective_rank& mine,
                                  meeting& together) {
  auto& queue = mine.ops->queue();
  const auto input = trial.input(mine.index);
  const auto wanted = trial.wanted(mine.index);
  std::vector<std::byte> got(wanted.size());
  queue.copy_in(mine.in, input.data(), input.size());
  queue.fill_zero(mine.out, memory_.out_bytes);
  wait(trial, mine, queue.mark());
  together.arrive_and_wait();
  trial.call(mine);
  wait(trial, mine, queue.mark());
  if (!got.empty()) {
    queue.copy_out(got.data(), trial.is_gathered ? mine.out : mine.in, got.size());
  }
  queue.fill_zero(mine.in, memory_.in_bytes);
  wait(trial, mine, queue.mark());
  if (got != wanted) {
    const auto [at, ignored] = std::mismatch(got.begin(), got.end(), wanted.begin());
    throw std::runtime_error(trial.name + ": the data is wrong (rank=" + std::to_string(mine.index)
                             + " bytes=" + std::to_string(trial.bytes)
                             + " first_at=" + std::to_string(at - got.begin()) + ")");
  }
}

std::vector<double> collective_ranks::time_rounds(const collective_trial& trial,
                                                  const pace& how_often,
                                                  collective_rank& mine,
                                                  meeting& together) {
  auto& queue = mine.ops->queue();
  const auto piece = [this, &queue, &trial, &how_often, &mine] {
    queue.run(last_key_, [&trial, &how_often, &mine] {
      for (int i = 0; i < how_often.calls; ++i) {
        trial.call(mine);
      }
    });
  };
  // Called as it is, then recorded; a rank's own device is idle while its host records.
  for (int i = 0; i < 2; ++i) {
    together.arrive_and_wait();
    piece();
    wait(trial, mine, queue.mark());
  }
  std::vector<double> seconds;
  for (int round = 0; round < how_often.rounds; ++round) {
    together.arrive_and_wait();
    for (int i = 0; i < pace::lead; ++i) {
      piece();
    }
    const auto first = queue.mark();
    piece(); // is under way while the host notices the first mark, so the device never idles
    wait(trial, mine, first);
    const auto before = std::chrono::steady_clock::now();
    for (int i = 1; i < how_often.pieces; ++i) {
      piece();
    }
    wait(trial, mine, queue.mark());
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - before;
    seconds.push_back(taken.count() / (how_often.calls * how_often.pieces));
  }
  return seconds;
}

} // namespace vdist::kernels::bench
