#include "tests/bench/kernels/cuda_driver.hpp"

#include <dlfcn.h>
#include <memory>
#include <stdexcept>
#include <thread>

namespace vdist::kernels::bench {

namespace {

// Of cuda.h.
constexpr int success = 0;
constexpr int not_ready = 600;
constexpr unsigned stream_non_blocking = 1;
constexpr unsigned event_default = 0; // with its time
constexpr int capture_of_this_thread = 1;

constexpr int polls_before_yield = 64;

/// Of a library; `missing` keeps the first name that it lacks.
template <class Function>
void find(void* library, Function& into, const char* name, std::string& missing) {
  void* const found = dlsym(library, name);
  if (found == nullptr && missing.empty()) {
    missing = name;
  }
  into = reinterpret_cast<Function>(found);
}

} // namespace

const cuda_driver* cuda_driver::load(std::string& why) {
  static std::string cause;
  static const std::unique_ptr<cuda_driver> loaded = [] {
    std::unique_ptr<cuda_driver> made;
    void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      cause = dlerror();
      return made;
    }
    made = std::make_unique<cuda_driver>();
    std::string missing;
    find(library, made->error_text_, "cuGetErrorString", missing);
    find(library, made->stream_create_, "cuStreamCreate", missing);
    find(library, made->stream_destroy_, "cuStreamDestroy_v2", missing);
    find(library, made->event_create_, "cuEventCreate", missing);
    find(library, made->event_destroy_, "cuEventDestroy_v2", missing);
    find(library, made->event_record_, "cuEventRecord", missing);
    find(library, made->event_query_, "cuEventQuery", missing);
    find(library, made->event_elapsed_, "cuEventElapsedTime", missing);
    find(library, made->capture_begin_, "cuStreamBeginCapture_v2", missing);
    find(library, made->capture_end_, "cuStreamEndCapture", missing);
    find(library, made->graph_instantiate_, "cuGraphInstantiateWithFlags", missing);
    find(library, made->graph_destroy_, "cuGraphDestroy", missing);
    find(library, made->exec_launch_, "cuGraphLaunch", missing);
    find(library, made->exec_destroy_, "cuGraphExecDestroy", missing);
    find(library, made->copy_in_, "cuMemcpyHtoDAsync_v2", missing);
    find(library, made->copy_out_, "cuMemcpyDtoHAsync_v2", missing);
    find(library, made->fill_, "cuMemsetD8Async", missing);
    if (!missing.empty()) {
      cause = "the driver has no " + missing;
      made.reset();
    }
    return made;
  }();
  why = cause;
  return loaded.get();
}

void cuda_driver::check(status code, const char* operation) {
  if (code == success) {
    return;
  }
  std::string ignored;
  const auto* driver = load(ignored);
  const char* text = nullptr;
  if (driver == nullptr || driver->error_text_(code, &text) != success || text == nullptr) {
    text = "the driver refuses";
  }
  throw std::runtime_error(std::string(operation) + ": " + text + " (code=" + std::to_string(code)
                           + ")");
}

driver_handle cuda_driver::make_stream() const {
  driver_handle made = nullptr;
  check(stream_create_(&made, stream_non_blocking), "create a stream");
  return made;
}

void cuda_driver::destroy_stream(driver_handle stream) const {
  check(stream_destroy_(stream), "destroy a stream");
}

driver_handle cuda_driver::make_event() const {
  driver_handle made = nullptr;
  check(event_create_(&made, event_default), "create an event");
  return made;
}

void cuda_driver::destroy_event(driver_handle event) const {
  check(event_destroy_(event), "destroy an event");
}

void cuda_driver::record_event(driver_handle event, driver_handle stream) const {
  check(event_record_(event, stream), "record an event");
}

void cuda_driver::wait(driver_handle event, std::chrono::nanoseconds timeout) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (int polls = 1;; ++polls) {
    const auto code = event_query_(event);
    if (code != not_ready) {
      check(code, "wait for the device");
      return;
    }
    if (polls % polls_before_yield == 0) {
      std::this_thread::yield();
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      throw std::runtime_error("wait for the device: no answer");
    }
  }
}

double cuda_driver::seconds_between(driver_handle first, driver_handle last) const {
  float milliseconds = 0;
  check(event_elapsed_(&milliseconds, first, last), "read the time between events");
  return static_cast<double>(milliseconds) * 1e-3;
}

void cuda_driver::begin_recording(driver_handle stream) const {
  check(capture_begin_(stream, capture_of_this_thread), "begin to record");
}

driver_handle cuda_driver::end_recording(driver_handle stream) const {
  driver_handle graph = nullptr;
  check(capture_end_(stream, &graph), "end a recording");
  driver_handle made = nullptr;
  const auto code = graph_instantiate_(&made, graph, 0);
  (void)graph_destroy_(graph);
  check(code, "instantiate a recording");
  return made;
}

void cuda_driver::launch(driver_handle recorded, driver_handle stream) const {
  check(exec_launch_(recorded, stream), "launch a recording");
}

void cuda_driver::destroy_recording(driver_handle recorded) const {
  check(exec_destroy_(recorded), "destroy a recording");
}

void cuda_driver::copy_in(void* to,
                          const void* from,
                          std::size_t bytes,
                          driver_handle stream) const {
  check(copy_in_(reinterpret_cast<address>(to), from, bytes, stream), "copy in");
}

void cuda_driver::copy_out(void* to,
                           const void* from,
                           std::size_t bytes,
                           driver_handle stream) const {
  check(copy_out_(to, reinterpret_cast<address>(from), bytes, stream), "copy out");
}

void cuda_driver::fill_zero(void* memory, std::size_t bytes, driver_handle stream) const {
  check(fill_(reinterpret_cast<address>(memory), 0, bytes, stream), "fill with zeros");
}

} // namespace vdist::kernels::bench
