// What the processes of a host say to each other: supervisor and control process, control process and workers.
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/fuzz/msgpack_material.hpp"

#include "runtime/protocol/host.hpp"
#include "runtime/protocol/worker.hpp"

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
  using namespace protocol;
  const process_key key{.rank = 3, .incarnation = 2};
  material from{.pieces = msgpack_pieces()};
  for (const host_message& one : std::initializer_list<host_message>{
           host_welcome{.supervisor_pid = 10, .vault_pid = 11, .ledger_bytes = 1ULL << 40U},
           host_welcome{.node_starts = 3,
           .life = 1,
           .living = {{key, 77, ~std::uint64_t{0}}, {{.rank = 0}, 78, 5}},
           .last = {{0, 1}, {3, 2}}},
           spawn_worker{key, bytes(40, std::byte{0xc1}), 12345},
           process_dying{key},
           signal_process{{.role = process_role::control}, 19},
           host_settings{.detect_ms = 17, .standby = 2},
           output{.record = 2, .offset = 1ULL << 33U, .bytes = bytes(5), .is_stream = true},
           kill_process{{.role = process_role::vault}},
           process_started{key, 77},
           process_ended{key, 77, 9, 0, "killed by signal 9 (Killed)"}}) {
    from.specimens.push_back(msgpack_specimen(encoded(one), 1));
  }
  return from;
}

worker_order example_order() {
  return {.cluster = 0xfedcba9876543210,
          .replica = 1,
          .first_rank = 4,
          .slot = 3,
          .incarnation = 7,
          .stage_of_slot = {0, 0, 1, 1},
          .tensor_rank = 1,
          .tensor_size = 2,
          .stages = 2,
          .first_layer = 4,
          .last_layer = 8,
          .max_batch_tokens = 8192,
          .max_sequences = 256,
          .max_positions = 131072,
          .blocks = 1000,
          .block_size = 16,
          .vocabulary = 128256,
          .device = protocol::worker_device::sim,
          .threads = 2,
          .collective_deadline_ms = 5000,
          .spin_us = 200,
          .sleep_slice_ms = 500,
          .log_level = "info",
          .model_folder = "/models/é",
          .model_name = "é",
          .has_random_weights = true,
          .random_seed = 9,
          .weight_type = 1,
          .step_us = 1.5,
          .token_us = 0.25,
          .device_index = 5,
          .device_graphs = false,
          .step_deadline_ms = 1234};
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
  run(subject_of<worker_order>("worker order",
                               one_specimen(encoded(example_order())),
                               codec_of<worker_order>(decoded_order)));
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
