// runtime/config/keys.hpp — the table of all keys: type, unit, legal values, text, and where the
// value is stored. Internal to the folder. The loader, `--help`, the dump and the tests read this
// one table, so they cannot disagree.
#pragma once

#include "runtime/config/cluster_config.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace vdist::config {

/// A value between TOML and its field. Words of an enum are strings here.
using key_value =
    std::variant<bool, std::int64_t, double, std::string, secret, std::vector<std::int64_t>>;

enum class key_type : std::uint8_t { boolean, integer, number, string, word, secret, integers };

/// One key of a struct `Owner`: cluster_config, or node_section for [[node]].
template <class Owner>
struct basic_key {
  std::string_view name; // dotted, relative to the owner
  key_type type = key_type::string;
  std::string_view unit; // empty: none
  std::string_view doc;
  double minimum = 0;                      // of an integer, a number, or the entries of a list
  double maximum = 0;                      //
  bool excludes_minimum = false;           // the minimum itself is not legal
  std::span<const std::string_view> words; // of key_type::word
  bool needs_power_of_two = false;         // of an integer
  std::size_t length_max = 0;              // bytes of a string, entries of a list
  void (*write)(Owner&, const key_value&) = nullptr; // the value has the right type and range
  key_value (*read)(const Owner&) = nullptr;
};

using config_key = basic_key<cluster_config>;
using node_key = basic_key<node_section>;

/// In the order of the file; keys of one table stand together, and sub-tables behind the keys of
/// their table.
[[nodiscard]] std::span<const config_key> config_keys();
/// Keys of one [[node]].
[[nodiscard]] std::span<const node_key> node_keys();

/// Nodes of a cluster at most.
inline constexpr std::size_t nodes_max = 1024;

/// "an integer from 1 to 64", "one of auto, cuda, cpu, sim", "true or false", …
template <class Owner>
[[nodiscard]] std::string legal_values(const basic_key<Owner>& key);

extern template std::string legal_values(const basic_key<cluster_config>&);
extern template std::string legal_values(const basic_key<node_section>&);

/// Whether a value of the right type is legal for the key.
template <class Owner>
[[nodiscard]] bool is_legal(const basic_key<Owner>& key, const key_value& value);

extern template bool is_legal(const basic_key<cluster_config>&, const key_value&);
extern template bool is_legal(const basic_key<node_section>&, const key_value&);

/// TOML text of a value. Secrets come out as "(hidden)".
[[nodiscard]] std::string to_toml_text(const key_value& value);

} // namespace vdist::config
