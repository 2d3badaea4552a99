// kernels/device_fault.hpp — what the errors of a GPU mean for whoever computes on it, and the faults that tests bring about
// on a real one. Numbers and pure functions: no header of CUDA, so that all of it is tested where there is no GPU.
//
// Two sources name errors. CUDA's runtime tells the process that met them (cudaError); the driver tells the host, by
// numbers that it logs as "Xid". Their catalogues say what helps:
// E-1 `worker`: the work of one process was broken off. Its context is of no use any more, the device is: another process may
//     begin at once.
// E-2 `device`: it has to be reset or repaired; until then nobody uses it.
// E-3 `host`: what all devices of this host need is broken or missing (driver, fabric).
// E-4 `none`: to be logged, not acted upon: what the hardware has mended, and numbers that nobody knows yet. Of CUDA's
//     errors none is of that kind: whatever a process meets ends its context's use.
#pragma once

#include <cstdint>
#include <string_view>

namespace vdist::kernels {

enum class fault_class : std::uint8_t { none, worker, device, host };

/// "none", "worker", "device", "host"
[[nodiscard]] constexpr std::string_view to_string(fault_class what) noexcept {
  switch (what) {
  case fault_class::none:
    break;
  case fault_class::worker:
    return "worker";
  case fault_class::device:
    return "device";
  case fault_class::host:
    return "host";
  }
  return "none";
}

/// `code`: a cudaError; 0 (success) is none.
[[nodiscard]] constexpr fault_class class_of_cuda_error(int code) noexcept {
  switch (code) {
  case 0:
    return fault_class::none;
  case 101: // no such device any more
  case 214: // memory could not be corrected
  case 220: // NVLink could not be corrected
    return fault_class::device;
  case 100: // no device at all
  case 802: // the fabric is not ready
  case 803: // driver and library do not fit
    return fault_class::host;
  default: // 700 illegal address, 719 launch failure, 226 contained memory error, 2 no memory; 46 busy: its last user may
           // not have left yet …
    return fault_class::worker;
  }
}

/// `xid`: as the driver logs it, for GPUs since Ampere.
[[nodiscard]] constexpr fault_class class_of_xid(std::uint64_t xid) noexcept {
  switch (xid) {
  case 8:   // a channel stopped
  case 13:  // exception of a kernel
  case 31:  // illegal address
  case 32:  // damaged command
  case 43:  // a channel was reset
  case 45:  // a channel was removed, as after a kill
  case 68:  // exception of a video engine
  case 69:  // exception of a kernel's class
  case 94:  // memory error, contained in one process
  case 137: // illegal access over NVLink
    return fault_class::worker;
  case 46:  // the GPU does not answer
  case 48:  // memory could not be corrected
  case 61:  // its power unit broke off
  case 62:  // its power unit stopped
  case 64:  // a row of memory could not be replaced
  case 74:  // NVLink
  case 79:  // it has fallen off the bus
  case 95:  // memory error, of all its processes
  case 109: // a context cannot be switched
  case 110: // its security unit
  case 119: // its system processor does not answer
  case 120: // its system processor failed
  case 140: // memory could not be corrected, without recovery
  case 143: // it could not be initialised
    return fault_class::device;
  case 145: // NVLink between GPUs and switches
  case 149: // NVLink's own software
    return fault_class::host;
  default: // 63 a row was replaced, 92 many corrected errors, 154 says what else was said, …
    return fault_class::none;
  }
}

/// Of one GPU; from the driver, to the host.
struct device_event {
  std::int32_t device = 0; // ordinal
  std::uint64_t xid = 0;
};

/// Faults on purpose, for tests of what notices them. They act in the order of the queue.
enum class injected_fault : std::uint8_t {
  illegal_address, // a kernel stores where nothing is mapped
  stuck_kernel,    // a kernel of one block that ends with its process only
  stuck_device,    // the same, with as many blocks as fill the device
};

} // namespace vdist::kernels
