// model/weights/config_fields.hpp — the two ways to read one key of config.json: a number that
// keeps its default when the key is unset, and a word that stands for an enum; private to this
// folder. Errors are json_object's: they name file, key, value and what is legal.
#pragma once

#include "model/weights/json_object.hpp"

#include "runtime/base/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vdist::weights {

/// A word in a file and what it means.
template <class Enum>
struct word {
  std::string_view name;
  Enum value;
};

/// The meaning of the word under `key`, `unset` if there is none; errc::unsupported lists the words.
template <class Enum, std::size_t Count>
[[nodiscard]] result<Enum> look_up(const json_object& file,
                                   std::string_view key,
                                   const std::array<word<Enum>, Count>& words,
                                   Enum unset) {
  VDIST_ASSIGN(const auto text, file.string(key));
  if (!text) {
    return unset;
  }
  std::string legal;
  for (const auto& entry : words) {
    if (entry.name == *text) {
      return entry.value;
    }
    legal.append(legal.empty() ? "" : " ").append(entry.name);
  }
  return file.failure(errc::unsupported, "unsupported value", key, legal);
}

/// Reads an optional value into `target`, which keeps what it holds if the key is unset.
[[nodiscard]] inline result<void> read_into(std::int32_t& target,
                                            const json_object& file,
                                            std::string_view key,
                                            number_bounds<std::int64_t> bounds) {
  VDIST_ASSIGN(const auto value, file.integer(key, bounds));
  if (value) {
    target = static_cast<std::int32_t>(*value);
  }
  return {};
}

[[nodiscard]] inline result<void> read_into(double& target,
                                            const json_object& file,
                                            std::string_view key,
                                            number_bounds<double> bounds) {
  VDIST_ASSIGN(const auto value, file.number(key, bounds));
  target = value.value_or(target);
  return {};
}

[[nodiscard]] inline result<void>
read_into(bool& target, const json_object& file, std::string_view key) {
  VDIST_ASSIGN(const auto value, file.boolean(key));
  target = value.value_or(target);
  return {};
}

} // namespace vdist::weights
