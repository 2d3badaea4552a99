#include "kernels/cuda/device_facts.hpp"

#include "kernels/cuda/nvml.hpp"
#include "kernels/cuda/shared_library.hpp"

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <algorithm>

namespace vdist::kernels::cuda {

namespace {

constexpr std::int32_t major_min = 8; // sm_80: asynchronous copies, bfloat16 matrix units

/// The driver's functions that need no context, or what is missing.
struct driver_calls {
  decltype(&cuInit) init = nullptr;
  decltype(&cuGetErrorString) error_text = nullptr;
  decltype(&cuDeviceGet) get = nullptr;
  decltype(&cuDeviceGetName) name = nullptr;
  decltype(&cuDeviceGetUuid) uuid = nullptr;
  decltype(&cuDeviceTotalMem) total = nullptr;
  decltype(&cuDeviceGetAttribute) attribute = nullptr;
  decltype(&cuDeviceCanAccessPeer) can_access = nullptr;
  std::string missing;
};

driver_calls find_calls() {
  driver_calls calls;
  driver_library library;
  library.find("cuInit", calls.init);
  library.find("cuGetErrorString", calls.error_text);
  library.find("cuDeviceGet", calls.get);
  library.find("cuDeviceGetName", calls.name);
  library.find("cuDeviceGetUuid_v2", calls.uuid); // _v2 names a slice, "MIG"
  library.find("cuDeviceTotalMem_v2", calls.total);
  library.find("cuDeviceGetAttribute", calls.attribute);
  library.find("cuDeviceCanAccessPeer", calls.can_access);
  calls.missing = library.missing();
  return calls;
}

const driver_calls& driver() {
  static const driver_calls calls = find_calls();
  return calls;
}

std::string naming(std::int32_t device) {
  return "device " + std::to_string(device) + ": ";
}

std::string failure(std::int32_t device, const char* operation, CUresult status) {
  const char* text = nullptr;
  if (driver().error_text(status, &text) != CUDA_SUCCESS || text == nullptr) {
    text = "unknown error";
  }
  return naming(device) + operation + ": " + text;
}

/// The driver's handle of a device. False, and `why`, when the driver does not start or know it.
bool find_device(std::int32_t device, CUdevice& handle, std::string& why) {
  if (!driver().missing.empty()) {
    why = driver().missing;
    return false;
  }
  auto status = driver().init(0);
  if (status == CUDA_SUCCESS) {
    status = driver().get(&handle, device);
  }
  if (status != CUDA_SUCCESS) {
    why = failure(device, "ask the driver", status);
    return false;
  }
  return true;
}

/// All but free memory.
CUresult read_nature(CUdevice handle, device_facts& facts, int& compute_mode) {
  char name[256] = "";
  CUuuid uuid{};
  auto status = driver().name(name, sizeof name, handle);
  if (status == CUDA_SUCCESS) {
    status = driver().uuid(&uuid, handle);
  }
  if (status == CUDA_SUCCESS) {
    status = driver().total(&facts.total_bytes, handle);
  }
  const auto read = [&status, handle](CUdevice_attribute attribute, int& value) {
    if (status == CUDA_SUCCESS) {
      status = driver().attribute(&value, attribute, handle);
    }
  };
  read(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, facts.major);
  read(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, facts.minor);
  read(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, facts.multiprocessors);
  read(CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, compute_mode);
  facts.name = name;
  facts.uuid = uuid_text(reinterpret_cast<const unsigned char*>(uuid.bytes));
  return status;
}

/// Makes a context, which stays: the price where the management library is missing.
void read_memory_in_context(std::int32_t device, device_facts& facts, std::string& why) {
  std::size_t total_bytes = 0;
  auto status = cudaSetDevice(device);
  if (status == cudaSuccess) {
    status = cudaMemGetInfo(&facts.free_bytes, &total_bytes);
  }
  if (status != cudaSuccess) {
    (void)cudaGetLastError();
    why = naming(device) + cudaGetErrorString(status)
          + "; is it in use by another program, or in exclusive mode (nvidia-smi -q -d COMPUTE)?";
  }
}

void read_memory(std::int32_t device, device_facts& facts, std::string& why) {
  const auto found = memory_in_use_of(facts.uuid);
  if (!found) {
    read_memory_in_context(device, facts, why);
    return;
  }
  // The two libraries do not count the driver's own part alike: what is not free for one is not free.
  facts.free_bytes = std::min(found->free_bytes, facts.total_bytes);
  facts.processes = found->processes;
  facts.process_bytes = found->process_bytes;
}

} // namespace

device_facts facts_of(std::int32_t device, std::string& why) {
  device_facts facts;
  CUdevice handle = 0;
  if (!find_device(device, handle, why)) {
    return facts;
  }
  int compute_mode = CU_COMPUTEMODE_DEFAULT;
  if (const auto status = read_nature(handle, facts, compute_mode); status != CUDA_SUCCESS) {
    why = failure(device, "ask what it is", status);
    return facts;
  }
  const auto refused = naming(device) + facts.name;
  if (facts.major < major_min) {
    why = refused + " has compute capability " + std::to_string(facts.major) + "."
          + std::to_string(facts.minor) + " (legal: 8.0 and newer)";
    return facts;
  }
  if (compute_mode == CU_COMPUTEMODE_PROHIBITED) {
    why = refused + " is in compute mode \"prohibited\": no program may use it; allow it with "
          + "nvidia-smi -c DEFAULT";
    return facts;
  }
  read_memory(device, facts, why);
  if (why.empty() && compute_mode == CU_COMPUTEMODE_EXCLUSIVE_PROCESS && facts.processes > 0) {
    why = refused + " is busy: it is in compute mode \"exclusive process\" and another program "
          + "computes there; end that, or allow several with nvidia-smi -c DEFAULT";
  }
  return facts;
}

bool can_access(std::int32_t device, std::int32_t peer, std::string& why) {
  if (device == peer) {
    return true;
  }
  CUdevice handle = 0;
  CUdevice peer_handle = 0;
  if (!find_device(device, handle, why) || !find_device(peer, peer_handle, why)) {
    return false;
  }
  int is_direct = 0;
  const auto status = driver().can_access(&is_direct, handle, peer_handle);
  if (status != CUDA_SUCCESS) {
    why = failure(device, "ask for a peer", status) + " (peer=" + std::to_string(peer) + ")";
    return false;
  }
  if (is_direct == 0) {
    why = naming(device) + "it cannot address the memory of device " + std::to_string(peer);
  }
  return is_direct != 0;
}

} // namespace vdist::kernels::cuda
