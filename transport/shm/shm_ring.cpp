#include "transport/shm/shm_ring.hpp"

#include "transport/shm/ring_end.hpp"

#include <fmt/format.h>

namespace vdist::shm {

void ring_end::wake_readers() const noexcept {
  memory.header().data.ring();
  if (links.outer != nullptr) {
    links.outer->ring();
  }
}

void ring_end::close() const noexcept {
  memory.header().is_closed.store(1);
  memory.header().space.ring();
  wake_readers();
}

void ring_end::detach(std::uint32_t index, std::optional<std::uint16_t> only) const noexcept {
  auto& place = memory.place(index);
  auto word = place.load();
  stamp seen;
  do {
    seen = stamp::unpack(word);
    if (!seen.is_attached() || (only && seen.generation != *only)) {
      return;
    }
  } while (!place.compare_exchange_weak(word, seen.later(1).packed()));
  // Whoever dies before this line leaves a writer that notices when its limit is used up.
  memory.header().departures.fetch_add(1);
  memory.header().space.ring();
  wake_readers();
}

result<shm_ring> shm_ring::open(std::span<std::byte> memory,
                                const ring_links& links,
                                const frame::wait_policy& waits) {
  VDIST_ASSIGN(const auto opened, ring_memory::open(memory));
  return shm_ring(opened, links, waits);
}

result<std::unique_ptr<frame::frame_writer>> shm_ring::open_writer() const {
  return make_ring_writer({memory_, links_, waits_});
}

result<std::unique_ptr<frame::frame_reader>>
shm_ring::open_reader(std::uint32_t index, const frame::expectation& expected) const {
  if (index >= shape().readers_max) {
    return fail(errc::invalid_argument,
                fmt::format("ring: no such reader place (index={} readers_max={})",
                            index,
                            shape().readers_max));
  }
  return make_ring_reader({memory_, links_, waits_}, index, expected);
}

void shm_ring::detach_reader(std::uint32_t index) const noexcept {
  if (index < shape().readers_max) {
    ring_end{memory_, links_, waits_}.detach(index, std::nullopt);
  }
}

void shm_ring::close() const noexcept {
  ring_end{memory_, links_, waits_}.close();
}

} // namespace vdist::shm
