#include "runtime/text/json_reader.hpp"

#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>

namespace vdist::text {
namespace {

/// Whether brackets nest deeper than json_depth_max. Strings are skipped; other errors are the
/// parser's to find.
bool is_too_deep(std::string_view json) {
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > json_depth_max) {
        return true;
      }
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return false;
}

} // namespace

result<std::string> read_text_file(const std::filesystem::path& file, std::size_t bytes_max) {
  std::error_code code;
  const auto bytes = std::filesystem::file_size(file, code);
  if (code) {
    return fail(code == std::errc::no_such_file_or_directory ? errc::not_found : errc::io_failed,
                fmt::format("read file: {} (file={})", code.message(), file.string()));
  }
  if (bytes > bytes_max) {
    return fail(errc::corrupt,
                fmt::format("read file: {} bytes, at most {} are allowed (file={})",
                            bytes,
                            bytes_max,
                            file.string()));
  }
  std::string text(bytes, '\0');
  std::ifstream stream(file, std::ios::binary);
  stream.read(text.data(), static_cast<std::streamsize>(bytes));
  if (!stream) {
    return fail(errc::io_failed, fmt::format("read file: cannot be read (file={})", file.string()));
  }
  return text;
}

json_document::json_document() = default;
json_document::json_document(json_document&&) noexcept = default;
json_document& json_document::operator=(json_document&&) noexcept = default;
json_document::~json_document() = default;

result<json_document> json_document::load(const std::filesystem::path& file) {
  VDIST_ASSIGN(const std::string text, read_text_file(file, json_file_bytes_max));
  if (is_too_deep(text)) {
    return fail(errc::corrupt,
                fmt::format("parse json: nested deeper than {} levels (file={})",
                            json_depth_max,
                            file.string()));
  }
  json_document document;
  document.file_ = std::make_unique<std::string>(file.string());
  try {
    document.root_ = std::make_unique<nlohmann::json>(nlohmann::json::parse(text));
  } catch (const nlohmann::json::exception& e) {
    return fail(errc::corrupt, fmt::format("parse json: {} (file={})", e.what(), file.string()));
  }
  if (!document.root_->is_object()) {
    return document.root().corrupt("must be an object");
  }
  return document;
}

error json_view::corrupt(std::string_view cause) const {
  return fail(
      errc::corrupt,
      fmt::format("read json: {} (file={}, key={})", cause, *file_, key_.empty() ? "." : key_));
}

error json_view::unsupported(std::string_view what,
                             std::string_view type,
                             std::string_view supported) const {
  return fail(errc::unsupported,
              fmt::format("read json: unsupported {} (file={}, key={}, type={}, supported={})",
                          what,
                          *file_,
                          key_.empty() ? "." : key_,
                          type,
                          supported));
}

std::optional<json_view> json_view::find(std::string_view name) const {
  if (!node_->is_object()) {
    return std::nullopt;
  }
  const auto it = node_->find(name);
  if (it == node_->end() || it->is_null()) {
    return std::nullopt;
  }
  return json_view(
      *it, key_.empty() ? std::string(name) : fmt::format("{}.{}", key_, name), *file_);
}

result<json_view> json_view::member(std::string_view name) const {
  if (auto found = find(name)) {
    return *std::move(found);
  }
  return corrupt(fmt::format("member '{}' is missing", name));
}

result<std::string> json_view::as_string() const {
  if (!node_->is_string()) {
    return corrupt("must be a string");
  }
  return node_->get<std::string>();
}

result<bool> json_view::as_bool() const {
  if (!node_->is_boolean()) {
    return corrupt("must be true or false");
  }
  return node_->get<bool>();
}

result<std::int64_t> json_view::as_integer(std::int64_t low, std::int64_t high) const {
  if (node_->is_number_integer()) {
    const bool fits = !node_->is_number_unsigned() || node_->get<std::uint64_t>() <= INT64_MAX;
    if (const auto value = node_->get<std::int64_t>(); fits && value >= low && value <= high) {
      return value;
    }
  }
  return corrupt(fmt::format("must be an integer from {} to {}", low, high));
}

result<std::vector<json_view>> json_view::as_array(std::size_t count_max) const {
  if (!node_->is_array()) {
    return corrupt("must be an array");
  }
  if (node_->size() > count_max) {
    return corrupt(
        fmt::format("has {} elements, at most {} are allowed", node_->size(), count_max));
  }
  std::vector<json_view> elements;
  elements.reserve(node_->size());
  for (std::size_t i = 0; i < node_->size(); ++i) {
    elements.emplace_back((*node_)[i], fmt::format("{}[{}]", key_, i), *file_);
  }
  return elements;
}

bool json_view::is_string() const {
  return node_->is_string();
}

bool json_view::is_object() const {
  return node_->is_object();
}

result<bool> json_view::bool_or(std::string_view name, bool fallback) const {
  const auto found = find(name);
  return found ? found->as_bool() : result<bool>(fallback);
}

result<std::string> json_view::string_or(std::string_view name, std::string_view fallback) const {
  const auto found = find(name);
  return found ? found->as_string() : result<std::string>(std::string(fallback));
}

result<std::string> json_view::type() const {
  VDIST_ASSIGN(const json_view found, member("type"));
  return found.as_string();
}

} // namespace vdist::text
