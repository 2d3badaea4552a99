#include "runtime/config/assembler.hpp"

#include "runtime/config/keys.hpp"
#include "runtime/config/load.hpp"
#include "runtime/config/nearest.hpp"
#include "runtime/config/toml.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace vdist::config {

namespace {

/// Bytes of a rejected value that a message shows.
constexpr std::size_t shown_bytes_max = 80;

constexpr std::string_view node_list = "node";

error bad(std::string text) {
  return fail(errc::bad_configuration, std::move(text));
}

std::string shortened(std::string_view text) {
  std::string out(text.substr(0, shown_bytes_max));
  std::replace_if(
      out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text.size() > shown_bytes_max ? out + "…" : out;
}

/// Names of the tables that keys live in: "parallel", "device", "device.sim", …
bool is_section(std::string_view name) {
  const std::span<const config_key> keys = config_keys();
  return std::any_of(keys.begin(), keys.end(), [name](const config_key& key) {
    return key.name.size() > name.size() && key.name.starts_with(name)
           && key.name[name.size()] == '.';
  });
}

const config_key* find_key(std::string_view name) {
  const std::span<const config_key> keys = config_keys();
  const auto found = std::find_if(
      keys.begin(), keys.end(), [name](const config_key& key) { return key.name == name; });
  return found == keys.end() ? nullptr : &*found;
}

error unknown_key(std::string_view where, std::string_view name) {
  std::vector<std::string_view> candidates{node_list};
  for (const config_key& key : config_keys()) {
    candidates.push_back(key.name);
    for (std::size_t dot = key.name.find('.'); dot != std::string_view::npos;
         dot = key.name.find('.', dot + 1)) {
      candidates.push_back(key.name.substr(0, dot));
    }
  }
  return bad(fmt::format(
      "{}: unknown key {}; did you mean {}?", where, shortened(name), nearest(name, candidates)));
}

/// Dotted keys nest without bound in the parser's recursion, so their number is bounded before it
/// starts.
result<void> check_shape(std::string_view text, std::string_view name) {
  if (text.size() > config_bytes_max) {
    return bad(fmt::format("{}: file is too large (bytes={}); legal: at most {} bytes",
                           name,
                           text.size(),
                           config_bytes_max));
  }
  std::size_t line = 1;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view content = text.substr(0, end);
    const std::size_t start = content.find_first_not_of(" \t");
    const bool is_comment = start != std::string_view::npos && content[start] == '#';
    const auto dots = static_cast<std::size_t>(std::count(content.begin(), content.end(), '.'));
    if (!is_comment && dots > dots_per_line_max) {
      return bad(fmt::format("{}:{}: line has too many dots (dots={}); legal: at most {}",
                             name,
                             line,
                             dots,
                             dots_per_line_max));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line;
  }
  return {};
}

std::string shown(const toml::node& node) {
  if (const auto* v = node.as_string()) {
    return fmt::format("\"{}\"", shortened(v->get()));
  }
  if (const auto* v = node.as_integer()) {
    return std::to_string(v->get());
  }
  if (const auto* v = node.as_floating_point()) {
    return to_toml_text(v->get());
  }
  if (const auto* v = node.as_boolean()) {
    return v->get() ? "true" : "false";
  }
  return node.is_array() ? "a list" : node.is_table() ? "a table" : "a date or time";
}

/// The value in the key's type, nullopt when the type does not fit.
std::optional<key_value> converted(const toml::node& node, key_type type) {
  switch (type) {
  case key_type::boolean:
    return node.is_boolean() ? std::optional<key_value>(node.as_boolean()->get()) : std::nullopt;
  case key_type::integer:
    return node.is_integer() ? std::optional<key_value>(node.as_integer()->get()) : std::nullopt;
  case key_type::number:
    if (node.is_integer()) {
      return static_cast<double>(node.as_integer()->get());
    }
    return node.is_floating_point() ? std::optional<key_value>(node.as_floating_point()->get())
                                    : std::nullopt;
  case key_type::string:
  case key_type::word:
    return node.is_string() ? std::optional<key_value>(node.as_string()->get()) : std::nullopt;
  case key_type::secret:
    return node.is_string() ? std::optional<key_value>(secret(node.as_string()->get()))
                            : std::nullopt;
  case key_type::integers: {
    const toml::array* array = node.as_array();
    if (array == nullptr) {
      return std::nullopt;
    }
    std::vector<std::int64_t> list;
    for (const toml::node& entry : *array) {
      if (!entry.is_integer()) {
        return std::nullopt;
      }
      list.push_back(entry.as_integer()->get());
    }
    return list;
  }
  }
  return std::nullopt;
}

template <class Owner>
result<void> store(const basic_key<Owner>& key,
                   std::string_view full_name,
                   const toml::node& node,
                   std::string_view where,
                   Owner& owner) {
  const std::optional<key_value> value = converted(node, key.type);
  if (!value || !is_legal(key, *value)) {
    // A rejected secret is still a secret.
    return bad(fmt::format("{}: {}: must be {} (got {})",
                           where,
                           full_name,
                           legal_values(key),
                           key.type == key_type::secret ? "(hidden)" : shown(node)));
  }
  key.write(owner, *value);
  return {};
}

/// The entries of a table in the order of the file, so that the first mistake is reported first.
std::vector<std::pair<const toml::key*, const toml::node*>>
in_file_order(const toml::table& table) {
  std::vector<std::pair<const toml::key*, const toml::node*>> entries;
  for (const auto& [key, node] : table) {
    entries.emplace_back(&key, &node);
  }
  const auto position = [](const auto& entry) {
    const toml::source_position begin = entry.first->source().begin;
    return std::pair(begin.line, begin.column);
  };
  std::stable_sort(entries.begin(), entries.end(), [&position](const auto& a, const auto& b) {
    return position(a) < position(b);
  });
  return entries;
}

} // namespace

/// One pass over one parsed text. `fixed_where` is the override; empty for a file, where lines are
/// known.
class table_walk {
public:
  table_walk(assembler& made, std::string fixed_where)
      : made_(made), fixed_where_(std::move(fixed_where)) {}

  result<void> table(const toml::table& values, const std::string& prefix) {
    for (const auto& [key, node] : in_file_order(values)) {
      const std::string name =
          prefix.empty() ? std::string(key->str()) : fmt::format("{}.{}", prefix, key->str());
      VDIST_TRY(entry(name, *node, where(key->source())));
    }
    return {};
  }

  result<void> entry(const std::string& name, const toml::node& node, const std::string& at) {
    if (const config_key* key = find_key(name)) {
      VDIST_TRY(store(*key, name, node, at, made_.config_));
      made_.origins_[name] = at;
      return {};
    }
    if (name == node_list) {
      VDIST_TRY(nodes(node, at));
      made_.origins_[name] = at;
      return {};
    }
    if (!is_section(name)) {
      return unknown_key(at, name);
    }
    if (!node.is_table()) {
      return bad(
          fmt::format("{}: {}: must be a table, as in [{}] (got {})", at, name, name, shown(node)));
    }
    made_.origins_.try_emplace(name, at);
    return table(*node.as_table(), name);
  }

private:
  [[nodiscard]] std::string where(const toml::source_region& source) const {
    return fixed_where_.empty() ? fmt::format("{}:{}", made_.name_, source.begin.line)
                                : fixed_where_;
  }

  result<void> nodes(const toml::node& node, const std::string& at) {
    const toml::array* list = node.as_array();
    const bool is_list =
        list != nullptr && std::all_of(list->begin(), list->end(), [](const toml::node& n) {
          return n.is_table();
        });
    if (!is_list || list->size() > nodes_max) {
      return bad(
          fmt::format("{}: node: must be at most {} tables, each under [[node]] (got {})",
                      at,
                      nodes_max,
                      list == nullptr ? shown(node) : fmt::format("a list of {}", list->size())));
    }
    made_.config_.nodes.clear();
    for (const toml::node& entry : *list) {
      made_.config_.nodes.emplace_back();
      VDIST_TRY(one_node(*entry.as_table(), made_.config_.nodes.back()));
    }
    return {};
  }

  result<void> one_node(const toml::table& values, node_section& owner) {
    for (const auto& [key, node] : in_file_order(values)) {
      const std::string_view name = key->str();
      const std::string full = fmt::format("node.{}", shortened(name));
      const std::span<const node_key> keys = node_keys();
      const auto found = std::find_if(
          keys.begin(), keys.end(), [name](const node_key& k) { return k.name == name; });
      if (found == keys.end()) {
        std::vector<std::string_view> names;
        for (const node_key& k : keys) {
          names.push_back(k.name);
        }
        return bad(fmt::format("{}: unknown key {}; did you mean node.{}?",
                               where(key->source()),
                               full,
                               nearest(name, names)));
      }
      VDIST_TRY(store(*found, full, *node, where(key->source()), owner));
    }
    return {};
  }

  assembler& made_;
  std::string fixed_where_;
};

result<void> assembler::apply_file(std::string_view text) {
  VDIST_TRY(check_shape(text, name_));
  VDIST_ASSIGN(const toml::table values, parse_toml(text, name_));
  return table_walk(*this, "").table(values, "");
}

result<void> assembler::apply_override(std::string_view argument) {
  const std::size_t equals = argument.find('=');
  const std::string key(argument.substr(0, std::min(equals, argument.size())));
  const config_key* known = find_key(key);
  const bool is_secret = known != nullptr && known->type == key_type::secret;
  const std::string at = "--set " + (is_secret ? key + "=(hidden)" : shortened(argument));
  if (equals == std::string_view::npos || equals == 0) {
    return bad(fmt::format("{}: must have the form full.key=value", at));
  }
  if (argument.size() > override_bytes_max) {
    return bad(fmt::format("{}: too long (bytes={}); legal: at most {} bytes",
                           at,
                           argument.size(),
                           override_bytes_max));
  }
  if (known == nullptr && key != node_list && !is_section(key)) {
    return unknown_key(at, key);
  }
  const std::string_view text = argument.substr(equals + 1);
  table_walk walk(*this, at);
  const bool holds_text =
      known != nullptr
      && (known->type == key_type::string || known->type == key_type::word || is_secret);
  if (holds_text && !text.starts_with('"') && !text.starts_with('\'')) {
    return walk.entry(key, toml::value<std::string>(std::string(text)), at);
  }
  VDIST_TRY(check_shape(text, at));
  const result<toml::table> values =
      parse_toml(fmt::format("value = {}", text), at, line_numbers::hidden);
  if (!values && known != nullptr && !holds_text) {
    // A bare word: the key's own check says what is legal.
    return walk.entry(key, toml::value<std::string>(std::string(text)), at);
  }
  if (!values) {
    return values.error();
  }
  if (values->size() != 1) {
    return bad(fmt::format("{}: must be one value", at));
  }
  return walk.entry(key, values->begin()->second, at);
}

std::string assembler::where(std::string_view key) const {
  const auto found = origins_.find(key);
  return found == origins_.end() ? name_ : found->second;
}

} // namespace vdist::config
