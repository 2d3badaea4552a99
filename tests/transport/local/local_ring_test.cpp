#include "transport/local/local_ring.hpp"

#include "tests/transport/channel_conformance.hpp"

#include <algorithm>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr std::uint32_t slots = 8;
constexpr std::size_t slot_bytes = 512;
constexpr std::uint32_t body_max = 64U << 10U;

class ring_under_test final : public channel_under_test {
public:
  ring_under_test(const channel_options& options, const frame::wait_settings& waits)
      : ring_({.readers_max = options.readers,
               .slots = slots,
               .slot_bytes = slot_bytes,
               .limits = {.body_bytes_max = body_max}},
              {.stop = options.stop},
              frame::wait_policy(waits, channel_clock)) {}

  frame::frame_writer& writer() override { return ring_.writer(); }

  std::unique_ptr<frame::frame_reader> attach(std::uint32_t index,
                                              const frame::expectation& expected) override {
    auto reader = ring_.attach(index, expected);
    BOOST_REQUIRE(reader);
    return std::move(reader).value();
  }

  void detach(std::uint32_t index) override { ring_.detach(index); }

  void close() override { ring_.close(); }

  std::size_t bytes_bound() const override { return slots * slot_bytes; }

  std::size_t body_bytes_max() const override { return body_max; }

  void damage(const frame::frame_view& view) override {
    // The view points into the slot that the other reader has yet to read.
    *const_cast<std::byte*>(view.body.data()) ^= std::byte{1};
  }

private:
  local::local_ring ring_;
};

std::unique_ptr<channel_under_test> make_spinning(const channel_options& options) {
  return std::make_unique<ring_under_test>(options, frame::wait_settings{});
}

/// Sleeps at once and for longer than any test takes: every lost wake-up shows.
std::unique_ptr<channel_under_test> make_sleeping(const channel_options& options) {
  return std::make_unique<ring_under_test>(
      options, frame::wait_settings{.spin_budget = 0us, .slice_max = 10s});
}

} // namespace

VDIST_CHANNEL_CONFORMANCE(spinning_local_ring, make_spinning)
VDIST_CHANNEL_CONFORMANCE(sleeping_local_ring, make_sleeping)

BOOST_AUTO_TEST_SUITE(local_ring_suite)

namespace {

local::local_ring_settings small_ring(std::uint32_t readers) {
  return {.readers_max = readers, .slots = slots, .slot_bytes = slot_bytes};
}

const frame::wait_policy sleeper({.spin_budget = 0us, .slice_max = 10s}, channel_clock);

} // namespace

BOOST_AUTO_TEST_CASE(one_bell_serves_the_channels_of_many_workers) {
  constexpr std::uint32_t workers = 4;
  constexpr std::uint64_t frames = 300;
  frame::bell any;
  std::vector<std::unique_ptr<local::local_ring>> rings;
  std::vector<std::unique_ptr<frame::frame_reader>> readers;
  for (std::uint32_t w = 0; w < workers; ++w) {
    rings.push_back(std::make_unique<local::local_ring>(
        small_ring(1), local::local_ring_links{.outer = &any}, sleeper));
    readers.push_back(std::move(rings.back()->attach(0, test_peer())).value());
  }
  std::vector<std::thread> threads;
  for (auto& ring : rings) {
    threads.emplace_back([&ring] {
      for (std::uint64_t n = 0; n < frames; ++n) {
        if (!ring->writer().write(test_header(), test_body(n, 64), after(patience))) {
          return;
        }
      }
      ring->close();
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
      if (const auto view = readers[w]->read(after(-1s)); view) {
        ++seen[w];
      } else {
        BOOST_REQUIRE(view.error().code == errc::closed);
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

BOOST_AUTO_TEST_CASE(counts_the_torn_beginning_of_an_interrupted_frame) {
  local::local_ring ring(small_ring(1), {}, sleeper);
  const auto reader = std::move(ring.attach(0, test_peer())).value();
  const auto large = test_body(1, slots * slot_bytes * 2);
  BOOST_REQUIRE(!ring.writer().write(test_header(), large, after(impatience)));
  BOOST_CHECK(read_error(*reader, impatience) == errc::timed_out);
  BOOST_REQUIRE(ring.writer().write(test_header(), test_body(2, 8), after(patience)));
  BOOST_TEST(reads_body(*reader, 2, 8));
  BOOST_TEST(reader->drops().of(frame::drop_reason::torn) == 1U);
  BOOST_TEST(reader->drops().total() == 1U);
}

BOOST_AUTO_TEST_CASE(a_reader_attached_within_a_large_frame_starts_at_the_next_one) {
  local::local_ring ring(small_ring(2), {}, sleeper);
  const auto first = std::move(ring.attach(0, test_peer())).value();
  const std::size_t large = slots * slot_bytes * 3;
  std::thread writing([&ring] {
    static_cast<void>(ring.writer().write(test_header(), test_body(1, large), after(patience)));
    static_cast<void>(ring.writer().write(test_header(), test_body(2, 10), after(patience)));
  });
  while (!first->has_frame()) {
    std::this_thread::yield();
  }
  const auto second = std::move(ring.attach(1, test_peer())).value(); // the first chunk is out
  bool is_next = false;
  std::thread reading([&second, &is_next] { is_next = reads_body(*second, 2, 10); });
  BOOST_TEST(reads_body(*first, 1, large));
  BOOST_TEST(reads_body(*first, 2, 10));
  writing.join();
  reading.join();
  BOOST_TEST(is_next);
  BOOST_TEST(second->drops().total() == 0U);
}

BOOST_AUTO_TEST_CASE(refuses_a_place_it_does_not_have_and_work_after_the_end) {
  local::local_ring ring(small_ring(2), {}, sleeper);
  BOOST_CHECK(ring.attach(2, test_peer()).error().code == errc::invalid_argument);
  ring.detach(2);
  ring.close();
  BOOST_CHECK(ring.attach(0, test_peer()).error().code == errc::closed);
}

BOOST_AUTO_TEST_SUITE_END()
