#include "kernels/cuda/cuda_backend.hpp"

#include "kernels/contract.hpp"
#include "kernels/cuda/cuda_group.hpp"
#include "kernels/cuda/cuda_queue.hpp"
#include "kernels/cuda/faults.hpp"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/linear_lt.hpp"
#include "kernels/cuda/lt_library.hpp"

#include <cuda_runtime_api.h>

#include <future>
#include <initializer_list>
#include <utility>

namespace vdist::kernels::cuda {

namespace {

/// "linear (tokens=3 in=64 out=32)"
std::string describe(const char* operation,
                     std::initializer_list<std::pair<const char*, std::int64_t>> sizes) {
  std::string text = std::string(operation) + " (";
  for (const auto& [name, value] : sizes) {
    text += std::string(text.back() == '(' ? "" : " ") + name + "=" + std::to_string(value);
  }
  return text + ")";
}

/// Device memory of a backend, freed with it.
class workspace {
public:
  workspace(cuda_queue& queue, std::size_t bytes)
      : queue_(queue), memory_(bytes > 0 ? queue.allocate(bytes) : nullptr), bytes_(bytes) {}

  ~workspace() { queue_.release(memory_); }

  workspace(const workspace&) = delete;
  workspace& operator=(const workspace&) = delete;

  [[nodiscard]] void* data() const { return memory_; }

  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  [[nodiscard]] bool is_missing() const { return bytes_ > 0 && memory_ == nullptr; }

private:
  cuda_queue& queue_;
  void* memory_;
  std::size_t bytes_;
};

class cuda_backend final : public backend {
public:
  cuda_backend(const cuda_backend_config& config, const device_limits& limits)
      : config_(config),
        limits_(limits),
        queue_(config.device, config.use_graphs),
        for_attention_(queue_,
                       attention_workspace_bytes(
                           config.max_tokens, config.max_heads, config.max_head_dim, limits)),
        for_sampling_(queue_,
                      config.max_vocabulary > 0
                          ? sample_workspace_bytes(config.max_logit_rows, config.max_vocabulary)
                          : 0),
        for_linear_(queue_, lt_linear::workspace_bytes),
        lt_(for_linear_.data(), for_linear_.bytes(), limits) {
    if (for_sampling_.data() != nullptr) {
      queue_.fill_zero(for_sampling_.data(), for_sampling_.bytes());
    }
    if (for_attention_.data() != nullptr) {
      queue_.fill_zero(for_attention_.data(), for_attention_.bytes());
    }
  }

  /// Why it cannot work; empty: it can.
  [[nodiscard]] std::string defect() const {
    if (!queue_.failure().empty()) {
      return queue_.failure();
    }
    for (const auto* space : {&for_attention_, &for_sampling_, &for_linear_}) {
      if (space->is_missing()) {
        return "device " + std::to_string(config_.device)
               + ": no memory for the backend's workspace (" + std::to_string(space->bytes() >> 20U)
               + " MiB); lower device.memory_utilization";
      }
    }
    return lt_.failure();
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "cuda"; }

  [[nodiscard]] activation_types types(dtype weights) const noexcept override {
    return {.inner = weights};
  }

  [[nodiscard]] device_queue& queue() noexcept override { return queue_; }

  [[nodiscard]] bool has_device_sampling() const noexcept override {
    return config_.max_vocabulary > 0;
  }

  void linear(const linear_args& a) noexcept override { run_linear(a, false); }

  void linear_residual(const linear_residual_args& a) noexcept override {
    linear_args into = a.linear; // the stream itself takes the sum
    into.y = a.hidden;
    into.y_stride = a.hidden_stride;
    run_linear(into, true);
  }

  void gated_linear(const gated_linear_args& a) noexcept override {
    if (!fits_small_linear(a.linear)) {
      backend::gated_linear(a);
      return;
    }
    small_linear_args small{.linear = a.linear, .epilogue = linear_epilogue::gate, .kind = a.kind};
    small.linear.y = a.y;
    small.linear.y_stride = a.y_stride;
    check(cuda::small_linear(small, limits_, stream()), "gated_linear", [&a] {
      return sizes_of(a.linear);
    });
  }

  void rms_norm(const rms_norm_args& a) noexcept override {
    check(cuda::rms_norm(a, stream()), "rms_norm", [&a] { return rows_of(a.rows, a.width); });
  }

  void layer_norm(const layer_norm_args& a) noexcept override {
    check(cuda::layer_norm(a, stream()), "layer_norm", [&a] { return rows_of(a.rows, a.width); });
  }

  void rope(const rope_args& a) noexcept override {
    check(cuda::rope(a, stream()), "rope", [&a] { return rows_of(a.tokens, a.heads); });
  }

  void kv_append(const kv_append_args& a) noexcept override {
    check(cuda::kv_append(a, stream()), "kv_append", [&a] {
      return rows_of(a.batch.tokens, a.kv.kv_heads);
    });
  }

  void prepare_qkv(const qkv_args& a) noexcept override {
    check(cuda::prepare_qkv(a, stream()), "prepare_qkv", [&a] {
      return rows_of(a.batch.tokens, a.heads);
    });
  }

  void attention(const attention_args& a) noexcept override {
    VDIST_CONTRACT("attention", a.batch.tokens <= config_.max_tokens);
    VDIST_CONTRACT("attention", a.heads <= config_.max_heads && a.heads % a.kv.kv_heads == 0);
    VDIST_CONTRACT("attention", a.kv.head_dim <= config_.max_head_dim);
    check(cuda::attention(a, for_attention_.data(), limits_, stream()), "attention", [&a] {
      return rows_of(a.batch.tokens, a.heads);
    });
  }

  void gated_activation(const gated_activation_args& a) noexcept override {
    check(cuda::gated_activation(a, stream()), "gated_activation", [&a] {
      return rows_of(a.rows, a.width);
    });
  }

  void activation(const activation_args& a) noexcept override {
    check(cuda::activation(a, stream()), "activation", [&a] { return rows_of(a.rows, a.width); });
  }

  void add_residual(const add_residual_args& a) noexcept override {
    check(
        cuda::add_residual(a, stream()), "add_residual", [&a] { return rows_of(a.rows, a.width); });
  }

  void embedding(const embedding_args& a) noexcept override {
    check(cuda::embedding(a, stream()), "embedding", [&a] { return rows_of(a.tokens, a.width); });
  }

  void position_embedding(const position_embedding_args& a) noexcept override {
    check(cuda::position_embedding(a, stream()), "position_embedding", [&a] {
      return rows_of(a.tokens, a.width);
    });
  }

  void gather_rows(const gather_rows_args& a) noexcept override {
    check(cuda::gather_rows(a, stream()), "gather_rows", [&a] { return rows_of(a.rows, a.width); });
  }

  void digest(const digest_args& a) noexcept override {
    check(cuda::digest(a, stream()), "digest", [&a] { return rows_of(a.rows, a.width); });
  }

  void fill_random(const random_fill_args& a) noexcept override {
    check(
        cuda::fill_random(a, stream()), "fill_random", [&a] { return rows_of(a.rows, a.columns); });
  }

  void checksum(const checksum_args& a) noexcept override {
    check(cuda::checksum(a, limits_, stream()), "checksum", [&a] {
      return rows_of(1, static_cast<std::int64_t>(a.bytes));
    });
  }

  void sample(const sample_args& a) noexcept override {
    VDIST_CONTRACT("sample", a.rows <= config_.max_logit_rows);
    VDIST_CONTRACT("sample", a.vocabulary <= config_.max_vocabulary);
    check(cuda::sample(a, for_sampling_.data(), stream()), "sample", [&a] {
      return rows_of(a.rows, a.vocabulary);
    });
  }

  void take_fed_tokens(const fed_tokens_args& a) noexcept override {
    check(cuda::take_fed_tokens(a, stream()), "take_fed_tokens", [&a] {
      return rows_of(a.tokens, 1);
    });
  }

  void update_blocks(const block_updates_args& a) noexcept override {
    check(cuda::update_blocks(a, stream()), "update_blocks", [&a] { return rows_of(a.count, 1); });
  }

  [[nodiscard]] bool inject(injected_fault what) noexcept override {
    check(cuda::inject(what, limits_, stream()), "inject a fault", [] { return rows_of(1, 1); });
    return true;
  }

  void flip_bit(float* word) noexcept override {
    check(cuda::flip_bit(reinterpret_cast<std::uint32_t*>(word), stream()), "flip a bit", [] {
      return rows_of(1, 1);
    });
  }

  [[nodiscard]] std::unique_ptr<device_group> join_group(const device_group_config& config,
                                                         std::string& why) override {
    return make_cuda_group(queue_, config, why);
  }

private:
  /// Sizes of an operation, for a message.
  struct shape_text {
    const char* first_name;
    std::int64_t first;
    const char* second_name;
    std::int64_t second;
    std::int64_t third = -1;
  };

  static shape_text rows_of(std::int64_t rows, std::int64_t width) {
    return {"rows", rows, "width", width};
  }

  static shape_text sizes_of(const linear_args& a) {
    return {"tokens", a.tokens, "in", a.in_features, a.out_features};
  }

  template <class Shape>
  void check(cudaError_t status, const char* operation, const Shape& shape) noexcept {
    queue_.check(status, [operation, &shape] {
      const shape_text text = shape();
      return text.third < 0 ? describe(
                 operation, {{text.first_name, text.first}, {text.second_name, text.second}})
                            : describe(operation,
                                       {{text.first_name, text.first},
                                        {text.second_name, text.second},
                                        {"out", text.third}});
    });
  }

  [[nodiscard]] cudaStream_t stream() const noexcept { return queue_.stream(); }

  void run_linear(const linear_args& a, bool adds) noexcept {
    if (a.tokens <= 0 || a.out_features <= 0) {
      return;
    }
    const auto sizes = [&a] {
      return sizes_of(a);
    };
    if (fits_small_linear(a)) {
      check(cuda::small_linear(
                {.linear = a, .epilogue = adds ? linear_epilogue::add : linear_epilogue::store},
                limits_,
                stream()),
            "linear",
            sizes);
    } else if (lt_.fits(a)
               && !(adds && a.y.type != dtype::float32)) { // the library would round the sum first
      check(lt_.run(a, adds, stream()), "linear", sizes);
    } else {
      check(cuda::any_linear(a, adds, stream()), "linear", sizes);
    }
  }

  const cuda_backend_config config_;
  const device_limits limits_;
  cuda_queue queue_;
  workspace for_attention_;
  workspace for_sampling_;
  workspace for_linear_;
  lt_linear lt_;
};

} // namespace

namespace {

/// Two attributes: all properties of a device take milliseconds. Why not; empty: `limits` are set.
std::string limits_of(std::int32_t device, device_limits& limits) {
  int multiprocessors = 0;
  int shared_bytes = 0;
  auto status = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  if (status == cudaSuccess) {
    status = cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  }
  if (status != cudaSuccess) {
    return "device " + std::to_string(device) + ": " + cudaGetErrorString(status);
  }
  limits = {.multiprocessors = multiprocessors, .shared_bytes_max = shared_bytes};
  return {};
}

} // namespace

std::unique_ptr<backend> make_cuda_backend(const cuda_backend_config& config, std::string& why) {
  // The library takes as long to open as the device does; nobody needs it before the backend is made.
  const auto opening = std::async(std::launch::async, [] { (void)lt(); });
  device_limits limits;
  why = limits_of(config.device, limits);
  if (!why.empty()) {
    return nullptr;
  }
  auto made = std::make_unique<cuda_backend>(config, limits);
  why = made->defect();
  if (!why.empty()) {
    return nullptr;
  }
  return made;
}

} // namespace vdist::kernels::cuda
