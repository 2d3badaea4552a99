// A model on a GPU beside itself: recorded or not, sampled there or on the host, in chunks or not, taken over by a second
// incarnation. Where two runs put the same work to the device they must agree bit by bit (kernels/backend.hpp N-4).
#include "tests/kernels/cuda/cuda_fixture.hpp"
#include "tests/support/model_driver.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace vdist {

namespace {

using kernels::testing::has_gpu;
using kernels::testing::has_gpus;
using testing::driven_sequence;
using testing::driver_config;
using testing::model_driver;

constexpr exec::runner_limits limits{.max_batch_tokens = 256,
                                     .max_sequences = 8,
                                     .max_positions = 128,
                                     .blocks = 160,
                                     .block_size = 16};

std::filesystem::path source_folder() {
  return VDIST_SOURCE_DIR;
}

driver_config config_of(const std::string& model) {
  return {.folder = source_folder() / "tests" / "golden" / "models" / model,
          .limits = limits,
          .is_on_gpu = true,
          .observes = false};
}

using token_lists = std::vector<std::vector<token_id>>;

/// Rows behind layer 1, as they come.
class kept_rows final : public exec::layer_tap {
public:
  std::int32_t steps = 0;
  std::int32_t lost = 0;
  std::vector<float> values;

  std::optional<exec::tap_order> wanted() noexcept override {
    return exec::tap_order{.layer = 1, .rows_max = limits.max_batch_tokens};
  }

  void take(const exec::tapped_step& step) noexcept override {
    ++steps;
    lost += step.tokens - step.rows;
    const auto floats = static_cast<std::size_t>(step.rows) * static_cast<std::size_t>(step.width);
    values.insert(values.end(), step.values, step.values + floats);
  }
};

/// What a sequence may ask for beside, so that the host samples it.
using host_wish = void (*)(protocol::sampling_record&);

void penalise(protocol::sampling_record& record) {
  record.repetition_penalty = 1.4F;
}

void ask_for_logprobs(protocol::sampling_record& record) {
  record.logprobs = 2;
}

/// `width` prompts, decoded together; four in turn sample in ways of their own, and `hosts` of them have a wish.
token_lists generate(const driver_config& config,
                     std::int32_t steps,
                     std::int32_t chunk_tokens = 0,
                     bool is_greedy = false,
                     const std::vector<std::int32_t>& hosts = {},
                     host_wish wish = nullptr,
                     std::int32_t width = 4) {
  model_driver driver(config);
  std::vector<driven_sequence> sequences;
  sequences.reserve(static_cast<std::size_t>(width));
  for (std::int32_t i = 0; i < width; ++i) {
    const auto way = i % 4;
    std::vector<token_id> prompt;
    for (std::int32_t t = 0; t < 9 + 7 * way; ++t) {
      prompt.push_back((t * 37 + i * 11) % driver.model().vocabulary);
    }
    auto sequence = driver.add(prompt);
    if (!is_greedy) {
      sequence.record.seed = 100U + static_cast<std::uint64_t>(i);
      sequence.record.temperature = way == 0 ? 0.0F : 0.9F;
      sequence.record.top_p = way == 2 ? 0.8F : 1.0F;
      sequence.record.top_k = way == 3 ? 5 : 0;
    }
    if (std::find(hosts.begin(), hosts.end(), i) != hosts.end()) {
      wish(sequence.record);
    }
    sequences.push_back(std::move(sequence));
  }
  std::vector<driven_sequence*> batch;
  for (auto& sequence : sequences) {
    batch.push_back(&sequence);
  }
  driver.generate(batch, steps, chunk_tokens);
  token_lists out;
  for (const auto& sequence : sequences) {
    out.push_back(sequence.sampled);
  }
  return out;
}

/// Sequences whose tokens are not the same, without those of `left_out`.
std::vector<std::size_t> differing(const token_lists& one,
                                   const token_lists& other,
                                   const std::vector<std::int32_t>& left_out) {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < one.size(); ++i) {
    const auto is_left_out =
        std::find(left_out.begin(), left_out.end(), static_cast<std::int32_t>(i)) != left_out.end();
    if (!is_left_out && one[i] != other.at(i)) {
      out.push_back(i);
    }
  }
  return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(cuda_model, *boost::unit_test::precondition(has_gpu))

BOOST_AUTO_TEST_CASE(recorded_steps_give_the_tokens_of_steps_that_are_not) {
  for (const auto* model : {"llama3_gqa", "gpt2", "qwen3"}) {
    auto config = config_of(model);
    const auto recorded = generate(config, 40);
    config.use_graphs = false;
    BOOST_TEST((generate(config, 40) == recorded), model);
  }
}

BOOST_AUTO_TEST_CASE(a_watched_layer_changes_no_token_and_is_what_the_stage_passes_on) {
  auto config = config_of("llama3_gqa");
  const auto recorded = generate(config, 40);
  kept_rows rows;
  config.tap = &rows;
  BOOST_TEST((generate(config, 40) == recorded));
  BOOST_TEST(rows.steps == 40);
  BOOST_TEST(rows.lost == 0);

  config.stage_layers = {2, 1}; // they meet through the host
  config.tap = nullptr;
  const auto staged = generate(config, 40);
  std::vector<float> passed;
  config.on_passed = [&passed](std::span<const float> step) {
    passed.insert(passed.end(), step.begin(), step.end());
  };
  kept_rows watched;
  config.tap = &watched;
  BOOST_TEST((generate(config, 40) == staged));
  BOOST_TEST(!passed.empty());
  BOOST_TEST((watched.values == passed), "bit by bit");
}

BOOST_AUTO_TEST_CASE(a_run_repeats_itself) {
  const auto config = config_of("llama3_gqa");
  const auto once = generate(config, 40);
  BOOST_TEST((generate(config, 40) == once));
}

BOOST_AUTO_TEST_CASE(the_device_samples_what_the_host_would) {
  for (const auto* model : {"llama3_gqa", "gpt2", "mistral_window"}) {
    auto config = config_of(model);
    const auto on_device = generate(config, 40);
    config.observes = true; // the host has to see the logits, so it samples
    BOOST_TEST((generate(config, 40) == on_device), model);
  }
}

// whose a row is follows from its own request; the rows beside it stay the device's.
BOOST_AUTO_TEST_CASE(who_samples_a_row_changes_no_token_of_its_batch) {
  const std::vector<std::vector<std::int32_t>> some{{0}, {1}, {3}, {0, 2}, {1, 2}, {0, 1, 2, 3}};
  for (const auto* model : {"llama3_gqa", "gpt2", "mistral_window"}) {
    const auto config = config_of(model);
    auto observed = config;
    observed.observes = true; // the host samples all rows
    const auto on_device = generate(config, 40);
    for (const auto& hosts : some) {
      BOOST_TEST((generate(config, 40, 0, false, hosts, ask_for_logprobs) == on_device),
                 model << ", log probabilities for " << hosts.size());
      const auto mixed = generate(config, 40, 0, false, hosts, penalise);
      BOOST_TEST((generate(observed, 40, 0, false, hosts, penalise) == mixed),
                 model << ", a penalty for " << hosts.size());
      BOOST_TEST(differing(mixed, on_device, hosts).empty(), model);
    }
  }
}

// A product of more rows is another kernel, which may round otherwise: with a host's row in the batch or without one, its
// padded rows have to be as many. 19 and 23 are no multiple of what rows are padded to.
BOOST_AUTO_TEST_CASE(a_host_s_row_changes_no_rounding_of_a_wide_batch) {
  auto config = config_of("llama3_gqa");
  config.type = kernels::dtype::bfloat16;
  config.limits.max_batch_tokens = 512;
  config.limits.max_sequences = 32;
  config.limits.blocks = 256;
  const std::vector<std::int32_t> hosts{1, 6, 17};
  for (const std::int32_t width : {19, 23}) {
    const auto on_device = generate(config, 40, 0, false, {}, nullptr, width);
    BOOST_TEST((generate(config, 40, 0, false, hosts, ask_for_logprobs, width) == on_device),
               width << " sequences");
    const auto mixed = generate(config, 40, 0, false, hosts, penalise, width);
    BOOST_TEST(differing(mixed, on_device, hosts).empty(), width << " sequences");
    BOOST_TEST(!differing(mixed, on_device, {}).empty(),
               "a penalty that changes nothing proves nothing");
  }
}

BOOST_AUTO_TEST_CASE(float32_gives_the_greedy_tokens_of_the_cpu) {
  for (const auto* model : {"llama2_mha", "llama3_gqa", "gpt2", "qwen3", "opt", "phi3_long"}) {
    auto config = config_of(model);
    config.type = kernels::dtype::float32;
    const auto on_gpu = generate(config, 60, 0, true);
    config.is_on_gpu = false;
    BOOST_TEST((generate(config, 60, 0, true) == on_gpu), model);
  }
}

BOOST_AUTO_TEST_CASE(the_demo_model_tells_the_cpu_s_story_in_float32) {
  driver_config config{.folder = source_folder() / "examples" / "models" / "tiny-tales",
                       .type = kernels::dtype::float32,
                       .limits = limits,
                       .is_on_gpu = true,
                       .observes = false};
  config.limits.max_positions = 256;
  const auto on_gpu = generate(config, 150, 0, true);
  config.is_on_gpu = false;
  BOOST_TEST((generate(config, 150, 0, true) == on_gpu));
}

BOOST_AUTO_TEST_CASE(chunks_of_a_prompt_change_no_greedy_token_in_float32) {
  auto config = config_of("llama3_gqa");
  config.type = kernels::dtype::float32;
  const auto whole = generate(config, 40, 0, true);
  BOOST_TEST((generate(config, 40, 5, true) == whole));
}

BOOST_AUTO_TEST_CASE(ranks_and_stages_give_the_same_greedy_tokens_in_float32) {
  auto config = config_of("llama3_gqa");
  config.type = kernels::dtype::float32;
  const auto alone = generate(config, 40, 0, true);
  config.tensor = 2;
  BOOST_TEST((generate(config, 40, 0, true) == alone), "tensor 2");
  config.tensor = 1;
  config.stage_layers = {2, 1};
  BOOST_TEST((generate(config, 40, 0, true) == alone), "pipeline 2");
  config.tensor = 2;
  BOOST_TEST((generate(config, 40, 0, true) == alone), "tensor 2, pipeline 2");
}

// Ranks that meet through the host wait for every step; who samples a row is the same there.
BOOST_AUTO_TEST_CASE(ranks_that_meet_through_the_host_sample_as_one) {
  auto config = config_of("llama3_gqa");
  config.type = kernels::dtype::float32;
  const auto alone = generate(config, 40);
  const auto mixed = generate(config, 40, 0, false, {1, 2}, penalise);
  config.tensor = 2;
  BOOST_TEST((generate(config, 40) == alone));
  BOOST_TEST((generate(config, 40, 0, false, {1, 2}, penalise) == mixed));
}

// Ranks that meet in each other's memory, a GPU each: steps are recorded and overlap, sampled by either side.
BOOST_AUTO_TEST_CASE(peers_give_the_greedy_tokens_of_one_rank,
                     *boost::unit_test::precondition(has_gpus(2))) {
  for (const auto* model : {"gpt2", "qwen3"}) {
    auto config = config_of(model);
    config.type = kernels::dtype::float32;
    const auto alone = generate(config, 40, 0, true);
    config.gpus = 2;
    config.meets_peers = true;
    for (const bool is_tensor : {true, false}) {
      config.tensor = is_tensor ? 2 : 1;
      config.stage_layers =
          is_tensor ? std::vector<std::int32_t>() : std::vector<std::int32_t>{1, 1};
      config.observes = false;
      config.use_graphs = true;
      BOOST_TEST((generate(config, 40, 0, true) == alone), model << " " << is_tensor);
      BOOST_TEST((generate(config, 40, 5, true) == alone), model << " chunks " << is_tensor);
      config.use_graphs = false;
      BOOST_TEST((generate(config, 40, 0, true) == alone), model << " not recorded " << is_tensor);
      config.observes = true;
      BOOST_TEST((generate(config, 40, 0, true) == alone), model << " host samples " << is_tensor);
    }
  }
}

BOOST_AUTO_TEST_CASE(peers_sample_as_one_rank_and_repeat_themselves,
                     *boost::unit_test::precondition(has_gpus(2))) {
  auto config = config_of("llama3_gqa");
  config.type = kernels::dtype::float32;
  const auto alone = generate(config, 40);
  const auto mixed = generate(config, 40, 0, false, {1, 2}, penalise);
  config.tensor = 2;
  config.gpus = 2;
  config.meets_peers = true;
  const auto once = generate(config, 40);
  BOOST_TEST((once == alone));
  BOOST_TEST((generate(config, 40, 0, false, {1, 2}, penalise) == mixed));
  config.type = kernels::dtype::bfloat16;
  const auto narrow = generate(config, 40);
  BOOST_TEST((generate(config, 40) == narrow));
}

BOOST_AUTO_TEST_CASE(a_second_incarnation_takes_weights_and_cache_over) {
  const auto config = config_of("llama3_gqa");
  model_driver first(config);
  auto sequence = first.add({1, 2, 3, 4, 5, 6, 7, 8, 9});
  driven_sequence* const one[] = {&sequence};
  first.generate(one, 10);
  auto undisturbed = sequence;
  driven_sequence* const same[] = {&undisturbed};
  first.generate(same, 20);

  model_driver second(config, first.memory(), first.current_epoch());
  BOOST_TEST(second.load_reports() == second.ranks()); // nothing was loaded
  sequence.is_announced = false;
  driven_sequence* const again[] = {&sequence};
  second.generate(again, 20);
  BOOST_TEST((sequence.sampled == undisturbed.sampled));
}

// E-6, M-4: a standby that has rehearsed beside the active worker goes on with its cache, as that would have.
BOOST_AUTO_TEST_CASE(a_standby_that_has_rehearsed_takes_over) {
  for (const auto* model : {"llama3_gqa", "gpt2", "qwen3", "phi3_long"}) {
    auto config = config_of(model);
    config.limits.small_step_tokens = 64;
    model_driver first(config);
    auto sequence = first.add({1, 2, 3, 4, 5, 6, 7, 8, 9});
    driven_sequence* const one[] = {&sequence};
    first.generate(one, 10);
    auto undisturbed = sequence;
    config.is_standby = true;
    config.rehearses = true;
    model_driver second(config, first.memory(), first.current_epoch());
    driven_sequence* const same[] = {&undisturbed};
    first.generate(same, 20); // its cache is what it was
    sequence.is_announced = false;
    driven_sequence* const again[] = {&sequence};
    second.generate(again, 20);
    BOOST_TEST((sequence.sampled == undisturbed.sampled), model);
  }
}

BOOST_AUTO_TEST_CASE(standbys_of_peers_record_with_their_links,
                     *boost::unit_test::precondition(has_gpus(2))) {
  for (const bool is_tensor : {true, false}) {
    auto config = config_of("llama3_gqa");
    config.limits.small_step_tokens = 64;
    config.gpus = 2;
    config.meets_peers = true;
    config.tensor = is_tensor ? 2 : 1;
    config.stage_layers = is_tensor ? std::vector<std::int32_t>() : std::vector<std::int32_t>{2, 1};
    model_driver first(config);
    auto sequence = first.add({1, 2, 3, 4, 5, 6, 7, 8, 9});
    driven_sequence* const one[] = {&sequence};
    first.generate(one, 10);
    auto undisturbed = sequence;
    driven_sequence* const same[] = {&undisturbed};
    first.generate(same, 20);
    config.is_standby = true;
    config.rehearses = true;
    model_driver second(config, first.memory(), first.current_epoch());
    sequence.is_announced = false;
    driven_sequence* const again[] = {&sequence};
    second.generate(again, 20);
    BOOST_TEST((sequence.sampled == undisturbed.sampled), "tensor " << is_tensor);
  }
}

// In a process of its own (--run_test=cuda_model/an_8b*): kernels that other cases have loaded would help. Prints what a
// rehearsal costs and what the standby takes.
BOOST_AUTO_TEST_CASE(an_8b_standby_is_as_fast_in_its_first_step_as_later) {
  const auto free_now = [] {
    std::string why;
    return kernels::testing::cuda_or_null()->facts_of(0, why).free_bytes;
  };
  if (free_now() >> 30U < 60) {
    BOOST_TEST_MESSAGE("left out: 60 GiB of device memory are wanted");
    return;
  }
  driver_config config{.folder = source_folder() / "tests" / "gpu" / "configs" / "Llama-3.1-8B",
                       .origin = weights::weight_origin::random,
                       .limits = {.max_batch_tokens = 8192,
                                  .max_sequences = 128,
                                  .max_positions = 16384,
                                  .blocks = 4096,
                                  .block_size = 16,
                                  .logit_rows = exec::device_logit_rows_max,
                                  .small_step_tokens = exec::device_small_step_tokens},
                       .is_on_gpu = true,
                       .observes = false};
  model_driver active(config); // loads the weights and runs no step
  using clock = std::chrono::steady_clock;
  const auto milliseconds_since = [](clock::time_point start) {
    return std::chrono::duration<double, std::milli>(clock::now() - start).count();
  };
  const auto free_before = free_now();
  config.is_standby = true;
  config.rehearses = true;
  const auto start = clock::now();
  config.on_rehearsed = [&] {
    BOOST_TEST_MESSAGE("standby: attached and rehearsed in "
                       << milliseconds_since(start) << " ms, takes "
                       << (free_before - free_now()) / (1U << 20U) << " MiB beside its context");
    BOOST_TEST((free_before - free_now()) >> 20U < 500U); // 1 GiB with a context of 524 MiB
  };
  model_driver standby(config, active.memory(), active.current_epoch());
  std::vector<driven_sequence> sequences;
  std::vector<driven_sequence*> batch;
  sequences.reserve(64);
  for (std::int32_t i = 0; i < 64; ++i) {
    sequences.push_back(standby.add(std::vector<token_id>(32, 100 + i)));
    batch.push_back(&sequences.back());
  }
  std::vector<double> steps;
  std::size_t free_behind_prompts = 0;
  for (std::int32_t step = 1; step <= 8; ++step) {
    const auto began = clock::now();
    standby.generate(batch, step);
    steps.push_back(milliseconds_since(began));
    BOOST_TEST_MESSAGE("step " << step << ": " << steps.back() << " ms");
    free_behind_prompts = step == 1 ? free_now() : free_behind_prompts;
  }
  BOOST_TEST(steps.at(1) < 1.5 * steps.at(5) + 1); // the first decode step
  BOOST_TEST(free_now() == free_behind_prompts);   // decoding loaded and took nothing
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace vdist
