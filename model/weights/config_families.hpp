// model/weights/config_families.hpp — what the config.json of each architecture calls things, what
// it leaves unsaid, and the facts that it alone has; private to this folder. Adding an architecture:
// an entry in the table of config_families.cpp. What would change a model's output and cannot be run
// is refused by key; it is never ignored.
#pragma once

#include "model/weights/json_object.hpp"
#include "model/weights/model_config.hpp"

#include "runtime/base/result.hpp"

#include "kernels/activation/activation.hpp"

#include <cstdint>
#include <span>
#include <string_view>

namespace vdist::weights {

/// The keys under which a family writes the same facts. An empty key is never set.
struct key_names {
  std::string_view layers = "num_hidden_layers";
  std::string_view hidden = "hidden_size";
  std::string_view heads = "num_attention_heads";
  std::string_view kv_heads = "num_key_value_heads";
  std::string_view head_dim = "head_dim";
  std::string_view intermediate = "intermediate_size";
  std::string_view max_positions = "max_position_embeddings";
  std::string_view norm_eps = "rms_norm_eps";
  std::string_view activation = "hidden_act";
};

/// How the files of a family are read, and what they leave unsaid.
struct family {
  std::string_view name;
  key_names keys = {};
  std::int32_t columns_per_hidden = 0; // of the MLP where the file is silent; 0: it must say
  norm_kind norm = norm_kind::rms_norm;
  double norm_eps = 1e-6;                                               // where the file is silent
  kernels::activation_kind activation = kernels::activation_kind::silu; // likewise
  result<void> (*read_rest)(model_config&, const json_object&);
};

/// Every architecture whose files can be read, by rising name.
[[nodiscard]] std::span<const family> families() noexcept;

} // namespace vdist::weights
