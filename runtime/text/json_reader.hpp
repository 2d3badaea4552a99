// runtime/text/json_reader.hpp — reads untrusted JSON files: every miss is an error that names the
// file and the key. Used by this folder's .cpp files only. Bounds: file size, nesting depth;
// element counts are checked by the callers.
#pragma once

#include "runtime/base/result.hpp"

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::text {

inline constexpr std::size_t json_file_bytes_max = 256UL * 1024 * 1024;
inline constexpr std::size_t json_depth_max = 64;

/// Reads a whole file; errc::not_found, errc::io_failed, or errc::corrupt when it is larger than
/// `bytes_max`.
[[nodiscard]] result<std::string> read_text_file(const std::filesystem::path& file,
                                                 std::size_t bytes_max);

/// One value of a document, and the key that leads to it. Borrowed: the document must outlive it.
class json_view {
public:
  json_view(const nlohmann::json& node, std::string key, const std::string& file)
      : node_(&node), key_(std::move(key)), file_(&file) {}

  /// The member, or an error that names it.
  [[nodiscard]] result<json_view> member(std::string_view name) const;
  /// The member; nothing when it is absent or null, or when this is no object.
  [[nodiscard]] std::optional<json_view> find(std::string_view name) const;

  [[nodiscard]] result<std::string> as_string() const;
  [[nodiscard]] result<bool> as_bool() const;
  [[nodiscard]] result<std::int64_t> as_integer(std::int64_t low, std::int64_t high) const;
  /// The elements of an array of at most `count_max`.
  [[nodiscard]] result<std::vector<json_view>> as_array(std::size_t count_max) const;

  [[nodiscard]] bool is_string() const;
  [[nodiscard]] bool is_object() const;

  /// Members that may be absent or null.
  [[nodiscard]] result<bool> bool_or(std::string_view name, bool fallback) const;
  [[nodiscard]] result<std::string> string_or(std::string_view name,
                                              std::string_view fallback) const;
  /// The member `type`, in objects that are told apart by it.
  [[nodiscard]] result<std::string> type() const;

  [[nodiscard]] const nlohmann::json& node() const { return *node_; }

  [[nodiscard]] const std::string& key() const { return key_; }

  [[nodiscard]] error corrupt(std::string_view cause) const;
  /// `type` is not one of `supported`.
  [[nodiscard]] error
  unsupported(std::string_view what, std::string_view type, std::string_view supported) const;

private:
  const nlohmann::json* node_;
  std::string key_; // "model.merges[3]"; empty for the root
  const std::string* file_;
};

/// A parsed file. Movable; views stay valid.
class json_document {
public:
  [[nodiscard]] static result<json_document> load(const std::filesystem::path& file);
  json_document(json_document&&) noexcept;
  json_document& operator=(json_document&&) noexcept;
  ~json_document();

  [[nodiscard]] json_view root() const { return {*root_, {}, *file_}; }

private:
  json_document();
  std::unique_ptr<nlohmann::json> root_;
  std::unique_ptr<std::string> file_; // named in errors
};

} // namespace vdist::text
