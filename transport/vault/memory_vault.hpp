// transport/vault/memory_vault.hpp — a vault of this process's own anonymous memory, for workers
// that are threads. Pages are reserved lazily: a region costs what has been touched. Owned by the
// system object, which outlives every worker; destruction gives all regions back that nobody holds.
#pragma once

#include "transport/vault/region_table.hpp"

#include <mutex>

namespace vdist::vault {

class memory_vault final : public vault {
public:
  /// `limit_bytes` bounds the sum of all regions; 0: no bound.
  explicit memory_vault(std::size_t limit_bytes = 0);
  ~memory_vault() override;
  memory_vault(const memory_vault&) = delete;
  memory_vault& operator=(const memory_vault&) = delete;

  [[nodiscard]] result<region> map(const region_key& key, std::size_t bytes) override;
  [[nodiscard]] result<void> mark_ready(const region_key& key, std::uint64_t content_hash) override;
  [[nodiscard]] std::optional<std::uint64_t> ready_hash(const region_key& key) const override;
  [[nodiscard]] result<void> release(const region_key& key) override;
  [[nodiscard]] std::size_t total_bytes() const override;

  [[nodiscard]] std::size_t limit_bytes() const override { return table_.limits().bytes; }

private:
  class anonymous_memory;

  mutable std::mutex mutex_;
  // Shared with the holds of mapped regions (V-1). Guarded by mutex_, but for its limits.
  region_table<std::shared_ptr<const anonymous_memory>> table_;
};

} // namespace vdist::vault
