// kernels/cuda_module.hpp — the door to libvdist_cuda.so, the one library that links CUDA's. It is loaded when a
// configuration asks for "cuda" and not before: the programs run on machines without a GPU, a driver or CUDA.
// Errors come as text, complete for people: what is missing and what helps. Thread-safe.
#pragma once

#include "kernels/backend.hpp"
#include "kernels/device_fault.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace vdist::kernels {

/// What one device is and has.
struct device_facts {
  std::string name;       // "NVIDIA H200"
  std::string uuid;       // tells devices of one kind apart; as nvidia-smi has it, without "GPU-"
  std::int32_t major = 0; // compute capability
  std::int32_t minor = 0;
  std::int32_t multiprocessors = 0;
  std::size_t total_bytes = 0;
  std::size_t free_bytes = 0;    // now
  std::int32_t processes = -1;   // other processes that compute there now; negative: unknown
  std::size_t process_bytes = 0; // theirs, as far as it is known
};

/// What a device reaches at best.
struct device_rates {
  double read_bytes_per_s = 0; // a streaming read of its memory
  double gemm_flops_per_s = 0; // a product of two 8192 x 8192 matrices of bfloat16
};

struct cuda_backend_config {
  std::int32_t device = 0;           // ordinal
  std::int32_t max_positions = 8192; // longest sequence
  std::int32_t max_tokens = 8192;    // largest batch of one step in tokens
  std::int32_t max_heads = 64;       // query heads of this rank
  std::int32_t max_head_dim = 256;
  std::int32_t max_logit_rows = 64; // rows of one sample()
  std::int32_t max_vocabulary = 0;  // 0: samples nothing
  bool use_graphs = true;           // queue().run() records
};

/// Shareable memory comes in multiples of it.
inline constexpr std::size_t shareable_granule = std::size_t{2} << 20U;
/// Of addresses: what lies behind memory up to the next multiple belongs to its mapping.
inline constexpr std::size_t shared_address_granule = std::size_t{64} << 20U;

/// What the driver says of some devices of this host.
class device_event_source {
public:
  virtual ~device_event_source() = default;

  /// Waits for the next event, `timeout` at most. False: there was none, or nothing can be heard at the moment, as when a
  /// device was lost, which may be said at once and again and again.
  [[nodiscard]] virtual bool wait(std::chrono::milliseconds timeout, device_event& out) = 0;
};

class cuda_module {
public:
  virtual ~cuda_module() = default;

  /// Devices that this process sees.
  [[nodiscard]] virtual std::int32_t device_count() const noexcept = 0;

  /// `why` is set when there is no such device, it does not answer, or it may not be used. Makes no context, which would
  /// take half a GiB of the device, unless the driver came without its management library.
  [[nodiscard]] virtual device_facts facts_of(std::int32_t device, std::string& why) = 0;

  /// Whether kernels of `device` reach the memory of `peer` directly; of its own device, always. Makes no context. False,
  /// and `why`, when they do not. It need not hold the other way round.
  [[nodiscard]] virtual bool
  can_access(std::int32_t device, std::int32_t peer, std::string& why) = 0;

  /// `device` becomes the calling thread's: for a thread that takes over a backend which another one made. False, and
  /// `why`, when there is no such device or it failed.
  [[nodiscard]] virtual bool use_device(std::int32_t device, std::string& why) = 0;

  /// Makes no context. Null, and `why`, when the driver came without its management library, or that cannot tell.
  [[nodiscard]] virtual std::unique_ptr<device_event_source>
  watch_events(const std::vector<std::int32_t>& devices, std::string& why) = 0;

  /// Medians, measured now: about a second, and 2 GiB of device memory.
  [[nodiscard]] virtual device_rates measure(std::int32_t device, std::string& why) = 0;

  /// Memory of a device that outlives every backend, zero-filled, aligned to 256 bytes. Null, and `why`, when there is
  /// not as much.
  [[nodiscard]] virtual void*
  allocate(std::int32_t device, std::size_t bytes, std::string& why) = 0;
  virtual void release(std::int32_t device, void* memory) noexcept = 0;

  /// Memory of a device that other processes can map: a descriptor, the caller's, close-on-exec. The memory lives as long
  /// as a descriptor or a mapping of any process does; this process needs no context for it and makes none. Its contents
  /// are undefined. `bytes` are rounded up to shareable_granule. Negative, and `why`, when there is not as much.
  [[nodiscard]] virtual int
  create_shareable(std::int32_t device, std::size_t bytes, std::string& why) = 0;

  /// Maps memory of create_shareable() at exactly `address`, a multiple of shared_address_granule, readable and writable for
  /// kernels of `device`, whose memory it is, in this process. `bytes` as given there; the descriptor is borrowed. Null,
  /// and `why`, when the descriptor is of anything else or the address is taken.
  [[nodiscard]] virtual void* map_shared(int memory,
                                         std::int32_t device,
                                         std::size_t bytes,
                                         std::uint64_t address,
                                         std::string& why) = 0;
  /// No kernel may use it any more.
  virtual void unmap_shared(void* memory, std::size_t bytes) noexcept = 0;

  /// Returns when `memory` is zero. False, and `why`, when the device failed.
  [[nodiscard]] virtual bool
  fill_zero(std::int32_t device, void* memory, std::size_t bytes, std::string& why) = 0;

  /// The calling thread becomes the one that owns the backend. Null, and `why`, when it cannot be made.
  [[nodiscard]] virtual std::unique_ptr<backend> make_backend(const cuda_backend_config& config,
                                                              std::string& why) = 0;
};

/// What the library exports: `cuda_entry_name`, of type cuda_entry. It answers only to a program of its own version,
/// which changes whenever an interface of this folder does.
inline constexpr std::uint32_t cuda_module_version = 6;
inline constexpr const char* cuda_entry_name = "vdist_cuda_module";
using cuda_entry = cuda_module* (*)(std::uint32_t version, std::string& why);

/// The library beside this program's own files, loaded once per process. Null, and `why`: no library, no driver, a driver
/// that is too old, no device.
[[nodiscard]] cuda_module* load_cuda_module(std::string& why);

/// Lets a device hold four times as much work that has yet to begin as it does by itself, some 4,000 kernels and copies: whoever
/// launches into a full queue stands still inside the driver, where nobody looks at the device, and two prefills of 32 layers
/// fill one of 1,000. What the environment says already stays. For the beginning of a program, before it has other threads.
/// Drivers older than CUDA 12.8 do not know it.
void deepen_launch_queues() noexcept;

} // namespace vdist::kernels
