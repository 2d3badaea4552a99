// kernels/cuda/module.cpp — what libvdist_cuda.so exports: one function that gives the module, or the reason why there is
// none on this machine.
#include "kernels/cuda/cuda_backend.hpp"
#include "kernels/cuda/device_facts.hpp"
#include "kernels/cuda/measure.hpp"
#include "kernels/cuda/nvml.hpp"
#include "kernels/cuda/shared_memory.hpp"
#include "kernels/cuda_module.hpp"

#include <cuda_runtime_api.h>

namespace vdist::kernels::cuda {

namespace {

/// "12.4"
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// The first branch of drivers that runs programs of this toolkit; empty: unknown to this source.
std::string driver_branch_for(int runtime) {
  switch (runtime / 1000) {
  case 12:
    return "525";
  case 13:
    return "580";
  default:
    return "";
  }
}

std::string too_old_text(int driver, int runtime) {
  const auto found = driver_release();
  const auto needed = driver_branch_for(runtime);
  return "the NVIDIA driver" + (found.empty() ? "" : " " + found) + " is too old: it supports CUDA "
         + version_text(driver) + ", needed is " + version_text(runtime)
         + "; install a newer driver" + (needed.empty() ? "" : " (" + needed + " or later)");
}

/// What helps with a driver that is there and finds no device.
const char* remedy_of(cudaError_t status) {
  switch (status) {
  case cudaErrorSystemNotReady:
    return "; start nvidia-fabricmanager, or wait until it has started";
  case cudaErrorSystemDriverMismatch:
    return "; the driver was updated: restart this machine, or load its kernel module again";
  default:
    return "; does nvidia-smi -L list one, and CUDA_VISIBLE_DEVICES leave it?";
  }
}

class module final : public cuda_module {
public:
  explicit module(std::int32_t devices) : devices_(devices) {}

  [[nodiscard]] std::int32_t device_count() const noexcept override { return devices_; }

  [[nodiscard]] device_facts facts_of(std::int32_t device, std::string& why) override {
    return is_there(device, why) ? cuda::facts_of(device, why) : device_facts{};
  }

  [[nodiscard]] bool can_access(std::int32_t device, std::int32_t peer, std::string& why) override {
    return is_there(device, why) && is_there(peer, why) && cuda::can_access(device, peer, why);
  }

  [[nodiscard]] bool use_device(std::int32_t device, std::string& why) override {
    const auto status = cudaSetDevice(device);
    if (status != cudaSuccess) {
      (void)cudaGetLastError();
      why = "device " + std::to_string(device) + ": " + cudaGetErrorString(status);
    }
    return status == cudaSuccess;
  }

  [[nodiscard]] std::unique_ptr<device_event_source>
  watch_events(const std::vector<std::int32_t>& devices, std::string& why) override {
    std::vector<named_device> named;
    for (const auto device : devices) {
      const auto facts = facts_of(device, why);
      if (!why.empty()) {
        return nullptr;
      }
      named.push_back({device, facts.uuid});
    }
    return cuda::watch_events(named, why);
  }

  [[nodiscard]] device_rates measure(std::int32_t device, std::string& why) override {
    return cuda::measure(device, why);
  }

  [[nodiscard]] void* allocate(std::int32_t device, std::size_t bytes, std::string& why) override {
    void* memory = nullptr;
    auto status = cudaSetDevice(device);
    if (status == cudaSuccess) {
      status = cudaMalloc(&memory, bytes);
    }
    if (status == cudaSuccess) {
      status = cudaMemset(memory, 0, bytes);
    }
    if (status != cudaSuccess) {
      (void)cudaGetLastError();
      std::size_t free_bytes = 0;
      std::size_t total_bytes = 0;
      (void)cudaMemGetInfo(&free_bytes, &total_bytes);
      why = "device " + std::to_string(device) + ": " + cudaGetErrorString(status) + " ("
            + std::to_string(bytes >> 20U) + " MiB wanted, " + std::to_string(free_bytes >> 20U)
            + " MiB free); lower device.memory_utilization";
      release(device, memory);
      return nullptr;
    }
    return memory;
  }

  void release(std::int32_t device, void* memory) noexcept override {
    if (memory != nullptr && cudaSetDevice(device) == cudaSuccess) {
      (void)cudaFree(memory);
    }
  }

  [[nodiscard]] int
  create_shareable(std::int32_t device, std::size_t bytes, std::string& why) override {
    if (!is_there(device, why)) {
      return -1;
    }
    return cuda::create_shareable(device, bytes, why);
  }

  [[nodiscard]] void* map_shared(int memory,
                                 std::int32_t device,
                                 std::size_t bytes,
                                 std::uint64_t address,
                                 std::string& why) override {
    return cuda::map_shared(memory, device, bytes, address, why);
  }

  void unmap_shared(void* memory, std::size_t bytes) noexcept override {
    cuda::unmap_shared(memory, bytes);
  }

  [[nodiscard]] bool
  fill_zero(std::int32_t device, void* memory, std::size_t bytes, std::string& why) override {
    return cuda::fill_zero(device, memory, bytes, why);
  }

  [[nodiscard]] std::unique_ptr<backend> make_backend(const cuda_backend_config& config,
                                                      std::string& why) override {
    return make_cuda_backend(config, why);
  }

private:
  [[nodiscard]] bool is_there(std::int32_t device, std::string& why) const {
    if (device >= 0 && device < devices_) {
      return true;
    }
    why = "device " + std::to_string(device) + ": there is no such device (legal: 0 to "
          + std::to_string(devices_ - 1) + ")";
    return false;
  }

  std::int32_t devices_;
};

} // namespace

} // namespace vdist::kernels::cuda

extern "C" [[gnu::visibility("default")]] vdist::kernels::cuda_module*
vdist_cuda_module(std::uint32_t version, std::string& why) {
  using vdist::kernels::cuda::version_text;
  if (version != vdist::kernels::cuda_module_version) {
    why = "libvdist_cuda.so is not of this build (version "
          + std::to_string(vdist::kernels::cuda_module_version) + ", expected "
          + std::to_string(version) + ")";
    return nullptr;
  }
  int driver = 0;
  int runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  if (driver == 0) {
    why = "no NVIDIA driver on this machine; install one, or let the container see it";
    return nullptr;
  }
  int devices = 0;
  const auto status = cudaGetDeviceCount(&devices);
  if (status == cudaErrorInsufficientDriver) {
    why = vdist::kernels::cuda::too_old_text(driver, runtime);
    return nullptr;
  }
  if (status != cudaSuccess || devices == 0) {
    why = std::string("no CUDA device: ") + cudaGetErrorString(status)
          + vdist::kernels::cuda::remedy_of(status);
    return nullptr;
  }
  static vdist::kernels::cuda::module made(devices);
  return &made;
}
