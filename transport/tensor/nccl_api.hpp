// transport/tensor/nccl_api.hpp — NCCL, loaded at run time: no build and no start needs it. Own declarations of the few
// functions that are used, in the layout of version 2.18, which later versions accept (the configuration carries its size
// and version).
// Loading sets NCCL_NVLS_ENABLE=0 unless the variable is set: NVLink multicast is never used. The library is never
// unloaded. Call before threads start that read the environment.
#pragma once

#include "runtime/base/result.hpp"

#include <array>
#include <climits>
#include <cstddef>
#include <string>

namespace vdist::tensor {

inline constexpr int nccl_version_min = 21800; // major * 10000 + minor * 100 + patch

/// Codes of ncclResult_t.
enum class nccl_code : int {
  success = 0,
  cuda_error = 1,
  system_error = 2,
  internal_error = 3,
  invalid_argument = 4,
  invalid_usage = 5,
  remote_error = 6,
  in_progress = 7,
};

/// ncclDataType_t and ncclRedOp_t, of what is used.
inline constexpr int nccl_bytes = 0;
inline constexpr int nccl_float32 = 7;
inline constexpr int nccl_sum = 0;

struct nccl_unique_id {
  std::array<char, 128> bytes{};
};

/// ncclConfig_t of 2.18.
struct nccl_config {
  std::size_t size = sizeof(nccl_config);
  unsigned magic = 0xcafebeef;
  unsigned version = nccl_version_min;
  int blocking = INT_MIN; // INT_MIN: not said
  int cga_cluster_size = INT_MIN;
  int min_ctas = INT_MIN;
  int max_ctas = INT_MIN;
  const char* net_name = nullptr;
  int split_share = INT_MIN;
};

using nccl_comm = struct nccl_comm_handle*;
using nccl_stream = void*; // cudaStream_t

struct nccl_api {
  int version = 0;
  std::string path; // what was loaded

  nccl_code (*get_version)(int*) = nullptr;
  nccl_code (*get_unique_id)(nccl_unique_id*) = nullptr;
  nccl_code (*init_rank)(nccl_comm*, int ranks, nccl_unique_id, int rank, nccl_config*) = nullptr;
  nccl_code (*get_async_error)(nccl_comm, nccl_code*) = nullptr;
  nccl_code (*abort)(nccl_comm) = nullptr;
  nccl_code (*group_start)() = nullptr;
  nccl_code (*group_end)() = nullptr;
  nccl_code (*all_reduce)(
      const void*, void*, std::size_t, int type, int op, nccl_comm, nccl_stream) = nullptr;
  nccl_code (*all_gather)(const void*, void*, std::size_t, int type, nccl_comm, nccl_stream) =
      nullptr;
  nccl_code (*broadcast)(
      const void*, void*, std::size_t, int type, int root, nccl_comm, nccl_stream) = nullptr;
  nccl_code (*send)(const void*, std::size_t, int type, int peer, nccl_comm, nccl_stream) = nullptr;
  nccl_code (*recv)(void*, std::size_t, int type, int peer, nccl_comm, nccl_stream) = nullptr;
  const char* (*error_string)(nccl_code) = nullptr;
  const char* (*last_error)(nccl_comm) = nullptr;
};

/// "2.28.9"
[[nodiscard]] std::string nccl_version_text(int version);

/// `path`: of VDIST_NCCL_SO_PATH (runtime/config); empty: libnccl.so.2 where the loader finds it. A path that is given and
/// does not load is an error, nothing else is tried. Errors: not_found (with the loader's words), unsupported (too old, or
/// not NCCL).
[[nodiscard]] result<nccl_api> load_nccl(const std::string& path);

} // namespace vdist::tensor
