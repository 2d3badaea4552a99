#include "model/hub/web_address.hpp"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <curl/curl.h>
#include <fmt/format.h>
#include <memory>

namespace vdist::hub {

namespace {

constexpr std::size_t address_bytes_max = std::size_t{16} << 10;
constexpr std::size_t shown_max = 200; // characters of a host or path

struct url_delete {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string part_of(CURLU* url, CURLUPart part, unsigned flags) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) {
    return {};
  }
  std::string copy(text);
  curl_free(text);
  return copy;
}

} // namespace

std::optional<web_address> web_address::parse(const std::string& text) {
  const std::unique_ptr<CURLU, url_delete> url(curl_url());
  if (url == nullptr || text.size() > address_bytes_max
      || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    return std::nullopt;
  }
  web_address parts{.scheme = part_of(url.get(), CURLUPART_SCHEME, 0),
                    .host = part_of(url.get(), CURLUPART_HOST, 0),
                    .port = part_of(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT),
                    .path = part_of(url.get(), CURLUPART_PATH, 0)};
  std::transform(parts.host.begin(),
                 parts.host.end(),
                 parts.host.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  const bool is_web = parts.scheme == "https" || parts.scheme == "http";
  return is_web && !parts.host.empty() ? std::optional(std::move(parts)) : std::nullopt;
}

std::string web_address::shown() const {
  const bool is_usual = port == (scheme == "https" ? "443" : "80");
  return fmt::format("{}://{}{}{}",
                     scheme,
                     host.substr(0, shown_max),
                     is_usual ? "" : ":" + port,
                     path.substr(0, shown_max));
}

} // namespace vdist::hub
