#include "actors/worker/rank_runner.hpp"

#include "actors/worker/layer_writer.hpp"

#include "transport/tensor/shared_communicator.hpp"
#include "transport/tensor/shared_pipe.hpp"

#include "runtime/base/log.hpp"

#include "kernels/cpu/cpu_backend.hpp"
#include "kernels/cuda_module.hpp"

#include <chrono>
#include <fmt/format.h>
#include <utility>

namespace vdist::actors {

namespace {

/// Floats of one slot of an exchange region; larger messages travel in chunks.
constexpr std::size_t exchange_slot_floats = std::size_t{64} << 10U;
constexpr std::uint32_t pipe_slots = 4;

using milliseconds = std::chrono::duration<double, std::milli>;

/// Index of an exchange region in the vault.
constexpr std::uint32_t group_region = 0; // of the tensor group's first rank
constexpr std::uint32_t pipe_region = 1;  // of the sending rank

/// Keeps the communicators alive as long as the runner that borrows them.
class linked_runner final : public exec::step_runner {
public:
  std::unique_ptr<tensor::communicator> group;
  std::unique_ptr<tensor::pipe> from_previous;
  std::unique_ptr<tensor::pipe> to_next;
  std::unique_ptr<layer_writer> tap;
  std::unique_ptr<exec::step_runner> inner;

  [[nodiscard]] exec::peers links() const {
    return {group.get(), from_previous.get(), to_next.get()};
  }

  void watch_waits(step_watch& watch) {
    group = group ? watch_communicator(std::move(group), watch) : nullptr;
    from_previous = from_previous ? watch_pipe(std::move(from_previous), watch) : nullptr;
    to_next = to_next ? watch_pipe(std::move(to_next), watch) : nullptr;
  }

  result<void> load(const exec::load_progress& progress) override { return inner->load(progress); }

  result<void> rehearse() override { return inner->rehearse(); }

  result<void> settle() override { return inner->settle(); }

  result<void> start_epoch(epoch now) override { return inner->start_epoch(now); }

  [[nodiscard]] std::int32_t flights_max() const noexcept override { return inner->flights_max(); }

  result<void> launch(const protocol::step_plan& plan) override { return inner->launch(plan); }

  [[nodiscard]] bool is_ready() noexcept override { return inner->is_ready(); }

  result<void> finish(protocol::step_result& out) override { return inner->finish(out); }

  void observe_waits(exec::wait_observer* by) override { inner->observe_waits(by); }

  [[nodiscard]] exec::device_waits waits() const noexcept override { return inner->waits(); }

  result<void> disturb(exec::disturbance what) override { return inner->disturb(what); }
};

result<void> join_group(const rank_runner_config& config,
                        const rank_runner_links& links,
                        const frame::wait_policy& waits,
                        linked_runner& into) {
  if (config.tensor_size == 1) {
    return {};
  }
  const rank_id first(config.rank.value - config.place.tensor_rank);
  VDIST_ASSIGN(auto region,
               links.memory->map(
                   {.rank = first, .kind = vault::region_kind::exchange, .index = group_region},
                   tensor::exchange_bytes(config.tensor_size, exchange_slot_floats)));
  const tensor::shared_communicator_settings settings{.rank = config.place.tensor_rank,
                                                      .size = config.tensor_size,
                                                      .slot_floats = exchange_slot_floats,
                                                      .timeout = config.collective_deadline,
                                                      .stop = links.stop};
  VDIST_ASSIGN(into.group, tensor::make_shared_communicator(region.memory, settings, waits));
  return {};
}

result<std::unique_ptr<tensor::pipe>> join_pipe(tensor::pipe_end end,
                                                rank_id sender,
                                                const rank_runner_config& config,
                                                const rank_runner_links& links,
                                                const frame::wait_policy& waits) {
  VDIST_ASSIGN(auto region,
               links.memory->map(
                   {.rank = sender, .kind = vault::region_kind::exchange, .index = pipe_region},
                   tensor::pipe_bytes(pipe_slots, exchange_slot_floats)));
  const tensor::shared_pipe_settings settings{.end = end,
                                              .slots = pipe_slots,
                                              .slot_floats = exchange_slot_floats,
                                              .timeout = config.collective_deadline,
                                              .stop = links.stop};
  return tensor::make_shared_pipe(region.memory, settings, waits);
}

result<void> join_pipes(const rank_runner_config& config,
                        const rank_runner_links& links,
                        const frame::wait_policy& waits,
                        linked_runner& into) {
  if (config.meets_peers()) {
    return {};
  }
  if (!config.place.is_first_stage()) {
    const rank_id previous(config.rank.value - config.tensor_size);
    VDIST_ASSIGN(into.from_previous,
                 join_pipe(tensor::pipe_end::receiver, previous, config, links, waits));
  }
  if (!config.place.is_last_stage()) {
    VDIST_ASSIGN(into.to_next,
                 join_pipe(tensor::pipe_end::sender, config.rank, config, links, waits));
  }
  return {};
}

exec::model_runner_config with_peers(exec::model_runner_config model,
                                     const rank_runner_config& config,
                                     const rank_runner_links& links,
                                     const frame::wait_policy& waits) {
  if (config.meets_peers()) {
    model.peer_exchange = exec::peer_link_settings{.are_mapped = links.maps_peers,
                                                   .wait = config.collective_deadline,
                                                   .stop = links.stop,
                                                   .waits = &waits};
  }
  return model;
}

/// The replica's part of the store.
result<std::span<std::byte>> slots_of(const rank_runner_config& config,
                                      const rank_runner_links& links) {
  if (links.store.size() < config.store_first + config.store_bytes) {
    return fail(errc::resource_exhausted,
                fmt::format("load model: the host store is smaller than it should be (bytes={} "
                            "wanted={})",
                            links.store.size(),
                            config.store_first + config.store_bytes));
  }
  return links.store.subspan(config.store_first, config.store_bytes);
}

exec::backend_factory cpu_backend_of(std::int32_t threads) {
  return [threads](const exec::backend_needs& needs) -> result<std::unique_ptr<kernels::backend>> {
    return kernels::make_cpu_backend({.threads = threads,
                                      .max_positions = needs.max_positions,
                                      .max_tokens = needs.max_tokens,
                                      .max_features = needs.max_features});
  };
}

exec::backend_factory cuda_backend_of(const cuda_choice& choice) {
  return [choice](const exec::backend_needs& needs) -> result<std::unique_ptr<kernels::backend>> {
    std::string why;
    const auto start = std::chrono::steady_clock::now();
    auto* module = kernels::load_cuda_module(why);
    if (module == nullptr) {
      return fail(errc::not_found, "cuda: " + why);
    }
    const auto driver_is_open = std::chrono::steady_clock::now();
    auto made = module->make_backend({.device = choice.device,
                                      .max_positions = needs.max_positions,
                                      .max_tokens = needs.max_tokens,
                                      .max_heads = needs.max_heads,
                                      .max_head_dim = needs.max_head_dim,
                                      .max_logit_rows = needs.max_logit_rows,
                                      .max_vocabulary = needs.max_vocabulary,
                                      .use_graphs = choice.use_graphs},
                                     why);
    if (made == nullptr) {
      return fail(errc::resource_exhausted, "cuda: " + why);
    }
    log::debug("worker: the device is open (device={} driver_ms={:.1f} context_ms={:.1f})",
               choice.device,
               milliseconds(driver_is_open - start).count(),
               milliseconds(std::chrono::steady_clock::now() - driver_is_open).count());
    return made;
  };
}

} // namespace

result<std::unique_ptr<exec::step_runner>> make_rank_runner(const rank_runner_config& config,
                                                            const rank_runner_links& links,
                                                            const frame::wait_policy& waits) {
  auto runner = std::make_unique<linked_runner>();
  VDIST_TRY(join_group(config, links, waits, *runner));
  VDIST_TRY(join_pipes(config, links, waits, *runner));
  if (links.watch != nullptr) {
    runner->watch_waits(*links.watch);
  }
  if (const auto* wanted = std::get_if<exec::model_runner_config>(&config.device)) {
    auto model = with_peers(*wanted, config, links, waits);
    if (model.store) {
      VDIST_ASSIGN(model.store->memory, slots_of(config, links));
    }
    if (links.orders != nullptr) {
      runner->tap = std::make_unique<layer_writer>(
          config.rank, model.model.hidden, *links.orders, *links.memory, waits);
      model.tap = runner->tap.get();
    }
    runner->inner = std::make_unique<exec::model_runner>(
        std::move(model),
        runner->links(),
        *links.memory,
        config.cuda ? cuda_backend_of(*config.cuda) : cpu_backend_of(config.threads));
  } else {
    runner->inner = std::make_unique<exec::sim_runner>(
        std::get<exec::sim_runner_config>(config.device), runner->links(), *links.memory);
  }
  return std::unique_ptr<exec::step_runner>(std::move(runner));
}

} // namespace vdist::actors
