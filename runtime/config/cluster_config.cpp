#include "runtime/config/cluster_config.hpp"

#include "runtime/config/words.hpp"

#include <algorithm>

namespace vdist::config {

namespace {

template <class Enum>
std::string_view word(Enum value) noexcept {
  const auto index = static_cast<std::size_t>(value);
  return index < words<Enum>.size() ? words<Enum>[index] : "unknown";
}

} // namespace

std::string_view to_string(isolation_kind value) noexcept {
  return word(value);
}

std::string_view to_string(weight_dtype value) noexcept {
  return word(value);
}

std::string_view to_string(generation_source value) noexcept {
  return word(value);
}

std::string_view to_string(device_kind value) noexcept {
  return word(value);
}

std::string_view to_string(exchange_choice value) noexcept {
  return word(value);
}

std::string_view to_string(standby_kind value) noexcept {
  return word(value);
}

std::string_view to_string(scheduling_policy value) noexcept {
  return word(value);
}

std::string_view to_string(routing_rule value) noexcept {
  return word(value);
}

std::string_view to_string(balancing_kind value) noexcept {
  return word(value);
}

std::string_view to_string(numerics_mode value) noexcept {
  return word(value);
}

std::string_view to_string(log_level value) noexcept {
  return word(value);
}

std::int32_t
threads_per_worker(const device_section& device, std::int32_t cores, std::int32_t local_workers) {
  if (device.threads > 0) {
    return device.threads;
  }
  return std::max(1, cores / std::max(1, local_workers));
}

} // namespace vdist::config
