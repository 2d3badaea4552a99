// model/exec/block_copies.hpp — a rank's share of KV blocks, from the cache into the host store and back (protocol/step.hpp
// P-10, P-11). A slot of the store is laid out by the model alone, whatever the split (runtime/kv/host_store.hpp W-5):
//
//   [layer][keys, values][kv head][position][head_dim], the heads of the whole model, in the type of the cache
//
// so a rank has, of every one of its layers, one stretch of the keys and one of the values; its stretches of all layers are
// equally far apart in the cache and in the slot.
//
// C-1 On a device a save is read by a queue of its own into staging memory, beside the step and without waiting for it: what is
//     saved is committed, so no step writes it. From there a thread copies it to the store: the step path pays for a call.
// C-2 What is saved has been read when wait_read() of its step has returned, and is in the store when stored() says so.
// C-3 Behind forget() nothing is written to the store that was saved before.
// C-4 Heads that ranks share are written by the first of these ranks.
// Where the backend computes in host memory, save() copies and is done. Not thread-safe: the thread that runs the steps owns it.
#pragma once

#include "model/exec/device_memory.hpp"
#include "model/exec/memory_plan.hpp"
#include "model/weights/model_config.hpp"

#include "runtime/base/result.hpp"
#include "runtime/protocol/step.hpp"
#include "runtime/topology/parallel.hpp"

#include "kernels/attention/attention.hpp"
#include "kernels/device_queue.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace vdist::exec {

/// The host store as a worker sees it.
struct store_slots {
  std::span<std::byte> memory; // of the first slot and on; outlives the copies
  std::size_t stride = 0;      // bytes from one slot to the next
  std::int32_t saves_max = 0;  // blocks on their way to the store at a time (P-10)
};

/// Bytes of one block of the whole model.
[[nodiscard]] std::size_t stored_block_bytes(const weights::model_config& model,
                                             kernels::dtype type,
                                             std::int32_t block_size);

/// Where a rank's stretches are.
struct block_share {
  std::size_t rows = 0;        // stretches: keys and values of every layer
  std::size_t row_bytes = 0;   // of one stretch
  std::size_t slot_offset = 0; // of the first one in a slot
  std::size_t slot_stride = 0; // from one to the next in a slot
  std::byte* cache = nullptr;  // the first stretch of block 0; device memory
  std::size_t cache_stride = 0;
  bool saves = true; // C-4

  [[nodiscard]] std::size_t bytes() const { return rows * row_bytes; }
};

/// `layers`: of lay_out_kv() for this rank.
[[nodiscard]] block_share share_of(const weights::model_config& model,
                                   const topology::shard& place,
                                   std::span<const kernels::paged_kv> layers);

class block_copies {
public:
  /// `queue` outlives it. Throws std::bad_alloc.
  block_copies(const store_slots& store, const block_share& share, kernels::device_queue& queue);
  ~block_copies();
  block_copies(const block_copies&) = delete;
  block_copies& operator=(const block_copies&) = delete;

  /// In the order of the queue: before whatever is called next on it. May wait.
  void load(std::span<const protocol::block_copy> loads);

  /// With the step; steps rise. Error: corrupt, when more than saves_max are on their way.
  [[nodiscard]] result<void> save(std::uint64_t step, std::span<const protocol::block_copy> saves);

  /// Whether wait_read() would return at once.
  [[nodiscard]] bool is_read(std::uint64_t step) noexcept;

  /// Until everything that was saved with steps up to this one is read. Error: internal (the device has failed, or takes
  /// longer than `timeout`).
  [[nodiscard]] result<void> wait_read(std::uint64_t step, std::chrono::nanoseconds timeout);

  /// The newest step, at most `step`, all saves of which, and of those before it, are in the store.
  [[nodiscard]] std::uint64_t stored(std::uint64_t step);

  /// C-3. Waits for what is being copied.
  void forget();

private:
  /// Of one block.
  struct late_copy {
    std::uint64_t step = 0;
    std::int32_t slot = 0;
    const std::byte* from = nullptr; // staging
  };

  /// Saves of one step that the device still reads.
  struct reading {
    std::uint64_t step = 0;
    kernels::queue_mark mark = 0;
    std::vector<late_copy> copies;
  };

  [[nodiscard]] std::byte* cache_of(const protocol::block_copy& copy) const;
  [[nodiscard]] std::byte* slot_of(std::int32_t slot) const;
  void copy_to_slot(std::int32_t slot, const std::byte* from, std::size_t from_stride) const;
  void read_out(std::uint64_t step, std::span<const protocol::block_copy> saves);
  void hand_over(std::vector<late_copy>& copies);
  void write_late();
  [[nodiscard]] std::size_t under_way();

  const store_slots store_;
  const block_share share_;
  kernels::device_queue& queue_;
  std::unique_ptr<kernels::device_queue> side_; // null: everything is done at once
  device_memory staging_;                       // [saves_max, share.bytes()], a ring
  std::size_t next_ = 0;                        // of it
  std::deque<reading> reading_;                 // oldest first

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<late_copy> late_; // read, not in the store yet; guarded by mutex_
  bool is_writing_ = false;    // the first of them; guarded by mutex_
  bool is_over_ = false;       // guarded by mutex_
  std::thread writer_;         // with side_ only
};

} // namespace vdist::exec
