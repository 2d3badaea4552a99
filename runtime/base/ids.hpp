// runtime/base/ids.hpp — strong integer types, one per kind of number that must not be mixed up.
// An id compares and hashes, it does not compute: `.value` is the way out. Trivially copyable;
// never allocates.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace vdist {

template <class Tag, class Rep>
struct strong_id {
  using rep = Rep;
  Rep value{};

  constexpr strong_id() = default;

  constexpr explicit strong_id(Rep v) : value(v) {}

  constexpr auto operator<=>(const strong_id&) const = default;

  constexpr strong_id next() const { return strong_id(static_cast<Rep>(value + 1)); }
};

/// A request as the router numbers it; never reused within a cluster's life.
using request_id = strong_id<struct request_id_tag, std::uint64_t>;
/// A step of one replica; rises by one, never reused, also not across epochs.
using step_id = strong_id<struct step_id_tag, std::uint64_t>;
/// Generation of a replica's group of workers; rises with every recovery.
using epoch = strong_id<struct epoch_tag, std::uint32_t>;
/// Generation of one worker slot; rises with every restart of that worker.
using incarnation = strong_id<struct incarnation_tag, std::uint32_t>;
/// Global rank of a worker, data × pipeline × prefill_context × tensor with tensor fastest.
using rank_id = strong_id<struct rank_id_tag, std::int32_t>;
/// One block of the paged KV cache of a replica; the same number on every rank of it.
using block_id = strong_id<struct block_id_tag, std::int32_t>;
/// Place of a running request in the workers' tables, 0 … max_sequences-1.
using slot_id = strong_id<struct slot_id_tag, std::uint32_t>;

/// Token ids are plain 32-bit integers everywhere: they fill large arrays and are never confused
/// with anything.
using token_id = std::int32_t;

} // namespace vdist

template <class Tag, class Rep>
struct std::hash<vdist::strong_id<Tag, Rep>> {
  std::size_t operator()(const vdist::strong_id<Tag, Rep>& id) const noexcept {
    return std::hash<Rep>{}(id.value);
  }
};
