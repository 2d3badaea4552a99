#include "tests/runtime/sched/torn_table.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace vdist::testing {

namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t header_bytes = 64;
constexpr std::size_t head_bytes = 16;
constexpr std::size_t computed_offset = 8; // in a head, behind the id
constexpr std::size_t place_bytes = 4;
constexpr std::size_t note_bytes = 8;
constexpr std::size_t notes_base = 64; // and two for each sequence
constexpr std::size_t notes_made_offset = 40;

} // namespace

table_memory::table_memory(const sched::kv_table_config& config) {
  const auto bytes = sched::kv_table::bytes_for(config);
  owner_ = std::make_unique<std::byte[]>(bytes + alignment);
  void* place = owner_.get();
  std::size_t space = bytes + alignment;
  span_ = {static_cast<std::byte*>(std::align(alignment, bytes, place, space)), bytes};
}

void table_memory::assign(const table_bytes& bytes) const {
  std::copy(bytes.begin(), bytes.end(), span_.begin());
}

std::vector<table_bytes> states_between(const table_bytes& before,
                                        const table_bytes& after,
                                        std::span<const std::uint32_t> slots,
                                        const sched::kv_table_config& config) {
  std::vector<table_bytes> states{before};
  const auto store = [&states, &after](std::size_t offset, std::size_t bytes) {
    if (std::memcmp(states.back().data() + offset, after.data() + offset, bytes) != 0) {
      states.push_back(states.back());
      std::memcpy(states.back().data() + offset, after.data() + offset, bytes);
    }
  };
  const auto heads_bytes =
      (static_cast<std::size_t>(config.max_sequences) * head_bytes + alignment - 1) / alignment
      * alignment;
  const auto notes = header_bytes + heads_bytes;
  const auto notes_bytes =
      ((notes_base + 2 * static_cast<std::size_t>(config.max_sequences)) * note_bytes + alignment
       - 1)
      / alignment * alignment;
  const auto row = static_cast<std::size_t>(config.blocks_per_sequence);
  store(notes_made_offset, note_bytes); // of no consequence
  for (std::size_t i = 0; i < notes_bytes; i += note_bytes) {
    store(notes + i, note_bytes);
  }
  for (const auto slot : slots) {
    const auto head = header_bytes + slot * head_bytes;
    store(head, computed_offset);
    for (std::size_t i = 0; i < row; ++i) {
      store(notes + notes_bytes + (slot * row + i) * place_bytes, place_bytes);
    }
    store(head + computed_offset, place_bytes);
  }
  if (states.back() != after) {
    throw std::runtime_error("T-3: the table was written where nothing was to be written");
  }
  return states;
}

} // namespace vdist::testing
