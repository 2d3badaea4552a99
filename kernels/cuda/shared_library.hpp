// kernels/cuda/shared_library.hpp — functions of the driver's libraries, found when they are needed: a machine without a
// driver has none of them, and this library is loaded there all the same. A library that was opened stays open.
#pragma once

#include <dlfcn.h>
#include <string>

namespace vdist::kernels::cuda {

/// False where the library has no such function, or is null.
template <class Function>
bool find_function(void* library, const char* name, Function& function) {
  function = library == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

/// The driver itself, and what it lacks.
class driver_library {
public:
  driver_library() : handle_(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) {
      missing_ = std::string("no NVIDIA driver on this machine: ") + dlerror();
    }
  }

  template <class Function>
  void find(const char* name, Function& function) {
    if (!find_function(handle_, name, function) && missing_.empty()) {
      missing_ = std::string("the NVIDIA driver is too old: it has no ") + name;
    }
  }

  /// The first thing that is missing, for people; empty: nothing.
  [[nodiscard]] const std::string& missing() const { return missing_; }

private:
  void* handle_;
  std::string missing_;
};

} // namespace vdist::kernels::cuda
