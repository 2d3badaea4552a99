// A ring under random operations against a model: the list of frames whose write succeeded, and
// for every reader where in that list it is.
#include "tests/transport/shm/ring_fixture.hpp"

#include "transport/shm/shm_ring.hpp"

#include <algorithm>
#include <array>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr std::uint32_t places = 3;

struct written_frame {
  std::uint64_t n;
  std::size_t bytes;
};

struct model_reader {
  std::unique_ptr<frame::frame_reader> end;
  std::size_t next = 0; // into the list of frames
};

class ring_model {
public:
  ring_model(std::uint64_t seed, const shm::ring_shape& shape)
      : random_(seed),
        shape_(shape),
        memory_(shm::ring_bytes(shape)),
        ring_(make_ring(memory_.span(), shape)),
        writer_(writer_of(ring_)) {
    for (std::uint32_t i = 0; i < places; ++i) {
      readers_[i] = {.end = reader_of(ring_, i), .next = 0};
    }
  }

  /// One random operation; false when the ring and the model disagree.
  bool step() {
    const auto place = static_cast<std::uint32_t>(random_() % places);
    switch (random_() % 40) {
    case 0:
      writer_ = writer_of(ring_);
      return true;
    case 1:
      readers_[place] = {.end = reader_of(ring_, place), .next = frames_.size()};
      return true;
    case 2:
      ring_.detach_reader(place);
      return readers_[place].end == nullptr || read_error(*readers_[place].end) == errc::closed
                 ? (readers_[place].end.reset(), true)
                 : false;
    default:
      return random_() % 3 == 0 ? write() : read(place);
    }
  }

  [[nodiscard]] std::size_t frames() const { return frames_.size(); }

  [[nodiscard]] std::size_t refused() const { return refused_; }

private:
  bool write() {
    const std::size_t payload = shape_.slot_bytes;
    const bool is_large = random_() % 8 == 0;
    const std::size_t bytes = random_() % (is_large ? payload * (shape_.slots + 2) : payload * 2);
    const bool must_pass = bytes <= payload && is_drained();
    const bool has_reader = std::any_of(
        readers_.begin(), readers_.end(), [](const auto& r) { return r.end != nullptr; });
    const auto outcome = write_error(*writer_, ++last_, bytes, -1s);
    if (!has_reader) {
      return outcome == errc::closed;
    }
    if (outcome == errc::ok) {
      frames_.push_back({last_, bytes});
      return true;
    }
    ++refused_;
    return outcome == errc::timed_out && !must_pass;
  }

  bool read(std::uint32_t place) {
    auto& reader = readers_[place];
    if (reader.end == nullptr) {
      return true;
    }
    if (reader.next == frames_.size()) {
      return read_error(*reader.end, -1s) == errc::timed_out;
    }
    const auto& expected = frames_[reader.next++];
    return reads_body(*reader.end, expected.n, expected.bytes);
  }

  /// Whether every reader has consumed all slots, also those of torn frames.
  bool is_drained() {
    return std::all_of(readers_.begin(), readers_.end(), [this](const auto& r) {
      return r.end == nullptr || (r.next == frames_.size() && !r.end->has_frame());
    });
  }

  std::mt19937_64 random_;
  shm::ring_shape shape_;
  heap_memory memory_;
  shm::shm_ring ring_;
  std::unique_ptr<frame::frame_writer> writer_;
  std::array<model_reader, places> readers_;
  std::vector<written_frame> frames_;
  std::uint64_t last_ = 0;
  std::size_t refused_ = 0;
};

} // namespace

BOOST_AUTO_TEST_SUITE(ring_property_suite)

BOOST_AUTO_TEST_CASE(agrees_with_a_list_of_frames_under_random_operations) { // C-1, C-2, R-2 to R-4
  const int rounds = is_long_run() ? 2000 : 60;
  std::size_t frames = 0;
  std::size_t refused = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto seed = static_cast<std::uint64_t>(round);
    ring_model model(seed,
                     {.readers_max = places,
                      .slots = 2 + static_cast<std::uint32_t>(seed % 7),
                      .slot_bytes = 256 + 64 * (seed % 3),
                      .limits = {.body_bytes_max = 16U << 10U}});
    for (int i = 0; i < 500; ++i) {
      BOOST_REQUIRE_MESSAGE(model.step(), "seed " << seed << " operation " << i);
    }
    frames += model.frames();
    refused += model.refused();
  }
  BOOST_TEST(frames > static_cast<std::size_t>(rounds) * 10);
  BOOST_TEST(refused > static_cast<std::size_t>(rounds));
}

BOOST_AUTO_TEST_SUITE_END()
