#include "kernels/cuda/lt_library.hpp"

#include "kernels/cuda/shared_library.hpp"

namespace vdist::kernels::cuda {

namespace {

/// "libcublasLt.so.13": the one that this source was compiled against.
std::string library_name() {
  return "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
}

lt_calls open_library() {
  lt_calls calls;
  void* const library = dlopen(library_name().c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    calls.missing = std::string("load cuBLASLt: ") + (reason != nullptr ? reason : "")
                    + "; is it on the loader's path?";
    return calls;
  }
  const auto find = [&calls, library](const char* name, auto& function) {
    if (!find_function(library, name, function) && calls.missing.empty()) {
      calls.missing = library_name() + " has no " + name;
    }
  };
  find("cublasLtCreate", calls.create);
  find("cublasLtDestroy", calls.destroy);
  find("cublasLtGetStatusString", calls.status_text);
  find("cublasLtMatmul", calls.matmul);
  find("cublasLtMatmulAlgoGetHeuristic", calls.find_algorithm);
  find("cublasLtMatmulDescCreate", calls.create_product);
  find("cublasLtMatmulDescDestroy", calls.destroy_product);
  find("cublasLtMatmulDescSetAttribute", calls.set_product);
  find("cublasLtMatrixLayoutCreate", calls.create_layout);
  find("cublasLtMatrixLayoutDestroy", calls.destroy_layout);
  find("cublasLtMatmulPreferenceCreate", calls.create_preference);
  find("cublasLtMatmulPreferenceDestroy", calls.destroy_preference);
  find("cublasLtMatmulPreferenceSetAttribute", calls.set_preference);
  return calls;
}

} // namespace

const lt_calls& lt() {
  static const lt_calls calls = open_library();
  return calls;
}

} // namespace vdist::kernels::cuda
