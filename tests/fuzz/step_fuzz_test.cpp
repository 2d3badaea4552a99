// Plans, results and requests: what travels at every step, and what the ledger keeps.
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/fuzz/msgpack_material.hpp"
#include "tests/runtime/protocol/step_examples.hpp"

#include "runtime/protocol/request_codec.hpp"
#include "runtime/protocol/step_codec.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::testing::fuzz;
using protocol::request;
using protocol::step_plan;
using protocol::step_result;

namespace {

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

/// A worker looks at a decoded plan once more before it believes it.
result<step_plan> decoded_plan(std::span<const std::byte> input) {
  constexpr protocol::plan_limits limits{
      .slots = 8, .blocks = 64, .vocabulary = 1000, .max_positions = 4096, .block_size = 16};
  auto plan = decoded<step_plan>(input);
  if (plan) {
    static_cast<void>(protocol::validate(*plan, limits));
    static_cast<void>(plan->computed_tokens());
  }
  return plan;
}

template <class T>
material examples(T (*example)(std::uint64_t, std::size_t)) {
  material made{.pieces = msgpack_pieces()};
  for (std::uint64_t n = 0; n < 4; ++n) {
    made.specimens.push_back(msgpack_specimen(encoded(example(n, n * 3))));
  }
  return made;
}

/// A plan that validate() likes: one new sequence of three tokens, and one that goes on.
step_plan sound_plan() {
  step_plan plan;
  plan.step = 7;
  plan.epoch = 2;
  plan.slots = {0, 1};
  plan.request_ids = {5, 6};
  plan.flags = {protocol::flag_new | protocol::flag_samples, protocol::flag_samples};
  plan.first_position = {0, 9};
  plan.token_counts = {3, 1};
  plan.block_counts = {1, 0};
  plan.new_blocks = {4};
  plan.tokens = {1, 2, 3, 9};
  plan.sampling = {{.bias_count = 1, .suppressed_count = 1}};
  plan.sampling[0].prompt_tokens = 3;
  plan.bias_ids = {5};
  plan.bias_values = {0.5F};
  plan.suppressed_ids = {2};
  return plan;
}

request example_request(std::uint64_t n) {
  example_numbers draw(n + 50);
  request made{.id = request_id(n * 1'000'003), .priority = static_cast<std::int32_t>(n) - 1};
  made.arrival = draw.next();
  draw.fill(made.prompt, n * 5 + 1);
  draw.fill(made.generated, n);
  draw.fill(made.eos_ids, n % 3);
  draw.fill(made.stop_token_ids, n % 2);
  made.max_tokens = static_cast<std::int32_t>(n * 40 + 1);
  made.ignore_eos = n % 2 == 1;
  made.sampling = example_record(draw);
  made.logit_bias.assign(n, {static_cast<token_id>(n), -1.5F});
  made.client_key = n * draw.next();
  return made;
}

/// Bit by bit: biases and penalties may be NaN.
bool same_request(const request& a, const request& b) {
  return a.id == b.id && a.priority == b.priority && a.arrival == b.arrival && a.prompt == b.prompt
         && a.generated == b.generated && a.max_tokens == b.max_tokens
         && a.ignore_eos == b.ignore_eos && a.eos_ids == b.eos_ids
         && a.stop_token_ids == b.stop_token_ids
         && std::memcmp(&a.sampling, &b.sampling, sizeof(a.sampling)) == 0
         && same_bytes(a.logit_bias, b.logit_bias) && a.client_key == b.client_key;
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_steps)

BOOST_AUTO_TEST_CASE(step_plans) { // S-1, S-2
  auto from = examples(example_plan);
  from.specimens.push_back(msgpack_specimen(encoded(sound_plan())));
  run(subject_of<step_plan>("step plan",
                            std::move(from),
                            {.decode = decoded_plan,
                             .encode = encoded<step_plan>,
                             .is_same = [](const step_plan& a, const step_plan& b) {
                               return same(a, b);
                             }}));
}

BOOST_AUTO_TEST_CASE(step_results) { // S-1, S-2
  run(subject_of<step_result>("step result",
                              examples(example_result),
                              {.decode = decoded<step_result>,
                               .encode = encoded<step_result>,
                               .is_same = [](const step_result& a, const step_result& b) {
                                 return same(a, b);
                               }}));
}

BOOST_AUTO_TEST_CASE(requests) { // C-1, C-2
  material from{.pieces = msgpack_pieces()};
  for (std::uint64_t n = 0; n < 4; ++n) {
    from.specimens.push_back(msgpack_specimen(encoded(example_request(n))));
  }
  run(subject_of<request>(
      "request",
      std::move(from),
      {.decode = protocol::decode_request, .encode = encoded<request>, .is_same = same_request}));
}

BOOST_AUTO_TEST_SUITE_END()
