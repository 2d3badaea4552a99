#include "model/exec/device_regions.hpp"

#include "kernels/cuda_module.hpp"

#include <string>
#include <utility>

namespace vdist::exec {

namespace {

result<kernels::cuda_module*> loaded_module() {
  std::string why;
  auto* module = kernels::load_cuda_module(why);
  if (module == nullptr) {
    return fail(errc::not_found, "cuda: " + why);
  }
  return module;
}

class cuda_mapper final : public ::vdist::vault::device_memory_mapper {
public:
  explicit cuda_mapper(std::int32_t user) : user_(user) {}

  result<std::shared_ptr<std::byte>>
  map(int memory, std::int32_t /*device*/, std::size_t bytes, std::uint64_t address) override {
    VDIST_ASSIGN(auto* module, loaded_module());
    std::string why;
    void* mapped = module->map_shared(memory, user_, bytes, address, why);
    if (mapped == nullptr) {
      return fail(errc::resource_exhausted, "cuda: " + why);
    }
    return std::shared_ptr<std::byte>(
        static_cast<std::byte*>(mapped),
        [module, bytes](std::byte* unused) { module->unmap_shared(unused, bytes); });
  }

  result<void> fill_zero(std::int32_t /*device*/, std::span<std::byte> mapped) override {
    VDIST_ASSIGN(auto* module, loaded_module());
    std::string why;
    if (!module->fill_zero(user_, mapped.data(), mapped.size(), why)) {
      return fail(errc::io_failed, "cuda: " + why);
    }
    return {};
  }

private:
  const std::int32_t user_; // the device of this process
};

} // namespace

bool is_device_region(const ::vdist::vault::region_key& key) {
  using kind = ::vdist::vault::region_kind;
  return key.kind == kind::weights || key.kind == kind::kv_cache || key.kind == kind::peer_exchange;
}

::vdist::vault::device_access access_to_devices(std::int32_t device, device_of_rank device_of) {
  return {.place_of =
              [device_of = std::move(device_of)](const ::vdist::vault::region_key& key) {
                return is_device_region(key) ? ::vdist::vault::memory_place{device_of(key.rank)}
                                             : ::vdist::vault::host_memory;
              },
          .mapper = std::make_shared<cuda_mapper>(device)};
}

} // namespace vdist::exec
