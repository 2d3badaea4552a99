// model/layers/norm.hpp — RMSNorm or LayerNorm; every rank holds the whole weight and computes
// every row.
#pragma once

#include "model/layers/context.hpp"
#include "model/weights/model_config.hpp"

#include <cstdint>

namespace vdist::layers {

struct norm {
  weights::norm_kind kind = weights::norm_kind::rms_norm;
  weight_ref weight = no_weight; // [width] float32
  weight_ref bias = no_weight;   // [width] float32, LayerNorm only
  std::int32_t width = 0;
  float eps = 1e-5F;

  /// y[rows, width] = norm(x[rows, width]); rows are `stride` elements apart in both; y may be x.
  void forward(const context& in,
               kernels::const_elements x,
               kernels::elements y,
               std::int32_t rows,
               std::int64_t stride) const;
};

} // namespace vdist::layers
