// tests/model/exec/golden_config.hpp — how one rank runs a whole model of tests/golden.
#pragma once

#include "model/exec/model_runner.hpp"

#include <filesystem>
#include <string>

namespace vdist::testing {

inline std::filesystem::path golden_folder(const std::string& model) {
  return std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "models" / model;
}

inline exec::model_runner_config golden_config(const std::string& model,
                                               const exec::runner_limits& limits) {
  exec::model_runner_config made;
  made.source.folder = golden_folder(model);
  made.model = *weights::read_model_config(made.source.folder, arch::supported_architectures());
  made.type = made.model.type;
  made.place = {.layers = {0, made.model.layers}};
  made.limits = limits;
  return made;
}

} // namespace vdist::testing
