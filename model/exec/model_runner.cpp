#include "model/exec/model_runner.hpp"

#include "model/exec/kv_region.hpp"
#include "model/exec/staged_links.hpp"
#include "model/weights/checkpoint.hpp"
#include "model/weights/device_load.hpp"
#include "model/weights/load_weights.hpp"
#include "model/weights/random_source.hpp"

#include <fmt/format.h>
#include <new>
#include <string>
#include <utility>
#include <xxhash.h>

namespace vdist::exec {

namespace {

/// Names what a weight region holds: the source, and every weight's place, type and slices.
std::uint64_t content_hash(const model_runner_config& config, const weights::weight_plan& plan) {
  auto text = fmt::format("{}|{}|{}|{}",
                          config.source.folder.string(),
                          config.source.revision,
                          static_cast<int>(config.source.weights),
                          config.random_seed);
  for (const auto& weight : plan.weights) {
    text += fmt::format("\n{} {} {}x{}",
                        weight.name,
                        to_string(weight.type),
                        weight.shape.rows,
                        weight.shape.columns);
    for (const auto& slice : weight.slices) {
      text += fmt::format(" {}[{}+{},{}+{}]@{}",
                          slice.tensor.names.front(),
                          slice.rows.first,
                          slice.rows.count,
                          slice.columns.first,
                          slice.columns.count,
                          slice.destination_row);
    }
  }
  return XXH3_64bits(text.data(), text.size());
}

} // namespace

model_runner::model_runner(model_runner_config config,
                           peers links,
                           vault::vault& memory,
                           backend_factory make_backend)
    : config_(std::move(config)),
      links_(links),
      vault_(memory),
      make_backend_(std::move(make_backend)) {}

result<void> model_runner::check_limits() const {
  const auto& limits = config_.limits;
  if (limits.max_batch_tokens < 1 || limits.max_sequences < 1 || limits.max_positions < 1
      || limits.blocks < 1 || limits.block_size < 1) {
    return fail(errc::bad_configuration, "load model: every limit of a worker must be at least 1");
  }
  if (!config_.model.rope && limits.max_positions > config_.model.max_positions) {
    return fail(errc::bad_configuration,
                fmt::format("load model: the model has learned positions and no more of them "
                            "(max_model_len={} legal=1..{})",
                            limits.max_positions,
                            config_.model.max_positions));
  }
  return {};
}

result<void> model_runner::load(const load_progress& progress) {
  VDIST_TRY(check_limits());
  VDIST_ASSIGN(auto network, arch::build(config_.model, config_.place, config_.type));
  VDIST_ASSIGN(backend_, make_backend_(needs_of(network, config_.limits)));
  const vault::region_key weights_key{.rank = config_.rank, .kind = vault::region_kind::weights};
  VDIST_ASSIGN(const auto region, vault_.map(weights_key, network.plan.bytes));
  const auto wanted = content_hash(config_, network.plan);
  const bool has_weights = region.ready_hash == wanted;
  VDIST_ASSIGN(const auto kv,
               map_kv(vault_, config_.rank, kv_bytes(network, config_.limits), has_weights));
  try {
    if (!has_weights) {
      VDIST_TRY(fill_weights(network.plan, region, progress));
      VDIST_TRY(vault_.mark_ready(weights_key, wanted));
    } else if (progress) {
      progress(network.plan.bytes, network.plan.bytes);
    }
    VDIST_TRY(prepare_links());
    model_ = std::make_unique<rank_model>(rank_model_parts{.network = std::move(network),
                                                           .place = config_.place,
                                                           .limits = config_.limits,
                                                           .backend = backend_.get(),
                                                           .feed = links_.group,
                                                           .weights = region.memory,
                                                           .kv = kv.memory,
                                                           .step_deadline = config_.device_deadline,
                                                           .observer = config_.observer,
                                                           .tap = config_.tap});
  } catch (const std::bad_alloc&) {
    return fail(errc::resource_exhausted,
                fmt::format("load model: no memory for activations (rank={})", config_.rank.value));
  }
  return {};
}

/// Throws std::bad_alloc.
result<void> model_runner::prepare_links() {
  auto& queue = backend_->queue();
  if (queue.is_host_memory()) {
    return {};
  }
  if (config_.peer_exchange) {
    VDIST_ASSIGN(
        peer_links_,
        peer_links::make(*backend_, vault_, config_.place, config_.rank, *config_.peer_exchange));
    return {};
  }
  staged_group_ = stage_communicator(links_.group, queue, config_.device_deadline);
  staged_from_previous_ = stage_pipe(links_.from_previous, queue, config_.device_deadline);
  staged_to_next_ = stage_pipe(links_.to_next, queue, config_.device_deadline);
  return {};
}

result<peers> model_runner::start_links(epoch now) {
  if (links_.group != nullptr) {
    VDIST_TRY(links_.group->start_epoch(now));
  }
  for (auto* pipe : {links_.from_previous, links_.to_next}) {
    if (pipe != nullptr) {
      VDIST_TRY(pipe->start_epoch(now));
    }
  }
  if (peer_links_) {
    VDIST_TRY(peer_links_->start_epoch(now));
    return peer_links_->links();
  }
  if (backend_->queue().is_host_memory()) {
    return links_;
  }
  return peers{staged_group_.get(), staged_from_previous_.get(), staged_to_next_.get()};
}

result<void> model_runner::fill_weights(const weights::weight_plan& plan,
                                        const vault::region& region,
                                        const load_progress& progress) {
  const weights::load_options options{.threads = config_.load_threads, .progress = progress};
  const auto load = [&](const weights::weight_source& source) {
    return backend_->queue().is_host_memory()
               ? weights::load_weights(plan, source, region.memory, options)
               : weights::load_weights_to_device(
                   plan, source, region.memory.data(), *backend_, config_.device_deadline, options);
  };
  if (config_.source.weights == weights::weight_origin::random) {
    return load(weights::random_source(config_.random_seed));
  }
  VDIST_ASSIGN(const auto files, weights::checkpoint::open(config_.source.folder));
  return load(files);
}

result<void> model_runner::start_epoch(epoch now) {
  if (!model_) {
    return fail(errc::internal, "start epoch: the model is not loaded");
  }
  is_running_ = false;
  VDIST_ASSIGN(const auto links, start_links(now));
  model_->clear();
  model_->connect(links);
  epoch_ = now;
  is_running_ = true;
  return {};
}

std::int32_t model_runner::flights_max() const noexcept {
  return model_ ? model_->flights_max() : 1;
}

result<void> model_runner::launch(const protocol::step_plan& plan) {
  VDIST_TRY(check_epoch(plan));
  auto done = model_->launch(plan);
  is_running_ = done.has_value();
  return done;
}

bool model_runner::is_ready() noexcept {
  return !is_running_ || model_->is_ready();
}

result<void> model_runner::finish(protocol::step_result& out) {
  if (!is_running_) {
    return fail(errc::aborted, "finish: no epoch is running");
  }
  auto done = model_->finish(out);
  is_running_ = done.has_value();
  return done;
}

result<void> model_runner::check_epoch(const protocol::step_plan& plan) const {
  if (!is_running_) {
    return fail(errc::aborted, fmt::format("execute: no epoch is running (step={})", plan.step));
  }
  if (plan.epoch != epoch_.value) {
    return fail(errc::stale,
                fmt::format("execute: the plan is of another epoch (step={} epoch={} mine={})",
                            plan.step,
                            plan.epoch,
                            epoch_.value));
  }
  return {};
}

} // namespace vdist::exec
