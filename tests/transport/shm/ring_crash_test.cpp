// Death at every instruction. A child runs one operation on a ring, one machine instruction at a
// time; whenever the memory has changed, a copy of it is what a SIGKILL at this instruction leaves
// behind (a retired store is never lost), and the survivors' work is tried on that copy.
#include "tests/transport/shm/ring_fixture.hpp"
#include "tests/transport/shm/tearing_writer.hpp"

#include "transport/shm/shm_ring.hpp"

#include <array>
#include <cstring>
#include <optional>
#include <sys/ptrace.h>

using namespace vdist;
using namespace vdist::testing;

namespace {

constexpr shm::ring_shape shape{
    .readers_max = 2, .slots = 8, .slot_bytes = 256, .limits = {.body_bytes_max = 4096}};
constexpr std::size_t large = 600; // three slots

/// A child that the parent steps through `body`.
class stepped {
public:
  template <class Body>
  explicit stepped(Body&& body)
      : child_([&body] {
          if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
            return 1;
          }
          std::raise(SIGSTOP);
          return static_cast<int>(body());
        }) {
    waitpid(child_.pid(), &status_, 0);
  }

  [[nodiscard]] bool is_running() const { return WIFSTOPPED(status_); }

  void step() { resume(PTRACE_SINGLESTEP); }

  /// Lets it run to its end, and returns its exit code.
  int finish() {
    while (is_running()) {
      resume(PTRACE_CONT);
    }
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128;
  }

private:
  void resume(__ptrace_request how) {
    ptrace(how, child_.pid(), nullptr, nullptr);
    waitpid(child_.pid(), &status_, 0);
  }

  forked child_;
  int status_ = 0;
};

/// Lets a child run `operation` for a part of its instructions, then `interfere`, then the child to
/// its end: at 24 points from before the first instruction to behind the last one. `prepare` comes
/// before, `check` behind each.
template <class Prepare, class Operation, class Interfere, class Check>
void interrupt_everywhere(Prepare&& prepare,
                          Operation&& operation,
                          Interfere&& interfere,
                          Check&& check) {
  constexpr std::size_t points = 24;
  std::size_t steps = 0;
  prepare();
  static_cast<void>(operation()); // binds what is bound lazily, once for all children
  prepare();
  for (stepped whole(operation); whole.is_running(); whole.step()) {
    ++steps;
  }
  for (std::size_t i = 0; i <= points; ++i) {
    prepare();
    stepped child(operation);
    for (std::size_t n = 0; child.is_running() && n < steps * i / points; ++n) {
      child.step();
    }
    interfere();
    check(static_cast<errc>(child.finish()));
  }
}

bool can_step() {
  stepped child([] { return 0; });
  return child.is_running();
}

boost::test_tools::assertion_result may_trace(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result outcome(can_step());
  outcome.message() << "this machine does not let a test trace its child";
  return outcome;
}

struct found {
  std::uint64_t states = 0;
  std::uint64_t bad = 0; // states with which the survivors could not go on
};

/// Runs `operation` on a child's ring of `memory`, `survive` on a copy of every state.
template <class Operation, class Survive>
found try_every_state(shared_memory& memory, Operation&& operation, Survive&& survive) {
  stepped child(operation);
  heap_memory last(memory.span().size());
  heap_memory copy(memory.span().size());
  const auto bytes = memory.span().size();
  found f;
  for (bool is_first = true; child.is_running(); child.step(), is_first = false) {
    if (!is_first && std::memcmp(last.span().data(), memory.span().data(), bytes) == 0) {
      continue;
    }
    std::memcpy(last.span().data(), memory.span().data(), bytes);
    std::memcpy(copy.span().data(), memory.span().data(), bytes);
    ++f.states;
    f.bad += survive(copy.span()) ? 0 : 1;
  }
  return f;
}

/// Reads all frames that are there: how many, or nothing when one is wrong.
std::optional<std::uint64_t> count_frames(frame::frame_reader& reader, std::uint64_t sequence = 0) {
  std::uint64_t count = 0;
  while (true) {
    const auto view = reader.read(after(-1s));
    if (!view) {
      return view.error().code == errc::timed_out ? std::optional(count) : std::nullopt;
    }
    const auto body =
        test_body(static_cast<std::uint64_t>(view->header.deadline_ns), view->body.size());
    if (!std::equal(body.begin(), body.end(), view->body.begin())
        || (sequence != 0 && view->header.sequence != sequence + count)) {
      return std::nullopt;
    }
    ++count;
  }
}

errc write_numbered(frame::frame_writer& writer, std::uint64_t n, std::size_t bytes) {
  auto header = test_header();
  header.deadline_ns = static_cast<std::int64_t>(n); // says which body it is
  return error_of(writer.write(header, test_body(n, bytes), after(-1s)));
}

/// What the survivors of a writer do: a successor writes one more frame, and a reader finds the
/// frame before, perhaps the dead one's frame, and the successor's; each whole and in sequence.
bool a_successor_goes_on(std::span<std::byte> memory) {
  const auto ring = open_ring(memory);
  const auto before = reader_of(ring, 0);
  const auto first = count_frames(*before, 1);
  const auto writer = ring.open_writer();
  if (!first || *first < 1 || *first > 2 || !writer
      || write_numbered(**writer, 3, 40) != errc::ok) {
    return false;
  }
  const auto after_all = reader_of(ring, 1); // has seen nothing yet
  return count_frames(*before, *first + 1) == 1U && count_frames(*after_all, 1) == *first + 1
         && before->drops().total() == before->drops().of(frame::drop_reason::torn);
}

/// What the survivors of a reader at place 0 do: the supervisor detaches it; the other reader gets
/// all, the writer has room for a whole round, and a new reader gets what comes from now on.
bool the_others_go_on(std::span<std::byte> memory) {
  const auto ring = open_ring(memory);
  ring.detach_reader(0);
  const auto other = reader_of(ring, 1);
  const auto writer = writer_of(ring);
  if (count_frames(*other, 1) != 2U) {
    return false;
  }
  for (std::uint64_t n = 0; n < shape.slots; ++n) {
    if (write_numbered(*writer, n, 10) != errc::ok) {
      return false;
    }
  }
  const auto successor = reader_of(ring, 0);
  return count_frames(*other, 3) == shape.slots && count_frames(*successor) == 0U
         && write_numbered(*writer, 1, large) == errc::ok && count_frames(*successor) == 1U
         && other->drops().total() == 0;
}

struct ring_case {
  ring_case() : memory(shm::ring_bytes(shape)), ring(make_ring(memory.span(), shape)) {
    writer = writer_of(ring);
    BOOST_REQUIRE(write_numbered(*writer, 1, 30) == errc::ok);
  }

  shared_memory memory;
  shm::shm_ring ring;
  std::unique_ptr<frame::frame_writer> writer;
};

} // namespace

BOOST_AUTO_TEST_SUITE(ring_crash_suite, *boost::unit_test::precondition(may_trace))

BOOST_FIXTURE_TEST_CASE(a_writer_may_die_at_any_instruction, ring_case) {
  const auto f = try_every_state(
      memory, [this] { return write_numbered(*writer, 2, large); }, a_successor_goes_on);
  BOOST_TEST(f.states > large / 8); // it writes by words
  BOOST_TEST(f.bad == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_writer_may_die_while_it_opens, ring_case) { // L-1
  const auto f = try_every_state(
      memory, [this] { return ring.open_writer().has_value(); }, a_successor_goes_on);
  BOOST_TEST(f.states > 1U);
  BOOST_TEST(f.bad == 0U);
}

BOOST_FIXTURE_TEST_CASE(notices_a_writer_that_publishes_before_it_copies, ring_case) {
  const auto f = try_every_state( // the negative control of this file
      memory,
      [this] {
        return write_torn(
            shm::ring_memory::open(memory.span()).value(), test_header(), test_body(2, 100));
      },
      a_successor_goes_on);
  BOOST_TEST(f.bad > 10U);
}

BOOST_FIXTURE_TEST_CASE(a_reader_may_die_at_any_instruction, ring_case) {
  BOOST_REQUIRE(write_numbered(*writer, 2, large) == errc::ok);
  const auto f = try_every_state(
      memory,
      [this] {
        auto reader = ring.open_reader(0, test_peer()); // the reserved place
        static_cast<void>((*reader)->read(after(-1s)));
        static_cast<void>((*reader)->read(after(-1s)));
        reader = ring.open_reader(0, test_peer()); // takes it over, in two steps
        ring.detach_reader(0);
        reader = ring.open_reader(0, test_peer()); // an empty place
        return reader.has_value();
      },
      the_others_go_on);
  BOOST_TEST(f.states > 10U);
  BOOST_TEST(f.bad == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_reader_may_be_taken_over_at_any_instruction, ring_case) {
  const auto parts = shm::ring_memory::open(memory.span()).value();
  ring.detach_reader(1);
  std::unique_ptr<frame::frame_reader> late;
  std::unique_ptr<frame::frame_reader> successor;
  std::uint64_t place = 0;
  std::array<int, 2> outcomes{};
  interrupt_everywhere(
      [&] {
        late = reader_of(ring);
        BOOST_REQUIRE(write_numbered(*writer, 1, 30) == errc::ok);
      },
      [&] { return read_error(*late); },
      [&] {
        successor = reader_of(ring);
        place = parts.place(0);
      },
      [&](errc outcome) {
        BOOST_REQUIRE((outcome == errc::ok || outcome == errc::closed));
        ++outcomes[outcome == errc::ok ? 0 : 1];
        BOOST_TEST(parts.place(0) == place);
      });
  BOOST_TEST(outcomes[0] > 0);
  BOOST_TEST(outcomes[1] > 0);
}

BOOST_FIXTURE_TEST_CASE(a_writer_may_be_taken_over_at_any_instruction, ring_case) {
  ring.detach_reader(1);
  const auto body = test_body(2, 30);
  const auto deadline = after(patience);
  auto header = test_header();
  header.deadline_ns = 2;
  std::unique_ptr<frame::frame_reader> reader;
  std::unique_ptr<frame::frame_writer> late;
  std::unique_ptr<frame::frame_writer> successor;
  std::array<int, 2> outcomes{};
  interrupt_everywhere(
      [&] {
        reader = reader_of(ring);
        late = writer_of(ring);
      },
      [&] { return error_of(late->write(header, body, deadline)); },
      [&] { successor = writer_of(ring); },
      [&](errc outcome) {
        BOOST_REQUIRE((outcome == errc::ok || outcome == errc::closed));
        ++outcomes[outcome == errc::ok ? 0 : 1];
        BOOST_TEST((write_numbered(*successor, 3, 30) == errc::ok));
        // The late one's frame is there or not; the successor's is there, and both are whole.
        const auto count = count_frames(*reader);
        BOOST_TEST((count == 1U || (count == 2U && outcome == errc::ok)));
      });
  BOOST_TEST(outcomes[0] > 0);
  BOOST_TEST(outcomes[1] > 0);
}

BOOST_AUTO_TEST_CASE(a_reader_may_join_while_the_writer_laps_it_between_two_instructions) {
  constexpr shm::ring_shape tiny{.readers_max = 2, .slots = 2, .slot_bytes = 256};
  shared_memory memory(shm::ring_bytes(tiny));
  const auto ring = make_ring(memory.span(), tiny);
  ring.detach_reader(1);
  const auto steady = reader_of(ring, 0);
  const auto writer = writer_of(ring);
  stepped joining([&ring] {
    const auto reader = ring.open_reader(1, test_peer());
    return read_error(**reader);
  });
  std::uint64_t written = 0;
  for (; joining.is_running(); joining.step()) {
    written += write_numbered(*writer, 1, 10) == errc::ok ? 1 : 0;
    static_cast<void>(read_error(*steady, -1s));
  }
  BOOST_TEST(written > 50U);
  BOOST_CHECK(static_cast<errc>(joining.finish()) == errc::ok);
}

BOOST_FIXTURE_TEST_CASE(a_writer_may_die_between_publication_and_wake_up, ring_case) {
  const auto reader = reader_of(ring);
  BOOST_REQUIRE(count_frames(*reader) == 1U);
  forked sleeping([&reader] { // its sleep ends with the slice
    return read_error(*reader) == errc::ok ? 0 : 1;
  });
  const auto header = shm::ring_memory::open(memory.span()).value();
  const auto head = header.head();
  {
    stepped dying([this] { return write_numbered(*writer, 2, 10); });
    while (dying.is_running() && header.head() == head) {
      dying.step();
    }
    BOOST_REQUIRE(dying.is_running());
  } // killed here
  writer_of(ring);
  BOOST_TEST(sleeping.wait() == 0);
}

BOOST_AUTO_TEST_SUITE_END()
