// tests/transport/tensor/fake_nccl.cpp — a library with NCCL's functions over host memory, whose version and faults a test
// chooses. Built once as a good one and once as one that is too old.
#include "transport/tensor/nccl_api.hpp"

#include <atomic>
#include <cstring>

namespace {

using vdist::tensor::nccl_code;

std::atomic<int> fault{0}; // see fake_nccl_behave
std::atomic<int> aborts{0};
[[maybe_unused]] std::atomic<int> polls{0};
std::atomic<int> blocking{-1}; // of the last configuration
[[maybe_unused]] int present_size = 0;

} // namespace

// NOLINTBEGIN(readability-identifier-naming): the names are NCCL's
extern "C" {

/// 0 good, 1 joining never ends, 2 joining fails, 3 a wrong sum.
void fake_nccl_behave(int wanted) {
  fault = wanted;
}

int fake_nccl_aborts() {
  return aborts;
}

int fake_nccl_blocking() {
  return blocking;
}

nccl_code ncclGetVersion(int* version) {
  *version = VDIST_FAKE_NCCL_VERSION;
  return nccl_code::success;
}

#ifndef VDIST_FAKE_NCCL_INCOMPLETE
nccl_code ncclGetUniqueId(vdist::tensor::nccl_unique_id* id) {
  id->bytes.fill('x');
  return nccl_code::success;
}

nccl_code ncclCommInitRankConfig(vdist::tensor::nccl_comm* comm,
                                 int ranks,
                                 vdist::tensor::nccl_unique_id /*id*/,
                                 int /*rank*/,
                                 vdist::tensor::nccl_config* config) {
  static int place = 0;
  *comm = reinterpret_cast<vdist::tensor::nccl_comm>(&place);
  present_size = ranks;
  blocking = config->blocking;
  polls = 0;
  return nccl_code::in_progress;
}

nccl_code ncclCommGetAsyncError(vdist::tensor::nccl_comm /*comm*/, nccl_code* code) {
  *code = fault == 1 || ++polls < 3 ? nccl_code::in_progress
          : fault == 2              ? nccl_code::system_error
                                    : nccl_code::success;
  return nccl_code::success;
}

nccl_code ncclCommAbort(vdist::tensor::nccl_comm /*comm*/) {
  ++aborts;
  return nccl_code::success;
}

nccl_code ncclGroupStart() {
  return nccl_code::success;
}

nccl_code ncclGroupEnd() {
  return nccl_code::success;
}

nccl_code ncclAllReduce(const void* /*in*/,
                        void* out,
                        std::size_t /*count*/,
                        int /*type*/,
                        int /*op*/,
                        vdist::tensor::nccl_comm /*comm*/,
                        void* /*stream*/) {
  const auto sum =
      static_cast<float>(present_size * (present_size - 1) / 2) + (fault == 3 ? 1.0F : 0.0F);
  std::memcpy(out, &sum, sizeof sum);
  return nccl_code::in_progress;
}

nccl_code ncclAllGather(const void* in,
                        void* out,
                        std::size_t count,
                        int /*type*/,
                        vdist::tensor::nccl_comm /*comm*/,
                        void* /*stream*/) {
  std::memcpy(out, in, count);
  return nccl_code::success;
}

nccl_code ncclBroadcast(const void* /*in*/,
                        void* /*out*/,
                        std::size_t /*count*/,
                        int /*type*/,
                        int /*root*/,
                        vdist::tensor::nccl_comm /*comm*/,
                        void* /*stream*/) {
  return nccl_code::success;
}

nccl_code ncclSend(const void* /*in*/,
                   std::size_t /*count*/,
                   int /*type*/,
                   int /*peer*/,
                   vdist::tensor::nccl_comm /*comm*/,
                   void* /*stream*/) {
  return nccl_code::success;
}

nccl_code ncclRecv(void* /*out*/,
                   std::size_t /*count*/,
                   int /*type*/,
                   int /*peer*/,
                   vdist::tensor::nccl_comm /*comm*/,
                   void* /*stream*/) {
  return nccl_code::success;
}

const char* ncclGetErrorString(nccl_code code) {
  return code == nccl_code::system_error ? "unhandled system error" : "other";
}

const char* ncclGetLastError(vdist::tensor::nccl_comm /*comm*/) {
  return "from the fake";
}
#endif

} // extern "C"
// NOLINTEND(readability-identifier-naming)
