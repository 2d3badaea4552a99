#include "kernels/cuda/shared_memory.hpp"

#include "kernels/cuda/shared_library.hpp"
#include "kernels/cuda_module.hpp"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <chrono>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>

namespace vdist::kernels::cuda {

namespace {

constexpr std::chrono::seconds zeroing_deadline{60};

/// The driver's functions, or what is missing.
struct driver_calls {
  decltype(&cuInit) init = nullptr;
  decltype(&cuGetErrorString) error_text = nullptr;
  decltype(&cuMemCreate) create = nullptr;
  decltype(&cuMemRelease) release = nullptr;
  decltype(&cuMemExportToShareableHandle) export_handle = nullptr;
  decltype(&cuMemImportFromShareableHandle) import_handle = nullptr;
  decltype(&cuMemAddressReserve) reserve = nullptr;
  decltype(&cuMemAddressFree) free_address = nullptr;
  decltype(&cuMemMap) map = nullptr;
  decltype(&cuMemUnmap) unmap = nullptr;
  decltype(&cuMemSetAccess) set_access = nullptr;
  std::string missing;
};

driver_calls find_calls() {
  driver_calls calls;
  driver_library library;
  library.find("cuInit", calls.init);
  library.find("cuGetErrorString", calls.error_text);
  library.find("cuMemCreate", calls.create);
  library.find("cuMemRelease", calls.release);
  library.find("cuMemExportToShareableHandle", calls.export_handle);
  library.find("cuMemImportFromShareableHandle", calls.import_handle);
  library.find("cuMemAddressReserve", calls.reserve);
  library.find("cuMemAddressFree", calls.free_address);
  library.find("cuMemMap", calls.map);
  library.find("cuMemUnmap", calls.unmap);
  library.find("cuMemSetAccess", calls.set_access);
  calls.missing = library.missing();
  return calls;
}

const driver_calls& driver() {
  static const driver_calls calls = find_calls();
  return calls;
}

std::size_t whole_granules(std::size_t bytes) {
  return (bytes + shareable_granule - 1) / shareable_granule * shareable_granule;
}

std::string mebibytes(std::size_t bytes) {
  return std::to_string(bytes >> 20U) + " MiB";
}

std::string
failure(std::int32_t device, const char* operation, CUresult status, std::size_t bytes) {
  const char* text = nullptr;
  if (driver().error_text(status, &text) != CUDA_SUCCESS || text == nullptr) {
    text = "unknown error";
  }
  return "device " + std::to_string(device) + ": " + operation + ": " + text + " ("
         + mebibytes(bytes) + ")";
}

CUmemLocation location_of(std::int32_t device) {
  CUmemLocation location{};
  location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  location.id = device;
  return location;
}

/// Addresses are reserved in whole granules: the driver puts smaller ranges where it likes, whatever the hint says (seen
/// with 2 and 16 MiB, driver 580).
std::size_t reserved_bytes(std::size_t bytes) {
  return (bytes + shared_address_granule - 1) / shared_address_granule * shared_address_granule;
}

/// Gives back what was done if it does not come to the end.
void* map_handle(CUmemGenericAllocationHandle handle,
                 std::int32_t device,
                 std::size_t bytes,
                 std::uint64_t address,
                 std::string& why) {
  CUdeviceptr at = 0;
  auto status = driver().reserve(&at, reserved_bytes(bytes), 0, address, 0);
  if (status != CUDA_SUCCESS) {
    why = failure(device, "reserve an address", status, bytes);
    return nullptr;
  }
  if (at != address) {
    why = "device " + std::to_string(device) + ": the address is taken in this process ("
          + mebibytes(bytes) + ")";
    (void)driver().free_address(at, reserved_bytes(bytes));
    return nullptr;
  }
  status = driver().map(at, bytes, 0, handle, 0);
  if (status != CUDA_SUCCESS) {
    why = failure(device, "map shared memory", status, bytes);
    (void)driver().free_address(at, reserved_bytes(bytes));
    return nullptr;
  }
  CUmemAccessDesc access{};
  access.location = location_of(device);
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  status = driver().set_access(at, bytes, &access, 1);
  if (status != CUDA_SUCCESS) {
    why = failure(device, "make shared memory accessible", status, bytes);
    (void)driver().unmap(at, bytes);
    (void)driver().free_address(at, reserved_bytes(bytes));
    return nullptr;
  }
  return reinterpret_cast<void*>(at);
}

/// The host's memory travels as files; the driver's descriptors are of its device.
bool is_of_a_device(int memory) {
  struct stat status {};

  return fstat(memory, &status) == 0 && !S_ISREG(status.st_mode);
}

cudaError_t wait_for(cudaStream_t stream) {
  const auto deadline = std::chrono::steady_clock::now() + zeroing_deadline;
  auto status = cudaStreamQuery(stream);
  while (status == cudaErrorNotReady && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
    status = cudaStreamQuery(stream);
  }
  return status;
}

} // namespace

int create_shareable(std::int32_t device, std::size_t bytes, std::string& why) {
  if (!driver().missing.empty()) {
    why = driver().missing;
    return -1;
  }
  const auto whole = whole_granules(bytes);
  auto status = driver().init(0);
  if (status != CUDA_SUCCESS) {
    why = failure(device, "start the driver", status, whole);
    return -1;
  }
  CUmemAllocationProp kind{};
  kind.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  kind.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  kind.location = location_of(device);
  CUmemGenericAllocationHandle handle = 0;
  status = driver().create(&handle, whole, &kind, 0);
  if (status != CUDA_SUCCESS) {
    why = failure(device, "allocate shareable memory", status, whole);
    return -1;
  }
  int memory = -1;
  status = driver().export_handle(&memory, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
  (void)driver().release(handle); // from now on the descriptor keeps the memory
  if (status != CUDA_SUCCESS) {
    why = failure(device, "share memory", status, whole);
    return -1;
  }
  (void)fcntl(memory, F_SETFD, FD_CLOEXEC);
  return memory;
}

void* map_shared(
    int memory, std::int32_t device, std::size_t bytes, std::uint64_t address, std::string& why) {
  if (!driver().missing.empty()) {
    why = driver().missing;
    return nullptr;
  }
  if (!is_of_a_device(memory)) {
    why = "the descriptor is not of a device's memory";
    return nullptr;
  }
  if (const auto status = cudaSetDevice(device); status != cudaSuccess) {
    (void)cudaGetLastError();
    why = "device " + std::to_string(device) + ": " + cudaGetErrorString(status);
    return nullptr;
  }
  const auto whole = whole_granules(bytes);
  CUmemGenericAllocationHandle handle = 0;
  auto* const descriptor = reinterpret_cast<void*>(static_cast<std::uintptr_t>(memory));
  const auto status =
      driver().import_handle(&handle, descriptor, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  if (status != CUDA_SUCCESS) {
    why = failure(device, "take over shared memory", status, whole);
    return nullptr;
  }
  void* mapped = map_handle(handle, device, whole, address, why);
  (void)driver().release(handle); // the mapping keeps the memory
  return mapped;
}

void unmap_shared(void* memory, std::size_t bytes) noexcept {
  if (memory == nullptr) {
    return;
  }
  const auto at = reinterpret_cast<CUdeviceptr>(memory);
  const auto whole = whole_granules(bytes);
  (void)driver().unmap(at, whole);
  (void)driver().free_address(at, reserved_bytes(whole));
}

bool fill_zero(std::int32_t device, void* memory, std::size_t bytes, std::string& why) {
  cudaStream_t stream = nullptr;
  auto status = cudaSetDevice(device);
  if (status == cudaSuccess) {
    status = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  }
  if (status == cudaSuccess) {
    status = cudaMemsetAsync(memory, 0, bytes, stream);
  }
  if (status == cudaSuccess) {
    status = wait_for(stream);
  }
  if (stream != nullptr) {
    (void)cudaStreamDestroy(stream);
  }
  if (status != cudaSuccess) {
    (void)cudaGetLastError();
    why = "device " + std::to_string(device) + ": fill with zeros: " + cudaGetErrorString(status)
          + " (" + mebibytes(bytes) + ")";
  }
  return status == cudaSuccess;
}

} // namespace vdist::kernels::cuda
