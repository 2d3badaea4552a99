// model/weights/model_config.hpp — the facts of a model's config.json, in one vocabulary for all
// architectures. Strict: a value of a wrong type or an absurd size is errc::corrupt, what this
// build cannot run is errc::unsupported; both name the file, the key and the legal values. Unknown
// keys are ignored: files carry many that change nothing.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include "kernels/activation/activation.hpp"
#include "kernels/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::weights {

enum class norm_kind : std::uint8_t { rms_norm, layer_norm };

/// Where a block's norm stands.
enum class norm_placement : std::uint8_t {
  before, // hidden += block(norm(hidden)): nearly all
  after,  // hidden = norm(hidden + block(hidden)): the first transformers, OPT 350m
};

enum class rope_scaling_kind : std::uint8_t {
  none,
  linear,   // positions divided by factor
  llama3,   // low frequencies divided by factor, a ramp between the two wavelengths
  longrope, // every frequency divided by a factor of its own, one set for short and one for long
            // contexts; amplitude on cosine and sine
};

/// Rotary position embedding. Absent (std::nullopt in model_config) where positions are learned.
struct rope_config {
  double theta = 10000.0;
  std::int32_t rotary_dim = 0; // even, <= head_dim
  rope_scaling_kind scaling = rope_scaling_kind::none;
  double factor = 1.0;                        // linear, llama3
  double low_freq_factor = 1.0;               // llama3
  double high_freq_factor = 4.0;              // llama3, > low_freq_factor
  std::int32_t original_max_positions = 8192; // llama3, longrope
  std::vector<double> short_factors;          // longrope, rotary_dim/2
  std::vector<double> long_factors;           // longrope, rotary_dim/2
  double amplitude = 1.0;                     // of cosine and sine; longrope
};

struct model_config {
  std::string architecture; // "llama", "gpt2", …: the caller's supported name
  std::int32_t layers = 0;
  std::int32_t hidden = 0;
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0; // divides heads
  std::int32_t head_dim = 0;
  std::int32_t intermediate = 0;
  std::int32_t vocabulary = 0;      // rows of the embedding in the checkpoint
  std::int32_t embedding_width = 0; // of token tables; hidden, or less (OPT 350m)
  std::int32_t max_positions = 0;   // longest sequence that the model was made for
  norm_kind norm = norm_kind::rms_norm;
  norm_placement norms = norm_placement::before;
  bool has_final_norm = true;
  float norm_eps = 1e-5F;
  kernels::activation_kind activation = kernels::activation_kind::silu;
  std::optional<rope_config> rope;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool mlp_bias = false;
  std::vector<std::int32_t> windows; // by layer, tokens, 0: full attention; empty: full everywhere
  kernels::dtype type =
      kernels::dtype::float32; // of the checkpoint, where the file states it; else float32
  std::optional<token_id> bos;
  std::vector<token_id> eos; // any of them ends a sequence

  /// Sliding window of a layer in tokens; 0: full attention.
  [[nodiscard]] std::int32_t window_of(std::int32_t layer) const {
    return windows.empty() ? 0 : windows[static_cast<std::size_t>(layer)];
  }
};

/// Bytes of a config.json.
inline constexpr std::size_t max_config_bytes = std::size_t{4} << 20;
/// Bound of every size in the file but the positions; larger is taken for damage.
inline constexpr std::int64_t max_config_size = 1'000'000;
inline constexpr std::int64_t max_config_vocabulary = 16'000'000;
inline constexpr std::int64_t max_config_positions = 100'000'000;

/// `origin` names the text in errors; `supported` lists the architectures that the caller can run
/// ("llama", …). What a file leaves unset is what the reference (Hugging Face transformers) assumes
/// for the architecture.
[[nodiscard]] result<model_config> parse_model_config(std::string_view text,
                                                      std::string_view origin,
                                                      std::span<const std::string_view> supported);

/// Reads folder/config.json.
[[nodiscard]] result<model_config> read_model_config(const std::filesystem::path& folder,
                                                     std::span<const std::string_view> supported);

} // namespace vdist::weights
