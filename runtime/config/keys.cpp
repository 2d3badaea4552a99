#include "runtime/config/keys.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace vdist::config {

namespace {

std::string number_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_not_of("-0123456789") == std::string::npos) {
    text += ".0"; // TOML tells floats from integers by the dot
  }
  return text;
}

/// TOML basic string. Control characters are not legal in any key, but the dump must be safe
/// whatever it gets.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

bool is_plain_text(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

/// Ends of a range without a decimal point where they are whole.
std::string bound_text(double value) {
  return fmt::format("{}",
                     value == static_cast<double>(static_cast<std::int64_t>(value))
                         ? std::to_string(static_cast<std::int64_t>(value))
                         : fmt::format("{}", value));
}

} // namespace

template <class Owner>
std::string legal_values(const basic_key<Owner>& key) {
  const std::string range = fmt::format("{}{} to {}",
                                        key.excludes_minimum ? "above " : "",
                                        bound_text(key.minimum),
                                        bound_text(key.maximum));
  switch (key.type) {
  case key_type::boolean:
    return "true or false";
  case key_type::integer:
    return fmt::format(
        "{} from {}", key.needs_power_of_two ? "a power of two" : "an integer", range);
  case key_type::number:
    return fmt::format("a number {}{}", key.excludes_minimum ? "" : "from ", range);
  case key_type::secret:
  case key_type::string:
    return fmt::format("a string of at most {} bytes", key.length_max);
  case key_type::word:
    return fmt::format("one of {}", fmt::join(key.words, ", "));
  case key_type::integers:
    return fmt::format("a list of at most {} integers from {}", key.length_max, range);
  }
  return {};
}

template <class Owner>
bool is_legal(const basic_key<Owner>& key, const key_value& value) {
  const auto in_range = [&key](double v) {
    return v >= key.minimum && v <= key.maximum && !(key.excludes_minimum && v == key.minimum);
  };
  switch (key.type) {
  case key_type::boolean:
    return true;
  case key_type::integer: {
    const std::int64_t v = std::get<std::int64_t>(value);
    return in_range(static_cast<double>(v)) && (!key.needs_power_of_two || (v & (v - 1)) == 0);
  }
  case key_type::number:
    return in_range(std::get<double>(value));
  case key_type::string: {
    const auto& text = std::get<std::string>(value);
    return text.size() <= key.length_max && is_plain_text(text);
  }
  case key_type::secret: {
    const std::string& text = std::get<secret>(value).reveal();
    return text.size() <= key.length_max && is_plain_text(text);
  }
  case key_type::word:
    return std::find(key.words.begin(), key.words.end(), std::get<std::string>(value))
           != key.words.end();
  case key_type::integers: {
    const auto& list = std::get<std::vector<std::int64_t>>(value);
    return list.size() <= key.length_max
           && std::all_of(list.begin(), list.end(), [&](std::int64_t v) {
                return in_range(static_cast<double>(v));
              });
  }
  }
  return false;
}

template std::string legal_values(const basic_key<cluster_config>&);
template std::string legal_values(const basic_key<node_section>&);
template bool is_legal(const basic_key<cluster_config>&, const key_value&);
template bool is_legal(const basic_key<node_section>&, const key_value&);

std::string to_toml_text(const key_value& value) {
  struct writer {
    std::string operator()(bool v) const { return v ? "true" : "false"; }

    std::string operator()(std::int64_t v) const { return std::to_string(v); }

    std::string operator()(double v) const { return number_text(v); }

    std::string operator()(const std::string& v) const { return quoted(v); }

    std::string operator()(const secret& v) const { return v.is_empty() ? "\"\"" : "\"(hidden)\""; }

    std::string operator()(const std::vector<std::int64_t>& v) const {
      return fmt::format("[{}]", fmt::join(v, ", "));
    }
  };

  return std::visit(writer{}, value);
}

} // namespace vdist::config
