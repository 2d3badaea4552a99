#include "model/exec/model_runner.hpp"

#include "model/exec/kv_region.hpp"
#include "model/exec/staged_links.hpp"
#include "model/weights/checkpoint.hpp"
#include "model/weights/device_load.hpp"
#include "model/weights/load_weights.hpp"
#include "model/weights/random_source.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <future>
#include <new>
#include <string>
#include <string_view>
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

/// Names what nobody wants.
constexpr std::uint64_t damaged_content = 0;

error damaged(rank_id rank) {
  return fail(
      errc::corrupt,
      fmt::format("weights of rank {}: they are not what was loaded; memory was overwritten",
                  rank.value));
}

/// Where the time of a start goes, for a log line: " backend_ms=12.3 attach_ms=0.4".
class stopwatch {
public:
  void pass(std::string_view phase) {
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<double, std::milli> took = now - since_;
    text_ += fmt::format(" {}_ms={:.1f}", phase, took.count());
    since_ = now;
  }

  [[nodiscard]] const std::string& text() const { return text_; }

private:
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
  std::string text_;
};

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

/// M-4: before it maps anything, which would make what is not there.
result<void> model_runner::check_present(std::uint64_t content) const {
  const auto name = [this](vault::region_kind kind) {
    return vault_.ready_hash({.rank = config_.rank, .kind = kind});
  };
  return name(vault::region_kind::weights) == content && name(vault::region_kind::kv_cache)
             ? result<void>()
             : fail(errc::not_found,
                    fmt::format("load model: nobody has left weights and KV cache of that kind "
                                "(rank={})",
                                config_.rank.value));
}

vault::region_key model_runner::weights_key() const {
  return {.rank = config_.rank, .kind = vault::region_kind::weights};
}

result<void> model_runner::load(const load_progress& progress) {
  VDIST_TRY(check_limits());
  VDIST_ASSIGN(auto network, arch::build(config_.model, config_.place, config_.type));
  try {
    return load_parts(std::move(network), progress);
  } catch (const std::bad_alloc&) {
    return fail(errc::resource_exhausted,
                fmt::format("load model: no memory for activations (rank={})", config_.rank.value));
  }
}

/// While the device is opened, other threads compute the rotary tables: both take tenths of a second. While it reads
/// weights that are taken over, the rest is made. Who takes over has the memory of large steps later: the one before may
/// still have its own, and the driver, busy with its end, lets whoever asks for memory wait.
result<void> model_runner::load_parts(arch::network network, const load_progress& progress) {
  stopwatch time;
  if (config_.is_standby) {
    VDIST_TRY(check_present(content_hash(config_, network.plan)));
  }
  auto rope = std::async(std::launch::async, [wanted = network.decoder.rope, this] {
    return wanted ? layers::make_rope_table(
               *wanted, config_.limits.max_positions, std::max(config_.load_threads, 1))
                  : layers::rope_table();
  });
  VDIST_ASSIGN(backend_, make_backend_(needs_of(network, config_.limits)));
  wait_.emplace(backend_->queue(), config_.device_deadline);
  time.pass("backend");
  const auto plan = network.plan;
  VDIST_ASSIGN(const auto region, vault_.map(weights_key(), sealed_bytes(plan.bytes)));
  seal_.emplace(*backend_, region.memory, plan.bytes, config_.device_deadline);
  const bool is_there = region.ready_hash == content_hash(config_, plan);
  if (is_there) {
    seal_->begin_check();
  } else if (config_.is_standby) {
    return fail(errc::not_found,
                fmt::format("load model: no weights to take over (rank={})", config_.rank.value));
  }
  VDIST_ASSIGN(const auto kv,
               map_kv(vault_, config_.rank, kv_bytes(network, config_.limits), is_there));
  time.pass("attach");
  VDIST_TRY(prepare_links()); // P-1 of peer_links.hpp: before the weights are ready
  time.pass("links");
  if (!is_there) {
    VDIST_TRY(fill_weights(plan, region.memory, progress));
    time.pass("weights");
  }
  make_model(std::move(network), rope.get(), region.memory, kv.memory);
  if (!(is_there && may_take_room_later()) && !model_->make_room()) {
    throw std::bad_alloc();
  }
  time.pass("model");
  if (is_there) {
    VDIST_TRY(settle_weights(plan, region.memory, progress));
    time.pass("check");
  }
  is_unproven_ = config_.is_standby;
  log::debug("load: ready (rank={}{})", config_.rank.value, time.text());
  return {};
}

/// Not where peers are threads of this process: their devices map what each of them allocates, and whoever allocates may
/// wait for a kernel that waits for him.
bool model_runner::may_take_room_later() const {
  return !config_.peer_exchange || config_.peer_exchange->are_mapped;
}

/// Throws std::bad_alloc.
void model_runner::make_model(arch::network network,
                              layers::rope_table rope,
                              std::span<std::byte> weights,
                              std::span<std::byte> kv) {
  auto copies = make_copies(network, kv);
  model_ = std::make_unique<rank_model>(rank_model_parts{.network = std::move(network),
                                                         .place = config_.place,
                                                         .limits = config_.limits,
                                                         .rope = std::move(rope),
                                                         .backend = backend_.get(),
                                                         .wait = &*wait_,
                                                         .feed = links_.group,
                                                         .weights = weights,
                                                         .kv = kv,
                                                         .observer = config_.observer,
                                                         .tap = config_.tap,
                                                         .copies = std::move(copies)});
}

/// M-3: weights that were taken over.
result<void> model_runner::settle_weights(const weights::weight_plan& plan,
                                          std::span<std::byte> region,
                                          const load_progress& progress) {
  VDIST_ASSIGN(const bool is_damaged, has_damage());
  if (!is_damaged) {
    if (progress) {
      progress(plan.bytes, plan.bytes);
    }
    return {};
  }
  if (config_.is_standby) {
    return damaged(config_.rank);
  }
  log::warn("{}; they are loaded again", damaged(config_.rank).context);
  VDIST_TRY(rename_kv(vault_, config_.rank));
  return fill_weights(plan, region, progress);
}

/// The outcome of the check that was begun.
result<bool> model_runner::has_damage() {
  VDIST_ASSIGN(const bool is_intact, seal_->is_intact());
  if (is_intact) {
    return false;
  }
  VDIST_TRY(vault_.mark_ready(weights_key(), damaged_content));
  return true;
}

/// M-4.
result<void> model_runner::judge_weights() {
  if (!seal_->is_checking()) {
    return {};
  }
  VDIST_ASSIGN(const bool is_damaged, has_damage());
  return is_damaged ? result<void>(damaged(config_.rank)) : result<void>();
}

result<void> model_runner::rehearse() {
  if (!model_ || is_running_) {
    return fail(errc::internal, "rehearse: between load and the first epoch only");
  }
  if (backend_->queue().is_host_memory()) {
    return {};
  }
  stopwatch time;
  rehearsal_links links{.are_enqueued = peer_links_ != nullptr};
  if (peer_links_) {
    VDIST_ASSIGN(const bool are_there, peer_links_->prepare_recording());
    links.recorded = are_there ? peer_links_->links() : peers{};
  }
  time.pass("links");
  VDIST_TRY(model_->rehearse(links));
  time.pass("steps");
  log::debug("rehearse: done (rank={}{})", config_.rank.value, time.text());
  return {};
}

/// Throws std::bad_alloc. Null: there is no host store.
std::unique_ptr<block_copies> model_runner::make_copies(const arch::network& network,
                                                        std::span<std::byte> kv) {
  if (!config_.store) {
    return nullptr;
  }
  const auto layers = lay_out_kv(network, config_.limits, kv.data());
  return std::make_unique<block_copies>(
      *config_.store, share_of(config_.model, config_.place, layers), backend_->queue());
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
  staged_group_ = stage_communicator(links_.group, queue, *wait_);
  staged_from_previous_ = stage_pipe(links_.from_previous, queue, *wait_);
  staged_to_next_ = stage_pipe(links_.to_next, queue, *wait_);
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

/// Reads or generates them, seals them, and says that they are ready.
result<void> model_runner::fill_weights(const weights::weight_plan& plan,
                                        std::span<std::byte> region,
                                        const load_progress& progress) {
  const weights::load_options options{.threads = config_.load_threads, .progress = progress};
  const auto load = [&](const weights::weight_source& source) {
    return backend_->queue().is_host_memory()
               ? weights::load_weights(plan, source, region, options)
               : weights::load_weights_to_device(
                   plan, source, region.data(), *backend_, config_.device_deadline, options);
  };
  if (config_.source.weights == weights::weight_origin::random) {
    VDIST_TRY(load(weights::random_source(config_.random_seed)));
  } else {
    VDIST_ASSIGN(const auto files, weights::checkpoint::open(config_.source.folder));
    VDIST_TRY(load(files));
  }
  VDIST_TRY(seal_->set());
  return vault_.mark_ready(weights_key(), content_hash(config_, plan));
}

/// Kernels that wait for peers leave first, so what is waited for is this rank's own work.
result<void> model_runner::settle() {
  if (!wait_) {
    return {};
  }
  if (peer_links_) {
    peer_links_->leave();
  }
  return model_ ? model_->settle() : wait_->for_all();
}

result<void> model_runner::start_epoch(epoch now) {
  if (!model_) {
    return fail(errc::internal, "start epoch: the model is not loaded");
  }
  is_running_ = false;
  VDIST_ASSIGN(const auto links, start_links(now));
  if (std::exchange(is_unproven_, false)) {
    seal_->begin_check(); // M-4: before the first step, and behind what others wait for
  }
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
  const host_wait::launch_scope launching(*wait_, plan.step);
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
  if (done) {
    done = judge_weights();
  }
  is_running_ = done.has_value();
  return done;
}

void model_runner::observe_waits(wait_observer* by) {
  if (wait_) {
    wait_->observe(by);
  }
}

device_waits model_runner::waits() const noexcept {
  return peer_links_ ? peer_links_->waits() : device_waits{};
}

result<void> model_runner::disturb(disturbance what) {
  return model_ ? model_->disturb(what) : fail(errc::internal, "disturb: the model is not loaded");
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
