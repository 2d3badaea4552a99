// tests/support/json_schema.hpp — checks JSON against the schemas of an OpenAPI document: the part of JSON Schema that
// OpenAI's uses. A keyword that it does not know is a problem, too: nothing is passed over in silence.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::testing {

class json_schema {
public:
  explicit json_schema(nlohmann::json document) : document_(std::move(document)) {}

  /// Throws when there is no such file, or no JSON in it.
  [[nodiscard]] static json_schema load(const std::filesystem::path& file);

  /// What is wrong with `value` as one of components.schemas, each with the path of the value; empty: it is valid.
  [[nodiscard]] std::vector<std::string> problems(const nlohmann::json& value,
                                                  std::string_view schema) const;

  [[nodiscard]] nlohmann::json& document() { return document_; }

  [[nodiscard]] const nlohmann::json& document() const { return document_; }

private:
  using problem_list = std::vector<std::string>;

  void check(const nlohmann::json& schema,
             const nlohmann::json& value,
             const std::string& path,
             problem_list& found) const;
  void check_alternatives(const nlohmann::json& schema,
                          const nlohmann::json& value,
                          const std::string& path,
                          problem_list& found) const;
  [[nodiscard]] const nlohmann::json& target_of(const std::string& reference) const;

  nlohmann::json document_;
};

} // namespace vdist::testing
