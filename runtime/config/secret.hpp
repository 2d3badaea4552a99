// runtime/config/secret.hpp — a string that no log line, message or dump can show.
// There is no conversion and no formatter: the text comes out through reveal() only, at the place
// that needs it.
#pragma once

#include <ostream>
#include <string>
#include <utility>

namespace vdist::config {

/// Holds an API key or access token by value.
class secret {
public:
  secret() = default;

  explicit secret(std::string text) : text_(std::move(text)) {}

  [[nodiscard]] bool is_empty() const noexcept { return text_.empty(); }

  /// The text itself. Never pass it to anything that prints.
  [[nodiscard]] const std::string& reveal() const noexcept { return text_; }

  friend bool operator==(const secret&, const secret&) = default;

  friend std::ostream& operator<<(std::ostream& out, const secret& s) {
    return out << (s.is_empty() ? "" : "(hidden)");
  }

private:
  std::string text_;
};

} // namespace vdist::config
