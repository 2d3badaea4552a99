// kernels/cuda/module.cpp — what libvdist_cuda.so exports: one function that gives the module, or the reason why there is
// none on this machine.
#include "kernels/cuda/cuda_backend.hpp"
#include "kernels/cuda/measure.hpp"
#include "kernels/cuda/shared_memory.hpp"
#include "kernels/cuda_module.hpp"

#include <cuda_runtime_api.h>

#include <cstdio>

namespace vdist::kernels::cuda {

namespace {

constexpr std::int32_t major_min = 8; // sm_80: asynchronous copies, bfloat16 matrix units

/// "12.4"
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string uuid_text(const cudaUUID_t& uuid) {
  std::string text;
  for (const char byte : uuid.bytes) {
    char hex[3];
    (void)std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned char>(byte));
    text += hex;
  }
  return text;
}

class module final : public cuda_module {
public:
  explicit module(std::int32_t devices) : devices_(devices) {}

  [[nodiscard]] std::int32_t device_count() const noexcept override { return devices_; }

  [[nodiscard]] device_facts facts_of(std::int32_t device, std::string& why) override {
    device_facts facts;
    if (!is_there(device, why)) {
      return facts;
    }
    cudaDeviceProp found{};
    auto status = cudaSetDevice(device);
    if (status == cudaSuccess) {
      status = cudaGetDeviceProperties(&found, device);
    }
    if (status == cudaSuccess) {
      status = cudaMemGetInfo(&facts.free_bytes, &facts.total_bytes);
    }
    if (status != cudaSuccess) {
      why = "device " + std::to_string(device) + ": " + cudaGetErrorString(status)
            + "; is it in use by another program, or in exclusive mode?";
      return facts;
    }
    facts.name = found.name;
    facts.uuid = uuid_text(found.uuid);
    facts.major = found.major;
    facts.minor = found.minor;
    facts.multiprocessors = found.multiProcessorCount;
    if (facts.major < major_min) {
      why = "device " + std::to_string(device) + ": " + facts.name + " has compute capability "
            + std::to_string(facts.major) + "." + std::to_string(facts.minor)
            + " (legal: 8.0 and newer)";
    }
    return facts;
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
            + " MiB free)";
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
    why = "no NVIDIA driver on this machine";
    return nullptr;
  }
  int devices = 0;
  const auto status = cudaGetDeviceCount(&devices);
  if (status == cudaErrorInsufficientDriver) {
    why = "the NVIDIA driver is too old: it supports CUDA " + version_text(driver) + ", needed is "
          + version_text(runtime);
    return nullptr;
  }
  if (status != cudaSuccess || devices == 0) {
    why = std::string("no CUDA device: ") + cudaGetErrorString(status);
    return nullptr;
  }
  static vdist::kernels::cuda::module made(devices);
  return &made;
}
