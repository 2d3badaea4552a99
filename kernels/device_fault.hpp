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

/// `xid`: as the driver logs it, for GPUs since Ampere. Source: NVIDIA's Xid catalogue for release 610, its immediate action
/// (docs.nvidia.com/deploy/xid-errors).
[[nodiscard]] constexpr fault_class class_of_xid(std::uint64_t xid) noexcept {
  switch (xid) {
  // "Restart the application":
  case 8:  // a channel stopped
  case 11: // damaged commands
  case 13: // exception of a kernel
  case 25: // illegal notification
  case 31: // illegal address
  case 32: // damaged commands
  case 69: // exception of a kernel's class
  case 80: // damaged commands
  case 94: // memory error, contained in one process
  case 39: // copy engines …
  case 40:
  case 41:
  case 70:
  case 71:
  case 72:
  case 75:
  case 76:
  case 77:
  case 85:
  // "Ignore", of the device: the application is broken off.
  case 43:  // it met a fault of its own
  case 45:  // it was removed, as after a kill
  case 137: // illegal access over NVLink
    return fault_class::worker;
  // "Reset the GPU":
  case 46:  // it does not answer
  case 48:  // memory could not be corrected
  case 62:  // its power unit stopped
  case 64:  // a row of memory could not be replaced
  case 74:  // NVLink: cleared by a reset only
  case 79:  // it has fallen off the bus: restart the machine
  case 95:  // memory error, of all its processes
  case 109: // a context cannot be switched
  case 110: // its security unit
  case 119: // its system processor does not answer
  case 120: // its system processor failed
  case 136: // an NVLink could not be trained
  case 140: // memory could not be corrected, without recovery
  case 143: // it could not be initialised
  case 155: // NVLink went down on purpose
  case 156: // a part of it was retired
  case 158: // a fatal time-out
    return fault_class::device;
  case 151: // keys could not be renewed: restart the virtual machine
    return fault_class::host;
  default:
    // 63 a row was replaced, 92 many corrected errors, 154 says what else was said. 144 to 150, NVLink of Blackwell, mean
    // little without what NVML does not tell, and 48 comes with those that are fatal. Video engines no model uses.
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
  stuck_copy,      // a copy does not begin: no kernel runs, and nothing behind it
};

} // namespace vdist::kernels
