// model/arch/builders.hpp — one builder per architecture file; called by registry.cpp only.
#pragma once

#include "model/layers/declare.hpp"
#include "model/layers/decoder.hpp"
#include "model/weights/model_config.hpp"

namespace vdist::arch {

using builder = layers::decoder (*)(const weights::model_config& model, layers::declaration& to);

[[nodiscard]] layers::decoder build_gpt2(const weights::model_config& model,
                                         layers::declaration& to);
[[nodiscard]] layers::decoder build_llama(const weights::model_config& model,
                                          layers::declaration& to);
[[nodiscard]] layers::decoder build_mistral(const weights::model_config& model,
                                            layers::declaration& to);
[[nodiscard]] layers::decoder build_opt(const weights::model_config& model,
                                        layers::declaration& to);
[[nodiscard]] layers::decoder build_phi3(const weights::model_config& model,
                                         layers::declaration& to);
[[nodiscard]] layers::decoder build_qwen2(const weights::model_config& model,
                                          layers::declaration& to);
[[nodiscard]] layers::decoder build_qwen3(const weights::model_config& model,
                                          layers::declaration& to);

} // namespace vdist::arch
