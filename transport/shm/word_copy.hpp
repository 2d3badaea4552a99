// transport/shm/word_copy.hpp — copies bytes to and from memory that others may write meanwhile.
// Why not memcpy: a reader that was replaced, or a writer that is late to die, may touch a slot
// while its successor does. Word by word with relaxed atomics that is no data race: the copy is at
// worst wrong (its checksum says so), and the compiler can never look at the shared bytes a second
// time after they were checked. Cost: 8 bytes per cycle. Internal to transport/shm.
#pragma once

#include <cstddef>
#include <span>

namespace vdist::shm {

/// `shared` is 8-byte aligned and has room for whole words: the size rounded up to 8.
void copy_to_shared(std::span<const std::byte> from, std::byte* shared) noexcept;

/// The same way back: fills `to`; reads whole words.
void copy_from_shared(std::byte* shared, std::span<std::byte> to) noexcept;

} // namespace vdist::shm
