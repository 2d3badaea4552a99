// What a reader sees of frames that were damaged on purpose, and that a ring goes on behind each of them.
#include "tests/transport/shm/ring_fixture.hpp"

using namespace vdist;
using namespace vdist::testing;

namespace {

using frame::drop_reason;
using frame::tampering;

/// Does to the frames what the test says, one after the other; then nothing.
class scripted_tamper final : public frame::tamper {
public:
  explicit scripted_tamper(std::vector<tampering> script) : script_(std::move(script)) {}

  [[nodiscard]] tampering on_frame(const frame::envelope& sealed) override {
    last_sequence = sealed.sequence;
    return next_ < script_.size() ? script_[next_++] : tampering::none;
  }

  std::uint64_t last_sequence = 0;

private:
  std::vector<tampering> script_;
  std::size_t next_ = 0;
};

struct tamper_fixture {
  /// Writes `frames` frames of `bytes` under the script; returns the bodies that were read, and an
  /// error once for each that was met.
  std::vector<std::string>
  pass(std::vector<tampering> script, int frames, std::size_t bytes = 100) {
    writer_.reset();
    reader_.reset();
    memory_.emplace(shm::ring_bytes(shape_) + 64);
    shared_ = std::make_shared<scripted_tamper>(std::move(script));
    const shm::ring_links links{.stop = &stop_, .tamper = shared_};
    const auto ring = make_ring(memory_->span(), shape_, links);
    reader_ = reader_of(ring);
    writer_ = writer_of(ring);
    std::vector<std::string> seen;
    for (int n = 1; n <= frames; ++n) {
      if (auto written = writer_->write(
              test_header(), test_body(static_cast<std::uint64_t>(n), bytes), after(patience));
          !written) {
        seen.push_back(written.error().context);
      }
    }
    for (auto next = read(bytes, frames); next != ""; next = read(bytes, frames)) {
      seen.push_back(next);
    }
    return seen;
  }

  /// "3" for the third body, the name of an error, "" at the end.
  std::string read(std::size_t bytes, int frames) {
    const auto frame = reader_->read(after(std::chrono::milliseconds(1)));
    if (!frame) {
      return frame.error().code == errc::timed_out ? ""
                                                   : std::string(to_string(frame.error().code));
    }
    for (int n = 1; n <= frames; ++n) {
      const auto body = test_body(static_cast<std::uint64_t>(n), bytes);
      if (std::equal(body.begin(), body.end(), frame->body.begin(), frame->body.end())) {
        return std::to_string(n);
      }
    }
    return "another body";
  }

  [[nodiscard]] std::uint64_t drops(drop_reason reason) const {
    return reader_->drops().of(reason);
  }

  shm::ring_shape shape_{.readers_max = 1, .slots = 32, .slot_bytes = 256};
  frame::fence stop_;
  std::optional<heap_memory> memory_; // of the pass
  std::shared_ptr<scripted_tamper> shared_;
  std::unique_ptr<frame::frame_reader> reader_;
  std::unique_ptr<frame::frame_writer> writer_;
};

using seen = std::vector<std::string>;

} // namespace

BOOST_FIXTURE_TEST_SUITE(tampered_rings, tamper_fixture)

BOOST_AUTO_TEST_CASE(a_tamper_that_does_nothing_changes_nothing) {
  BOOST_TEST((pass({}, 4) == seen{"1", "2", "3", "4"}));
  BOOST_TEST(reader_->drops().total() == 0U);
  BOOST_TEST(shared_->last_sequence == 4U);
}

BOOST_AUTO_TEST_CASE(a_lost_frame_is_a_gap) {
  BOOST_TEST((pass({tampering::none, tampering::drop}, 4) == seen{"1", "corrupt", "3", "4"}));
  BOOST_TEST(drops(drop_reason::gap) == 1U);
}

BOOST_AUTO_TEST_CASE(a_lost_frame_of_many_slots_is_a_gap_too) {
  BOOST_TEST((pass({tampering::none, tampering::drop}, 4, 1000) == seen{"1", "corrupt", "3", "4"}));
}

BOOST_AUTO_TEST_CASE(a_doubled_frame_is_read_once) {
  BOOST_TEST((pass({tampering::none, tampering::duplicate}, 3) == seen{"1", "2", "3"}));
  BOOST_TEST(drops(drop_reason::duplicate) == 1U);
}

BOOST_AUTO_TEST_CASE(a_frame_that_comes_late_is_a_gap_and_then_a_repetition) {
  BOOST_TEST((pass({tampering::none, tampering::reorder}, 4) == seen{"1", "corrupt", "3", "4"}));
  BOOST_TEST(drops(drop_reason::gap) == 1U);
  BOOST_TEST(drops(drop_reason::duplicate) == 1U);
}

BOOST_AUTO_TEST_CASE(a_flipped_bit_is_found_by_the_checksum) {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{100}, std::size_t{1000}}) {
    const auto all = pass({tampering::none, tampering::corrupt}, 3, bytes);
    BOOST_TEST(all.size() == 3U);
    BOOST_TEST(all.at(1) == "corrupt");
    BOOST_TEST(drops(drop_reason::bad_checksum) == 1U);
  }
}

BOOST_AUTO_TEST_CASE(a_cut_frame_is_shorter_than_it_says) {
  for (const std::size_t bytes : {std::size_t{100}, std::size_t{1000}}) {
    BOOST_TEST(
        (pass({tampering::none, tampering::truncate}, 3, bytes) == seen{"1", "corrupt", "3"}));
    BOOST_TEST(drops(drop_reason::too_short) == 1U);
  }
  const auto empty = pass({tampering::truncate}, 2, 0);
  BOOST_TEST(empty.at(0) == "corrupt");
}

BOOST_AUTO_TEST_CASE(a_frame_of_the_epoch_before_is_not_heard) {
  const auto all = pass({tampering::none, tampering::old_epoch}, 3);
  BOOST_TEST(all.front() == "1");
  BOOST_TEST(all.back() == "3");
  BOOST_TEST(std::count(all.begin(), all.end(), "2") == 0);
  BOOST_TEST(drops(drop_reason::stale_epoch) == 1U);
}

BOOST_AUTO_TEST_CASE(an_old_epoch_in_the_envelope_is_no_reason_to_stop_writing) {
  stop_.raise(epoch(test_header().epoch));
  const auto all = pass({tampering::none, tampering::old_epoch}, 3);
  BOOST_TEST(all.front() == "1");
  BOOST_TEST(all.back() == "3");
  BOOST_TEST(drops(drop_reason::stale_epoch) == 1U);
}

BOOST_AUTO_TEST_CASE(a_full_ring_is_the_writers_error_and_loses_nothing) {
  const auto all = pass({tampering::none, tampering::full}, 3);
  BOOST_TEST(all.size() == 3U);
  BOOST_TEST(all.at(0).find("no space before the deadline") != std::string::npos, all.at(0));
  BOOST_TEST(all.at(1) == "1");
  BOOST_TEST(all.at(2) == "3"); // the number of the refused one is used again: no gap
  BOOST_TEST(drops(drop_reason::gap) == 0U);
}

BOOST_AUTO_TEST_CASE(a_successor_of_the_writer_goes_on_behind_a_lost_frame) {
  BOOST_TEST(
      (pass({tampering::none, tampering::drop, tampering::drop}, 4) == seen{"1", "corrupt", "4"}));
  const auto ring = open_ring(memory_->span());
  const auto successor = writer_of(ring);
  BOOST_TEST((write_error(*successor, 5, 100) == errc::ok));
  BOOST_TEST(read(100, 5) == "5");
}

BOOST_AUTO_TEST_SUITE_END()
