// Bytes in the memory that no honest process wrote: whatever they are, nobody crashes, nobody runs
// forever, and what a reader accepts is what a writer sent.
#include "tests/transport/shm/ring_fixture.hpp"

#include "transport/shm/shm_ring.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr std::uint32_t places = 2;
constexpr shm::ring_shape shape{
    .readers_max = places, .slots = 4, .slot_bytes = 256, .limits = {.body_bytes_max = 4096}};
constexpr std::uint64_t known_frames = 8; // bodies test_body(0, …) to test_body(7, …)

std::size_t size_of(std::uint64_t n) {
  return n == 2 ? 300 : 20 + n * 17; // one frame of two slots
}

bool is_known(std::span<const std::byte> body) {
  for (std::uint64_t n = 0; n < known_frames; ++n) {
    const auto known = test_body(n, size_of(n));
    if (std::equal(body.begin(), body.end(), known.begin(), known.end())) {
      return true;
    }
  }
  return false;
}

struct tally {
  std::uint64_t accepted = 0;
  std::uint64_t unknown = 0; // accepted, but nobody wrote it
  std::uint64_t corrupt = 0;
  std::uint64_t refused = 0; // by open() or open_reader()
};

void read_some(frame::frame_reader& reader, tally& t) {
  for (int i = 0; i < 8; ++i) {
    const auto view = reader.read(after(-1s));
    if (view) {
      ++t.accepted;
      t.unknown += is_known(view->body) ? 0 : 1;
    } else if (view.error().code == errc::corrupt) {
      ++t.corrupt;
    } else {
      return;
    }
  }
}

/// Lies about a slot in a way that fits together: one whole frame of any length.
void lie(std::span<std::byte> memory, std::uint64_t position, std::uint32_t bytes) {
  if (const auto ring = shm::ring_memory::open(memory); ring) {
    ring->store_chunk(position,
                      {.bytes = bytes,
                       .flags = shm::chunk_first | shm::chunk_last,
                       .frame_bytes = bytes,
                       .sequence = 1});
  }
}

/// Everything that a process may do with the memory.
void use_everything(std::span<std::byte> memory, std::uint64_t turn, tally& t) {
  const auto ring = shm::shm_ring::open(memory, {}, sleeper);
  if (!ring) {
    BOOST_REQUIRE(ring.error().code == errc::corrupt);
    ++t.refused;
    return;
  }
  for (std::uint32_t i = 0; i < places; ++i) {
    auto reader = ring->open_reader(i, test_peer());
    if (!reader) {
      ++t.refused;
      continue;
    }
    read_some(**reader, t);
    if (i == turn % 3) {
      ring->detach_reader(i);
    }
  }
  if (auto writer = ring->open_writer(); writer) {
    const std::uint64_t n = turn % known_frames;
    static_cast<void>(write_error(**writer, n, size_of(n), -1s));
  }
  ring->close();
}

/// Writes something nasty somewhere; headers more often than payload.
void mutate(std::span<std::byte> memory, std::mt19937_64& random) {
  constexpr std::array<std::uint64_t, 10> nasty{0,
                                                1,
                                                5,
                                                0xffff,
                                                0xffff'ffff,
                                                std::uint64_t{1} << 32U,
                                                (std::uint64_t{1} << 48U) - 1,
                                                std::uint64_t{1} << 47U,
                                                std::uint64_t{0xfff1} << 48U,
                                                ~std::uint64_t{0}};
  const std::size_t words = memory.size() / 8;
  const std::size_t header_words =
      (sizeof(shm::ring_header) + places * sizeof(shm::reader_place)) / 8;
  const std::size_t slot = header_words + random() % shape.slots * (shape.slot_bytes / 8);
  const std::array<std::size_t, 6> targets{random() % header_words,
                                           offsetof(shm::ring_header, head) / 8,
                                           sizeof(shm::ring_header) / 8 + random() % places * 8,
                                           slot + random() % 4,
                                           slot + 4 + random() % 8,
                                           random() % words};
  auto& word = reinterpret_cast<std::uint64_t*>(memory.data())[targets[random() % targets.size()]];
  switch (random() % 4) {
  case 0:
    word = random();
    break;
  case 1:
    word = nasty[random() % nasty.size()];
    break;
  case 2:
    word ^= std::uint64_t{1} << random() % 64;
    break;
  default:
    word += random() % 16 - 8;
    break;
  }
}

/// A good ring with frames in it, as bytes.
std::vector<memory_line> filled_ring() {
  heap_memory memory(shm::ring_bytes(shape));
  const auto ring = make_ring(memory.span(), shape);
  const auto writer = writer_of(ring);
  for (std::uint64_t n = 0; n < 3; ++n) {
    BOOST_REQUIRE(write_error(*writer, n, size_of(n), -1s) == errc::ok);
  }
  std::vector<memory_line> image(memory.span().size() / sizeof(memory_line));
  std::memcpy(image.data(), memory.span().data(), memory.span().size());
  return image;
}

/// Memory that ends where an unreadable page begins: reading past it is a crash.
class guarded_memory {
public:
  guarded_memory() {
    void* address =
        mmap(nullptr, 2 * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BOOST_REQUIRE(address != MAP_FAILED);
    pages_ = static_cast<std::byte*>(address);
    BOOST_REQUIRE(mprotect(pages_ + page_bytes, page_bytes, PROT_NONE) == 0);
  }

  ~guarded_memory() { munmap(pages_, 2 * page_bytes); }

  guarded_memory(const guarded_memory&) = delete;
  guarded_memory& operator=(const guarded_memory&) = delete;

  [[nodiscard]] std::span<std::byte> span() const {
    return {pages_ + page_bytes - shm::ring_bytes(shape), shm::ring_bytes(shape)};
  }

  void set(const std::vector<memory_line>& image) const {
    std::memcpy(span().data(), image.data(), span().size());
  }

private:
  static constexpr std::size_t page_bytes = 64U << 10U; // whole pages everywhere
  std::byte* pages_ = nullptr;
};

int rounds(int quick) {
  return is_long_run() ? 10 * quick : quick;
}

} // namespace

BOOST_AUTO_TEST_SUITE(ring_hostile_suite)

BOOST_AUTO_TEST_CASE(survives_mutated_memory_that_is_opened) { // R-5, L-2
  const auto good = filled_ring();
  const guarded_memory memory;
  std::mt19937_64 random(1);
  tally t;
  for (int round = 0; round < rounds(100'000); ++round) {
    memory.set(good);
    for (auto count = random() % 4 + 1; count > 0; --count) {
      mutate(memory.span(), random);
    }
    if (round % 8 == 0) {
      lie(memory.span(), random() % shape.slots, static_cast<std::uint32_t>(random() % 8192));
    }
    use_everything(memory.span(), random(), t);
  }
  BOOST_TEST(t.unknown == 0U);
  BOOST_TEST(t.accepted > 0U);
  BOOST_TEST(t.corrupt > 0U);
  BOOST_TEST(t.refused > 0U);
}

BOOST_AUTO_TEST_CASE(survives_memory_that_changes_under_open_ends) {
  const auto good = filled_ring();
  const guarded_memory memory;
  std::mt19937_64 random(2);
  tally t;
  for (int round = 0; round < rounds(30'000); ++round) {
    memory.set(good);
    const auto ring = open_ring(memory.span());
    const auto reader = reader_of(ring, 0);
    const auto other = reader_of(ring, 1);
    const auto writer = writer_of(ring);
    for (int i = 0; i < 4; ++i) {
      mutate(memory.span(), random);
      read_some(*reader, t);
      static_cast<void>(write_error(*writer, i + 3U, size_of(i + 3U), -1s));
      read_some(*other, t);
    }
  }
  BOOST_TEST(t.unknown == 0U);
  BOOST_TEST(t.accepted > 0U);
  BOOST_TEST(t.corrupt > 0U);
}

BOOST_AUTO_TEST_CASE(a_chunk_that_cannot_be_costs_one_frame) {
  constexpr std::uint32_t payload = shape.slot_bytes - sizeof(shm::slot_header);
  constexpr std::uint64_t frame_max = sizeof(frame::envelope) + 4096;
  const auto first = shm::chunk_first;
  const auto whole = shm::chunk_first | shm::chunk_last;
  for (const shm::chunk_info& chunk :
       {shm::chunk_info{.bytes = 0, .flags = first, .frame_bytes = 100},
        shm::chunk_info{.bytes = payload + 1, .flags = whole, .frame_bytes = payload + 1},
        shm::chunk_info{.bytes = ~0U, .flags = whole, .frame_bytes = ~0U},
        shm::chunk_info{.bytes = payload, .flags = first, .frame_bytes = frame_max + 1},
        shm::chunk_info{.bytes = payload, .flags = first, .frame_bytes = payload},
        shm::chunk_info{.bytes = payload, .flags = whole, .frame_bytes = payload + 1},
        shm::chunk_info{.bytes = 63, .flags = whole, .frame_bytes = 63}}) {
    const guarded_memory memory;
    memory.set(filled_ring());
    const auto ring = open_ring(memory.span());
    shm::ring_memory::open(memory.span()).value().store_chunk(0, chunk);
    const auto reader = reader_of(ring);
    BOOST_CHECK(read_error(*reader, -1s) == errc::corrupt);
    BOOST_TEST(reads_body(*reader, 1, size_of(1)));
    BOOST_TEST(reads_body(*reader, 2, size_of(2)));
    BOOST_TEST(reader->drops().total() == 1U);
  }
}

BOOST_AUTO_TEST_CASE(positions_that_cannot_be_end_the_channel) {
  const guarded_memory memory;
  memory.set(filled_ring());
  const auto ring = open_ring(memory.span());
  const auto parts = shm::ring_memory::open(memory.span()).value();
  const auto reader = reader_of(ring);
  const auto writer = writer_of(ring);
  const auto head = parts.head();
  for (const std::uint64_t position : {head.position + 1, shm::position_max}) {
    parts.place(1).store(shm::stamp{1, position}.packed());
    parts.place(0).store(shm::stamp{3, position}.packed());
    BOOST_CHECK(write_error(*writer, 1, 10, -1s) == errc::corrupt);
  }
  const auto other = reader_of(ring);
  parts.header().head.store(shm::stamp{head.generation, head.position - 1}.packed());
  BOOST_TEST(other->has_frame());
  BOOST_CHECK(read_error(*other, -1s) == errc::corrupt);
  BOOST_CHECK(read_error(*other, -1s) == errc::closed);
}

BOOST_AUTO_TEST_CASE(refuses_memory_of_nothing_but_noise) {
  const guarded_memory memory;
  std::mt19937_64 random(3);
  tally t;
  for (int round = 0; round < rounds(20'000); ++round) {
    const auto bytes = memory.span();
    auto* words = reinterpret_cast<std::uint64_t*>(bytes.data());
    std::generate(words, words + bytes.size() / 8, [&random] { return random(); });
    if (round % 2 == 1) { // noise behind a header that says it is a ring
      std::memset(bytes.data(), 0, sizeof(shm::ring_header));
      BOOST_REQUIRE(shm::format_ring(bytes, shape));
      words[offsetof(shm::ring_header, head) / 8] = random() % 8;
    }
    use_everything(
        bytes.first(round % 5 == 0 ? random() % bytes.size() : bytes.size()), random(), t);
  }
  BOOST_TEST(t.accepted == 0U);
  BOOST_TEST(t.refused > 0U);
  BOOST_TEST(t.corrupt > 0U);
}

BOOST_AUTO_TEST_CASE(survives_a_process_that_scribbles_all_the_time) { // checked copies, R-5
  shared_memory memory(shm::ring_bytes(shape));
  const auto good = filled_ring();
  forked scribbler([&memory] {
    std::mt19937_64 random(4);
    while (true) {
      mutate(memory.span(1), random);
    }
    return 0;
  });
  tally t;
  for (int round = 0; round < rounds(30'000); ++round) {
    std::memcpy(memory.span().data(), good.data(), good.size() * sizeof(memory_line));
    use_everything(memory.span(), static_cast<std::uint64_t>(round), t);
  }
  BOOST_TEST(t.unknown == 0U);
  BOOST_TEST(t.accepted > 0U);
}

BOOST_AUTO_TEST_SUITE_END()
