// model/exec/peer_links.hpp — how a rank on a GPU meets the other ranks of its replica: exchange regions in device memory,
// one per rank and group, mapped by all who write there, and the links of device_links.hpp over them.
//
// P-1 A rank makes its own regions while it loads, before its weights are ready, and maps those of others in its first
//     epoch: by then everybody has made theirs, zero-filled. Before an epoch it maps them only where the weights of all
//     are ready. A successor finds them as they are; epochs keep old contents apart.
// P-2 Every epoch begins with a test of every link: data that only the right sender can have written (link_test.hpp).
// One thread per object; the vault, the backend, the fence and the policy outlive it.
#pragma once

#include "model/exec/device_links.hpp"
#include "model/exec/link_test.hpp"
#include "model/exec/rank_model.hpp"

#include "transport/vault/vault.hpp"

#include "runtime/topology/parallel.hpp"

#include <vector>

namespace vdist::exec {

struct peer_link_settings {
  /// The vault maps regions of other devices for this one (processes); else peer access is opened (threads).
  bool are_mapped = false;
  std::chrono::milliseconds wait{5000};      // for another rank, within an operation
  std::chrono::milliseconds quiesce{2000};   // for the device to come to rest before an epoch
  const frame::fence* stop = nullptr;        // borrowed
  const frame::wait_policy* waits = nullptr; // borrowed
};

/// Bytes of device memory that the exchange regions of a rank take.
[[nodiscard]] std::size_t peer_exchange_bytes(const topology::shard& place);

class peer_links {
public:
  /// P-1. `rank` is global. Throws std::bad_alloc. Errors: those of the vault.
  [[nodiscard]] static result<std::unique_ptr<peer_links>> make(kernels::backend& device,
                                                                vault::vault& memory,
                                                                const topology::shard& place,
                                                                rank_id rank,
                                                                const peer_link_settings& settings);
  ~peer_links();
  peer_links(const peer_links&) = delete;
  peer_links& operator=(const peer_links&) = delete;

  /// Waits for what is enqueued, then for the others. Errors: unsupported (a device does not reach
  /// another), io_failed (what arrives is not what was sent), timed_out, aborted, those of the vault.
  [[nodiscard]] result<void> start_epoch(epoch now);

  /// Before the first epoch: joins, so that links() may be recorded. False: not everybody has loaded yet (P-1). Waits for
  /// nobody. Errors: unsupported, those of the vault.
  [[nodiscard]] result<bool> prepare_recording();

  /// The epoch is over for this rank: its device waits for nobody any more, whoever has raised the fence, and what is enqueued
  /// there falls through (C-3 of kernels/collective/collective.hpp). Waits for nothing.
  void leave() const noexcept;

  /// After start_epoch() or prepare_recording().
  [[nodiscard]] peers links() const;

  /// For whom the device waits (L-4).
  [[nodiscard]] device_waits waits() const noexcept;

private:
  peer_links(kernels::backend& device,
             vault::vault& memory,
             const topology::shard& place,
             rank_id rank,
             const peer_link_settings& settings);

  [[nodiscard]] result<std::byte*> map(rank_id owner, std::uint32_t index, std::size_t bytes);
  [[nodiscard]] result<void> make_own_regions();
  [[nodiscard]] bool have_all_loaded() const;
  [[nodiscard]] result<void> join();
  [[nodiscard]] result<void> join_group();
  [[nodiscard]] result<std::unique_ptr<device_pipe>> join_pipe(rank_id sender, rank_id receiver);
  [[nodiscard]] result<void> test(epoch now);
  [[nodiscard]] device_link_settings link_settings() const;

  kernels::backend& device_;
  vault::vault& vault_;
  topology::shard place_;
  rank_id rank_;
  peer_link_settings settings_;
  link_tester tester_;
  std::vector<std::shared_ptr<const void>> holds_; // of mapped regions
  bool has_joined_ = false;
  std::unique_ptr<device_communicator> group_; // null for a rank alone in it
  std::unique_ptr<device_pipe> from_previous_;
  std::unique_ptr<device_pipe> to_next_;
};

} // namespace vdist::exec
