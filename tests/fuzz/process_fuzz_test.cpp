// What the processes of a host say to each other: supervisor and control process, control process and workers.
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/fuzz/msgpack_material.hpp"
#include "tests/support/example_messages.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::testing::fuzz;
using protocol::host_message;
using protocol::load_progress;
using protocol::worker_command;
using protocol::worker_event;
using protocol::worker_order;

namespace {

/// msgpack-c takes 24 bytes for each element that an array claims, in blocks that double, for as many arrays as may be nested;
/// none may claim more elements than the message has bytes.
constexpr heap_bound bound{.fixed = std::size_t{40} << 10U, .times = 256};

template <class T>
bytes encoded(const T& value) {
  bytes out;
  protocol::encode(value, out);
  return out;
}

template <class T>
result<T> decoded(std::span<const std::byte> input) {
  T value;
  VDIST_TRY(protocol::decode(input, value));
  return value;
}

template <class T>
codec<T> codec_of(std::function<result<T>(std::span<const std::byte>)> decode = decoded<T>) {
  return {.decode = std::move(decode),
          .encode = encoded<T>,
          .is_same = [](const T& a, const T& b) { return a == b; },
          .bound = bound};
}

material host_messages() {
  material from{.pieces = msgpack_pieces()};
  for (const auto& one : example_messages(40)) {
    from.specimens.push_back(msgpack_specimen(encoded(one), 1));
  }
  return from;
}

/// An order is obeyed without further questions: its rank and its stage are asked at once.
result<worker_order> decoded_order(std::span<const std::byte> input) {
  auto order = decoded<worker_order>(input);
  if (order
      && (order->rank() < order->slot || order->stage() < 0 || order->stage() >= order->stages)) {
    return fail(errc::internal, "it accepted a rank or a stage that cannot be");
  }
  return order;
}

material one_specimen(const bytes& message) {
  return {.specimens = {msgpack_specimen(message)}, .pieces = msgpack_pieces()};
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_processes)

BOOST_AUTO_TEST_CASE(messages_of_a_host) {
  run(subject_of<host_message>(
      "host message", host_messages(), codec_of<host_message>(protocol::decode_host_message)));
}

BOOST_AUTO_TEST_CASE(orders_of_workers) {
  auto codec = codec_of<worker_order>(decoded_order);
  codec.refusal = {}; // corrupt, and unsupported for another version
  run(subject_of<worker_order>("worker order", one_specimen(encoded(example_order())), codec));
}

BOOST_AUTO_TEST_CASE(commands_to_workers) {
  const worker_command begin{worker_command::kind::begin, 12};
  run(subject_of<worker_command>(
      "worker command", one_specimen(encoded(begin)), codec_of<worker_command>()));
}

BOOST_AUTO_TEST_CASE(events_of_workers) {
  const worker_event failed{.what = worker_event::kind::failed,
                            .slot = 1,
                            .worker = incarnation(3),
                            .now = epoch(4),
                            .status = errc::corrupt,
                            .text = "why"};
  run(subject_of<worker_event>(
      "worker event", one_specimen(encoded(failed)), codec_of<worker_event>()));
}

BOOST_AUTO_TEST_CASE(progress_of_loading) {
  const load_progress half{1ULL << 33U, 1ULL << 34U};
  run(subject_of<load_progress>(
      "load progress", one_specimen(encoded(half)), codec_of<load_progress>()));
}

BOOST_AUTO_TEST_SUITE_END()
