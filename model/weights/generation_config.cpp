#include "model/weights/generation_config.hpp"

#include "model/weights/json_object.hpp"
#include "model/weights/model_config.hpp"

#include <nlohmann/json.hpp>

namespace vdist::weights {

result<generation_config> parse_generation_config(std::string_view text, std::string_view origin) {
  constexpr number_bounds<std::int64_t> token_bounds{0, max_config_vocabulary - 1};
  constexpr double smallest = 1e-9; // stands for "above 0"
  VDIST_ASSIGN(const auto parsed, parse_json_object(text, origin));
  const json_object file(parsed, origin);
  generation_config config;
  VDIST_ASSIGN(config.do_sample, file.boolean("do_sample"));
  VDIST_ASSIGN(config.temperature, file.number("temperature", {0.0, 100.0}));
  VDIST_ASSIGN(config.top_p, file.number("top_p", {smallest, 1.0}));
  VDIST_ASSIGN(config.min_p, file.number("min_p", {0.0, 1.0}));
  VDIST_ASSIGN(config.repetition_penalty, file.number("repetition_penalty", {smallest, 100.0}));
  VDIST_ASSIGN(const auto top_k, file.integer("top_k", {0, max_config_vocabulary}));
  if (top_k) {
    config.top_k = static_cast<std::int32_t>(*top_k);
  }
  VDIST_ASSIGN(const auto bos, file.integer("bos_token_id", token_bounds));
  if (bos) {
    config.bos = static_cast<token_id>(*bos);
  }
  VDIST_ASSIGN(const auto eos, file.integers("eos_token_id", token_bounds));
  for (const std::int64_t id : eos) {
    config.eos.push_back(static_cast<token_id>(id));
  }
  return config;
}

result<generation_config> read_generation_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "generation_config.json";
  std::error_code status;
  if (!std::filesystem::exists(path, status)) {
    return generation_config{};
  }
  VDIST_ASSIGN(const auto text, read_text_file(path, max_config_bytes));
  return parse_generation_config(text, path.string());
}

} // namespace vdist::weights
