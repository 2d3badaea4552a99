#include "transport/vault/vault.hpp"

#include "transport/vault/device_memory.hpp"

#include <fmt/format.h>

namespace vdist::vault {

const char* to_string(region_kind kind) noexcept {
  switch (kind) {
  case region_kind::weights:
    return "weights";
  case region_kind::kv_cache:
    return "kv_cache";
  case region_kind::exchange:
    return "exchange";
  case region_kind::custom:
    return "custom";
  case region_kind::control:
    return "control";
  case region_kind::channels:
    return "channels";
  case region_kind::peer_exchange:
    return "peer_exchange";
  }
  return "unknown";
}

std::string to_string(const region_key& key) {
  return fmt::format("kind={} rank={} index={}", to_string(key.kind), key.rank.value, key.index);
}

std::string to_string(memory_place place) {
  return place.is_host() ? "host" : fmt::format("device {}", place.device);
}

} // namespace vdist::vault
