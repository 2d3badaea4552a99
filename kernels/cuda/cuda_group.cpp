#include "kernels/cuda/cuda_group.hpp"

#include "kernels/collective/cells.hpp"
#include "kernels/contract.hpp"
#include "kernels/cuda/collective_launch.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <utility>

namespace vdist::kernels::cuda {

namespace {

/// Device memory of one member: written by the worker's stream, and the fence by the stream beside it.
struct device_words {
  group_state state;
  alignas(128) std::uint32_t fence = 0;
};

/// Pinned host memory of one member.
struct host_words {
  group_state state;                     // what an epoch begins with; copied in
  std::uint64_t report = 0;              // written by the device, on its first fault
  alignas(64) std::uint64_t waiting = 0; // written by the device while it waits
  std::uint32_t fence = 0;               // copied to the device's
};

class cuda_group final : public device_group {
public:
  cuda_group(cuda_queue& queue, const device_group_config& config, bool has_own_device)
      : queue_(queue) {
    view_.has_own_device = has_own_device;
    view_.layout = config.layout;
    view_.rank = config.rank;
    view_.wait_ns = static_cast<std::uint64_t>(config.wait.count());
    for (std::int32_t r = 0; r < config.ranks; ++r) {
      const auto i = static_cast<std::size_t>(r);
      view_.regions[i] = config.regions[i];
    }
  }

  ~cuda_group() override {
    if (fence_stream_ != nullptr) {
      (void)cudaStreamSynchronize(fence_stream_);
      (void)cudaStreamDestroy(fence_stream_);
    }
    (void)queue_.wait(queue_.mark(), std::chrono::seconds(1)); // frees nothing that a kernel reads
    queue_.release(device_);
    queue_.release_staging(host_);
  }

  cuda_group(const cuda_group&) = delete;
  cuda_group& operator=(const cuda_group&) = delete;

  /// Why it cannot work; empty: it can.
  [[nodiscard]] std::string open() {
    if (const auto status = cudaGetDevice(&device_index_); status != cudaSuccess) {
      return cudaGetErrorString(status);
    }
    device_ = static_cast<device_words*>(queue_.allocate(sizeof(device_words)));
    void* const host = queue_.allocate_staging(sizeof(host_words));
    if (device_ == nullptr || host == nullptr) {
      return "no memory for the group's state";
    }
    host_ = new (host) host_words();
    queue_.fill_zero(device_, sizeof(device_words));
    view_.state = &device_->state;
    view_.fence = &device_->fence;
    view_.report =
        &host_->report; // unified addressing: the device writes it under the same address
    view_.waiting = &host_->waiting;
    auto status = cudaStreamCreateWithFlags(&fence_stream_, cudaStreamNonBlocking);
    if (status == cudaSuccess) {
      status = load_collectives();
    }
    return status == cudaSuccess ? queue_.failure() : cudaGetErrorString(status);
  }

  bool start_epoch(std::uint32_t epoch, std::chrono::nanoseconds timeout) noexcept override {
    VDIST_CONTRACT("start_epoch", epoch > host_->state.epoch);
    if (!queue_.wait(queue_.mark(), timeout)) {
      return false;
    }
    host_->state.epoch = epoch;
    std::atomic_ref<std::uint64_t>(host_->report).store(0, std::memory_order_relaxed);
    queue_.copy_in(&device_->state, &host_->state, sizeof(group_state));
    return queue_.wait(queue_.mark(),
                       timeout); // the staging memory is free, and the epoch has begun
  }

  void all_reduce(const all_reduce_args& a) noexcept override {
    if (std::exchange(skips_next_, false)) {
      return;
    }
    VDIST_CONTRACT("all_reduce", a.type != dtype::float16);
    VDIST_CONTRACT("all_reduce", a.type == dtype::float32 || a.count % 2 == 0);
    VDIST_CONTRACT("all_reduce", a.type == dtype::float32 || a.onto == nullptr);
    VDIST_CONTRACT("all_reduce", are_cells(a.data, 0) && are_cells(a.onto, 0));
    check(cuda::all_reduce(view_, a, queue_.stream()), "all_reduce", a.count);
  }

  void all_gather(const all_gather_args& a) noexcept override {
    if (std::exchange(skips_next_, false)) {
      return;
    }
    VDIST_CONTRACT("all_gather", are_cells(a.in, a.bytes) && are_cells(a.out, 0));
    VDIST_CONTRACT("all_gather", a.bytes == 0 || are_rows(a.bytes, a.rows));
    check(cuda::all_gather(view_, a, queue_.stream()), "all_gather", a.bytes);
  }

  void broadcast(const broadcast_args& a) noexcept override {
    if (std::exchange(skips_next_, false)) {
      return;
    }
    VDIST_CONTRACT("broadcast", are_cells(a.data, a.bytes));
    VDIST_CONTRACT("broadcast", a.root >= 0 && a.root < view_.layout.ranks);
    check(cuda::broadcast(view_, a, queue_.stream()), "broadcast", a.bytes);
  }

  void barrier() noexcept override { check(cuda::barrier(view_, queue_.stream()), "barrier", 0); }

  void send(const send_args& a) noexcept override {
    if (std::exchange(skips_next_, false)) {
      return;
    }
    VDIST_CONTRACT("send", view_.layout.ranks == 2 && view_.rank == 0);
    VDIST_CONTRACT("send", are_cells(a.data, a.bytes));
    check(cuda::send(view_, a, queue_.stream()), "send", a.bytes);
  }

  void recv(const recv_args& a) noexcept override {
    if (std::exchange(skips_next_, false)) {
      return;
    }
    VDIST_CONTRACT("recv", view_.layout.ranks == 2 && view_.rank == 1);
    VDIST_CONTRACT("recv", are_cells(a.data, a.bytes));
    check(cuda::recv(view_, a, queue_.stream()), "recv", a.bytes);
  }

  [[nodiscard]] fault_record fault() const noexcept override {
    return fault_record::unpack(
        std::atomic_ref<std::uint64_t>(host_->report).load(std::memory_order_acquire));
  }

  [[nodiscard]] wait_record waiting() const noexcept override {
    return wait_record::unpack(
        std::atomic_ref<std::uint64_t>(host_->waiting).load(std::memory_order_relaxed));
  }

  void skip_next() noexcept override { skips_next_ = true; }

  void raise_fence(std::uint32_t to) noexcept override {
    const std::lock_guard lock(fence_mutex_);
    if (to <= host_->fence) {
      return;
    }
    // Copies of two raises may both read the later value: it only rises.
    std::atomic_ref<std::uint32_t>(host_->fence).store(to, std::memory_order_release);
    auto status = cudaSetDevice(device_index_); // the calling thread may be another one
    if (status == cudaSuccess) {
      status = cudaMemcpyAsync(&device_->fence,
                               &host_->fence,
                               sizeof(std::uint32_t),
                               cudaMemcpyHostToDevice,
                               fence_stream_);
    }
    (void)
        status; // a device that refuses has failed; its queue says so, and waits end by their deadline
  }

private:
  static bool are_cells(const void* data, std::int64_t bytes) {
    return reinterpret_cast<std::uintptr_t>(data) % sizeof(cell) == 0
           && bytes % static_cast<std::int64_t>(sizeof(cell)) == 0;
  }

  static bool are_rows(std::int64_t bytes, std::int64_t rows) {
    return rows > 0 && bytes % static_cast<std::int64_t>(sizeof(cell)) == 0
           && bytes / static_cast<std::int64_t>(sizeof(cell)) % rows == 0
           && bytes < std::int64_t{1} << 34;
  }

  void check(cudaError_t status, const char* operation, std::int64_t size) noexcept {
    queue_.check(status, [operation, size] {
      return std::string(operation) + " (size=" + std::to_string(size) + ")";
    });
  }

  cuda_queue& queue_;
  group_view view_;
  std::int32_t device_index_ = 0;
  device_words* device_ = nullptr;
  host_words* host_ = nullptr;
  cudaStream_t fence_stream_ = nullptr;
  std::mutex fence_mutex_;
  bool skips_next_ = false;
};

std::string check_sizes(const device_group_config& config) {
  if (config.ranks != 2 && config.ranks != 4 && config.ranks != 8) {
    return "a group has 2, 4 or 8 ranks (ranks=" + std::to_string(config.ranks) + ")";
  }
  if (config.rank < 0 || config.rank >= config.ranks || config.layout.ranks != config.ranks
      || config.layout.bulk_units == 0 || config.wait.count() <= 0) {
    return "rank, layout or deadline are not legal (rank=" + std::to_string(config.rank)
           + " ranks=" + std::to_string(config.ranks)
           + " layout_ranks=" + std::to_string(config.layout.ranks) + ")";
  }
  return {};
}

/// Opens the present device's way to the memory of rank `r`; says which device has it.
std::string reach(std::int32_t r, const void* region, bool is_mapped, std::int32_t& device) {
  const auto text = "region of rank " + std::to_string(r) + ": ";
  cudaPointerAttributes found{};
  int mine = 0;
  if (cudaGetDevice(&mine) != cudaSuccess || cudaPointerGetAttributes(&found, region) != cudaSuccess
      || found.type != cudaMemoryTypeDevice) {
    (void)cudaGetLastError();
    return text + "it is no device memory";
  }
  if (reinterpret_cast<std::uintptr_t>(region) % 256 != 0) {
    return text + "it is not aligned to 256 bytes";
  }
  device = found.device;
  if (device == mine || is_mapped) {
    return {};
  }
  int can = 0;
  if (cudaDeviceCanAccessPeer(&can, mine, found.device) != cudaSuccess || can == 0) {
    (void)cudaGetLastError();
    return text + "device " + std::to_string(mine) + " cannot reach device "
           + std::to_string(found.device) + "; are they on one host, with IOMMU and ACS off?";
  }
  const auto status = cudaDeviceEnablePeerAccess(found.device, 0);
  (void)cudaGetLastError();
  if (status != cudaSuccess && status != cudaErrorPeerAccessAlreadyEnabled) {
    return text + cudaGetErrorString(status);
  }
  return {};
}

} // namespace

std::unique_ptr<device_group>
make_cuda_group(cuda_queue& queue, const device_group_config& config, std::string& why) {
  why = check_sizes(config);
  std::array<std::int32_t, group_ranks_max> devices{};
  for (std::int32_t r = 0; r < config.ranks && why.empty(); ++r) {
    const auto i = static_cast<std::size_t>(r);
    why = reach(r, config.regions[i], config.are_mapped, devices[i]);
  }
  if (!why.empty()) {
    return nullptr;
  }
  const auto mine = devices[static_cast<std::size_t>(config.rank)];
  const bool has_own_device =
      std::count(devices.begin(), devices.begin() + config.ranks, mine) == 1;
  auto made = std::make_unique<cuda_group>(queue, config, has_own_device);
  why = made->open();
  if (!why.empty()) {
    return nullptr;
  }
  return made;
}

} // namespace vdist::kernels::cuda
