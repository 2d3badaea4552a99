// Processes that share a ring: everything arrives, sleepers of other processes are woken, a fence
// and a close in shared memory reach all.
#include "tests/transport/shm/ring_fixture.hpp"

#include "transport/shm/shm_ring.hpp"

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr std::uint32_t readers = 3;
constexpr std::uint64_t frames = 1500;

constexpr shm::ring_shape shape{.readers_max = readers,
                                .slots = 8,
                                .slot_bytes = 512,
                                .limits = {.body_bytes_max = 64U << 10U}};

std::size_t size_of(std::uint64_t n) {
  return n % 40 == 0 ? 3 * 8 * 512 : n * 37 % 900;
}

int read_all(std::span<std::byte> memory, std::uint32_t index) {
  const auto ring = shm::shm_ring::open(memory, {}, sleeper);
  auto reader = ring ? ring->open_reader(index, test_peer()) : ring.error();
  if (!reader) {
    return 2;
  }
  for (std::uint64_t n = 0; n < frames; ++n) {
    if (!reads_body(**reader, n, size_of(n))) {
      return 3;
    }
    for (std::uint32_t slow = 0; slow < index * (n % 4); ++slow) {
      std::this_thread::yield();
    }
  }
  return read_error(**reader) == errc::closed && (*reader)->drops().total() == 0 ? 0 : 4;
}

int write_all(std::span<std::byte> memory) {
  const auto ring = shm::shm_ring::open(memory, {}, sleeper);
  auto writer = ring ? ring->open_writer() : ring.error();
  if (!writer) {
    return 2;
  }
  for (std::uint64_t n = 0; n < frames; ++n) {
    if (write_error(**writer, n, size_of(n)) != errc::ok) {
      return 3;
    }
  }
  (*writer)->close();
  return 0;
}

} // namespace

BOOST_AUTO_TEST_SUITE(ring_process_suite)

BOOST_AUTO_TEST_CASE(processes_get_every_frame_in_order) { // C-1, C-2, C-4
  shared_memory memory(shm::ring_bytes(shape));
  BOOST_REQUIRE(shm::format_ring(memory.span(), shape));
  forked writer([&memory] { return write_all(memory.span()); });
  std::vector<forked> reading; // open later than the first frames, at another address
  for (std::uint32_t r = 0; r < readers; ++r) {
    reading.emplace_back([&memory, r] { return read_all(memory.span(1), r); });
  }
  for (auto& reader : reading) {
    BOOST_TEST(reader.wait() == 0);
  }
  BOOST_TEST(writer.wait() == 0);
}

BOOST_AUTO_TEST_CASE(a_fence_in_shared_memory_ends_the_waits_of_all_processes) { // C-3
  shared_memory memory(shm::ring_bytes(shape));
  shared_memory word(sizeof(frame::fence));
  BOOST_REQUIRE(shm::format_ring(memory.span(), shape));
  auto& stop = word.as<frame::fence>();
  const shm::ring_links links{.stop = &stop};
  forked reader([&] {
    const auto ring = open_ring(memory.span(), links);
    const auto end = reader_of(ring);
    errc outcome{};
    while (outcome == errc::ok) {
      outcome = read_error(*end);
    }
    return outcome == errc::aborted ? 0 : 1;
  });
  forked writer([&] {
    const auto ring = open_ring(memory.span(), links);
    const auto end = writer_of(ring);
    errc outcome{};
    while (outcome == errc::ok) { // nobody reads at the other places
      outcome = write_error(*end, 1, 100);
    }
    return outcome == errc::aborted ? 0 : 1;
  });
  stop.raise(epoch(2));
  BOOST_TEST(writer.wait() == 0);
  BOOST_TEST(reader.wait() == 0);
}

BOOST_AUTO_TEST_CASE(a_supervisor_releases_the_writer_from_a_dead_process) {
  shared_memory memory(shm::ring_bytes(shape));
  const auto ring = make_ring(memory.span(), shape);
  ring.detach_reader(1);
  ring.detach_reader(2);
  shared_memory word(sizeof(std::atomic<std::uint32_t>));
  auto& has_opened = word.as<std::atomic<std::uint32_t>>();
  forked reader([&] {
    const auto end = reader_of(open_ring(memory.span(1)));
    has_opened = 1;
    return read_error(*end) == errc::ok ? (::pause(), 0) : 1;
  });
  while (has_opened == 0) {
    std::this_thread::yield();
  }
  const auto writer = writer_of(ring);
  while (write_error(*writer, 1, 100, impatience) == errc::ok) {
  }
  reader.kill();
  forked writing([&] { return write_error(*writer, 2, 100) == errc::closed ? 0 : 1; });
  ring.detach_reader(0);
  BOOST_TEST(writing.wait() == 0); // nobody is left to read
}

BOOST_AUTO_TEST_SUITE_END()
