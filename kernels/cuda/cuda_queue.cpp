#include "kernels/cuda/cuda_queue.hpp"

#include <algorithm>
#include <thread>

namespace vdist::kernels::cuda {

namespace {

constexpr int polls_before_yield = 64;
/// Rows further apart than this are no rows to CUDA (cudaDevAttrMaxPitch).
constexpr std::size_t stride_max = (std::size_t{1} << 31U) - 1;

bool are_near(const row_copy& rows) {
  return rows.to_stride <= stride_max && rows.from_stride <= stride_max;
}

} // namespace

cuda_queue::cuda_queue(std::int32_t device, bool use_graphs)
    : device_(device), use_graphs_(use_graphs) {
  const auto opening = [] {
    return std::string("open the device");
  };
  check(cudaSetDevice(device), opening);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), opening);
  for (auto& event : events_) {
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), opening);
  }
}

cuda_queue::~cuda_queue() {
  if (stream_ != nullptr) {
    (void)cudaStreamSynchronize(
        stream_); // nothing may be in flight; after a failure it returns at once
  }
  for (auto& [key, made] : recordings_) {
    if (made.graph != nullptr) {
      (void)cudaGraphExecDestroy(made.graph);
    }
  }
  for (auto* event : events_) {
    if (event != nullptr) {
      (void)cudaEventDestroy(event);
    }
  }
  if (stream_ != nullptr) {
    (void)cudaStreamDestroy(stream_);
  }
}

void cuda_queue::fail(cudaError_t status, const std::string& operation) noexcept {
  failure_ = operation + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status)
             + ", device " + std::to_string(device_) + ")";
  failure_code_ = static_cast<int>(status);
}

void cuda_queue::use_on_this_thread() noexcept {
  check(cudaSetDevice(device_), [] { return std::string("use the device"); });
}

void* cuda_queue::allocate(std::size_t bytes) noexcept {
  void* memory = nullptr;
  if (cudaMalloc(&memory, std::max<std::size_t>(bytes, 1)) != cudaSuccess) {
    (void)cudaGetLastError(); // running out is the caller's to report, and no reason to stop
    return nullptr;
  }
  return memory;
}

void cuda_queue::release(void* memory) noexcept {
  (void)cudaFree(memory);
}

void* cuda_queue::allocate_staging(std::size_t bytes) noexcept {
  void* memory = nullptr;
  if (cudaMallocHost(&memory, std::max<std::size_t>(bytes, 1)) != cudaSuccess) {
    (void)cudaGetLastError();
    return nullptr;
  }
  return memory;
}

void cuda_queue::release_staging(void* memory) noexcept {
  (void)cudaFreeHost(memory);
}

void cuda_queue::copy_in(void* to, const void* from, std::size_t bytes) noexcept {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_),
        [bytes] { return "copy in (bytes=" + std::to_string(bytes) + ")"; });
}

void cuda_queue::copy_out(void* to, const void* from, std::size_t bytes) noexcept {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_),
        [bytes] { return "copy out (bytes=" + std::to_string(bytes) + ")"; });
}

void cuda_queue::fill_zero(void* memory, std::size_t bytes) noexcept {
  check(cudaMemsetAsync(memory, 0, bytes, stream_),
        [bytes] { return "fill with zeros (bytes=" + std::to_string(bytes) + ")"; });
}

void cuda_queue::copy_rows(const row_copy& rows, cudaMemcpyKind kind) noexcept {
  check(cudaMemcpy2DAsync(rows.to,
                          rows.to_stride,
                          rows.from,
                          rows.from_stride,
                          rows.row_bytes,
                          rows.rows,
                          kind,
                          stream_),
        [&rows] {
          return "copy rows (bytes=" + std::to_string(rows.row_bytes)
                 + " rows=" + std::to_string(rows.rows) + ")";
        });
}

void cuda_queue::copy_rows_in(const row_copy& rows) noexcept {
  if (are_near(rows)) {
    copy_rows(rows, cudaMemcpyHostToDevice);
  } else {
    device_queue::copy_rows_in(rows);
  }
}

void cuda_queue::copy_rows_out(const row_copy& rows) noexcept {
  if (are_near(rows)) {
    copy_rows(rows, cudaMemcpyDeviceToHost);
  } else {
    device_queue::copy_rows_out(rows);
  }
}

std::unique_ptr<device_queue> cuda_queue::make_side_queue() {
  return std::make_unique<cuda_queue>(device_, false);
}

queue_mark cuda_queue::mark() noexcept {
  ++last_mark_;
  check(cudaEventRecord(events_[last_mark_ % events_kept], stream_),
        [] { return std::string("mark"); });
  return last_mark_;
}

bool cuda_queue::wait(queue_mark at, std::chrono::nanoseconds timeout) noexcept {
  // An event that was used again since stands for a later mark: waiting for it waits for `at` too.
  auto* event = events_[at % events_kept];
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (int polls = 1; failure_.empty(); ++polls) {
    // Read first, so that who gets no CPU for a while asks the device once more before it gives up.
    const bool is_last = std::chrono::steady_clock::now() >= deadline;
    const auto status = cudaEventQuery(event);
    if (status == cudaSuccess) {
      return true;
    }
    if (status != cudaErrorNotReady) {
      check(status, [] { return std::string("wait for the device"); });
      return false;
    }
    if (is_last) {
      return false;
    }
    if (polls % polls_before_yield == 0) {
      std::this_thread::yield();
    }
  }
  return false;
}

void cuda_queue::run(std::uint64_t key, const std::function<void()>& work) {
  if (!use_graphs_) {
    work();
    return;
  }
  auto& known = recordings_[key];
  if (known.graph == nullptr && known.runs++ == 0) { // G-1
    work();
    return;
  }
  if (known.graph == nullptr) {
    record(known, work);
  }
  if (known.graph != nullptr) {
    check(cudaGraphLaunch(known.graph, stream_),
          [] { return std::string("launch recorded work"); });
  }
}

void cuda_queue::record_ahead(std::uint64_t key, const std::function<void()>& work) {
  if (!use_graphs_ || !failure_.empty()) {
    return;
  }
  auto& known = recordings_[key];
  if (known.graph != nullptr) {
    return;
  }
  record(known, work);
  if (known.graph != nullptr) {
    check(cudaGraphUpload(known.graph, stream_),
          [] { return std::string("upload recorded work"); });
  }
}

void cuda_queue::forget(std::uint64_t key) noexcept {
  const auto known = recordings_.find(key);
  if (known == recordings_.end()) {
    return;
  }
  if (known->second.graph != nullptr) {
    (void)cudaGraphExecDestroy(known->second.graph); // where it runs, once it has come to its end
  }
  recordings_.erase(known);
}

void cuda_queue::record(recording& into, const std::function<void()>& work) {
  const auto recording_text = [] {
    return std::string("record work");
  };
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), recording_text);
  work();
  check(cudaStreamEndCapture(stream_, &graph), recording_text);
  if (graph == nullptr) {
    return;
  }
  check(cudaGraphInstantiate(&into.graph, graph, 0), recording_text);
  (void)cudaGraphDestroy(graph);
}

} // namespace vdist::kernels::cuda
