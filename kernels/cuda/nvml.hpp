// kernels/cuda/nvml.hpp — what only the driver's management library tells, and it tells it without a context: free memory,
// and who else holds some. Why a library that may be missing: CUDA's own answer costs a context, half a GiB of the memory
// that was asked about, in a process that will never compute.
// libnvidia-ml.so.1 is a part of the driver. It is opened when first asked and never linked; containers may lack it, and
// then everything here is unknown. It numbers devices without regard to CUDA_VISIBLE_DEVICES, so they are named by UUID.
// Thread-safe. Cost: tens of milliseconds for the first call, about one for others.
#pragma once

#include "kernels/cuda_module.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vdist::kernels::cuda {

/// Memory of one device at this moment.
struct memory_in_use {
  std::size_t total_bytes = 0;
  std::size_t free_bytes = 0;    // what the driver keeps for itself is not free
  std::int32_t processes = -1;   // other processes that compute there; negative: unknown
  std::size_t process_bytes = 0; // theirs, as far as it is told
};

/// `uuid` as memory_in_use_of() and nvidia-smi write it, without its kind: "1b8f4a7e-0c11-…", from 16 bytes.
[[nodiscard]] std::string uuid_text(const unsigned char* bytes);

/// Nothing when the library is missing or does not know the device (a whole one or a slice, "MIG").
[[nodiscard]] std::optional<memory_in_use> memory_in_use_of(const std::string& uuid);

/// A device by its ordinal, and as memory_in_use_of() wants it.
struct named_device {
  std::int32_t device = 0;
  std::string uuid;
};

/// As cuda_module::watch_events().
[[nodiscard]] std::unique_ptr<device_event_source>
watch_events(const std::vector<named_device>& devices, std::string& why);

/// "580.65.06"; empty when unknown.
[[nodiscard]] std::string driver_release();

} // namespace vdist::kernels::cuda
