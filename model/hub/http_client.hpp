// model/hub/http_client.hpp — GET and HEAD over libcurl, with what a download of models needs: the
// token for one host only, bounded redirects, parts of a file, a limit on silence.
// T-1 the token is sent to the origin (scheme, host, port) of the endpoint and to nothing else,
// however the redirects go; from https no redirect leads to http.
// T-2 no error text has a query, a user or a token in it: addresses of stores are signed.
// Proxies are libcurl's business (https_proxy, no_proxy). One thread per client.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/config/secret.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

namespace vdist::hub {

struct http_settings {
  std::string endpoint; // where the token may go
  config::secret token; // empty: none is sent
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds head_timeout{30'000}; // of a whole HEAD
  /// A GET that gains less than stall_bytes in this time ends with errc::timed_out. It is looked at
  /// about once a second.
  std::chrono::milliseconds stall_timeout{30'000};
  std::int64_t stall_bytes = 4'096;
  std::int32_t redirects_max = 5;
  std::stop_token stop; // ends a request under way with errc::cancelled
};

/// Status line and headers of an answer.
struct http_head {
  int status = 0;
  std::map<std::string, std::string, std::less<>> headers; // names in lower case
  std::string place; // scheme, host and path that answered, for error text

  [[nodiscard]] bool is_success() const { return status >= 200 && status < 300; }

  /// Empty if there is none.
  [[nodiscard]] std::string_view header(std::string_view name) const;
  /// A header that is a plain decimal number.
  [[nodiscard]] std::optional<std::uint64_t> number(std::string_view name) const;
};

/// Takes the body of a successful answer, piece by piece; an error ends the request with it.
using body_sink = std::function<result<void>(const http_head&, std::span<const std::byte>)>;

class http_client {
public:
  /// errc::bad_configuration: the endpoint is no http(s) address, or the token cannot be a header.
  [[nodiscard]] static result<http_client> make(http_settings settings);

  http_client(http_client&&) noexcept;
  http_client& operator=(http_client&&) noexcept;
  ~http_client();

  /// From byte `first` on. The body of an answer that is no success is dropped. Whatever status is
  /// no error here; errc::timed_out and closed: the network, worth another try; cancelled; io_failed:
  /// TLS refuses, a redirect leads where it must not.
  [[nodiscard]] result<http_head>
  get(const std::string& url, std::uint64_t first, const body_sink& sink);

  /// Follows redirects within the origin only: the answer that leads away is the one that states
  /// what lies behind it.
  [[nodiscard]] result<http_head> head(const std::string& url);

private:
  struct session; // keeps libcurl out of the header
  explicit http_client(std::unique_ptr<session> made);

  std::unique_ptr<session> session_;
};

/// Percent-encodes everything but letters, digits and "-._~".
[[nodiscard]] std::string url_escaped(std::string_view text);

} // namespace vdist::hub
