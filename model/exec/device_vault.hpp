// model/exec/device_vault.hpp — a vault whose device regions (device_regions.hpp) are memory of GPUs, beside another one for
// everything else. For workers that are threads: the memory belongs to this process and outlives the worker that maps it.
// V-1 to V-3 of transport/vault/vault.hpp hold, but `memory` of such a region is an address of its device.
#pragma once

#include "model/exec/device_regions.hpp"

#include "transport/vault/region_table.hpp"

#include "kernels/cuda_module.hpp"

#include <memory>
#include <mutex>

namespace vdist::exec {

class device_vault final : public ::vdist::vault::vault {
public:
  /// `others` keeps all other regions. `module` lives as long as the process.
  device_vault(std::unique_ptr<::vdist::vault::vault> others,
               kernels::cuda_module& module,
               device_of_rank device_of);
  ~device_vault() override;
  device_vault(const device_vault&) = delete;
  device_vault& operator=(const device_vault&) = delete;

  [[nodiscard]] result<::vdist::vault::region> map(const ::vdist::vault::region_key& key,
                                                   std::size_t bytes) override;
  [[nodiscard]] result<void> mark_ready(const ::vdist::vault::region_key& key,
                                        std::uint64_t content_hash) override;
  [[nodiscard]] std::optional<std::uint64_t>
  ready_hash(const ::vdist::vault::region_key& key) const override;
  [[nodiscard]] result<void> release(const ::vdist::vault::region_key& key) override;
  [[nodiscard]] std::size_t total_bytes() const override;
  [[nodiscard]] std::size_t limit_bytes() const override;

private:
  class allocation;

  const std::unique_ptr<::vdist::vault::vault> others_;
  kernels::cuda_module& module_;
  const device_of_rank device_of_;
  mutable std::mutex mutex_;
  ::vdist::vault::region_table<std::shared_ptr<const allocation>> table_; // guarded by mutex_
};

} // namespace vdist::exec
