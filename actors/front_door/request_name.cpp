#include "actors/front_door/request_name.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <random>

namespace vdist::actors {

namespace {

/// FNV-1a, whose low bits are weak, and a finalizer (that of MurmurHash3) that mends them.
class name_hash {
public:
  void add(std::string_view bytes) noexcept {
    for (const char c : bytes) {
      state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    }
    state_ = (state_ ^ 0xffU) * 0x100000001b3U; // no byte of UTF-8: "a", "bc" is not "ab", "c"
  }

  void add(std::uint64_t number) noexcept {
    state_ = mixed(state_ ^ (number * 0x9e3779b97f4a7c15U));
  }

  [[nodiscard]] std::uint64_t value() const noexcept { return mixed(state_); }

private:
  static std::uint64_t mixed(std::uint64_t x) noexcept {
    x = (x ^ (x >> 33U)) * 0xff51afd7ed558ccdU;
    x = (x ^ (x >> 33U)) * 0xc4ceb9fe1a85ec53U;
    return x ^ (x >> 33U);
  }

  std::uint64_t state_ = 0xcbf29ce484222325U;
};

} // namespace

result<void> check_request_name(std::string_view name) {
  const bool is_visible =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (name.empty() || name.size() > request_name_bytes_max || !is_visible) {
    return fail(errc::invalid_argument,
                fmt::format("idempotency-key: must be 1 to {} visible ASCII characters (bytes={})",
                            request_name_bytes_max,
                            name.size()));
  }
  return {};
}

std::string draw_request_name() {
  thread_local std::random_device source;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", source(), source(), source(), source());
}

std::uint64_t
client_key_of(std::string_view scope, std::string_view name, std::uint64_t index) noexcept {
  name_hash hash;
  hash.add(scope);
  hash.add(name);
  hash.add(index + 1);
  return std::max<std::uint64_t>(hash.value(), 1);
}

} // namespace vdist::actors
