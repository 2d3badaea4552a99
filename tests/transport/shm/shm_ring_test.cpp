// The ring as a channel (conformance, over memory of one process and over two mappings of shared
// memory), and what it does beyond that: places, takeovers, torn frames, many rings on one bell.
#include "transport/shm/shm_ring.hpp"

#include "tests/transport/shm/ring_fixture.hpp"

#include <algorithm>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr shm::ring_shape small_ring(std::uint32_t readers) {
  return {.readers_max = readers,
          .slots = 8,
          .slot_bytes = 512,
          .limits = {.body_bytes_max = 64U << 10U}};
}

constexpr std::size_t capacity = 8 * 512;

/// A ring of which the writer uses one mapping and the readers another one (or the same).
template <class Memory>
class ring_under_test final : public channel_under_test {
public:
  ring_under_test(const channel_options& options, const frame::wait_policy& waits)
      : memory_(shm::ring_bytes(small_ring(options.readers))),
        writing_(make_ring(span(0), small_ring(options.readers), {.stop = options.stop}, waits)),
        reading_(open_ring(span(1), {.stop = options.stop}, waits)),
        writer_(writer_of(writing_)) {}

  frame::frame_writer& writer() override { return *writer_; }

  std::unique_ptr<frame::frame_reader> attach(std::uint32_t index,
                                              const frame::expectation& expected) override {
    auto reader = reading_.open_reader(index, expected);
    BOOST_REQUIRE(reader);
    return std::move(reader).value();
  }

  void detach(std::uint32_t index) override { writing_.detach_reader(index); }

  void close() override { reading_.close(); }

  std::size_t bytes_bound() const override { return capacity; }

  std::size_t body_bytes_max() const override { return small_ring(1).limits.body_bytes_max; }

  void damage(const frame::frame_view& view) override {
    const auto all = span(0);
    const auto found = std::search(all.begin(), all.end(), view.body.begin(), view.body.end());
    BOOST_REQUIRE(found != all.end());
    *found ^= std::byte{1};
  }

private:
  std::span<std::byte> span(std::size_t mapping) {
    if constexpr (requires { memory_.span(mapping); }) {
      return memory_.span(mapping);
    } else {
      return memory_.span();
    }
  }

  Memory memory_;
  shm::shm_ring writing_;
  shm::shm_ring reading_;
  std::unique_ptr<frame::frame_writer> writer_;
};

std::unique_ptr<channel_under_test> make_spinning(const channel_options& options) {
  return std::make_unique<ring_under_test<heap_memory>>(
      options, frame::wait_policy(frame::wait_settings{}, channel_clock));
}

std::unique_ptr<channel_under_test> make_sleeping(const channel_options& options) {
  return std::make_unique<ring_under_test<heap_memory>>(options, sleeper);
}

std::unique_ptr<channel_under_test> make_mapped_twice(const channel_options& options) {
  return std::make_unique<ring_under_test<shared_memory>>(options, sleeper);
}

struct ring_case {
  explicit ring_case(std::uint32_t readers)
      : memory(shm::ring_bytes(small_ring(readers))),
        ring(make_ring(memory.span(), small_ring(readers))),
        writer(writer_of(ring)) {}

  heap_memory memory;
  shm::shm_ring ring;
  std::unique_ptr<frame::frame_writer> writer;
};

struct ring_of_one : ring_case {
  ring_of_one() : ring_case(1) {}
};

struct ring_of_two : ring_case {
  ring_of_two() : ring_case(2) {}
};

} // namespace

VDIST_CHANNEL_CONFORMANCE(spinning_ring, make_spinning)
VDIST_CHANNEL_CONFORMANCE(sleeping_ring, make_sleeping)
VDIST_CHANNEL_CONFORMANCE(ring_mapped_twice, make_mapped_twice)

BOOST_AUTO_TEST_SUITE(shm_ring_suite)

BOOST_FIXTURE_TEST_CASE(a_reserved_place_gets_every_frame_however_late_it_opens, ring_of_two) {
  const auto early = reader_of(ring, 0);
  std::uint64_t written = 0;
  while (write_error(*writer, written, 100, impatience) == errc::ok) {
    BOOST_REQUIRE(reads_body(*early, written, 100));
    ++written;
  }
  BOOST_TEST(written == small_ring(2).slots); // C-2: the place that nobody has opened holds it up
  writer->close();
  const auto late = reader_of(ring, 1);
  for (std::uint64_t n = 0; n < written; ++n) {
    BOOST_REQUIRE(reads_body(*late, n, 100));
  }
  BOOST_CHECK(read_error(*late) == errc::closed); // C-4
}

BOOST_FIXTURE_TEST_CASE(a_second_reader_takes_the_place_over_and_starts_at_the_present,
                        ring_of_one) {
  const auto first = reader_of(ring);
  BOOST_CHECK(write_error(*writer, 1, 10) == errc::ok);
  const auto second = reader_of(ring);
  BOOST_TEST(first->has_frame());
  BOOST_CHECK(read_error(*first) == errc::closed);
  first->close(); // concerns its own attachment only
  BOOST_CHECK(read_error(*second, -1s) == errc::timed_out);
  BOOST_CHECK(write_error(*writer, 2, 10) == errc::ok);
  BOOST_TEST(reads_body(*second, 2, 10));
}

BOOST_FIXTURE_TEST_CASE(departures_and_takeovers_wake_whom_they_concern, ring_of_one) {
  const noticed_clock time;
  const auto asleep = open_ring(memory.span(), {}, {{.spin_budget = 0us, .slice_max = 60s}, time});
  const auto end_of_read = [&](const auto& end_it) {
    const auto reader = reader_of(asleep);
    errc outcome{};
    time.run_until_asleep([&] { outcome = read_error(*reader); }, end_it);
    return outcome;
  };
  const auto end_of_write = [&](const auto& end_it) {
    const auto reader = reader_of(asleep);
    const auto end = writer_of(asleep);
    while (write_error(*end, 1, 10, -1s) == errc::ok) {
    }
    errc outcome{};
    time.run_until_asleep([&] { outcome = write_error(*end, 1, 10); }, end_it);
    return outcome;
  };
  std::unique_ptr<frame::frame_writer> successor;
  BOOST_CHECK(end_of_read([this] { ring.detach_reader(0); }) == errc::closed);
  BOOST_CHECK(end_of_read([this] { reader_of(ring); }) == errc::closed);
  BOOST_CHECK(end_of_write([this] { ring.detach_reader(0); }) == errc::closed);
  BOOST_CHECK(end_of_write([&] { successor = writer_of(ring); }) == errc::closed);
}

BOOST_FIXTURE_TEST_CASE(a_second_writer_goes_on_with_the_sequence, ring_of_one) {
  const auto reader = reader_of(ring);
  for (std::uint64_t n = 1; n < 20; ++n) {
    const auto successor = writer_of(ring);
    BOOST_CHECK(write_error(*writer, n, 10) == errc::closed);
    BOOST_CHECK(write_error(*successor, n, n * 50) == errc::ok);
    const auto view = reader->read(after(patience));
    BOOST_REQUIRE(view);
    BOOST_TEST(view->header.sequence == n);
  }
  BOOST_TEST(reader->drops().total() == 0U);
}

BOOST_FIXTURE_TEST_CASE(counts_the_torn_beginning_of_an_interrupted_frame, ring_of_one) {
  const auto reader = reader_of(ring);
  BOOST_CHECK(write_error(*writer, 1, capacity * 2, impatience) == errc::timed_out);
  BOOST_CHECK(read_error(*reader, impatience) == errc::timed_out);
  BOOST_CHECK(write_error(*writer, 2, 8) == errc::ok);
  BOOST_TEST(reads_body(*reader, 2, 8));
  BOOST_CHECK(write_error(*writer, 3, capacity * 2, impatience) == errc::timed_out);
  BOOST_CHECK(read_error(*reader, impatience) == errc::timed_out);
  BOOST_CHECK(write_error(*writer_of(ring), 4, 8) == errc::ok); // by a successor
  BOOST_TEST(reads_body(*reader, 4, 8));
  BOOST_TEST(reader->drops().of(frame::drop_reason::torn) == 2U);
  BOOST_TEST(reader->drops().total() == 2U);
}

BOOST_FIXTURE_TEST_CASE(a_reader_that_joins_within_a_large_frame_starts_at_the_next_one,
                        ring_of_two) {
  const auto first = reader_of(ring, 0);
  ring.detach_reader(1);
  const std::size_t large = capacity * 3;
  std::thread writing([this] {
    static_cast<void>(write_error(*writer, 1, large));
    static_cast<void>(write_error(*writer, 2, 10));
  });
  while (!first->has_frame()) {
    std::this_thread::yield();
  }
  const auto second = reader_of(ring, 1); // the first chunk is out
  bool is_next = false;
  std::thread reading([&second, &is_next] { is_next = reads_body(*second, 2, 10); });
  BOOST_TEST(reads_body(*first, 1, large));
  BOOST_TEST(reads_body(*first, 2, 10));
  writing.join();
  reading.join();
  BOOST_TEST(is_next);
  BOOST_TEST(second->drops().total() == 0U);
}

BOOST_AUTO_TEST_CASE(readers_join_a_busy_ring_and_miss_nothing_from_then_on) {
  ring_case c(2);
  const auto steady = reader_of(c.ring, 0);
  c.ring.detach_reader(1);
  std::atomic<bool> is_over{false};
  std::thread writing([&] {
    for (std::uint64_t n = 0; !is_over && write_error(*c.writer, n, n % 900) == errc::ok; ++n) {
    }
  });
  std::thread reading([&] {
    while (read_error(*steady) == errc::ok) {
    }
  });
  std::uint64_t failures = 0;
  for (int round = 0; round < 300; ++round) {
    auto joining = reader_of(c.ring, 1); // takes the place over without ever giving it up
    std::uint64_t next = 0;
    for (int i = 0; i < 5; ++i) {
      const auto view = joining->read(after(patience));
      const bool is_good = view && (next == 0 || view->header.sequence == next);
      failures += is_good ? 0 : 1;
      next = view ? view->header.sequence + 1 : 0;
    }
    failures += joining->drops().total();
    if (round % 2 == 0) {
      joining.reset(); // the next one finds the place empty
    }
  }
  is_over = true;
  c.ring.close();
  writing.join();
  reading.join();
  BOOST_TEST(failures == 0U);
}

/// Counts frames whose body is not the one that its number stands for, until the ring ends.
std::uint64_t count_wrong(frame::frame_reader& reader) {
  std::uint64_t wrong = 0;
  while (true) {
    const auto view = reader.read(after(patience));
    if (view) {
      const auto n = static_cast<std::uint64_t>(view->header.deadline_ns);
      const auto body = test_body(n, n % 900);
      wrong += std::equal(body.begin(), body.end(), view->body.begin(), view->body.end()) ? 0 : 1;
    } else if (view.error().code != errc::corrupt) {
      return wrong + (view.error().code == errc::closed ? 0 : 1);
    }
  }
}

/// Writes numbered frames until the ring ends.
void write_numbered(frame::frame_writer& writer, std::uint64_t from) {
  auto header = test_header();
  for (auto n = from;; ++n) {
    header.deadline_ns = static_cast<std::int64_t>(n);
    if (!writer.write(header, test_body(n, n % 900), after(patience))) {
      return;
    }
  }
}

BOOST_AUTO_TEST_CASE(ends_that_are_replaced_in_the_middle_of_their_work_do_no_harm) {
  constexpr std::uint64_t replacements = 100;
  ring_case c(2);
  const auto steady = reader_of(c.ring, 0);
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  threads.emplace_back([&] { wrong += count_wrong(*steady); });
  for (std::uint64_t i = 1; i <= replacements; ++i) {
    threads.emplace_back(
        [&wrong, reader = reader_of(c.ring, 1)] { wrong += count_wrong(*reader); });
    threads.emplace_back([writer = writer_of(c.ring), i] { write_numbered(*writer, i << 32U); });
    const auto probe = shm::ring_memory::open(c.memory.span()).value();
    const auto head = probe.head().position;
    while (probe.head().position < head + 10) {
      std::this_thread::yield();
    }
  }
  c.ring.close();
  for (auto& thread : threads) {
    thread.join();
  }
  BOOST_TEST(wrong == 0U);
}

BOOST_AUTO_TEST_CASE(one_bell_serves_the_channels_of_many_workers) {
  constexpr std::uint32_t workers = 4;
  constexpr std::uint64_t frames = 300;
  frame::bell any;
  std::vector<std::unique_ptr<heap_memory>> memories;
  std::vector<shm::shm_ring> rings;
  std::vector<std::unique_ptr<frame::frame_reader>> readers;
  std::vector<std::thread> threads;
  for (std::uint32_t w = 0; w < workers; ++w) {
    memories.push_back(std::make_unique<heap_memory>(shm::ring_bytes(small_ring(1))));
    rings.push_back(make_ring(memories[w]->span(), small_ring(1), {.outer = &any}));
    readers.push_back(reader_of(rings[w]));
    threads.emplace_back([ring = rings[w]] {
      auto writer = ring.open_writer();
      for (std::uint64_t n = 0; n < frames && write_error(**writer, n, 64) == errc::ok; ++n) {
      }
      ring.close();
    });
  }
  std::vector<std::uint64_t> seen(workers);
  std::uint32_t open = workers;
  while (open > 0) {
    const auto has_any = [&readers] {
      return std::any_of(readers.begin(), readers.end(), [](const auto& reader) {
        return reader != nullptr && reader->has_frame();
      });
    };
    BOOST_REQUIRE(sleeper.wait(any, has_any, {.deadline = after(patience)})
                  == frame::wait_status::ok);
    for (std::uint32_t w = 0; w < workers; ++w) {
      if (readers[w] == nullptr || !readers[w]->has_frame()) {
        continue;
      }
      if (const auto outcome = read_error(*readers[w], -1s); outcome == errc::ok) {
        ++seen[w];
      } else {
        BOOST_REQUIRE(outcome == errc::closed);
        readers[w].reset();
        --open;
      }
    }
  }
  for (auto& thread : threads) {
    thread.join();
  }
  for (const auto count : seen) {
    BOOST_TEST(count == frames);
  }
}

BOOST_AUTO_TEST_CASE(refuses_shapes_memory_and_places_that_are_not_legal) {
  const auto code = [](std::span<std::byte> memory, const shm::ring_shape& shape) {
    return error_of(shm::format_ring(memory, shape));
  };
  heap_memory memory(shm::ring_bytes(small_ring(2)));
  const auto all = memory.span();
  for (const shm::ring_shape& shape : {shm::ring_shape{.readers_max = 0},
                                       shm::ring_shape{.readers_max = 257},
                                       shm::ring_shape{.slots = 1},
                                       shm::ring_shape{.slots = 65537},
                                       shm::ring_shape{.slot_bytes = 192},
                                       shm::ring_shape{.slot_bytes = 1000},
                                       shm::ring_shape{.slot_bytes = std::size_t{2} << 30U},
                                       shm::ring_shape{.limits = {.body_bytes_max = 2U << 30U}}}) {
    BOOST_CHECK(code(all, shape) == errc::invalid_argument);
  }
  BOOST_CHECK(code(all.first(all.size() - 1), small_ring(2)) == errc::invalid_argument);
  BOOST_CHECK(code(all.subspan(8), small_ring(1)) == errc::invalid_argument);
  BOOST_CHECK(shm::shm_ring::open(all, {}, sleeper).error().code == errc::corrupt);
  const auto ring = make_ring(all, small_ring(2));
  BOOST_CHECK(code(all, small_ring(2)) == errc::invalid_argument);
  BOOST_CHECK(ring.open_reader(2, test_peer()).error().code == errc::invalid_argument);
  ring.detach_reader(2);
}

BOOST_AUTO_TEST_SUITE_END()
