// tests/bench/kernels/cuda_driver.hpp — the driver, loaded at run time: streams, timed events and graphs of the calling
// thread's device, for what is measured beside our kernels. Own declarations of the few functions that are used; their
// names carry the version of the interface.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace vdist::kernels::bench {

using driver_handle = void*; // CUstream, CUevent, CUgraph or CUgraphExec

class cuda_driver {
public:
  /// Null, and `why`: no driver, or one without these functions. Loaded once per process.
  [[nodiscard]] static const cuda_driver* load(std::string& why);

  // All of them throw std::runtime_error with the driver's words.

  [[nodiscard]] driver_handle make_stream() const;
  void destroy_stream(driver_handle stream) const;
  [[nodiscard]] driver_handle make_event() const;
  void destroy_event(driver_handle event) const;
  void record_event(driver_handle event, driver_handle stream) const;
  /// Polls until the event has passed; throws when that takes longer than `timeout`.
  void wait(driver_handle event, std::chrono::nanoseconds timeout) const;
  /// By the device's clock; both have passed.
  [[nodiscard]] double seconds_between(driver_handle first, driver_handle last) const;

  /// What this thread enqueues on `stream` until end_recording() becomes a graph.
  void begin_recording(driver_handle stream) const;
  [[nodiscard]] driver_handle end_recording(driver_handle stream) const;
  void launch(driver_handle recorded, driver_handle stream) const;
  void destroy_recording(driver_handle recorded) const;

  // Host memory stays until an event behind has passed.
  void copy_in(void* to, const void* from, std::size_t bytes, driver_handle stream) const;
  void copy_out(void* to, const void* from, std::size_t bytes, driver_handle stream) const;
  void fill_zero(void* memory, std::size_t bytes, driver_handle stream) const;

private:
  using status = int; // CUresult
  using address = unsigned long long;

  static void check(status code, const char* operation);

  status (*error_text_)(status, const char**) = nullptr;
  status (*stream_create_)(driver_handle*, unsigned flags) = nullptr;
  status (*stream_destroy_)(driver_handle) = nullptr;
  status (*event_create_)(driver_handle*, unsigned flags) = nullptr;
  status (*event_destroy_)(driver_handle) = nullptr;
  status (*event_record_)(driver_handle event, driver_handle stream) = nullptr;
  status (*event_query_)(driver_handle) = nullptr;
  status (*event_elapsed_)(float* milliseconds, driver_handle, driver_handle) = nullptr;
  status (*capture_begin_)(driver_handle stream, int mode) = nullptr;
  status (*capture_end_)(driver_handle stream, driver_handle* graph) = nullptr;
  status (*graph_instantiate_)(driver_handle*, driver_handle graph, address flags) = nullptr;
  status (*graph_destroy_)(driver_handle) = nullptr;
  status (*exec_launch_)(driver_handle, driver_handle stream) = nullptr;
  status (*exec_destroy_)(driver_handle) = nullptr;
  status (*copy_in_)(address, const void*, std::size_t, driver_handle stream) = nullptr;
  status (*copy_out_)(void*, address, std::size_t, driver_handle stream) = nullptr;
  status (*fill_)(address, unsigned char, std::size_t, driver_handle stream) = nullptr;
};

} // namespace vdist::kernels::bench
