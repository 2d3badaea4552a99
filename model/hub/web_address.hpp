// model/hub/web_address.hpp — an http or https address, taken apart by libcurl's own parser, so that
// what is compared here is what is connected to.
#pragma once

#include <optional>
#include <string>

namespace vdist::hub {

struct web_address {
  std::string scheme; // "http" or "https"
  std::string host;   // lower case
  std::string port;   // always set
  std::string path;

  /// nullopt: not absolute, not http(s), or too long to be meant.
  [[nodiscard]] static std::optional<web_address> parse(const std::string& text);

  [[nodiscard]] bool has_origin_of(const web_address& other) const {
    return scheme == other.scheme && host == other.host && port == other.port;
  }

  /// Whether a redirect may go there: nothing that was encrypted goes on in the clear.
  [[nodiscard]] bool may_lead_to(const web_address& next) const {
    return scheme != "https" || next.scheme == "https";
  }

  /// For error text: without user and query, which may hold secrets, and shortened.
  [[nodiscard]] std::string shown() const;
};

} // namespace vdist::hub
