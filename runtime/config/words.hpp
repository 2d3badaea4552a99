// runtime/config/words.hpp — the words that stand for enum values in cluster.toml, by value.
// Internal to the folder.
#pragma once

#include "runtime/config/cluster_config.hpp"

#include <array>
#include <string_view>

namespace vdist::config {

/// words<E>[static_cast<size_t>(value)]; the order is that of the enumerators.
template <class Enum>
inline constexpr std::array<std::string_view, 0> words{};

template <>
inline constexpr std::array<std::string_view, 3> words<isolation_kind>{"auto", "thread", "process"};
template <>
inline constexpr std::array<std::string_view, 4> words<weight_dtype>{
    "auto", "float32", "bfloat16", "float16"};
template <>
inline constexpr std::array<std::string_view, 2> words<generation_source>{"auto", "neutral"};
template <>
inline constexpr std::array<std::string_view, 4> words<device_kind>{"auto", "cuda", "cpu", "sim"};
template <>
inline constexpr std::array<std::string_view, 3> words<exchange_choice>{"auto", "peer", "host"};
template <>
inline constexpr std::array<std::string_view, 3> words<standby_kind>{"auto", "generic", "prepared"};
template <>
inline constexpr std::array<std::string_view, 2> words<scheduling_policy>{"fcfs", "priority"};
template <>
inline constexpr std::array<std::string_view, 2> words<routing_rule>{"load", "prefix"};
template <>
inline constexpr std::array<std::string_view, 3> words<balancing_kind>{
    "internal", "external", "hybrid"};
template <>
inline constexpr std::array<std::string_view, 2> words<numerics_mode>{"fast", "invariant"};
template <>
inline constexpr std::array<std::string_view, 6> words<log_level>{
    "trace", "debug", "info", "warn", "error", "off"};

} // namespace vdist::config
