#include "actors/front_door/api_keys.hpp"

#include "transport/http/message.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fstream>
#include <string>

namespace vdist::actors {

namespace {

constexpr std::string_view scheme = "bearer ";
/// Lines beyond are nobody's file of keys.
constexpr std::size_t lines_max = 16 * api_keys_max;

std::string_view trimmed(std::string_view text) noexcept {
  constexpr std::string_view blanks = " \t\r";
  const auto first = text.find_first_not_of(blanks);
  return first == std::string_view::npos
             ? std::string_view()
             : text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

bool is_legal_key(std::string_view key) noexcept {
  return key.size() <= api_key_bytes_max
         && std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

result<void> read_keys(const std::string& path, std::vector<config::secret>& into) {
  std::ifstream file(path);
  if (!file.is_open()) {
    return fail(errc::not_found,
                fmt::format("server.api_key_file: cannot be read (path={})", path));
  }
  std::size_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    const auto key = trimmed(line);
    if (key.empty() || key.front() == '#') {
      continue;
    }
    if (!is_legal_key(key) || into.size() >= api_keys_max || number > lines_max) {
      return fail(errc::bad_configuration,
                  fmt::format("server.api_key_file: line {}: must be a key of visible ASCII "
                              "characters, at most {} of at most {} bytes (path={})",
                              number,
                              api_keys_max,
                              api_key_bytes_max,
                              path));
    }
    into.emplace_back(std::string(key));
  }
  return into.empty()
             ? fail(errc::bad_configuration,
                    fmt::format("server.api_key_file: there is no key in it (path={})", path))
             : result<void>();
}

} // namespace

result<api_keys> api_keys::load(const config::server_section& settings) {
  api_keys made;
  if (!settings.api_key_file.empty()) {
    VDIST_TRY(read_keys(settings.api_key_file, made.keys_));
  }
  if (!settings.api_key.is_empty()) {
    if (!is_legal_key(settings.api_key.reveal())) {
      return fail(errc::bad_configuration, "server.api_key: must be visible ASCII characters");
    }
    made.keys_.push_back(settings.api_key);
  }
  return made;
}

std::optional<std::size_t> api_keys::find(std::string_view authorization) const noexcept {
  if (keys_.empty()) {
    return 0;
  }
  const bool is_bearer =
      authorization.size() > scheme.size()
      && std::equal(scheme.begin(), scheme.end(), authorization.begin(), [](char a, char b) {
           return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
         });
  const auto given = is_bearer ? trimmed(authorization.substr(scheme.size())) : std::string_view();
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < keys_.size(); ++i) { // all of them (K-1)
    if (http::is_same_secret(given, keys_[i].reveal())) {
      found = i;
    }
  }
  return is_bearer ? found : std::nullopt;
}

bool is_loopback(std::string_view host) noexcept {
  const bool is_number = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return host == "localhost" || host == "::1" || (is_number && host.starts_with("127."));
}

result<void> check_exposure(const config::server_section& settings, const api_keys& keys) {
  if (is_loopback(settings.host) || !keys.is_empty() || settings.insecure) {
    return {};
  }
  return fail(errc::bad_configuration,
              fmt::format("server.host: other machines could use this server without a key: set "
                          "server.api_key or server.api_key_file, or server.insecure = true "
                          "(host={})",
                          settings.host));
}

} // namespace vdist::actors
