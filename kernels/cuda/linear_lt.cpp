#include "kernels/cuda/linear_lt.hpp"

#include "kernels/cuda/lt_library.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cublasLt.h>
#include <type_traits>
#include <unordered_map>
#include <utility>

namespace vdist::kernels::cuda {

namespace {

/// Everything that the choice of an algorithm depends on. Plain integers: compared and hashed as such.
struct shape_key {
  std::int32_t tokens = 0;
  std::int32_t in_features = 0;
  std::int32_t out_features = 0;
  std::int64_t x_stride = 0;
  std::int64_t y_stride = 0;
  dtype inner = dtype::float32;             // of weight and x
  dtype outer = dtype::float32;             // of y
  bool has_bias = false;                    // added by the library
  std::array<std::uint32_t, 4> alignment{}; // bytes: weight, x, y, bias

  bool operator==(const shape_key&) const = default;
};

struct shape_hash {
  std::size_t operator()(const shape_key& key) const noexcept {
    std::uint64_t hash = 0xcbf29ce484222325U; // FNV-1a over the fields
    const auto mix = [&hash](std::uint64_t value) {
      hash = (hash ^ value) * 0x100000001b3U;
    };
    mix(static_cast<std::uint64_t>(key.tokens));
    mix(static_cast<std::uint64_t>(key.in_features));
    mix(static_cast<std::uint64_t>(key.out_features));
    mix(static_cast<std::uint64_t>(key.x_stride));
    mix(static_cast<std::uint64_t>(key.y_stride));
    mix(static_cast<std::uint64_t>(key.inner) * 8 + static_cast<std::uint64_t>(key.outer) * 2
        + (key.has_bias ? 1U : 0U));
    for (const std::uint32_t bytes : key.alignment) {
      mix(bytes);
    }
    return static_cast<std::size_t>(hash ^ (hash >> 32U));
  }
};

/// Largest power of two up to 256 that divides the address.
std::uint32_t alignment_of(const void* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory) | 256U;
  return static_cast<std::uint32_t>(address & (~address + 1U));
}

cudaDataType_t type_of(dtype type) {
  switch (type) {
  case dtype::bfloat16:
    return CUDA_R_16BF;
  case dtype::float16:
    return CUDA_R_16F;
  case dtype::float32:
    break;
  }
  return CUDA_R_32F;
}

/// The library adds a bias of the type of y, which ours is not when y has 16 bits.
bool may_fuse_bias(const linear_args& a) {
  return a.bias != nullptr && a.y.type == dtype::float32;
}

shape_key key_of(const linear_args& a, bool has_bias) {
  return {.tokens = a.tokens,
          .in_features = a.in_features,
          .out_features = a.out_features,
          .x_stride = a.x_stride,
          .y_stride = a.y_stride,
          .inner = a.weight_dtype,
          .outer = a.y.type,
          .has_bias = has_bias,
          .alignment = {alignment_of(a.weight),
                        alignment_of(a.x.data),
                        alignment_of(a.y.data),
                        has_bias ? alignment_of(a.bias) : 256U}};
}

/// Handles of the library, destroyed with their owner. `Destroy`: a member of lt_calls.
template <auto Destroy>
struct destroyer {
  template <class T>
  void operator()(T* handle) const noexcept {
    (void)(lt().*Destroy)(handle);
  }
};

template <class Handle, auto Destroy>
using owned = std::unique_ptr<std::remove_pointer_t<Handle>, destroyer<Destroy>>;

using handle_ptr = owned<cublasLtHandle_t, &lt_calls::destroy>;
using product_ptr = owned<cublasLtMatmulDesc_t, &lt_calls::destroy_product>;
using layout_ptr = owned<cublasLtMatrixLayout_t, &lt_calls::destroy_layout>;
using preference_ptr = owned<cublasLtMatmulPreference_t, &lt_calls::destroy_preference>;

/// Remembers the first status that was not success.
struct first_failure {
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;

  void note(cublasStatus_t next) {
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = next;
    }
  }
};

/// What the library needs to know about one shape.
struct descriptors {
  product_ptr product;
  layout_ptr weight;
  layout_ptr x;
  layout_ptr y;
};

/// A shape that was met: its descriptors and the algorithm chosen for them. A tuning step would replace `algorithm`.
struct plan {
  descriptors shape;
  cublasLtMatmulAlgo_t algorithm{};
  std::size_t workspace_bytes = 0;
  bool is_known = false; // to the library; otherwise there is no algorithm
};

cublasStatus_t point_to_bias(const descriptors& shape, const float* bias) {
  const void* pointer = bias;
  return lt().set_product(
      shape.product.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, &pointer, sizeof pointer);
}

layout_ptr layout_of(dtype type,
                     std::int64_t rows,
                     std::int64_t columns,
                     std::int64_t stride,
                     first_failure& failed) {
  cublasLtMatrixLayout_t raw = nullptr;
  failed.note(lt().create_layout(&raw,
                                 type_of(type),
                                 static_cast<std::uint64_t>(rows),
                                 static_cast<std::uint64_t>(columns),
                                 stride));
  return layout_ptr(raw);
}

product_ptr product_of(const shape_key& key, first_failure& failed) {
  cublasLtMatmulDesc_t raw = nullptr;
  failed.note(lt().create_product(&raw,
                                  key.inner == dtype::float32 ? CUBLAS_COMPUTE_32F_PEDANTIC
                                                              : CUBLAS_COMPUTE_32F,
                                  CUDA_R_32F));
  product_ptr product(raw);
  if (product == nullptr) {
    return product;
  }
  const cublasOperation_t transposed = CUBLAS_OP_T;
  failed.note(lt().set_product(raw, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
  const cublasLtEpilogue_t epilogue =
      key.has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  failed.note(lt().set_product(raw, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
  return product;
}

descriptors describe(const shape_key& key, first_failure& failed) {
  descriptors out;
  out.product = product_of(key, failed);
  out.weight = layout_of(key.inner, key.in_features, key.out_features, key.in_features, failed);
  out.x = layout_of(key.inner, key.in_features, key.tokens, key.x_stride, failed);
  out.y = layout_of(key.outer, key.out_features, key.tokens, key.y_stride, failed);
  return out;
}

preference_ptr
preference_of(const shape_key& key, std::size_t workspace_bytes, first_failure& failed) {
  cublasLtMatmulPreference_t raw = nullptr;
  failed.note(lt().create_preference(&raw));
  preference_ptr preference(raw);
  if (preference == nullptr) {
    return preference;
  }
  const auto set = [raw, &failed](cublasLtMatmulPreferenceAttributes_t name, const auto& value) {
    failed.note(lt().set_preference(raw, name, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{workspace_bytes});
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      std::uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE}); // L-1; NONE is always allowed
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, key.alignment[0]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, key.alignment[1]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.alignment[2]);
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.alignment[2]);
  return preference;
}

} // namespace

struct lt_linear::state {
  /// Shapes kept: a server that meets every number of tokens on every matrix must not grow for ever.
  static constexpr std::size_t plans_max = 8192;

  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
  handle_ptr handle;
  std::unordered_map<shape_key, plan, shape_hash> plans;
  std::string failure;

  void note(const char* operation, cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS && failure.empty()) {
      failure = std::string(operation) + ": " + lt().status_text(status);
    }
  }

  /// The library's first choice (L-1).
  plan make_plan(const shape_key& key, const float* bias) {
    first_failure failed;
    plan out;
    out.shape = describe(key, failed);
    const auto preference = preference_of(key, workspace_bytes, failed);
    if (failed.status == CUBLAS_STATUS_SUCCESS && key.has_bias) {
      failed.note(point_to_bias(out.shape, bias)); // the heuristic looks at its alignment
    }
    if (failed.status != CUBLAS_STATUS_SUCCESS) {
      note("cublasLt descriptors", failed.status);
      return out;
    }
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    const auto status = lt().find_algorithm(handle.get(),
                                            out.shape.product.get(),
                                            out.shape.weight.get(),
                                            out.shape.x.get(),
                                            out.shape.y.get(),
                                            out.shape.y.get(),
                                            preference.get(),
                                            1,
                                            &found,
                                            &count);
    out.is_known =
        status == CUBLAS_STATUS_SUCCESS && count > 0 && found.state == CUBLAS_STATUS_SUCCESS;
    out.algorithm = found.algo;
    out.workspace_bytes = found.workspaceSize;
    return out;
  }

  const plan& plan_for(const shape_key& key, const float* bias) {
    const auto at = plans.find(key);
    if (at != plans.end()) {
      return at->second;
    }
    if (plans.size() >= plans_max) {
      plans.clear();
    }
    return plans.emplace(key, make_plan(key, bias)).first->second;
  }

  cublasStatus_t
  multiply(const plan& p, const linear_args& a, bool is_fused, bool adds, cudaStream_t stream) {
    if (is_fused) {
      if (const auto status = point_to_bias(p.shape, a.bias); status != CUBLAS_STATUS_SUCCESS) {
        return status;
      }
    }
    const float alpha = 1.0F;
    const float beta = adds ? 1.0F : 0.0F; // 0: y is not read
    return lt().matmul(handle.get(),
                       p.shape.product.get(),
                       &alpha,
                       a.weight,
                       p.shape.weight.get(),
                       a.x.data,
                       p.shape.x.get(),
                       &beta,
                       a.y.data,
                       p.shape.y.get(),
                       a.y.data,
                       p.shape.y.get(),
                       &p.algorithm,
                       workspace,
                       std::min(p.workspace_bytes, workspace_bytes),
                       stream);
  }
};

lt_linear::lt_linear(void* workspace, std::size_t bytes, const device_limits& /*device*/)
    : state_(std::make_unique<state>()) {
  state_->workspace = workspace;
  state_->workspace_bytes = workspace != nullptr ? bytes : 0;
  if (!lt().missing.empty()) {
    state_->failure = lt().missing;
    return;
  }
  cublasLtHandle_t raw = nullptr;
  state_->note("cublasLtCreate", lt().create(&raw));
  state_->handle.reset(raw);
}

lt_linear::~lt_linear() = default;

const std::string& lt_linear::failure() const noexcept {
  return state_->failure;
}

bool lt_linear::fits(const linear_args& a) const noexcept {
  if (state_->handle == nullptr || a.tokens <= 0 || a.in_features <= 0 || a.out_features <= 0
      || a.x.type != a.weight_dtype) {
    return false;
  }
  if (a.weight_dtype == dtype::float32) {
    return a.y.type == dtype::float32;
  }
  return (a.y.type == dtype::float32 || a.y.type == a.weight_dtype) && a.in_features % 8 == 0
         && a.x_stride % 8 == 0 && alignment_of(a.weight) >= 16 && alignment_of(a.x.data) >= 16;
}

cudaError_t lt_linear::run(const linear_args& a, bool adds, cudaStream_t stream) noexcept {
  bool is_fused = may_fuse_bias(a);
  const plan* p = &state_->plan_for(key_of(a, is_fused), a.bias);
  if (!p->is_known && is_fused) {
    is_fused = false;
    p = &state_->plan_for(key_of(a, false), nullptr);
  }
  if (!p->is_known) {
    return any_linear(a, adds, stream);
  }
  const auto status = state_->multiply(*p, a, is_fused, adds, stream);
  if (status != CUBLAS_STATUS_SUCCESS) {
    state_->note("cublasLtMatmul", status);
    const auto pending = cudaPeekAtLastError();
    return pending != cudaSuccess ? pending : cudaErrorLaunchFailure;
  }
  return a.bias != nullptr && !is_fused ? add_bias(a, stream) : cudaPeekAtLastError();
}

} // namespace vdist::kernels::cuda
