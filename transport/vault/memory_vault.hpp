// transport/vault/memory_vault.hpp — a vault of this process's own anonymous memory, for workers
// that are threads. Pages are reserved lazily: a region costs what has been touched. Owned by the
// system object, which outlives every worker; destruction gives all regions back.
#pragma once

#include "transport/vault/vault.hpp"

#include <map>
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

  [[nodiscard]] std::size_t limit_bytes() const override { return limit_bytes_; }

private:
  struct entry {
    std::byte* address = nullptr;
    std::size_t bytes = 0;        // as asked for
    std::size_t mapped_bytes = 0; // whole pages
    std::optional<std::uint64_t> ready_hash;
  };

  const std::size_t limit_bytes_;
  mutable std::mutex mutex_;
  std::map<region_key, entry> entries_; // guarded by mutex_
  std::size_t total_bytes_ = 0;         // guarded by mutex_
};

} // namespace vdist::vault
