#include "transport/tensor/nccl_api.hpp"

#include <cstdlib>
#include <dlfcn.h>
#include <fmt/format.h>

namespace vdist::tensor {

namespace {

constexpr const char* usual_name = "libnccl.so.2";

/// Looks up functions until one is missing.
class symbols {
public:
  explicit symbols(void* library) : library_(library) {}

  template <class Function>
  void find(Function& into, const char* name) {
    void* const found = dlsym(library_, name);
    if (found == nullptr && missing_ == nullptr) {
      missing_ = name;
    }
    into = reinterpret_cast<Function>(found);
  }

  [[nodiscard]] const char* missing() const { return missing_; }

private:
  void* library_;
  const char* missing_ = nullptr;
};

} // namespace

std::string nccl_version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

result<nccl_api> load_nccl(const std::string& path) {
  // The one variable that is written here: it is NCCL's own switch, and NCCL has no other.
  (void)setenv("NCCL_NVLS_ENABLE", "0", 0);
  const std::string name = path.empty() ? usual_name : path;
  void* const library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return fail(errc::not_found,
                fmt::format("load nccl: {}; VDIST_NCCL_SO_PATH names the library (path={})",
                            dlerror(),
                            name));
  }
  nccl_api api;
  api.path = name;
  symbols all(library);
  all.find(api.get_version, "ncclGetVersion");
  all.find(api.get_unique_id, "ncclGetUniqueId");
  all.find(api.init_rank, "ncclCommInitRankConfig");
  all.find(api.get_async_error, "ncclCommGetAsyncError");
  all.find(api.abort, "ncclCommAbort");
  all.find(api.group_start, "ncclGroupStart");
  all.find(api.group_end, "ncclGroupEnd");
  all.find(api.all_reduce, "ncclAllReduce");
  all.find(api.all_gather, "ncclAllGather");
  all.find(api.broadcast, "ncclBroadcast");
  all.find(api.send, "ncclSend");
  all.find(api.recv, "ncclRecv");
  all.find(api.error_string, "ncclGetErrorString");
  all.find(api.last_error, "ncclGetLastError");
  // The version first: it explains a function that is missing.
  if (api.get_version == nullptr || api.get_version(&api.version) != nccl_code::success) {
    return fail(errc::unsupported, fmt::format("load nccl: it tells no version (path={})", name));
  }
  if (api.version < nccl_version_min) {
    return fail(errc::unsupported,
                fmt::format("load nccl: it is too old (version={} needed={} path={})",
                            nccl_version_text(api.version),
                            nccl_version_text(nccl_version_min),
                            name));
  }
  if (all.missing() != nullptr) {
    return fail(errc::unsupported,
                fmt::format("load nccl: it has no {} (version={} path={})",
                            all.missing(),
                            nccl_version_text(api.version),
                            name));
  }
  return api;
}

} // namespace vdist::tensor
