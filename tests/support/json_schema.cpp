#include "tests/support/json_schema.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <stdexcept>

namespace vdist::testing {

namespace {

using nlohmann::json;

/// Keywords that say nothing about values, and those that check() knows.
constexpr std::array<std::string_view, 11> notes{"description",
                                                 "title",
                                                 "default",
                                                 "example",
                                                 "examples",
                                                 "deprecated",
                                                 "format",
                                                 "readOnly",
                                                 "writeOnly",
                                                 "discriminator",
                                                 "externalDocs"};
constexpr std::array<std::string_view, 18> known{"$ref",
                                                 "type",
                                                 "nullable",
                                                 "enum",
                                                 "const",
                                                 "oneOf",
                                                 "anyOf",
                                                 "allOf",
                                                 "items",
                                                 "properties",
                                                 "required",
                                                 "additionalProperties",
                                                 "minimum",
                                                 "maximum",
                                                 "minItems",
                                                 "maxItems",
                                                 "minLength",
                                                 "maxLength"};

bool is_of_type(const json& value, const std::string& type) {
  return (type == "object" && value.is_object()) || (type == "array" && value.is_array())
         || (type == "string" && value.is_string()) || (type == "boolean" && value.is_boolean())
         || (type == "null" && value.is_null()) || (type == "number" && value.is_number())
         || (type == "integer" && value.is_number_integer());
}

/// One type, or a list of them.
bool has_type(const json& value, const json& types) {
  const auto list = types.is_array() ? types : json::array({types});
  return std::any_of(list.begin(), list.end(), [&value](const json& type) {
    return is_of_type(value, type.get<std::string>());
  });
}

double size_of(const json& value) {
  return static_cast<double>(value.is_string() ? value.get_ref<const std::string&>().size()
                                               : value.size());
}

/// minimum, minItems and their like.
void check_bounds(const json& schema,
                  const json& value,
                  const std::string& path,
                  std::vector<std::string>& found) {
  struct bound {
    const char* keyword;
    bool applies;
    bool is_least;
  };

  for (const bound& one : {bound{"minimum", value.is_number(), true},
                           bound{"maximum", value.is_number(), false},
                           bound{"minItems", value.is_array(), true},
                           bound{"maxItems", value.is_array(), false},
                           bound{"minLength", value.is_string(), true},
                           bound{"maxLength", value.is_string(), false}}) {
    if (one.applies && schema.contains(one.keyword)) {
      const double measured = value.is_number() ? value.get<double>() : size_of(value);
      const double limit = schema[one.keyword].get<double>();
      if (one.is_least ? measured < limit : measured > limit) {
        found.push_back(path + ": beyond " + one.keyword + " " + schema[one.keyword].dump());
      }
    }
  }
}

} // namespace

json_schema json_schema::load(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) {
    throw std::runtime_error("cannot read " + file.string());
  }
  return json_schema(json::parse(in));
}

std::vector<std::string> json_schema::problems(const json& value, std::string_view schema) const {
  problem_list found;
  check(target_of("#/components/schemas/" + std::string(schema)), value, "$", found);
  return found;
}

const json& json_schema::target_of(const std::string& reference) const {
  return document_.at(json::json_pointer(reference.substr(1)));
}

void json_schema::check(const json& schema,
                        const json& value,
                        const std::string& path,
                        problem_list& found) const {
  if (schema.is_boolean()) {
    if (!schema.get<bool>()) {
      found.push_back(path + ": may not be there");
    }
    return;
  }
  for (const auto& [keyword, unused] : schema.items()) {
    if (!keyword.starts_with("x-") && std::find(notes.begin(), notes.end(), keyword) == notes.end()
        && std::find(known.begin(), known.end(), keyword) == known.end()) {
      found.push_back(path + ": the schema has a keyword that is not known, " + keyword);
    }
  }
  if (value.is_null() && schema.value("nullable", false)) {
    return;
  }
  if (schema.contains("$ref")) {
    check(target_of(schema["$ref"]), value, path, found);
  }
  if (schema.contains("type") && !has_type(value, schema["type"])) {
    found.push_back(path + ": " + value.dump().substr(0, 80) + " is not " + schema["type"].dump());
    return;
  }
  if (schema.contains("const") && value != schema["const"]) {
    found.push_back(path + ": is not " + schema["const"].dump());
  }
  if (schema.contains("enum")
      && std::find(schema["enum"].begin(), schema["enum"].end(), value) == schema["enum"].end()) {
    found.push_back(path + ": " + value.dump() + " is none of " + schema["enum"].dump());
  }
  check_bounds(schema, value, path, found);
  check_alternatives(schema, value, path, found);
  if (value.is_array() && schema.contains("items")) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      check(schema["items"], value[i], path + "[" + std::to_string(i) + "]", found);
    }
  }
  if (!value.is_object()) {
    return;
  }
  for (const auto& name : schema.value("required", json::array())) {
    if (!value.contains(name.get<std::string>())) {
      found.push_back(path + ": " + name.get<std::string>() + " is missing");
    }
  }
  const auto properties = schema.value("properties", json::object());
  for (const auto& [name, member] : value.items()) {
    if (const auto property = properties.find(name); property != properties.end()) {
      check(*property, member, path + "." + name, found);
    } else if (schema.contains("additionalProperties")) {
      check(schema["additionalProperties"], member, path + "." + name, found);
    }
  }
}

void json_schema::check_alternatives(const json& schema,
                                     const json& value,
                                     const std::string& path,
                                     problem_list& found) const {
  for (const auto& part : schema.value("allOf", json::array())) {
    check(part, value, path, found);
  }
  for (const char* const keyword : {"anyOf", "oneOf"}) {
    if (!schema.contains(keyword)) {
      continue;
    }
    std::size_t fitting = 0;
    problem_list why;
    for (const auto& part : schema[keyword]) {
      const auto before = why.size();
      check(part, value, path, why);
      fitting += why.size() == before ? 1 : 0;
    }
    if (fitting == 0) {
      found.push_back(path + ": fits nothing of " + keyword);
      found.insert(found.end(), why.begin(), why.end());
    } else if (fitting > 1 && std::string_view(keyword) == "oneOf") {
      found.push_back(path + ": fits more than one of oneOf");
    }
  }
}

} // namespace vdist::testing
