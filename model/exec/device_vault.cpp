#include "model/exec/device_vault.hpp"

#include <string>
#include <utility>

namespace vdist::exec {

class device_vault::allocation {
public:
  allocation(kernels::cuda_module& module, std::int32_t device, std::byte* memory)
      : module_(module), device_(device), memory_(memory) {}

  ~allocation() { module_.release(device_, memory_); }

  allocation(const allocation&) = delete;
  allocation& operator=(const allocation&) = delete;

  [[nodiscard]] std::byte* memory() const { return memory_; }

private:
  kernels::cuda_module& module_;
  std::int32_t device_;
  std::byte* memory_;
};

device_vault::device_vault(std::unique_ptr<::vdist::vault::vault> others,
                           kernels::cuda_module& module,
                           device_of_rank device_of)
    : others_(std::move(others)),
      module_(module),
      device_of_(std::move(device_of)),
      table_(::vdist::vault::region_limits{}) {}

device_vault::~device_vault() = default;

result<::vdist::vault::region> device_vault::map(const ::vdist::vault::region_key& key,
                                                 std::size_t bytes) {
  if (!is_device_region(key)) {
    return others_->map(key, bytes);
  }
  const std::lock_guard lock(mutex_);
  const auto make = [this,
                     &key](std::size_t whole_pages) -> result<std::shared_ptr<const allocation>> {
    std::string why;
    const auto device = device_of_(key.rank);
    void* memory = module_.allocate(device, whole_pages, why);
    if (memory == nullptr) {
      return fail(errc::resource_exhausted, why);
    }
    return std::shared_ptr<const allocation>(
        std::make_shared<allocation>(module_, device, static_cast<std::byte*>(memory)));
  };
  VDIST_ASSIGN(const auto found, table_.map(key, bytes, make));
  return ::vdist::vault::region{.memory = {found.held->memory->memory(), bytes},
                                .is_new = found.is_new,
                                .ready_hash = found.held->ready_hash,
                                .hold = found.held->memory};
}

result<void> device_vault::mark_ready(const ::vdist::vault::region_key& key,
                                      std::uint64_t content_hash) {
  if (!is_device_region(key)) {
    return others_->mark_ready(key, content_hash);
  }
  const std::lock_guard lock(mutex_);
  return table_.mark_ready(key, content_hash);
}

std::optional<std::uint64_t> device_vault::ready_hash(const ::vdist::vault::region_key& key) const {
  if (!is_device_region(key)) {
    return others_->ready_hash(key);
  }
  const std::lock_guard lock(mutex_);
  return table_.ready_hash(key);
}

result<void> device_vault::release(const ::vdist::vault::region_key& key) {
  if (!is_device_region(key)) {
    return others_->release(key);
  }
  const std::lock_guard lock(mutex_);
  VDIST_ASSIGN(const auto released, table_.release(key));
  (void)released; // the memory goes with its last hold
  return {};
}

std::size_t device_vault::total_bytes() const {
  const std::lock_guard lock(mutex_);
  return table_.usage().bytes + others_->total_bytes();
}

std::size_t device_vault::limit_bytes() const {
  return others_->limit_bytes();
}

} // namespace vdist::exec
