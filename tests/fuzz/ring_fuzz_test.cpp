// A ring whose producer, or anybody else with the memory, means harm (R-5; tests/transport/shm/ring_hostile_test.cpp has
// the cases by hand). A script writes honest frames, lies about slots, changes words, closes, detaches and reads.
#include "tests/fuzz/damage.hpp"
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/transport/channel_conformance.hpp"

#include "transport/shm/shm_ring.hpp"

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::testing::fuzz;

namespace {

constexpr std::uint32_t places = 2;
constexpr std::size_t body_bytes_max = 4096;
constexpr shm::ring_shape shape{.readers_max = places,
                                .slots = 4,
                                .slot_bytes = 256,
                                .limits = {.body_bytes_max = body_bytes_max}};
constexpr std::uint64_t bodies = 8;

enum kind : std::uint8_t {
  poke_word,
  poke_again, // twice as often as the others
  write_frame,
  write_stranger, // a sealed frame of another sender, epoch or incarnation
  lie_about_slot,
  read_frames,
  read_other,
  end_something,
  kinds
};

const std::vector<bytes>& known_bodies() {
  static const std::vector<bytes> all = [] {
    std::vector<bytes> made;
    for (std::uint64_t n = 0; n < bodies; ++n) {
      made.push_back(test_body(n, n == 2 ? 300 : n == 5 ? 900 : 20 + n * 17));
    }
    return made;
  }();
  return all;
}

/// Words that anything depends on: headers, places, slots' headers and the first words of payload.
std::vector<std::uint32_t> targets() {
  std::vector<std::uint32_t> all;
  const auto headers =
      static_cast<std::uint32_t>(sizeof(shm::ring_header) + places * sizeof(shm::reader_place));
  for (std::uint32_t at = 0; at < headers; at += 8) {
    all.push_back(at);
  }
  for (std::uint32_t slot = 0; slot < shape.slots; ++slot) {
    for (std::uint32_t at = 0; at < 128; at += 8) {
      all.push_back(headers + slot * static_cast<std::uint32_t>(shape.slot_bytes) + at);
    }
  }
  return all;
}

/// A ring with one frame of one slot and one of two.
bytes image() {
  const guarded_memory memory(shm::ring_bytes(shape));
  BOOST_REQUIRE(shm::format_ring(memory.span(), shape));
  const frame::wait_policy waits({.spin_budget = 0us, .slice_max = 60s}, channel_clock);
  const auto ring = shm::shm_ring::open(memory.span(), {}, waits);
  const auto writer = ring->open_writer();
  for (const std::size_t n : {1U, 2U}) {
    BOOST_REQUIRE((*writer)->write(test_header(), known_bodies()[n], after(-1s)));
  }
  return {memory.span().begin(), memory.span().end()};
}

struct users {
  shm::shm_ring ring;
  std::vector<std::unique_ptr<frame::frame_reader>> readers;
  std::unique_ptr<frame::frame_writer> writer;
  std::uint64_t accepted = 0;
};

/// What is read is what somebody wrote for this reader, or an error.
std::string read_some(users& all, std::size_t index) {
  auto& reader = all.readers[index];
  for (int i = 0; reader != nullptr && i < 6; ++i) {
    const auto view = reader->read(after(-1s));
    if (!view) {
      if (!judge_error(view.error(), {}).complaint.empty()) {
        return "an error that is not one line";
      }
      if (view.error().code != errc::corrupt) {
        return "";
      }
      continue;
    }
    const auto& wanted = test_peer();
    const bool is_known =
        std::any_of(known_bodies().begin(), known_bodies().end(), [&view](const bytes& body) {
          return std::equal(body.begin(), body.end(), view->body.begin(), view->body.end());
        });
    if (!is_known || view->header.sender != *wanted.sender || view->header.epoch != wanted.epoch
        || view->header.incarnation != *wanted.incarnation) {
      return "a frame that nobody wrote, or not for this reader";
    }
    ++all.accepted;
  }
  return "";
}

void write(users& all, const operation& one) {
  if (all.writer == nullptr) {
    return;
  }
  auto header = test_header();
  if (one.what == write_stranger) {
    header.sender += static_cast<std::int32_t>(one.value % 2);
    header.epoch += static_cast<std::uint32_t>(one.value / 2 % 3) - 1;
    header.incarnation += static_cast<std::uint32_t>(one.value / 6 % 2);
  }
  static_cast<void>(all.writer->write(header, known_bodies()[one.word % bodies], after(-1s)));
}

void lie(std::span<std::byte> memory, const operation& one) {
  const auto ring = shm::ring_memory::open(memory);
  if (!ring) {
    return;
  }
  const auto length = static_cast<std::uint32_t>(one.value % 8192);
  ring->store_chunk(one.word,
                    {.bytes = one.how % 4 == 0 ? ~length : length,
                     .flags = one.how / 4U % 4,
                     .frame_bytes = one.how / 16 % 2 == 0 ? length : one.value,
                     .sequence = one.value});
}

void end(users& all, const operation& one) {
  switch (one.how % 4) {
  case 0:
    all.ring.close();
    break;
  case 1:
    all.ring.detach_reader(one.word % places);
    break;
  case 2:
    if (auto next = all.ring.open_reader(one.word % places, test_peer()); next) {
      all.readers[one.word % places] = std::move(next).value();
    }
    break;
  default:
    if (auto next = all.ring.open_writer(); next) {
      all.writer = std::move(next).value();
    }
    break;
  }
}

std::string carry_out(users& all,
                      std::span<std::byte> memory,
                      std::span<const std::uint32_t> words,
                      const operation& one) {
  switch (one.what % kinds) {
  case write_frame:
  case write_stranger:
    write(all, one);
    return "";
  case lie_about_slot:
    lie(memory, one);
    return "";
  case read_frames:
    return read_some(all, 0);
  case read_other:
    return read_some(all, 1);
  case end_something:
    end(all, one);
    return "";
  default:
    poke(memory, words, one);
    return "";
  }
}

/// `opens_late`: the first half of the script is done before anybody opens the ring.
judgement play(std::span<const std::byte> input, std::span<std::byte> memory, bool opens_late) {
  static const auto words = targets();
  const frame::wait_policy waits({.spin_budget = 0us, .slice_max = 60s}, channel_clock);
  const auto script = script_of(input);
  const auto before = opens_late ? script.size() / 2 : 0;
  for (std::size_t i = 0; i < before; ++i) {
    if (script[i].what % kinds == lie_about_slot) {
      lie(memory, script[i]);
    } else {
      poke(memory, words, script[i]);
    }
  }
  auto ring = shm::shm_ring::open(memory, {}, waits);
  if (!ring) {
    return judge_error(ring.error(), errc::corrupt);
  }
  users all{.ring = std::move(ring).value(), .readers = {}, .writer = {}};
  for (std::uint32_t i = 0; i < places; ++i) {
    auto reader = all.ring.open_reader(i, test_peer());
    all.readers.push_back(reader ? std::move(reader).value() : nullptr);
  }
  if (auto writer = all.ring.open_writer(); writer) {
    all.writer = std::move(writer).value();
  }
  for (std::size_t i = before; i < script.size(); ++i) {
    if (auto complaint = carry_out(all, memory, words, script[i]); !complaint.empty()) {
      return wrong(std::move(complaint));
    }
  }
  for (std::size_t i = 0; i < places; ++i) {
    if (auto complaint = read_some(all, i); !complaint.empty()) {
      return wrong(std::move(complaint));
    }
  }
  return {.is_accepted = all.accepted > 0, .complaint = {}};
}

judgement judge(std::span<const std::byte> input, const guarded_memory& memory, bool opens_late) {
  // Every operation may make an error text, and every reader a buffer for one frame.
  const std::size_t bound = (std::size_t{96} << 10U) + 512 * input.size();
  static const auto good = image();
  memory.set(good);
  const auto before = heap_bytes();
  auto judged = play(input, memory.span(), opens_late);
  return heap_bytes() - before <= bound ? judged : wrong("it asked the heap for too much");
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_rings)

BOOST_AUTO_TEST_CASE(rings_that_are_damaged_when_they_are_opened) { // R-5, L-2
  const auto memory = std::make_shared<guarded_memory>(shm::ring_bytes(shape));
  run({.name = "opened ring",
       .from = scripts(kinds, 4),
       .judge = [memory](std::span<const std::byte> input) { return judge(input, *memory, true); },
       .takes_specimens = false});
}

BOOST_AUTO_TEST_CASE(rings_that_are_damaged_under_open_ends) {
  const auto memory = std::make_shared<guarded_memory>(shm::ring_bytes(shape));
  run({.name = "ring in use",
       .from = scripts(kinds, 8),
       .judge = [memory](std::span<const std::byte> input) { return judge(input, *memory, false); },
       .takes_specimens = false});
}

BOOST_AUTO_TEST_SUITE_END()
