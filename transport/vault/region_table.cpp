#include "transport/vault/region_table.hpp"

#include <fmt/format.h>

namespace vdist::vault {

result<std::size_t> admit_region(const region_key& key,
                                 std::size_t bytes,
                                 const region_limits& limits,
                                 const region_usage& usage) {
  if (bytes == 0 || bytes > std::numeric_limits<std::size_t>::max() / 2) {
    return fail(errc::invalid_argument,
                fmt::format("vault: illegal size ({} bytes={})", to_string(key), bytes));
  }
  if (usage.count >= limits.count) {
    return too_many_regions(key, usage.count, limits.count);
  }
  const std::size_t mapped = whole_pages(bytes, limits.page_bytes);
  if (const std::size_t room = limits.bytes - usage.bytes; mapped > room) {
    return fail(errc::resource_exhausted,
                fmt::format("vault: the limit is reached ({} bytes={} missing={} held={} limit={})",
                            to_string(key),
                            mapped,
                            mapped - room,
                            usage.bytes,
                            limits.bytes));
  }
  return mapped;
}

error too_many_regions(const region_key& key, std::size_t held, std::size_t limit) {
  return fail(
      errc::resource_exhausted,
      fmt::format("vault: too many regions ({} held={} limit={})", to_string(key), held, limit));
}

error size_differs(const region_key& key, std::size_t bytes, std::size_t held_bytes) {
  return fail(errc::invalid_argument,
              fmt::format("vault: the region exists with another size ({} bytes={} held={})",
                          to_string(key),
                          bytes,
                          held_bytes));
}

error no_such_region(const region_key& key, const char* operation) {
  return fail(errc::not_found,
              fmt::format("vault: no such region to {} ({})", operation, to_string(key)));
}

error memory_refused(const region_key& key, std::size_t bytes, const error& cause) {
  return fail(cause.code,
              fmt::format("vault: the system refused the memory ({} bytes={} missing={}): {}",
                          to_string(key),
                          bytes,
                          bytes,
                          cause.context));
}

} // namespace vdist::vault
