#include "runtime/text/jinja/model_template.hpp"

#include <array>
#include <exception>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

namespace vdist::text::jinja {

namespace {

/// Of either file.
constexpr std::uintmax_t file_bytes_max = std::uintmax_t{16} << 20U;

constexpr std::array special_names{
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

/// nullopt: there is no such file.
result<std::optional<std::string>> read_file(const std::filesystem::path& path) {
  std::error_code failure;
  const auto bytes = std::filesystem::file_size(path, failure);
  if (failure) {
    return std::optional<std::string>();
  }
  if (bytes > file_bytes_max) {
    return fail(errc::corrupt, "chat template: file is too long (path=" + path.string() + ")");
  }
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad() || !file.is_open()) {
    return fail(errc::io_failed, "chat template: cannot be read (path=" + path.string() + ")");
  }
  return std::optional(std::move(text));
}

/// A special token is written as its text, or as an object with its content.
std::string special_tokens_of(const nlohmann::ordered_json& config) {
  auto found = nlohmann::ordered_json::object();
  for (const auto* name : special_names) {
    const auto one = config.find(name);
    if (one == config.end()) {
      continue;
    }
    if (one->is_string()) {
      found[name] = *one;
    } else if (one->is_object() && one->contains("content") && one->at("content").is_string()) {
      found[name] = one->at("content");
    }
  }
  return found.dump();
}

bool has_tools(const nlohmann::ordered_json& variables) {
  const auto tools = variables.find("tools");
  return tools != variables.end() && tools->is_array() && !tools->empty();
}

} // namespace

void model_template::compile(std::string_view name, std::string source) {
  auto compiled = chat_template::compile(std::move(source));
  if (!compiled) {
    defect_ = compiled.error();
    return;
  }
  (name == "tool_use" ? tools_ : default_) = std::move(*compiled);
}

model_template model_template::of_source(std::string source, std::string_view special_tokens) {
  model_template made;
  made.special_tokens_ = special_tokens;
  made.compile("default", std::move(source));
  return made;
}

model_template model_template::load(const std::filesystem::path& model_folder) {
  model_template made;
  try {
    const auto config_text = read_file(model_folder / "tokenizer_config.json");
    const auto own_file = read_file(model_folder / "chat_template.jinja");
    for (const auto* one : {&config_text, &own_file}) {
      if (!*one) {
        made.defect_ = one->error();
        return made;
      }
    }
    nlohmann::ordered_json config;
    if (*config_text) {
      config = nlohmann::ordered_json::parse(**config_text);
      made.special_tokens_ = special_tokens_of(config);
    }
    if (*own_file) {
      made.compile("default", **own_file);
      return made;
    }
    const auto written = config.find("chat_template");
    if (written == config.end() || written->is_null()) {
      return made;
    }
    if (written->is_string()) {
      made.compile("default", written->get<std::string>());
      return made;
    }
    for (const auto& one : *written) {
      const auto name = one.at("name").get<std::string>();
      if (name == "default" || name == "tool_use") {
        made.compile(name, one.at("template").get<std::string>());
      }
    }
  } catch (const nlohmann::json::exception& cause) {
    made.defect_ =
        fail(errc::corrupt, std::string("chat template: tokenizer_config.json: ") + cause.what());
  }
  return made;
}

result<std::string> model_template::render(std::string_view variables) const {
  if (defect_) {
    return *defect_;
  }
  if (!default_ && !tools_) {
    return fail(errc::unsupported,
                "chat template: the model has none; use /v1/completions, or put a "
                "chat_template.jinja beside its config.json");
  }
  try {
    auto context = nlohmann::ordered_json::parse(special_tokens_);
    context.update(nlohmann::ordered_json::parse(variables));
    const auto& chosen = tools_ && (has_tools(context) || !default_) ? *tools_ : *default_;
    return chosen.render(context);
  } catch (const nlohmann::json::exception& cause) {
    return fail(errc::invalid_argument, std::string("chat template: variables: ") + cause.what());
  }
}

} // namespace vdist::text::jinja
