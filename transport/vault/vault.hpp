// transport/vault/vault.hpp — memory that outlives the worker that uses it.
// Why: weights, KV cache and exchange buffers survive a worker's death, so recovery neither reloads
// nor prefills again. V-1 a region keeps its address and its contents until release(), whoever maps
// it and how often; a hold keeps its bytes mapped in this process beyond that. V-2 a new region is
// zero-filled, and is_new is told to exactly one map(). V-3 a ready hash is set only by
// mark_ready(), after the region's contents are complete, and falls with release().
// Thread-safe. Who may touch the bytes of a region at a time is settled by the epoch, not here.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace vdist::vault {

/// Numbers are stable: they travel between processes.
enum class region_kind : std::uint8_t {
  weights,
  kv_cache,
  exchange,
  custom,
  control,       // control words of a replica
  channels,      // rings between the processes of a replica
  peer_exchange, // memory of a device through which ranks meet
};
inline constexpr auto region_kind_last = region_kind::peer_exchange;

[[nodiscard]] const char* to_string(region_kind kind) noexcept;

/// Names a region within a cluster.
struct region_key {
  rank_id rank;
  region_kind kind = region_kind::custom;
  std::uint32_t index = 0;

  auto operator<=>(const region_key&) const = default;
};

/// "kind=weights rank=3 index=0", for messages.
[[nodiscard]] std::string to_string(const region_key& key);

/// A mapped region; the vault owns the memory.
struct region {
  std::span<std::byte> memory;             // region_alignment-aligned
  bool is_new = false;                     // first map() of this key: zero-filled
  std::optional<std::uint64_t> ready_hash; // V-3
  /// Keeps `memory` mapped in this process, also after release() and after the vault's end. Owners:
  /// the vault until release(), and whoever copies it; the memory is freed when the last hold of
  /// every process is gone.
  std::shared_ptr<const void> hold;
};

/// Alignment of every region: one huge page.
inline constexpr std::size_t region_alignment = std::size_t{2} << 20U;

class vault {
public:
  virtual ~vault() = default;

  /// The region of this key, made when it does not exist. Errors: invalid_argument (no bytes, or
  /// the region exists with another size), resource_exhausted (says how much is missing).
  [[nodiscard]] virtual result<region> map(const region_key& key, std::size_t bytes) = 0;

  /// Declares the contents complete; `content_hash` names what they are. Error: not_found.
  [[nodiscard]] virtual result<void> mark_ready(const region_key& key,
                                                std::uint64_t content_hash) = 0;

  /// The hash of mark_ready(), if any.
  [[nodiscard]] virtual std::optional<std::uint64_t> ready_hash(const region_key& key) const = 0;

  /// Drops the vault's own reference: the key is free for a new region, and only holds keep the
  /// bytes. Whoever has none may not use them any more. Error: not_found.
  [[nodiscard]] virtual result<void> release(const region_key& key) = 0;

  /// This process maps the region no more, but for its holds; the region stays for everybody, this process included.
  /// For regions that others release and whose end nobody tells. Nothing where a vault is of one process.
  virtual void forget(const region_key&) {}

  /// Sum of all regions not released, each rounded up to whole pages.
  [[nodiscard]] virtual std::size_t total_bytes() const = 0;

  /// Bytes that may be mapped in all.
  [[nodiscard]] virtual std::size_t limit_bytes() const = 0;
};

} // namespace vdist::vault
