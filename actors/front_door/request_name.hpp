// actors/front_door/request_name.hpp — the name that a client gives to a request, so that it can be sent again: the header
// Idempotency-Key. And what of it the engine knows: a number per prompt.
// The number is no secret and no proof: two names that come to the same number meet at the engine, which compares
// the bodies and refuses the second (409); equal bodies under one number would have got the same tokens anyway.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vdist::actors {

inline constexpr std::size_t request_name_bytes_max = 255;

/// Error: invalid_argument (length, characters that are not visible ASCII).
[[nodiscard]] result<void> check_request_name(std::string_view name);

/// One that nobody else has: 32 hex digits.
[[nodiscard]] std::string draw_request_name();

/// `scope`: what else must be the same, such as the client's API key and the path. Never 0.
[[nodiscard]] std::uint64_t
client_key_of(std::string_view scope, std::string_view name, std::uint64_t index) noexcept;

} // namespace vdist::actors
