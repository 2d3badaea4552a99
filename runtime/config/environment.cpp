#include "runtime/config/environment.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace vdist::config {

namespace {

std::string text_of(const variable_lookup& lookup, const char* name) {
  const char* value = lookup(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::optional<std::filesystem::path> path_of(const variable_lookup& lookup, const char* name) {
  std::string text = text_of(lookup, name);
  return text.empty() ? std::nullopt : std::optional<std::filesystem::path>(std::move(text));
}

/// The words that Hugging Face's own tools take for true, in any case.
bool is_true(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char letter) {
    return static_cast<char>(std::tolower(letter));
  });
  return text == "1" || text == "true" || text == "yes" || text == "on";
}

} // namespace

environment read_environment() {
  return read_environment([](const char* name) -> const char* { return std::getenv(name); });
}

environment read_environment(const variable_lookup& lookup) {
  environment env;
  env.home = path_of(lookup, "HOME");
  env.xdg_cache_home = path_of(lookup, "XDG_CACHE_HOME");
  env.hf_home = path_of(lookup, "HF_HOME");
  env.hf_hub_cache = path_of(lookup, "HF_HUB_CACHE");
  env.hf_token = secret(text_of(lookup, "HF_TOKEN"));
  if (auto endpoint = text_of(lookup, "HF_ENDPOINT"); !endpoint.empty()) {
    env.hf_endpoint = std::move(endpoint);
  }
  env.is_hf_offline = is_true(text_of(lookup, "HF_HUB_OFFLINE"));
  env.programs = text_of(lookup, "VDIST_PROGRAMS");
  env.nccl_so_path = text_of(lookup, "VDIST_NCCL_SO_PATH");
  return env;
}

std::optional<std::filesystem::path> hugging_face_cache(const environment& env) {
  if (env.hf_hub_cache) {
    return env.hf_hub_cache;
  }
  if (env.hf_home) {
    return *env.hf_home / "hub";
  }
  if (env.xdg_cache_home) {
    return *env.xdg_cache_home / "huggingface" / "hub";
  }
  if (env.home) {
    return *env.home / ".cache" / "huggingface" / "hub";
  }
  return std::nullopt;
}

} // namespace vdist::config
