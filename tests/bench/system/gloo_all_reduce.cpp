#include "tests/bench/system/gloo_all_reduce.hpp"

#include <chrono>
#include <csignal>
#include <gloo/allreduce.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <utility>

namespace vdist::bench {

namespace {

constexpr std::chrono::seconds timeout{10};

error failure(const std::exception& cause) {
  return fail(errc::io_failed, std::string("gloo: all-reduce failed: ") + cause.what());
}

class joined final : public gloo_all_reduce {
public:
  explicit joined(std::shared_ptr<gloo::rendezvous::Context> context)
      : context_(std::move(context)) {}

  result<void> run(std::span<float> data) override {
    try {
      gloo::AllreduceOptions options(context_);
      options.setOutput(data.data(), data.size());
      options.setReduceFunction([](void* out, const void* a, const void* b, std::size_t count) {
        gloo::sum<float>(out, a, b, count);
      });
      gloo::allreduce(options);
      return {};
    } catch (const std::exception& cause) {
      return failure(cause);
    }
  }

private:
  const std::shared_ptr<gloo::rendezvous::Context> context_; // shared with Gloo's options
};

} // namespace

result<std::unique_ptr<gloo_all_reduce>>
gloo_all_reduce::join(const std::string& folder, std::int32_t rank, std::int32_t ranks) {
  std::signal(SIGPIPE, SIG_IGN);
  try {
    gloo::rendezvous::FileStore store(folder);
    auto device = gloo::transport::tcp::CreateDevice("127.0.0.1");
    auto context = std::make_shared<gloo::rendezvous::Context>(rank, ranks);
    context->setTimeout(timeout);
    context->connectFullMesh(store, device);
    return std::unique_ptr<gloo_all_reduce>(std::make_unique<joined>(std::move(context)));
  } catch (const std::exception& cause) {
    return failure(cause);
  }
}

} // namespace vdist::bench
