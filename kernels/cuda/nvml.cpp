#include "kernels/cuda/nvml.hpp"

#include "kernels/cuda/shared_library.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <unistd.h>
#include <utility>

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

using nvml_event_set = void*;

struct nvml_event_data {
  nvml_device device = nullptr;
  unsigned long long type = 0;
  unsigned long long data = 0; // of xid_event: its number
  unsigned int gpu_instance = 0;
  unsigned int compute_instance = 0;
};

static_assert(sizeof(nvml_event_data) == 32);

constexpr unsigned long long xid_event = 8;

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
  // May be missing, all of them.
  nvml_status (*make_events)(nvml_event_set* set) = nullptr;
  nvml_status (*add_events)(nvml_device device,
                            unsigned long long types,
                            nvml_event_set set) = nullptr;
  nvml_status (*wait_events)(nvml_event_set set,
                             nvml_event_data* event,
                             unsigned int timeout_ms) = nullptr;
  nvml_status (*free_events)(nvml_event_set set) = nullptr;
  bool has_events = false;
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
  calls.has_events = find_function(library, "nvmlEventSetCreate", calls.make_events)
                     && find_function(library, "nvmlDeviceRegisterEvents", calls.add_events)
                     && find_function(library, "nvmlEventSetWait_v2", calls.wait_events)
                     && find_function(library, "nvmlEventSetFree", calls.free_events);
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

/// A whole device or a slice ("MIG").
bool find_device(const std::string& uuid, nvml_device& device) {
  return nvml().find(("GPU-" + uuid).c_str(), &device) == nvml_success
         || nvml().find(("MIG-" + uuid).c_str(), &device) == nvml_success;
}

class nvml_events final : public device_event_source {
public:
  explicit nvml_events(nvml_event_set set) : set_(set) {}

  ~nvml_events() override { (void)nvml().free_events(set_); }

  nvml_events(const nvml_events&) = delete;
  nvml_events& operator=(const nvml_events&) = delete;

  [[nodiscard]] bool add(std::int32_t device, nvml_device handle) {
    devices_.emplace_back(handle, device);
    return nvml().add_events(handle, xid_event, set_) == nvml_success;
  }

  bool wait(std::chrono::milliseconds timeout, device_event& out) override {
    nvml_event_data event;
    if (nvml().wait_events(set_, &event, static_cast<unsigned int>(timeout.count()))
        != nvml_success) {
      return false;
    }
    for (const auto& [handle, device] : devices_) {
      if (handle == event.device && event.type == xid_event) {
        out = {.device = device, .xid = event.data};
        return true;
      }
    }
    return false;
  }

private:
  nvml_event_set set_;
  std::vector<std::pair<nvml_device, std::int32_t>> devices_;
};

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
  if (!find_device(uuid, device)) {
    return std::nullopt;
  }
  memory_in_use found;
  if (!read_memory(device, found)) {
    return std::nullopt;
  }
  read_processes(device, found);
  return found;
}

std::unique_ptr<device_event_source> watch_events(const std::vector<named_device>& devices,
                                                  std::string& why) {
  nvml_event_set set = nullptr;
  if (!nvml().is_usable || !nvml().has_events || nvml().make_events(&set) != nvml_success) {
    why = "the driver's management library is missing, or too old";
    return nullptr;
  }
  auto made = std::make_unique<nvml_events>(set);
  for (const auto& [device, uuid] : devices) {
    nvml_device handle = nullptr;
    if (!find_device(uuid, handle) || !made->add(device, handle)) {
      why = "the driver tells nothing of device " + std::to_string(device);
      return nullptr;
    }
  }
  return made;
}

std::string driver_release() {
  char text[96] = ""; // the library asks for 80
  if (!nvml().is_usable || nvml().driver_release(text, sizeof text) != nvml_success) {
    return "";
  }
  return text;
}

} // namespace vdist::kernels::cuda
