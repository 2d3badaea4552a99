// A writer and two readers, each a process, killed by SIGKILL at random instants and replaced, as a
// supervisor would. Afterwards nobody has accepted a frame that was torn, two readers never saw
// different frames under one number, survivors saw no gap, and nobody was stuck.
// 50 kills; 1,000 with VDIST_TEST_LONG=1.
#include "tests/transport/shm/ring_fixture.hpp"
#include "tests/transport/shm/tearing_writer.hpp"

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr std::uint32_t readers = 2;
constexpr shm::ring_shape shape{.readers_max = readers,
                                .slots = 8,
                                .slot_bytes = 1024,
                                .limits = {.body_bytes_max = 64U << 10U}};
constexpr std::size_t capacity = 8 * 1024;
constexpr std::size_t numbers = 1U << 20U;

const frame::wait_policy waits({.spin_budget = 50us, .slice_max = 20ms}, channel_clock);

/// What the processes tell the test; starts as zeros.
struct shared_report {
  std::atomic<std::uint64_t> accepted[readers];
  std::atomic<std::uint64_t> damaged;       // reported as corrupt by the ring
  std::atomic<std::uint64_t> wrong;         // accepted, but not what any writer sent
  std::atomic<std::uint64_t> gaps;          // sequence of two accepted frames
  std::atomic<std::uint64_t> diverged;      // two readers, one number, two frames
  std::atomic<std::uint64_t> refused;       // an operation failed that should not
  std::atomic<std::uint64_t> torn;          // beginnings that readers discarded
  std::atomic<std::uint64_t> seen[numbers]; // by sequence: which frame was accepted under it
};

/// The bodies of all writers differ: `n` names writer and frame and travels in the envelope.
frame::envelope numbered(std::uint64_t n) {
  auto header = test_header();
  header.deadline_ns = static_cast<std::int64_t>(n);
  return header;
}

int write_for_ever(std::span<std::byte> memory, shared_report& report, std::uint64_t process) {
  const auto ring = shm::shm_ring::open(memory, {}, waits);
  auto writer = ring ? ring->open_writer() : ring.error();
  std::mt19937_64 random(process);
  for (std::uint64_t n = process << 32U; writer; ++n) {
    const bool is_large = random() % 4 == 0;
    const auto body = test_body(n, random() % (is_large ? 3 * capacity : 1500));
    if (!(*writer)->write(numbered(n), body, after(patience))) {
      break;
    }
  }
  ++report.refused;
  return 1;
}

/// The negative control.
int tear_for_ever(std::span<std::byte> memory, std::uint64_t process) {
  const auto ring = shm::ring_memory::open(memory);
  for (std::uint64_t n = process << 32U; ring; ++n) {
    write_torn(*ring, numbered(n), test_body(n, 900));
  }
  return 1;
}

void note(shared_report& report, const frame::frame_view& view) {
  const auto n = static_cast<std::uint64_t>(view.header.deadline_ns);
  const auto body = test_body(n, view.body.size());
  report.wrong += std::equal(body.begin(), body.end(), view.body.begin()) ? 0 : 1;
  if (view.header.sequence < numbers) {
    std::uint64_t present = 0;
    if (!report.seen[view.header.sequence].compare_exchange_strong(present, n)) {
      report.diverged += present == n ? 0 : 1;
    }
  }
}

int read_for_ever(std::span<std::byte> memory, shared_report& report, std::uint32_t index) {
  const auto ring = shm::shm_ring::open(memory, {}, waits);
  auto reader = ring ? ring->open_reader(index, test_peer()) : ring.error();
  std::uint64_t next = 0;
  std::uint64_t torn = 0;
  while (reader) {
    const auto view = (*reader)->read(after(patience));
    if (!view && view.error().code == errc::corrupt) {
      ++report.damaged;
      next = 0;
      continue;
    }
    if (!view) {
      break;
    }
    report.gaps += next != 0 && view->header.sequence != next ? 1 : 0;
    next = view->header.sequence + 1;
    note(report, *view);
    const auto torn_now = (*reader)->drops().of(frame::drop_reason::torn);
    report.torn += torn_now - std::exchange(torn, torn_now);
    ++report.accepted[index];
  }
  ++report.refused;
  return 1;
}

class killed_group {
public:
  explicit killed_group(bool is_tearing)
      : is_tearing_(is_tearing),
        memory_(shm::ring_bytes(shape)),
        report_memory_(sizeof(shared_report)),
        report(report_memory_.as<shared_report>()),
        ring_(make_ring(memory_.span(), shape, {}, waits)) {
    processes_.push_back(start_writer());
    for (std::uint32_t r = 0; r < readers; ++r) {
      processes_.push_back(start_reader(r));
    }
  }

  /// Kills a random process after a random number of frames and replaces it. False: it took too
  /// long for everybody to go on.
  bool kill_one(std::mt19937_64& random) {
    if (!wait_for_frames(random() % 50 + 1)) {
      return false;
    }
    const auto victim = random() % processes_.size();
    processes_[victim].kill();
    if (victim == 0) {
      processes_[0] = start_writer();
    } else {
      const auto index = static_cast<std::uint32_t>(victim - 1);
      ring_.detach_reader(index);
      processes_[victim] = start_reader(index);
    }
    return wait_for_frames(1);
  }

  /// Waits until every reader has accepted as many frames more.
  bool wait_for_frames(std::uint64_t count) {
    const auto end = after(patience);
    for (auto& accepted : report.accepted) {
      const auto wanted = accepted.load() + count;
      while (accepted.load() < wanted) {
        if (channel_clock.now() > end) {
          return false;
        }
        std::this_thread::yield();
      }
    }
    return true;
  }

private:
  forked start_writer() {
    const auto process = ++started_;
    return forked([this, process] {
      return is_tearing_ ? tear_for_ever(memory_.span(), process)
                         : write_for_ever(memory_.span(), report, process);
    });
  }

  forked start_reader(std::uint32_t index) {
    return forked([this, index] { return read_for_ever(memory_.span(1), report, index); });
  }

  bool is_tearing_;
  shared_memory memory_;
  shared_memory report_memory_;

public:
  shared_report& report;

private:
  shm::shm_ring ring_; // the supervisor's
  std::uint64_t started_ = 0;
  std::vector<forked> processes_; // writer, readers
};

} // namespace

BOOST_AUTO_TEST_SUITE(ring_kill_suite)

BOOST_AUTO_TEST_CASE(survivors_of_random_kills_accept_every_frame_whole_and_once) {
  killed_group group(false);
  std::mt19937_64 random(11);
  const int kills = is_long_run() ? 1000 : 50;
  int stuck = 0;
  for (int k = 0; k < kills && stuck == 0; ++k) {
    stuck += group.kill_one(random) ? 0 : 1;
  }
  const auto& report = group.report;
  BOOST_TEST_MESSAGE("accepted " << report.accepted[0] << " and " << report.accepted[1]
                                 << " frames, discarded " << report.torn << " torn beginnings");
  BOOST_TEST(stuck == 0);
  BOOST_TEST(report.wrong == 0U);
  BOOST_TEST(report.diverged == 0U);
  BOOST_TEST(report.gaps == 0U);
  BOOST_TEST(report.damaged == 0U);
  BOOST_TEST(report.refused == 0U);
  BOOST_TEST(report.torn > 0U); // writers did die within frames
}

BOOST_AUTO_TEST_CASE(notices_a_writer_that_publishes_before_it_copies) { // the negative control
  killed_group group(true);
  // The window is nanoseconds wide, and a busy machine looks into it rarely; it ends with the first sight.
  const auto end = after(10 * patience);
  while (group.report.damaged == 0 && channel_clock.now() < end) {
    std::this_thread::yield();
  }
  BOOST_TEST(group.report.damaged > 0U);
  BOOST_TEST(group.report.wrong == 0U); // the checksum keeps them out all the same
}

BOOST_AUTO_TEST_SUITE_END()
