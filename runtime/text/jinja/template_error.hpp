// runtime/text/jinja/template_error.hpp — how a template's fault travels inside this folder. In an
// interpreter every expression can fail, so here, as nowhere else, errors are exceptions; the two
// entry points (chat_template.cpp) turn each into a result with line and column. None leaves the
// folder.
#pragma once

#include "runtime/base/result.hpp"

#include <exception>
#include <optional>
#include <string>

namespace vdist::text::jinja {

class template_error : public std::exception {
public:
  template_error(errc code, std::string cause) : code_(code), cause_(std::move(cause)) {}

  /// With the place, for errors of the source: a byte offset into it.
  template_error(errc code, std::string cause, std::size_t offset)
      : code_(code), cause_(std::move(cause)), offset_(offset) {}

  [[nodiscard]] errc code() const { return code_; }

  [[nodiscard]] const std::string& cause() const { return cause_; }

  [[nodiscard]] std::optional<std::size_t> offset() const { return offset_; }

  [[nodiscard]] const char* what() const noexcept override { return cause_.c_str(); }

private:
  errc code_;
  std::string cause_;
  std::optional<std::size_t> offset_;
};

/// The template did something that its values do not allow (Python's TypeError, UndefinedError, …).
[[noreturn]] inline void refuse(std::string cause) {
  throw template_error(errc::invalid_argument, std::move(cause));
}

} // namespace vdist::text::jinja
