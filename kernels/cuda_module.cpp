#include "kernels/cuda_module.hpp"

#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <mutex>
#include <system_error>

namespace vdist::kernels {

namespace {

constexpr const char* library_name = "libvdist_cuda.so";

/// Beside the program, as in a build; in ../lib, as installed; and where the loader looks by itself.
void* open_library(std::string& why) {
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  const auto folder = program.parent_path();
  for (const auto& path : {folder / library_name, folder / ".." / "lib" / library_name}) {
    if (std::filesystem::exists(path, ignored)) {
      void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library == nullptr) {
        why = std::string("load ") + path.string() + ": " + dlerror()
              + "; is CUDA's cuBLASLt on the loader's path?";
      }
      return library;
    }
  }
  void* library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    why = std::string("this build has no CUDA: ") + dlerror()
          + "; install it beside the programs, from a build on a machine with nvcc";
  }
  return library;
}

cuda_module* open_module(std::string& why) {
  void* library = open_library(why);
  if (library == nullptr) {
    return nullptr;
  }
  void* symbol = dlsym(library, cuda_entry_name);
  if (symbol == nullptr) {
    why = std::string("load ") + library_name + ": it is not of this build (no " + cuda_entry_name
          + ")";
    return nullptr;
  }
  return reinterpret_cast<cuda_entry>(symbol)(cuda_module_version, why);
}

} // namespace

cuda_module* load_cuda_module(std::string& why) {
  static std::mutex mutex;
  static cuda_module* module = nullptr;
  static std::string reason;
  static bool is_tried = false;
  const std::lock_guard lock(mutex);
  if (!is_tried) {
    is_tried = true;
    module = open_module(reason);
  }
  why = reason;
  return module;
}

void deepen_launch_queues() noexcept {
  (void)::setenv("CUDA_SCALE_LAUNCH_QUEUES", "4x", 0);
}

} // namespace vdist::kernels
