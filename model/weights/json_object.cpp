#include "model/weights/json_object.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_set>

namespace vdist::weights {

namespace {

using nlohmann::json;

/// Thrown inside the parser's callback and caught by parse_json_object.
struct refused_json : std::exception {
  explicit refused_json(std::string text) : cause(std::move(text)) {}

  std::string cause;
};

/// Refuses what nlohmann-json accepts silently: duplicate keys (the last would win) and any depth.
class strict_callback {
public:
  bool operator()(int depth, json::parse_event_t event, json& parsed) {
    if (depth > max_json_depth) {
      throw refused_json(fmt::format("nested too deeply (depth_max={})", max_json_depth));
    }
    switch (event) {
    case json::parse_event_t::object_start:
      keys_.emplace_back();
      break;
    case json::parse_event_t::object_end:
      keys_.pop_back();
      break;
    case json::parse_event_t::key: {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw refused_json(fmt::format("duplicate key (key={})", shown(key)));
      }
      break;
    }
    default:
      break;
    }
    return true;
  }

private:
  std::vector<std::unordered_set<std::string>> keys_; // one set per open object
};

bool is_within(std::int64_t value, number_bounds<std::int64_t> bounds) {
  return value >= bounds.min && value <= bounds.max;
}

/// The integer in `value`, if it is one that an int64 can hold.
std::optional<std::int64_t> as_integer(const json& value) {
  if (value.is_number_unsigned()) {
    const auto wide = value.get<std::uint64_t>();
    return wide <= static_cast<std::uint64_t>(INT64_MAX)
               ? std::optional(static_cast<std::int64_t>(wide))
               : std::nullopt;
  }
  return value.is_number_integer() ? std::optional(value.get<std::int64_t>()) : std::nullopt;
}

std::string integer_bounds_text(number_bounds<std::int64_t> bounds) {
  return fmt::format("integer from {} to {}", bounds.min, bounds.max);
}

} // namespace

result<json> parse_json_object(std::string_view text, std::string_view origin) {
  try {
    strict_callback callback;
    json parsed = json::parse(
        text.begin(), text.end(), [&callback](int depth, json::parse_event_t event, json& value) {
          return callback(depth, event, value);
        });
    if (!parsed.is_object()) {
      return fail(errc::corrupt, fmt::format("read {}: not a json object", origin));
    }
    return parsed;
  } catch (const refused_json& refused) {
    return fail(errc::corrupt, fmt::format("read {}: {}", origin, refused.cause));
  } catch (const json::parse_error& broken) {
    return fail(errc::corrupt, fmt::format("read {}: broken json (byte={})", origin, broken.byte));
  } catch (const json::exception& broken) {
    return fail(errc::corrupt,
                fmt::format("read {}: broken json (cause={})", origin, broken.what()));
  }
}

std::string shown(std::string_view text) {
  std::string line(text.substr(0, max_shown));
  for (char& letter : line) {
    letter = letter >= ' ' && letter <= '~' ? letter : '?';
  }
  return text.size() > max_shown ? line + "..." : line;
}

result<std::string> read_text_file(const std::filesystem::path& path, std::size_t max_bytes) {
  std::error_code status;
  if (!std::filesystem::is_regular_file(path, status)) {
    return fail(errc::not_found, fmt::format("read {}: no such file", path.string()));
  }
  const std::uintmax_t size = std::filesystem::file_size(path, status);
  std::ifstream file(path, std::ios::binary);
  if (status || !file) {
    return fail(errc::io_failed, fmt::format("read {}: cannot open", path.string()));
  }
  if (size > max_bytes) {
    return fail(
        errc::corrupt,
        fmt::format(
            "read {}: file is too long (bytes={}, bytes_max={})", path.string(), size, max_bytes));
  }
  std::string text(static_cast<std::size_t>(size), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) {
    return fail(errc::io_failed, fmt::format("read {}: read failed", path.string()));
  }
  text.resize(static_cast<std::size_t>(file.gcount())); // it may have shrunk since
  return text;
}

json_object::json_object(const json& object, std::string_view origin, std::string_view key_path)
    : object_(&object), origin_(origin), key_path_(key_path) {}

const json* json_object::find(std::string_view key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

bool json_object::has(std::string_view key) const {
  return find(key) != nullptr;
}

bool json_object::mentions(std::string_view key) const {
  return object_->contains(key);
}

error json_object::failure(errc code,
                           std::string_view cause,
                           std::string_view key,
                           std::string_view legal) const {
  const json* value = find(key);
  const std::string text = value == nullptr ? "unset" : shown(value->dump(-1, ' ', true));
  return fail(code,
              fmt::format("read {}: {} (key={}{}, value={}, legal={})",
                          origin_,
                          cause,
                          key_path_,
                          key,
                          text,
                          legal));
}

result<std::optional<std::int64_t>> json_object::integer(std::string_view key,
                                                         number_bounds<std::int64_t> bounds) const {
  const json* value = find(key);
  if (value == nullptr) {
    return std::optional<std::int64_t>();
  }
  const auto parsed = as_integer(*value);
  if (!parsed || !is_within(*parsed, bounds)) {
    return failure(errc::corrupt, "illegal value", key, integer_bounds_text(bounds));
  }
  return parsed;
}

result<std::int64_t> json_object::required_integer(std::string_view key,
                                                   number_bounds<std::int64_t> bounds) const {
  VDIST_ASSIGN(const auto value, integer(key, bounds));
  if (!value) {
    return failure(errc::corrupt, "missing key", key, integer_bounds_text(bounds));
  }
  return *value;
}

result<std::optional<double>> json_object::number(std::string_view key,
                                                  number_bounds<double> bounds) const {
  const json* value = find(key);
  if (value == nullptr) {
    return std::optional<double>();
  }
  const double parsed = value->is_number() ? value->get<double>() : std::nan("");
  if (!(parsed >= bounds.min && parsed <= bounds.max)) {
    return failure(errc::corrupt,
                   "illegal value",
                   key,
                   fmt::format("number from {} to {}", bounds.min, bounds.max));
  }
  return std::optional(parsed);
}

result<std::vector<double>> json_object::numbers(std::string_view key,
                                                 number_bounds<double> bounds) const {
  std::vector<double> parsed;
  const json* list = find(key);
  if (list == nullptr) {
    return parsed;
  }
  const auto is_legal = [bounds](const json& one) {
    return one.is_number() && one.get<double>() >= bounds.min && one.get<double>() <= bounds.max;
  };
  if (!list->is_array() || !std::all_of(list->begin(), list->end(), is_legal)) {
    return failure(errc::corrupt,
                   "illegal value",
                   key,
                   fmt::format("list of numbers from {} to {}", bounds.min, bounds.max));
  }
  for (const json& one : *list) {
    parsed.push_back(one.get<double>());
  }
  return parsed;
}

result<std::optional<bool>> json_object::boolean(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) {
    return std::optional<bool>();
  }
  if (!value->is_boolean()) {
    return failure(errc::corrupt, "illegal value", key, "true or false");
  }
  return std::optional(value->get<bool>());
}

result<std::optional<std::string>> json_object::string(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) {
    return std::optional<std::string>();
  }
  if (!value->is_string()) {
    return failure(errc::corrupt, "illegal value", key, "string");
  }
  return std::optional(value->get<std::string>());
}

result<std::vector<std::string>> json_object::strings(std::string_view key) const {
  std::vector<std::string> list;
  const json* value = find(key);
  if (value == nullptr) {
    return list;
  }
  if (!value->is_array()) {
    return failure(errc::corrupt, "illegal value", key, "list of strings");
  }
  for (const json& element : *value) {
    if (!element.is_string()) {
      return failure(errc::corrupt, "illegal value", key, "list of strings");
    }
    list.push_back(element.get<std::string>());
  }
  return list;
}

result<std::vector<std::int64_t>> json_object::integers(std::string_view key,
                                                        number_bounds<std::int64_t> bounds) const {
  std::vector<std::int64_t> list;
  const json* value = find(key);
  if (value == nullptr) {
    return list;
  }
  const auto add = [&list, bounds](const json& element) {
    const auto parsed = as_integer(element);
    if (parsed && is_within(*parsed, bounds)) {
      list.push_back(*parsed);
      return true;
    }
    return false;
  };
  bool is_legal = true;
  if (value->is_array()) {
    for (const json& element : *value) {
      is_legal = is_legal && add(element);
    }
  } else {
    is_legal = add(*value);
  }
  if (!is_legal) {
    return failure(
        errc::corrupt, "illegal value", key, integer_bounds_text(bounds) + ", or a list of them");
  }
  return list;
}

result<std::optional<json_object>> json_object::object(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) {
    return std::optional<json_object>();
  }
  if (!value->is_object()) {
    return failure(errc::corrupt, "illegal value", key, "object");
  }
  return std::optional(json_object(*value, origin_, fmt::format("{}{}.", key_path_, key)));
}

} // namespace vdist::weights
