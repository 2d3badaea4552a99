#include "runtime/config/describe.hpp"

#include "runtime/config/keys.hpp"

#include <fmt/format.h>

namespace vdist::config {

namespace {

std::string_view type_name(key_type type) {
  switch (type) {
  case key_type::boolean:
    return "boolean";
  case key_type::integer:
    return "integer";
  case key_type::number:
    return "number";
  case key_type::secret:
  case key_type::string:
    return "string";
  case key_type::word:
    return "word";
  case key_type::integers:
    return "list of integers";
  }
  return "";
}

template <class Owner>
key_info info_of(const basic_key<Owner>& key, std::string_view prefix) {
  return {.name = fmt::format("{}{}", prefix, key.name),
          .type = std::string(type_name(key.type)),
          .unit = std::string(key.unit),
          .default_value = to_toml_text(key.read(Owner{})),
          .legal = legal_values(key),
          .doc = std::string(key.doc)};
}

/// "parallel.tensor" → {"parallel", "tensor"}.
std::pair<std::string_view, std::string_view> split_name(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return {name.substr(0, dot), name.substr(dot + 1)};
}

template <class Owner>
std::string assignment(const basic_key<Owner>& key, std::string_view name, const Owner& owner) {
  const key_value value = key.read(owner);
  const auto* text = std::get_if<secret>(&value);
  const bool is_hidden = text != nullptr && !text->is_empty();
  return fmt::format("{}{} = {}\n", is_hidden ? "# " : "", name, to_toml_text(value));
}

} // namespace

std::vector<key_info> list_keys() {
  std::vector<key_info> infos;
  for (const config_key& key : config_keys()) {
    infos.push_back(info_of(key, ""));
  }
  for (const node_key& key : node_keys()) {
    infos.push_back(info_of(key, "node."));
  }
  return infos;
}

std::string describe_keys() {
  std::string text;
  for (const key_info& key : list_keys()) {
    text += fmt::format("{} = {}{}{}\n    {}\n    legal: {}\n",
                        key.name,
                        key.default_value,
                        key.unit.empty() ? "" : " ",
                        key.unit,
                        key.doc,
                        key.legal);
  }
  return text;
}

std::string to_toml(const cluster_config& config) {
  std::string text;
  std::string_view section;
  for (const config_key& key : config_keys()) {
    const auto [table, name] = split_name(key.name);
    if (table != section) {
      text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", table);
      section = table;
    }
    text += assignment(key, name, config);
  }
  for (const node_section& node : config.nodes) {
    text += "\n[[node]]\n";
    for (const node_key& key : node_keys()) {
      text += assignment(key, key.name, node);
    }
  }
  return text;
}

} // namespace vdist::config
