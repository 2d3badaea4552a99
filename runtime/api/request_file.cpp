#include "runtime/api/request_file.hpp"

#include "runtime/api/fields.hpp"
#include "runtime/api/json.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::api {

namespace {

using nlohmann::json;

result<std::string> read_id(const json& value) {
  std::string id;
  if (value.is_string()) {
    id = value.get<std::string>();
  } else if (value.is_number_integer()) {
    id = value.dump();
  } else {
    return fail(errc::invalid_argument,
                fmt::format("id must be a string or an integer (got {})", shown(value)));
  }
  if (id.empty() || id.size() > id_bytes_max) {
    return fail(
        errc::invalid_argument,
        fmt::format("id has a wrong length (bytes={}); legal: 1 to {}", id.size(), id_bytes_max));
  }
  return id;
}

/// One field; `has_prompt` counts the fields that carry the prompt.
result<void>
read_field(const std::string& field, const json& value, file_request& request, int& prompts) {
  if (field == "id") {
    VDIST_ASSIGN(request.id, read_id(value));
    return {};
  }
  if (field == "prompt") {
    if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
      return fail(errc::invalid_argument,
                  fmt::format("prompt must be a text that is not empty (got {})", shown(value)));
    }
    request.prompt = value.get<std::string>();
    ++prompts;
    return {};
  }
  if (field == "token_ids") {
    VDIST_ASSIGN(request.token_ids, read_token_ids(field, value, token_ids_max));
    if (request.token_ids.empty()) {
      return fail(errc::invalid_argument, "token_ids must not be empty");
    }
    ++prompts;
    return {};
  }
  VDIST_ASSIGN(const bool is_known, read_param(field, value, request.params));
  if (!is_known) {
    return fail(errc::invalid_argument, fmt::format("unknown field {}", shown_text(field)));
  }
  return {};
}

result<file_request>
read_request(std::string_view text, std::uint64_t line, const sampling_params& base) {
  if (text.size() > line_bytes_max) {
    return fail(
        errc::invalid_argument,
        fmt::format("line is too long (bytes={}); legal: at most {}", text.size(), line_bytes_max));
  }
  VDIST_ASSIGN(const json object, parse_object(text, json_depth_max));
  file_request request;
  request.id = std::to_string(line);
  request.line = line;
  request.params = base;
  int prompts = 0;
  for (const auto& [field, value] : object.items()) {
    VDIST_TRY(read_field(field, value, request, prompts));
  }
  if (prompts != 1) {
    return fail(
        errc::invalid_argument,
        fmt::format("exactly one of prompt and token_ids must be given (given={})", prompts));
  }
  VDIST_TRY(validate(request.params));
  return request;
}

} // namespace

result<file_request> parse_request_line(std::string_view text,
                                        std::string_view file,
                                        std::uint64_t line,
                                        const sampling_params& base) {
  result<file_request> request = read_request(text, line, base);
  if (!request) {
    return fail(errc::invalid_argument,
                fmt::format("{}:{}: {}", file, line, request.error().context));
  }
  return request;
}

request_reader::request_reader(std::istream& in, std::string file, sampling_params base)
    : in_(in), file_(std::move(file)), base_(std::move(base)) {}

result<bool> request_reader::read_line() {
  text_.clear();
  if (in_.peek() == std::istream::traits_type::eof()) {
    return false;
  }
  ++line_;
  bool is_too_long = false;
  int c = 0;
  std::streambuf& bytes = *in_.rdbuf();
  while ((c = bytes.sbumpc()) != std::streambuf::traits_type::eof() && c != '\n') {
    // The rest of a line that is too long is read and dropped, so that the next call finds the next
    // line.
    is_too_long = is_too_long || text_.size() == line_bytes_max;
    if (!is_too_long) {
      text_.push_back(static_cast<char>(c));
    }
  }
  if (is_too_long) {
    return fail(
        errc::invalid_argument,
        fmt::format(
            "{}:{}: line is too long; legal: at most {} bytes", file_, line_, line_bytes_max));
  }
  if (line_ == 1 && text_.starts_with("\xEF\xBB\xBF")) {
    text_.erase(0, 3); // a byte order mark, which some editors write
  }
  if (text_.ends_with('\r')) {
    text_.pop_back();
  }
  return true;
}

result<std::optional<file_request>> request_reader::next() {
  while (true) {
    VDIST_ASSIGN(const bool has_line, read_line());
    if (!has_line) {
      return std::optional<file_request>();
    }
    if (text_.find_first_not_of(" \t") == std::string::npos) {
      continue;
    }
    VDIST_ASSIGN(file_request request, parse_request_line(text_, file_, line_, base_));
    const auto [entry, is_new] = seen_.try_emplace(request.id, line_);
    if (!is_new) {
      return fail(errc::invalid_argument,
                  fmt::format("{}:{}: id was used before (id={}, line={})",
                              file_,
                              line_,
                              shown_text(request.id),
                              entry->second));
    }
    return std::optional<file_request>(std::move(request));
  }
}

} // namespace vdist::api
