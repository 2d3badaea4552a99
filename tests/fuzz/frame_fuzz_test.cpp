// Envelopes from bytes (E-1, E-2), and the gate against a model of what may be heard (G-1 to G-3).
#include "tests/fuzz/fuzz_run.hpp"

#include "transport/frame/frame_gate.hpp"

#include <boost/test/unit_test.hpp>

#include <cstring>

using namespace vdist;
using namespace vdist::testing::fuzz;
using frame::envelope;

namespace {

constexpr heap_bound bound{.fixed = 512, .times = 0};
constexpr frame::frame_limits limits{.body_bytes_max = 1024};
const frame::expectation expected{
    .cluster = 42, .protocol = 1, .version_max = 3, .epoch = 2, .sender = 2, .incarnation = 3};

envelope header_of(std::uint64_t sequence, std::uint32_t epoch = 2, std::uint32_t incarnation = 3) {
  return {.protocol = 1,
          .version = 1,
          .kind = 1,
          .sender = 2,
          .cluster = 42,
          .incarnation = incarnation,
          .epoch = epoch,
          .sequence = sequence};
}

specimen in_words(std::span<const std::byte> message, std::size_t word_bytes) {
  specimen made;
  for (std::size_t at = 0; at < message.size(); at += word_bytes) {
    const auto word = message.subspan(at, std::min(word_bytes, message.size() - at));
    made.units.emplace_back(word.begin(), word.end());
  }
  return made;
}

bytes sealed(envelope header, std::string_view body) {
  const auto content = bytes_of(body);
  BOOST_REQUIRE(frame::seal(header, content, limits));
  bytes out(frame::frame_bytes(header));
  frame::encode(header, content, out);
  return out;
}

judgement judge_frame(std::span<const std::byte> input) {
  const auto before = heap_bytes();
  frame::drop_reason why{};
  const auto view = frame::parse(input, limits, &why);
  if (heap_bytes() - before > bound.of(input.size())) {
    return wrong("it asked the heap for more than an error text");
  }
  if (!view) {
    return why <= frame::drop_reason::bad_checksum ? judge_error(view.error(), errc::corrupt)
                                                   : wrong("a reason that parse() cannot have");
  }
  bytes again(frame::frame_bytes(view->header));
  frame::encode(view->header, view->body, again);
  return std::equal(again.begin(), again.end(), input.begin(), input.end())
             ? accepted()
             : wrong("it is not written as it was read");
}

/// A writer of ill will, not a line that flips bits: its checksum and its length are right.
judgement judge_resealed(std::span<const std::byte> input) {
  envelope header;
  if (input.size() < sizeof header) {
    return judge_frame(input);
  }
  std::memcpy(&header, input.data(), sizeof header);
  const auto body = input.subspan(sizeof header);
  const bool fits = body.size() <= limits.body_bytes_max;
  if (frame::seal(header, body, limits).has_value() != fits) {
    return wrong("seal() and the limit disagree");
  }
  if (!fits) {
    return refused();
  }
  bytes whole_frame(frame::frame_bytes(header));
  frame::encode(header, body, whole_frame);
  const auto judged = judge_frame(whole_frame);
  const bool is_ours =
      header.magic == frame::envelope_magic && header.layout == frame::envelope_layout;
  return judged.is_accepted == is_ours || !judged.complaint.empty()
             ? judged
             : wrong("a sealed frame is accepted exactly if magic and layout are ours");
}

bool is_heard(const envelope& header) {
  return header.cluster == expected.cluster && header.protocol == expected.protocol
         && header.version <= expected.version_max && header.group == expected.group
         && header.sender == *expected.sender && header.epoch == expected.epoch
         && header.incarnation == *expected.incarnation;
}

/// The input is a row of envelopes, each of which a reader shows to its gate until it is through.
judgement judge_gate(std::span<const std::byte> input) {
  frame::frame_gate gate(expected);
  std::optional<std::uint64_t> last; // sequence that passed
  std::uint64_t passes = 0;
  std::uint64_t lost = 0;
  std::uint64_t shown = 0;
  for (std::size_t at = 0; at + sizeof(envelope) <= input.size(); at += sizeof(envelope)) {
    envelope header;
    std::memcpy(&header, input.data() + at, sizeof header);
    if (header.sequence + 1 == 0) {
      return refused(); // a channel does not live for 2^64 frames
    }
    ++shown;
    auto said = gate.admit(header);
    if (said == frame::verdict::lost) {
      ++lost;
      said = gate.admit(header); // G-3: reported once
      if (said != frame::verdict::pass) {
        return wrong("what is shown again after a gap does not pass");
      }
    }
    if (said == frame::verdict::hold && header.epoch <= expected.epoch) {
      return wrong("it holds a frame of no newer epoch");
    }
    if (said == frame::verdict::hold) {
      --shown;
      break; // the channel stands still until the reader expects the newer epoch
    }
    if (said == frame::verdict::pass) {
      if (!is_heard(header) || (last && header.sequence <= *last)) {
        return wrong("it passes a frame of somebody else, of the past, or for a second time");
      }
      last = header.sequence;
      ++passes;
    }
  }
  return gate.drops().total() == shown - passes + lost
             ? judgement{.is_accepted = passes > 0, .complaint = {}}
             : wrong("frames are neither delivered nor counted");
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_frames)

BOOST_AUTO_TEST_CASE(envelopes) { // E-1, E-2
  material from;
  for (const auto body :
       {"", "x", "a body of some bytes, more than a line of memory has: 64 of them"}) {
    from.specimens.push_back(in_words(sealed(header_of(7), body), 8));
  }
  run({.name = "envelope", .from = from, .judge = judge_frame});
  run({.name = "sealed envelope", .from = std::move(from), .judge = judge_resealed});
}

BOOST_AUTO_TEST_CASE(rows_of_frames_at_a_gate) { // G-1, G-2, G-3
  specimen row;
  for (const auto& header : {header_of(1),
                             header_of(2),
                             header_of(3, 1),
                             header_of(4, 2, 2),
                             header_of(5),
                             header_of(5),
                             header_of(7),
                             header_of(8, 3)}) {
    row.units.push_back(whole(in_words(std::as_bytes(std::span(&header, 1)), 64)));
  }
  run({.name = "frame gate", .from = {.specimens = {row}}, .judge = judge_gate});
}

BOOST_AUTO_TEST_SUITE_END()
