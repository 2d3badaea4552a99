#include "model/exec/block_copies.hpp"

#include "model/weights/weight_plan.hpp"

#include <cstring>
#include <fmt/format.h>
#include <utility>

namespace vdist::exec {

namespace {

/// For what a device has begun to copy when its epoch ends.
constexpr std::chrono::seconds quiet_max{1};

std::size_t
head_bytes(const weights::model_config& model, kernels::dtype type, std::int32_t block_size) {
  return static_cast<std::size_t>(block_size) * static_cast<std::size_t>(model.head_dim)
         * kernels::size_of(type);
}

std::byte* bytes_at(void* memory) {
  return static_cast<std::byte*>(memory);
}

} // namespace

std::size_t stored_block_bytes(const weights::model_config& model,
                               kernels::dtype type,
                               std::int32_t block_size) {
  return 2 * static_cast<std::size_t>(model.layers) * static_cast<std::size_t>(model.kv_heads)
         * head_bytes(model, type, block_size);
}

block_share share_of(const weights::model_config& model,
                     const topology::shard& place,
                     std::span<const kernels::paged_kv> layers) {
  if (layers.empty()) {
    return {};
  }
  const auto& first = layers.front();
  const auto head = head_bytes(model, first.type, first.block_size);
  const auto heads = weights::head_range(model.kv_heads, place.tensor_rank, place.tensor_size);
  const auto before =
      place.tensor_rank == 0
          ? weights::index_range{}
          : weights::head_range(model.kv_heads, place.tensor_rank - 1, place.tensor_size);
  const auto half = static_cast<std::size_t>(model.kv_heads) * head; // keys of a layer in a slot
  block_share share{.rows = 2 * layers.size(),
                    .row_bytes = static_cast<std::size_t>(heads.count) * head,
                    .slot_offset = 2 * static_cast<std::size_t>(place.layers.first) * half
                                   + static_cast<std::size_t>(heads.first) * head,
                    .slot_stride = half,
                    .cache = bytes_at(first.keys),
                    .cache_stride =
                        static_cast<std::size_t>(bytes_at(first.values) - bytes_at(first.keys)),
                    .saves = place.tensor_rank == 0 || before.first != heads.first};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    VDIST_CHECK(bytes_at(layers[i].keys) == share.cache + 2 * i * share.cache_stride
                    && bytes_at(layers[i].values) == share.cache + (2 * i + 1) * share.cache_stride,
                "C-1: the layers of a cache are equally far apart");
  }
  return share;
}

block_copies::block_copies(const store_slots& store,
                           const block_share& share,
                           kernels::device_queue& queue)
    : store_(store), share_(share), queue_(queue) {
  if (share.rows == 0 || queue.is_host_memory()) {
    return;
  }
  side_ = queue.make_side_queue();
  if (!side_) {
    throw std::bad_alloc();
  }
  staging_ = device_memory(
      queue, static_cast<std::size_t>(store.saves_max) * share.bytes(), memory_place::staging);
  writer_ = std::thread([this] { write_late(); });
}

block_copies::~block_copies() {
  if (!writer_.joinable()) {
    return;
  }
  forget();
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  changed_.notify_all();
  writer_.join();
}

std::byte* block_copies::cache_of(const protocol::block_copy& copy) const {
  return share_.cache + static_cast<std::size_t>(copy.block) * share_.row_bytes;
}

std::byte* block_copies::slot_of(std::int32_t slot) const {
  return store_.memory.data() + static_cast<std::size_t>(slot) * store_.stride + share_.slot_offset;
}

void block_copies::copy_to_slot(std::int32_t slot,
                                const std::byte* from,
                                std::size_t from_stride) const {
  auto* to = slot_of(slot);
  for (std::size_t row = 0; row < share_.rows; ++row) {
    std::memcpy(to + row * share_.slot_stride, from + row * from_stride, share_.row_bytes);
  }
}

void block_copies::load(std::span<const protocol::block_copy> loads) {
  for (const auto& copy : loads) {
    queue_.copy_rows_in({.to = cache_of(copy),
                         .to_stride = share_.cache_stride,
                         .from = slot_of(copy.slot),
                         .from_stride = share_.slot_stride,
                         .row_bytes = share_.row_bytes,
                         .rows = share_.rows});
  }
}

result<void> block_copies::save(std::uint64_t step, std::span<const protocol::block_copy> saves) {
  if (saves.empty() || share_.rows == 0 || !share_.saves) {
    return {};
  }
  if (!side_) {
    for (const auto& copy : saves) {
      copy_to_slot(copy.slot, cache_of(copy), share_.cache_stride);
    }
    return {};
  }
  if (under_way() + saves.size() > static_cast<std::size_t>(store_.saves_max)) {
    return fail(errc::corrupt,
                fmt::format("save blocks: too many are on their way to the host store "
                            "(step={} more={} legal={})",
                            step,
                            saves.size(),
                            store_.saves_max));
  }
  read_out(step, saves);
  return {};
}

/// C-1. As many are on their way as there are places: the next place is free.
void block_copies::read_out(std::uint64_t step, std::span<const protocol::block_copy> saves) {
  auto& begun = reading_.emplace_back();
  begun.step = step;
  for (const auto& copy : saves) {
    auto* const place = staging_.data() + next_ * share_.bytes();
    next_ = (next_ + 1) % static_cast<std::size_t>(store_.saves_max);
    side_->copy_rows_out({.to = place,
                          .to_stride = share_.row_bytes,
                          .from = cache_of(copy),
                          .from_stride = share_.cache_stride,
                          .row_bytes = share_.row_bytes,
                          .rows = share_.rows});
    begun.copies.push_back({step, copy.slot, place});
  }
  begun.mark = side_->mark();
}

std::size_t block_copies::under_way() {
  std::size_t sum = 0;
  for (const auto& step : reading_) {
    sum += step.copies.size();
  }
  const std::lock_guard lock(mutex_);
  return sum + late_.size();
}

bool block_copies::is_read(std::uint64_t step) noexcept {
  return reading_.empty() || reading_.front().step > step
         || side_->wait(reading_.front().mark, std::chrono::nanoseconds(0))
         || !side_->failure().empty();
}

result<void> block_copies::wait_read(std::uint64_t step, std::chrono::nanoseconds timeout) {
  for (; !reading_.empty() && reading_.front().step <= step; reading_.pop_front()) {
    if (!side_->wait(reading_.front().mark, timeout)) {
      return fail(errc::internal,
                  side_->failure().empty()
                      ? fmt::format("save blocks: the device takes too long (step={})", step)
                      : side_->failure());
    }
    hand_over(reading_.front().copies);
  }
  return {};
}

void block_copies::hand_over(std::vector<late_copy>& copies) {
  {
    const std::lock_guard lock(mutex_);
    late_.insert(late_.end(), copies.begin(), copies.end());
  }
  changed_.notify_all();
}

std::uint64_t block_copies::stored(std::uint64_t step) {
  const std::lock_guard lock(mutex_);
  return late_.empty() || late_.front().step > step ? step : late_.front().step - 1;
}

void block_copies::forget() {
  if (!side_) {
    return;
  }
  (void)side_->wait(side_->mark(),
                    std::chrono::seconds(1)); // staging is written no more; a failure sticks
  reading_.clear();
  std::unique_lock lock(mutex_);
  late_.erase(late_.begin() + (is_writing_ ? 1 : 0), late_.end());
  changed_.wait(lock, [this] { return !is_writing_; });
  next_ = 0;
}

void block_copies::write_late() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_over_ || !late_.empty(); });
    if (is_over_) {
      return;
    }
    const auto copy = late_.front();
    is_writing_ = true;
    lock.unlock();
    copy_to_slot(copy.slot, copy.from, share_.row_bytes);
    lock.lock();
    is_writing_ = false;
    late_.pop_front();
    changed_.notify_all(); // for forget()
  }
}

} // namespace vdist::exec
