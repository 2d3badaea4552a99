// runtime/config/environment.hpp — the only reader of environment variables in the product.
// Read once at start, handed down as a value. A variable that is set but empty counts as not set.
#pragma once

#include "runtime/config/secret.hpp"

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace vdist::config {

struct environment {
  std::optional<std::filesystem::path> home;           // HOME
  std::optional<std::filesystem::path> xdg_cache_home; // XDG_CACHE_HOME
  std::optional<std::filesystem::path> hf_home;        // HF_HOME
  std::optional<std::filesystem::path> hf_hub_cache;   // HF_HUB_CACHE
  secret hf_token;                                     // HF_TOKEN
  std::string hf_endpoint = "https://huggingface.co";  // HF_ENDPOINT
  bool is_hf_offline = false;                          // HF_HUB_OFFLINE: 1, true, yes or on
  std::filesystem::path programs; // VDIST_PROGRAMS: folder of vdist-run and its programs
  std::string nccl_so_path;       // VDIST_NCCL_SO_PATH; empty: the usual names are tried
};

/// Looks one variable up; nullptr when it is not set. Tests pass their own.
using variable_lookup = std::function<const char*(const char* name)>;

/// The variables of this process. Call before other threads start.
[[nodiscard]] environment read_environment();
[[nodiscard]] environment read_environment(const variable_lookup& lookup);

/// Folder of the local Hugging Face cache: HF_HUB_CACHE, else HF_HOME/hub, else
/// XDG_CACHE_HOME/huggingface/hub, else HOME/.cache/huggingface/hub; nullopt when none is set.
[[nodiscard]] std::optional<std::filesystem::path> hugging_face_cache(const environment& env);

} // namespace vdist::config
