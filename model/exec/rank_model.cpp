#include "model/exec/rank_model.hpp"

#include "model/exec/step_buckets.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <new>
#include <thread>
#include <utility>

namespace vdist::exec {

namespace {

/// Steps that may be under way on a device: one runs, the next one waits behind it.
constexpr std::int32_t device_flights = 2;

/// For memory that a dead predecessor still has: the driver gives it back when it has torn the process down.
constexpr std::chrono::milliseconds room_deadline{500};

bool samples(const topology::shard& place) {
  return place.is_last_stage() && place.tensor_rank == sampling_rank;
}

slot_table_config table_config(const rank_model_parts& parts) {
  return {.slots = static_cast<std::uint32_t>(parts.limits.max_sequences),
          .max_positions = parts.limits.max_positions,
          .block_size = parts.limits.block_size,
          .max_batch_tokens = parts.limits.max_batch_tokens,
          .tokens = samples(parts.place) ? token_memory::keep : token_memory::forget};
}

} // namespace

result<void> peers::status() const {
  if (group != nullptr) {
    VDIST_TRY(group->status());
  }
  for (const auto* pipe : {from_previous, to_next}) {
    if (pipe != nullptr) {
      VDIST_TRY(pipe->status());
    }
  }
  return {};
}

rank_model::rank_model(rank_model_parts parts)
    : network_(std::move(parts.network)),
      place_(parts.place),
      limits_(parts.limits),
      wait_(*parts.wait),
      backend_(parts.backend),
      queue_(backend_->queue()),
      kv_(lay_out_kv(network_, limits_, parts.kv.data())),
      form_{.types = backend_->types(network_.type), .tensor_size = place_.tensor_size},
      space_(network_.decoder, limits_.first_step_tokens(), form_, queue_),
      head_space_(network_.decoder, limits_, form_, queue_),
      layers_run_(network_.decoder.layers.size()),
      slots_(table_config(parts)),
      inputs_(*backend_, limits_, device_flights, wait_),
      feed_(parts.feed, limits_.max_sequences),
      outputs_(queue_, output_bytes(limits_.max_sequences + bucket_step)),
      observer_(std::move(parts.observer)),
      watched_(parts.tap, place_, network_.decoder.hidden, queue_),
      copies_(std::move(parts.copies)),
      flights_(static_cast<std::size_t>(queue_.is_host_memory() ? 1 : device_flights)) {
  VDIST_CHECK(parts.weights.size() >= network_.plan.bytes, "R-1: the weight region holds the plan");
  VDIST_CHECK(parts.kv.size() >= kv_bytes(network_, limits_),
              "R-1: the KV region holds all blocks");
  VDIST_CHECK(place_.tensor_size == 1 || parts.feed != nullptr,
              "R-3: a tensor group tells its tokens");
  for (const auto& weight : network_.plan.weights) {
    weights_.push_back(parts.weights.data() + weight.offset);
  }
  place_rope_tables(parts.rope);
  for (auto& each : flights_) {
    each.outputs = device_memory(
        queue_, output_bytes(limits_.max_sequences + bucket_step), memory_place::staging);
  }
  if (samples(place_)) {
    sampler_.emplace(network_.decoder.head->vocabulary);
  }
  if (backend_->has_device_sampling()) {
    fed_ =
        device_memory(queue_, static_cast<std::size_t>(limits_.max_sequences) * sizeof(token_id));
  }
}

rank_model::~rank_model() {
  clear();
}

bool rank_model::make_room() {
  if (large_space_ || !limits_.has_large_steps()) {
    return true;
  }
  try {
    large_space_ =
        std::make_unique<workspace>(network_.decoder, limits_.max_batch_tokens, form_, queue_);
  } catch (const std::bad_alloc&) {
    return false;
  }
  return true;
}

result<void> rank_model::ensure_room(std::int32_t tokens) {
  if (tokens <= space_.tokens()) {
    return {};
  }
  const auto deadline = std::chrono::steady_clock::now() + room_deadline;
  while (!make_room()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return fail(
          errc::resource_exhausted,
          fmt::format("launch: no memory for the activations of a large step (tokens={} "
                      "missing_mib={})",
                      tokens,
                      workspace::bytes(network_.decoder, limits_.max_batch_tokens, form_) >> 20U));
    }
    std::this_thread::yield(); // nobody says when it comes back
  }
  return {};
}

const workspace& rank_model::space_for(std::int32_t tokens) const {
  return tokens <= space_.tokens() ? space_ : *large_space_;
}

void rank_model::place_rope_tables(const layers::rope_table& table) {
  auto& decoder = network_.decoder;
  if (!decoder.rope) {
    return;
  }
  VDIST_CHECK(table.positions >= limits_.max_positions,
              "R-1: the rotary tables reach every position");
  const auto bytes = table.cos.size() * sizeof(float);
  rope_ = device_memory(queue_, 2 * bytes);
  queue_.copy_in(rope_.data(), table.cos.data(), bytes);
  queue_.copy_in(rope_.data() + bytes, table.sin.data(), bytes);
  (void)wait_.for_all(); // the host's tables go; a failure sticks
  decoder.table = {.rotary_dim = table.rotary_dim,
                   .cos = rope_.as<float>(),
                   .sin = rope_.as<float>() + table.cos.size()};
}

void rank_model::clear() {
  if (flights_under_way_ > 0) {
    (void)wait_.for_all(); // a failure sticks
  }
  flights_under_way_ = 0;
  slots_.clear();
  if (copies_) {
    copies_->forget();
  }
}

/// One step after the other; with the last one all that a launch which was cut short has left.
result<void> rank_model::settle() {
  if (flights_under_way_ == 0) {
    return wait_.for_all();
  }
  for (std::int32_t i = 0; i < flights_under_way_; ++i) {
    const auto& left = flight_at(i);
    const bool is_last = i + 1 == flights_under_way_;
    if (left.is_done && !is_last) {
      continue; // it may never have had a mark
    }
    VDIST_TRY(
        wait_.in_step(left.result.step, is_last ? queue_.mark() : left.mark, wait_.deadline()));
  }
  return {};
}

void rank_model::connect(const peers& links) {
  VDIST_CHECK(flights_under_way_ == 0, "R-4: links change between steps");
  VDIST_CHECK(place_.tensor_size == 1 || links.group != nullptr,
              "R-3: a tensor group has a communicator");
  VDIST_CHECK(place_.is_first_stage() || links.from_previous != nullptr,
              "R-3: a later stage receives");
  VDIST_CHECK(place_.is_last_stage() || links.to_next != nullptr, "R-3: an earlier stage sends");
  links_ = links;
}

std::int32_t rank_model::flights_max() const noexcept {
  return is_asynchronous() ? device_flights : 1;
}

/// Whether a step is only handed over to the device, meetings with other ranks included.
bool rank_model::is_asynchronous() const noexcept {
  return !queue_.is_host_memory() && (links_.are_none() || links_.are_enqueued);
}

/// Place in the ring of the flight that is `index` behind the oldest.
std::int32_t rank_model::flight_number(std::int32_t index) const {
  return (first_flight_ + index) % static_cast<std::int32_t>(flights_.size());
}

rank_model::flight& rank_model::flight_at(std::int32_t index) {
  return flights_[static_cast<std::size_t>(flight_number(index))];
}

result<void> rank_model::launch(const protocol::step_plan& plan) {
  VDIST_CHECK(flights_under_way_ < flights_max(), "R-4: as many steps are under way as may be");
  VDIST_TRY(slots_.apply(plan));
  auto& mine = flight_at(flights_under_way_++);
  mine.result.clear();
  mine.result.step = plan.step;
  mine.result.epoch = plan.epoch;
  mine.sampled.clear();
  VDIST_TRY(copy_blocks(plan));
  mine.is_done = plan.sequences() == 0;
  if (mine.is_done) {
    return {}; // only retired slots: no rank computes or talks
  }
  watched_.begin_step();
  const bool on_device = share_out_rows();
  const auto shape = choose_shape();
  VDIST_TRY(ensure_room(shape.tokens));
  if (step_inputs::waits_for(slots_.new_blocks())) {
    VDIST_TRY(complete_earlier());
  }
  VDIST_ASSIGN(const auto arrays,
               inputs_.place(slots_, shape, sampling_rows_, flight_number(flights_under_way_ - 1)));
  VDIST_TRY(run_recorded(arrays, shape, on_device));
  if (watched_.is_on()) {
    VDIST_TRY(hand_over_rows(plan));
  }
  if (!on_device) {
    return sample_and_share(arrays, shape, plan, mine);
  }
  send_off(mine, output_bytes(sampler_ ? shape.samples : 0));
  if (network_.decoder.head) {
    remember_sampled(plan, mine);
  }
  return {};
}

/// P-10, P-11.
result<void> rank_model::copy_blocks(const protocol::step_plan& plan) {
  if (!copies_) {
    return {}; // such plans are refused (validate())
  }
  copies_->load(plan.loads);
  return copies_->save(plan.step, plan.saves);
}

/// run(), replayed where the device has seen the same shape before. What is watched is never recorded.
result<void>
rank_model::run_recorded(const step_arrays& arrays, const step_shape& shape, bool on_device) {
  if (!shape.is_padded || watched_.is_on() || is_disturbed_) {
    auto done = run(arrays, shape, on_device);
    is_disturbed_ = false;
    flips_bit_ = false;
    return done;
  }

  struct call { // one pointer is captured, so that std::function allocates nothing
    rank_model* self;
    const step_arrays& arrays;
    const step_shape& shape;
    bool on_device;
    result<void> done{};
  } now{this, arrays, shape, on_device};

  const auto key = recording_key(shape, on_device);
  queue_.run(key, [&now] { now.done = now.self->run(now.arrays, now.shape, now.on_device); });
  if (!now.done) { // what was recorded of it ends in the middle; a later epoch must not replay it
    queue_.forget(key);
  }
  return now.done;
}

/// Names all that a recording depends on.
std::uint64_t rank_model::recording_key(const step_shape& shape, bool on_device) {
  return static_cast<std::uint64_t>(shape.tokens) * 2 + (on_device ? 1 : 0);
}

/// A function of the plans alone: stages pass rows of padding on.
step_shape rank_model::choose_shape() const {
  const auto& batch = slots_.batch();
  step_shape shape{.tokens = batch.tokens,
                   .sequences = batch.sequences,
                   .samples = static_cast<std::int32_t>(slots_.sampled().size()),
                   .longest_query = batch.longest_query,
                   .max_position = slots_.max_position()};
  const bool is_decode = batch.longest_query == 1 && shape.samples == batch.sequences;
  const auto bucket = bucket_of(batch.sequences);
  if (is_asynchronous() && is_decode && bucket > 0 && bucket <= limits_.max_batch_tokens) {
    return padded_shape(bucket);
  }
  return shape;
}

step_shape rank_model::padded_shape(std::int32_t bucket) const {
  return {.tokens = bucket,
          .sequences = bucket,
          .samples = bucket,
          .longest_query = 1,
          .max_position = limits_.max_positions,
          .is_padded = true};
}

layers::context rank_model::make_context(const step_arrays& arrays, const step_shape& shape) const {
  return {.ops = *backend_,
          .group = place_.tensor_size > 1 ? links_.group : nullptr,
          .weights = weights_.data(),
          .space = space_for(shape.tokens).activations(),
          .token_ids = arrays.token_ids,
          .positions = arrays.positions,
          .batch = arrays.batch,
          .max_position = shape.max_position,
          .kv = kv_.data()};
}

/// The step up to its digest and, if the device samples, its tokens.
result<void> rank_model::run(const step_arrays& arrays, const step_shape& shape, bool on_device) {
  if (backend_->has_device_sampling() && place_.is_first_stage()) {
    backend_->take_fed_tokens({.ids = arrays.token_ids,
                               .slots = arrays.token_slots,
                               .fed = fed_.as<token_id>(),
                               .tokens = shape.tokens});
  }
  const auto in = make_context(arrays, shape);
  VDIST_TRY(forward(in));
  if (flips_bit_ && slots_.batch().tokens > 0) {
    const auto row = static_cast<std::int64_t>(slots_.last_rows().front());
    backend_->flip_bit(in.space.hidden + row * network_.decoder.hidden);
  }
  backend_->digest({.x = in.space.hidden,
                    .indices = arrays.last_rows,
                    .digest = outputs_.as<std::uint64_t>(),
                    .rows = shape.sequences,
                    .width = network_.decoder.hidden,
                    .x_stride = network_.decoder.hidden});
  return on_device && network_.decoder.head ? sample_on_device(in, arrays, shape) : result<void>();
}

/// Nothing is recorded in a disturbed step, and nothing replayed: a replay asks no link.
result<void> rank_model::disturb(disturbance what) {
  const auto inject = [this](kernels::injected_fault fault) -> result<void> {
    return backend_->inject(fault) ? result<void>()
                                   : fail(errc::unsupported, "disturb: only a GPU fails like that");
  };
  switch (what) {
  case disturbance::illegal_address:
    return inject(kernels::injected_fault::illegal_address);
  case disturbance::stuck_kernel:
    return inject(kernels::injected_fault::stuck_kernel);
  case disturbance::stuck_device:
    return inject(kernels::injected_fault::stuck_device);
  case disturbance::stuck_copy:
    return inject(kernels::injected_fault::stuck_copy);
  case disturbance::skip_collective:
    if (links_.group == nullptr || !links_.group->skip_next()) {
      return fail(errc::unsupported, "disturb: no meetings on the device that could be left out");
    }
    break;
  case disturbance::flip_bit:
    flips_bit_ = true;
    break;
  }
  is_disturbed_ = true;
  return {};
}

result<void> rank_model::forward(const layers::context& in) {
  float* hidden = in.space.hidden;
  const auto count =
      static_cast<std::size_t>(in.tokens()) * static_cast<std::size_t>(network_.decoder.hidden);
  if (place_.is_first_stage()) {
    VDIST_TRY(network_.decoder.embed(in));
  } else {
    VDIST_TRY(links_.from_previous->recv({hidden, count}));
  }
  VDIST_TRY(run_layers(in));
  if (!place_.is_last_stage()) {
    VDIST_TRY(links_.to_next->send({hidden, count}));
  }
  return {};
}

result<void> rank_model::run_layers(const layers::context& in) {
  const auto& decoder = network_.decoder;
  if (!watched_.is_on()) {
    return decoder.run_layers(in, 0, layers_run_);
  }
  VDIST_TRY(decoder.run_layers(in, 0, watched_.layers_before()));
  watched_.copy(in.space.hidden, slots_.batch().tokens); // without rows of padding
  return decoder.run_layers(in, watched_.layers_before(), decoder.layers.size());
}

/// T-2 of layer_tap.hpp. On a device it waits for the watched layer: a watched step hides none of the host's work.
result<void> rank_model::hand_over_rows(const protocol::step_plan& plan) {
  VDIST_TRY(complete_earlier());
  VDIST_TRY(wait_in_step(plan.step, watched_.mark(), wait_.deadline()));
  watched_.hand_over({.step = plan.step,
                      .epoch = plan.epoch,
                      .tokens = slots_.batch().tokens,
                      .request_ids = plan.request_ids,
                      .query_start = slots_.batch().query_start,
                      .positions = slots_.positions()});
  return {};
}

/// What the device found out comes behind everything that it was told.
void rank_model::send_off(flight& mine, std::size_t bytes) {
  queue_.copy_out(mine.outputs.data(), outputs_.data(), bytes);
  mine.mark = queue_.mark();
  mine.deadline = wait_.deadline();
}

/// What has met on the device has met well, too.
result<void> rank_model::wait_in_step(std::uint64_t step,
                                      kernels::queue_mark mark,
                                      std::chrono::steady_clock::time_point deadline) {
  VDIST_TRY(wait_.in_step(step, mark, deadline));
  return links_.status();
}

/// Waits for a step that the device samples and takes its tokens over.
result<void> rank_model::complete(flight& done) {
  if (copies_) {
    VDIST_TRY(wait_.until(done.result.step, [&] { return copies_->is_read(done.result.step); }));
    VDIST_TRY(copies_->wait_read(done.result.step, wait_.longest()));
  }
  if (done.is_done) {
    return {};
  }
  VDIST_TRY(wait_in_step(done.result.step, done.mark, done.deadline));
  done.result.digest = *done.outputs.as<std::uint64_t>();
  VDIST_TRY(take_over_sampled(done));
  done.is_done = true;
  return {};
}

/// All flights but the newest, which is being launched.
result<void> rank_model::complete_earlier() {
  for (std::int32_t i = 0; i + 1 < flights_under_way_; ++i) {
    VDIST_TRY(complete(flight_at(i)));
  }
  return {};
}

bool rank_model::is_ready() noexcept {
  if (flights_under_way_ == 0) {
    return true;
  }
  auto& oldest = flight_at(0);
  const bool is_read = !copies_ || copies_->is_read(oldest.result.step);
  return (is_read && (oldest.is_done || queue_.wait(oldest.mark, std::chrono::nanoseconds(0))))
         || !queue_.failure().empty()
         || (!oldest.is_done && std::chrono::steady_clock::now() > oldest.deadline);
}

result<void> rank_model::finish(protocol::step_result& out) {
  VDIST_CHECK(flights_under_way_ > 0, "R-4: a step is under way");
  auto& oldest = flight_at(0);
  VDIST_TRY(complete(oldest));
  out = oldest.result; // a copy: both keep their memory
  out.saved_step = copies_ ? copies_->stored(out.step) : 0;
  first_flight_ = flight_number(1);
  --flights_under_way_;
  return {};
}

} // namespace vdist::exec
