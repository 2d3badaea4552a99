#include "tests/support/model_driver.hpp"

#include "model/exec/device_vault.hpp"

#include "transport/tensor/shared_communicator.hpp"
#include "transport/tensor/shared_pipe.hpp"
#include "transport/vault/memory_vault.hpp"

#include "kernels/cpu/cpu_backend.hpp"
#include "kernels/cuda_module.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace vdist::testing {

namespace {

void require(const result<void>& done) {
  if (!done) {
    throw std::runtime_error(done.error().context);
  }
}

template <class T>
T require(result<T> made) {
  if (!made) {
    throw std::runtime_error(made.error().context);
  }
  return std::move(made).value();
}

// Small slots: larger transfers go in chunks, as they may in a real run.
constexpr std::size_t slot_floats = 2048;
constexpr std::uint32_t pipe_slots = 4;

/// Sleeps at once: there are more ranks than cores.
frame::wait_policy patient() {
  static const system_clock time;
  return {{.spin_budget = std::chrono::microseconds(0)}, time};
}

kernels::cuda_module& require_gpu() {
  std::string why;
  auto* module = kernels::load_cuda_module(why);
  if (module == nullptr) {
    throw std::runtime_error("driver: " + why);
  }
  return *module;
}

std::int32_t gpu_of(std::int32_t rank, std::int32_t gpus) {
  return rank % gpus;
}

std::shared_ptr<vault::vault> make_vault(const driver_config& config) {
  auto host = std::make_unique<vault::memory_vault>();
  if (!config.is_on_gpu) {
    return host;
  }
  return std::make_shared<exec::device_vault>(
      std::move(host), require_gpu(), [gpus = config.gpus](rank_id rank) {
        return gpu_of(rank.value, gpus);
      });
}

exec::backend_factory backend_of(const driver_config& config, std::int32_t rank) {
  using made_backend = result<std::unique_ptr<kernels::backend>>;
  if (config.is_on_gpu) {
    return [use_graphs = config.use_graphs,
            device = gpu_of(rank, config.gpus)](const exec::backend_needs& needs) -> made_backend {
      std::string why;
      auto made = require_gpu().make_backend({.device = device,
                                              .max_positions = needs.max_positions,
                                              .max_tokens = needs.max_tokens,
                                              .max_heads = needs.max_heads,
                                              .max_head_dim = needs.max_head_dim,
                                              .max_logit_rows = needs.max_logit_rows,
                                              .max_vocabulary = needs.max_vocabulary,
                                              .use_graphs = use_graphs},
                                             why);
      return made ? made_backend(std::move(made)) : made_backend(fail(errc::internal, why));
    };
  }
  return [threads = config.backend_threads](const exec::backend_needs& needs) -> made_backend {
    return kernels::make_cpu_backend({.threads = threads,
                                      .max_positions = needs.max_positions,
                                      .max_tokens = needs.max_tokens,
                                      .max_features = needs.max_features});
  };
}

weights::model_config read_config(const std::filesystem::path& folder) {
  return require(weights::read_model_config(folder, arch::supported_architectures()));
}

/// Shows what is sent to somebody else before it goes.
class overheard_pipe final : public tensor::pipe {
public:
  overheard_pipe(std::unique_ptr<tensor::pipe> inner,
                 std::function<void(std::span<const float>)> on_passed)
      : inner_(std::move(inner)), on_passed_(std::move(on_passed)) {}

  result<void> start_epoch(epoch next) override { return inner_->start_epoch(next); }

  result<void> send(std::span<const float> data) override {
    on_passed_(data);
    return inner_->send(data);
  }

  result<void> recv(std::span<float> data) override { return inner_->recv(data); }

private:
  std::unique_ptr<tensor::pipe> inner_;
  std::function<void(std::span<const float>)> on_passed_;
};

} // namespace

bool wants_gpu() {
  const char* device = std::getenv("VDIST_TEST_DEVICE");
  return device != nullptr && std::string_view(device) == "cuda";
}

struct model_driver::rank {
  std::unique_ptr<tensor::communicator> group;
  std::unique_ptr<tensor::pipe> from_previous;
  std::unique_ptr<tensor::pipe> to_next;
  std::unique_ptr<exec::model_runner> runner;
  protocol::step_result out;
  result<void> done;
};

model_driver::model_driver(const driver_config& config)
    : model_driver(config, make_vault(config)) {}

model_driver::model_driver(const driver_config& config,
                           std::shared_ptr<vault::vault> memory,
                           std::uint32_t last_epoch)
    : model_(read_config(config.folder)),
      limits_(config.limits),
      vault_(std::move(memory)),
      tensor_(config.tensor),
      observes_(config.observes),
      is_on_gpu_(config.is_on_gpu),
      gpus_(config.gpus),
      epoch_(last_epoch) {
  make_ranks(config);
  rehearse(config);
  start_epoch();
}

model_driver::~model_driver() = default;

std::span<std::byte> model_driver::exchange_region(std::uint32_t index, std::size_t bytes) {
  const vault::region_key key{
      .rank = rank_id(0), .kind = vault::region_kind::exchange, .index = index};
  return require(vault_->map(key, bytes)).memory;
}

std::unique_ptr<tensor::communicator> model_driver::join_group(const topology::shard& place) {
  if (place.tensor_size == 1) {
    return nullptr;
  }
  const auto region = exchange_region(static_cast<std::uint32_t>(place.stage),
                                      tensor::exchange_bytes(place.tensor_size, slot_floats));
  const tensor::shared_communicator_settings settings{.rank = place.tensor_rank,
                                                      .size = place.tensor_size,
                                                      .slot_floats = slot_floats,
                                                      .stop = nullptr};
  return require(tensor::make_shared_communicator(region, settings, patient()));
}

std::unique_ptr<tensor::pipe> model_driver::join_pipe(const topology::shard& place,
                                                      tensor::pipe_end end) {
  const bool is_sender = end == tensor::pipe_end::sender;
  if (is_sender ? place.is_last_stage() : place.is_first_stage()) {
    return nullptr;
  }
  const auto boundary = is_sender ? place.stage : place.stage - 1;
  const auto index =
      static_cast<std::uint32_t>(place.stages + boundary * place.tensor_size + place.tensor_rank);
  const auto region = exchange_region(index, tensor::pipe_bytes(pipe_slots, slot_floats));
  return require(tensor::make_shared_pipe(
      region,
      {.end = end, .slots = pipe_slots, .slot_floats = slot_floats, .stop = nullptr},
      patient()));
}

void model_driver::let_listen(const driver_config& config, rank& made) const {
  if (config.on_passed && ranks_.empty() && made.to_next) {
    made.to_next = std::make_unique<overheard_pipe>(std::move(made.to_next), config.on_passed);
  }
}

exec::model_runner_config model_driver::runner_config(const driver_config& config,
                                                      const topology::shard& place) {
  exec::model_runner_config made;
  made.model = model_;
  made.source = {.folder = config.folder, .weights = config.origin, .name = {}, .revision = {}};
  made.type = config.type.value_or(model_.type);
  made.place = place;
  made.rank = rank_id(place.stage * place.tensor_size + place.tensor_rank);
  made.limits = config.limits;
  made.random_seed = 7;
  made.is_standby = config.is_standby;
  made.tap = ranks_.empty() ? config.tap : nullptr;
  if (config.is_on_gpu && config.meets_peers && place.tensor_size * place.stages > 1) {
    made.peer_exchange = exec::peer_link_settings{.wait = std::chrono::seconds(20)};
  }
  if (config.observes && place.is_last_stage()) {
    made.observer = [this](std::uint64_t id, std::int32_t, std::span<const float> logits) {
      observed_[id].assign(logits.begin(), logits.end());
    };
  }
  return made;
}

void model_driver::add_rank(const driver_config& config, const topology::shard& place) {
  auto made = std::make_unique<rank>();
  made->group = join_group(place);
  made->from_previous = join_pipe(place, tensor::pipe_end::receiver);
  made->to_next = join_pipe(place, tensor::pipe_end::sender);
  let_listen(config, *made);
  const exec::peers links{.group = made->group.get(),
                          .from_previous = made->from_previous.get(),
                          .to_next = made->to_next.get()};
  made->runner = std::make_unique<exec::model_runner>(
      runner_config(config, place),
      links,
      *vault_,
      backend_of(config, static_cast<std::int32_t>(ranks_.size())));
  std::uint64_t reports = 0;
  require(made->runner->load([&reports](std::uint64_t, std::uint64_t) { ++reports; }));
  load_reports_ += reports;
  ranks_.push_back(std::move(made));
}

void model_driver::make_ranks(const driver_config& config) {
  auto stages = config.stage_layers;
  if (stages.empty()) {
    stages.push_back(model_.layers);
  }
  topology::shard place{.tensor_size = tensor_, .stages = static_cast<std::int32_t>(stages.size())};
  for (; place.stage < place.stages; ++place.stage) {
    place.layers.last = place.layers.first + stages[static_cast<std::size_t>(place.stage)];
    for (place.tensor_rank = 0; place.tensor_rank < tensor_; ++place.tensor_rank) {
      add_rank(config, place);
    }
    place.layers.first = place.layers.last;
  }
  results_.resize(ranks_.size());
}

void model_driver::rehearse(const driver_config& config) {
  if (!config.rehearses) {
    return;
  }
  on_all_ranks([](rank& each) { each.done = each.runner->rehearse(); });
  for (const auto& each : ranks_) {
    require(each->done);
  }
  if (config.on_rehearsed) {
    config.on_rehearsed();
  }
}

void model_driver::start_epoch() {
  ++epoch_;
  on_all_ranks([this](rank& each) { each.done = each.runner->start_epoch(epoch(epoch_)); });
  for (const auto& each : ranks_) {
    require(each->done);
  }
}

/// Each on a thread of its own: they may wait for each other.
void model_driver::on_all_ranks(const std::function<void(rank&)>& work) {
  const auto run = [this, &work](std::size_t i) {
    std::string why;
    if (is_on_gpu_ && !require_gpu().use_device(gpu_of(static_cast<std::int32_t>(i), gpus_), why)) {
      ranks_[i]->done = fail(errc::internal, why);
      return;
    }
    work(*ranks_[i]);
  };
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < ranks_.size(); ++i) {
    others.emplace_back(run, i);
  }
  run(0);
}

driven_sequence model_driver::add(std::vector<token_id> prompt) {
  driven_sequence made;
  made.id = next_id_++;
  made.slot =
      static_cast<std::uint32_t>((made.id - 1) % static_cast<std::uint64_t>(limits_.max_sequences));
  made.record.prompt_tokens = static_cast<std::int32_t>(prompt.size());
  made.tokens = std::move(prompt);
  return made;
}

protocol::step_plan model_driver::make_plan(std::span<const chunk> chunks) {
  protocol::step_plan plan;
  plan.step = ++step_;
  plan.epoch = epoch_;
  for (const auto& part : chunks) {
    auto& sequence = *part.sequence;
    const bool is_new = !sequence.is_announced;
    const auto end = sequence.computed + part.count;
    // Blocks are handed out downwards from every second one, so that no test works by accident on
    // neighbouring blocks.
    while (static_cast<std::int32_t>(sequence.blocks.size()) * limits_.block_size < end) {
      if (next_block_ >= limits_.blocks) {
        throw std::runtime_error("driver: out of blocks");
      }
      const auto half = (limits_.blocks + 1) / 2;
      const auto n = next_block_++;
      sequence.blocks.push_back(n < half ? 2 * n : 2 * (n - half) + 1);
    }
    const auto blocks = static_cast<std::int32_t>(sequence.blocks.size());
    const auto blocks_before = is_new ? 0 : sequence.blocks_sent;
    plan.slots.push_back(sequence.slot);
    plan.request_ids.push_back(sequence.id);
    const bool samples = end == static_cast<std::int32_t>(sequence.tokens.size());
    plan.flags.push_back(static_cast<std::uint8_t>((is_new ? protocol::flag_new : 0)
                                                   | (samples ? protocol::flag_samples : 0)));
    plan.first_position.push_back(sequence.computed);
    plan.token_counts.push_back(part.count);
    plan.block_counts.push_back(blocks - blocks_before);
    plan.new_blocks.insert(
        plan.new_blocks.end(), sequence.blocks.begin() + blocks_before, sequence.blocks.end());
    const auto first_token = is_new ? 0 : sequence.computed;
    plan.tokens.insert(
        plan.tokens.end(), sequence.tokens.begin() + first_token, sequence.tokens.begin() + end);
    if (is_new) {
      plan.sampling.push_back(sequence.record);
    }
    sequence.is_announced = true;
    sequence.blocks_sent = blocks;
    sequence.computed = end;
  }
  return plan;
}

result<protocol::step_result> model_driver::execute(const protocol::step_plan& plan) {
  VDIST_TRY(protocol::validate(plan,
                               {.slots = static_cast<std::uint32_t>(limits_.max_sequences),
                                .blocks = limits_.blocks,
                                .vocabulary = model_.vocabulary,
                                .max_positions = limits_.max_positions,
                                .block_size = limits_.block_size}));
  observed_.clear();
  on_all_ranks([&plan](rank& each) { each.done = each.runner->execute(plan, each.out); });
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    VDIST_TRY(ranks_[i]->done);
    results_[i] = ranks_[i]->out;
    const auto stage_first = i - i % static_cast<std::size_t>(tensor_);
    if (results_[i].digest != results_[stage_first].digest) {
      throw std::runtime_error("driver: ranks of a stage report different digests");
    }
  }
  return results_[ranks_.size() - static_cast<std::size_t>(tensor_)];
}

void model_driver::step(std::span<const chunk> chunks) {
  const auto plan = make_plan(chunks);
  record(plan, require(execute(plan)), chunks);
}

void model_driver::record(const protocol::step_plan& plan,
                          const protocol::step_result& out,
                          std::span<const chunk> chunks) {
  std::size_t row = 0;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    if ((plan.flags[i] & protocol::flag_samples) == 0) {
      continue;
    }
    if (row >= out.slots.size() || out.slots[row] != plan.slots[i]) {
      throw std::runtime_error("driver: results are not in plan order");
    }
    chunks[i].sequence->sampled.push_back(out.tokens[row]);
    if (observes_) {
      chunks[i].sequence->logits.push_back(observed_.at(plan.request_ids[i]));
    }
    ++row;
  }
  if (row != out.slots.size()) {
    throw std::runtime_error("driver: more results than sampled sequences");
  }
}

void model_driver::generate(std::span<driven_sequence* const> sequences,
                            std::int32_t steps,
                            std::int32_t chunk_tokens,
                            const std::vector<std::vector<token_id>>& forced) {
  while (true) {
    std::vector<chunk> chunks;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      auto& sequence = *sequences[i];
      if (static_cast<std::int32_t>(sequence.sampled.size()) >= steps) {
        continue;
      }
      if (sequence.computed == static_cast<std::int32_t>(sequence.tokens.size())) {
        const auto sampled = sequence.sampled.size() - 1;
        sequence.tokens.push_back(forced.empty() ? sequence.sampled.back()
                                                 : forced.at(i).at(sampled));
      }
      const auto open = static_cast<std::int32_t>(sequence.tokens.size()) - sequence.computed;
      chunks.push_back({&sequence, chunk_tokens > 0 ? std::min(open, chunk_tokens) : open});
    }
    if (chunks.empty()) {
      return;
    }
    step(chunks);
  }
}

double relative_error(const std::vector<std::vector<float>>& got,
                      const std::vector<std::vector<float>>& expected) {
  double difference = 0;
  double norm = 0;
  for (std::size_t row = 0; row < expected.size(); ++row) {
    for (std::size_t i = 0; i < expected[row].size(); ++i) {
      difference += std::pow(double{got.at(row).at(i)} - expected[row][i], 2);
      norm += std::pow(double{expected[row][i]}, 2);
    }
  }
  return std::sqrt(difference / norm);
}

} // namespace vdist::testing
