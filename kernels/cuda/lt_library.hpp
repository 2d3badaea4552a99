// kernels/cuda/lt_library.hpp — the functions of cuBLASLt, opened when a backend is made. It is 600 MB and takes as long to
// open as a device does, so the two are done at the same time, and processes that compute nothing never open it.
#pragma once

#include <cublasLt.h>
#include <string>

namespace vdist::kernels::cuda {

struct lt_calls {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtGetStatusString) status_text = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) find_algorithm = nullptr;
  decltype(&cublasLtMatmulDescCreate) create_product = nullptr;
  decltype(&cublasLtMatmulDescDestroy) destroy_product = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_product = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) create_layout = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
  std::string missing; // the first thing that is, for people; empty: nothing
};

/// The first call opens the library, others wait for it. Any thread.
[[nodiscard]] const lt_calls& lt();

} // namespace vdist::kernels::cuda
