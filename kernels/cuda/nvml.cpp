#include "kernels/cuda/nvml.hpp"

#include "kernels/cuda/shared_library.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <unistd.h>

namespace vdist::kernels::cuda {

namespace {

// The library's interface, declared by hand: its header comes with another package than CUDA's. All of it is stable ABI;
// names with a suffix are the versions of a function.
using nvml_status = int;
using nvml_device = void*;
constexpr nvml_status nvml_success = 0;

struct nvml_memory_v1 {
  unsigned long long total = 0;
  unsigned long long free = 0;
  unsigned long long used = 0; // what the driver reserves is part of it
};

struct nvml_memory_v2 {
  unsigned int version = sizeof(nvml_memory_v2) | 2U << 24U;
  unsigned long long total = 0;
  unsigned long long reserved = 0;
  unsigned long long free = 0;
  unsigned long long used = 0;
};

static_assert(sizeof(nvml_memory_v1) == 24 && sizeof(nvml_memory_v2) == 40);

struct nvml_process {
  unsigned int pid = 0;
  unsigned long long used_bytes = 0;
  unsigned int gpu_instance = 0;
  unsigned int compute_instance = 0;
};

static_assert(sizeof(nvml_process) == 24);

constexpr unsigned long long unknown_bytes = ~0ULL;
constexpr std::size_t processes_max = 64; // listed; more are not counted

struct nvml_calls {
  nvml_status (*init)() = nullptr;
  nvml_status (*driver_release)(char* text, unsigned int length) = nullptr;
  nvml_status (*find)(const char* uuid, nvml_device* device) = nullptr;
  nvml_status (*memory_v1)(nvml_device device, nvml_memory_v1* memory) = nullptr;
  nvml_status (*memory_v2)(nvml_device device, nvml_memory_v2* memory) = nullptr; // may be missing
  nvml_status (*processes)(nvml_device device,
                           unsigned int* count,
                           nvml_process* list) = nullptr; // may be missing
  bool is_usable = false;
};

nvml_calls open_nvml() {
  nvml_calls calls;
  void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL); // never closed, nor shut down
  if (library == nullptr) {
    return calls;
  }
  const bool is_whole =
      find_function(library, "nvmlInit_v2", calls.init)
      && find_function(library, "nvmlSystemGetDriverVersion", calls.driver_release)
      && find_function(library, "nvmlDeviceGetHandleByUUID", calls.find)
      && find_function(library, "nvmlDeviceGetMemoryInfo", calls.memory_v1);
  (void)find_function(library, "nvmlDeviceGetMemoryInfo_v2", calls.memory_v2);
  if (!find_function(library, "nvmlDeviceGetComputeRunningProcesses_v3", calls.processes)) {
    (void)find_function(library, "nvmlDeviceGetComputeRunningProcesses_v2", calls.processes);
  }
  calls.is_usable = is_whole && calls.init() == nvml_success;
  return calls;
}

const nvml_calls& nvml() {
  static const nvml_calls calls = open_nvml();
  return calls;
}

bool read_memory(nvml_device device, memory_in_use& out) {
  nvml_memory_v2 second;
  if (nvml().memory_v2 != nullptr && nvml().memory_v2(device, &second) == nvml_success) {
    out.total_bytes = second.total;
    out.free_bytes = second.free;
    return true;
  }
  nvml_memory_v1 first;
  if (nvml().memory_v1(device, &first) != nvml_success) {
    return false;
  }
  out.total_bytes = first.total;
  out.free_bytes = first.total - std::min(first.total, first.used);
  return true;
}

/// In a container, processes outside of it may be missing, and this one may bear another id: a figure for people.
void read_processes(nvml_device device, memory_in_use& out) {
  // Twice as long as told: some drivers wrote longer entries under the same name.
  std::array<nvml_process, 2 * processes_max> list;
  unsigned int count = processes_max;
  if (nvml().processes == nullptr
      || nvml().processes(device, &count, list.data()) != nvml_success) {
    return;
  }
  out.processes = 0;
  const auto own = static_cast<unsigned int>(getpid());
  for (std::size_t i = 0; i < std::min<std::size_t>(count, processes_max); ++i) {
    if (list[i].pid != own) {
      ++out.processes;
      out.process_bytes += list[i].used_bytes == unknown_bytes ? 0 : list[i].used_bytes;
    }
  }
}

} // namespace

std::string uuid_text(const unsigned char* bytes) {
  std::string text;
  for (int i = 0; i < 16; ++i) {
    char hex[3];
    (void)std::snprintf(hex, sizeof hex, "%02x", bytes[i]);
    text += i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "";
    text += hex;
  }
  return text;
}

std::optional<memory_in_use> memory_in_use_of(const std::string& uuid) {
  if (!nvml().is_usable) {
    return std::nullopt;
  }
  nvml_device device = nullptr;
  if (nvml().find(("GPU-" + uuid).c_str(), &device) != nvml_success
      && nvml().find(("MIG-" + uuid).c_str(), &device) != nvml_success) {
    return std::nullopt;
  }
  memory_in_use found;
  if (!read_memory(device, found)) {
    return std::nullopt;
  }
  read_processes(device, found);
  return found;
}

std::string driver_release() {
  char text[96] = ""; // the library asks for 80
  if (!nvml().is_usable || nvml().driver_release(text, sizeof text) != nvml_success) {
    return "";
  }
  return text;
}

} // namespace vdist::kernels::cuda
