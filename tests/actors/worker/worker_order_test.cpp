// What a worker is made of: from the cluster's setup to its order, and from the order to the settings
// of its parts.
#include "actors/worker/worker_order.hpp"

#include "actors/system/machine.hpp"
#include "actors/system/worker_orders.hpp"

#include "runtime/config/environment.hpp"
#include "runtime/config/load.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;
using protocol::worker_device;
using protocol::worker_order;

namespace {

const std::string demo_model = VDIST_SOURCE_DIR "/examples/models/tiny-tales";

/// Slot 3 of a replica of two stages with two ranks each; every field differs from its default.
worker_order order_for(worker_device device) {
  return {.cluster = 42,
          .replica = 1,
          .first_rank = 4,
          .slot = 3,
          .incarnation = 7,
          .stage_of_slot = {0, 0, 1, 1},
          .tensor_rank = 1,
          .tensor_size = 2,
          .stages = 2,
          .first_layer = 3,
          .last_layer = 8,
          .max_batch_tokens = 512,
          .max_sequences = 32,
          .max_positions = 192,
          .blocks = 100,
          .block_size = 8,
          .vocabulary = 6144,
          .device = device,
          .threads = 3,
          .collective_deadline_ms = 1'500,
          .spin_us = 77,
          .sleep_slice_ms = 250,
          .log_level = "warn",
          .model_folder = demo_model,
          .model_name = "tiny-tales",
          .has_random_weights = true,
          .random_seed = 9,
          .weight_type = static_cast<std::uint8_t>(kernels::dtype::bfloat16),
          .step_us = 1.5,
          .token_us = 0.25,
          .device_index = 5,
          .device_graphs = false,
          .step_deadline_ms = 1'234,
          .peer_devices = {6, 7, 4, 5}};
}

rank_runner_config runner_of(const worker_order& order) {
  auto made = runner_config_of(order);
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().context));
  return std::move(*made);
}

void check_place(const topology::shard& place) {
  BOOST_TEST(place.tensor_rank == 1);
  BOOST_TEST(place.tensor_size == 2);
  BOOST_TEST(place.stage == 1);
  BOOST_TEST(place.stages == 2);
  BOOST_TEST(place.layers.first == 3);
  BOOST_TEST(place.layers.last == 8);
}

void check_limits(const exec::runner_limits& limits, std::int32_t logit_rows) {
  BOOST_TEST(limits.max_batch_tokens == 512);
  BOOST_TEST(limits.max_sequences == 32);
  BOOST_TEST(limits.max_positions == 192);
  BOOST_TEST(limits.blocks == 100);
  BOOST_TEST(limits.block_size == 8);
  BOOST_TEST(limits.logit_rows == logit_rows);
}

/// What no device changes.
void check_common(const rank_runner_config& config) {
  BOOST_TEST((config.rank == rank_id(7)));
  BOOST_TEST(config.tensor_size == 2);
  BOOST_TEST(config.threads == 3);
  BOOST_TEST((config.collective_deadline == 1500ms));
  check_place(config.place);
}

/// What the CPU and GPUs share.
const exec::model_runner_config& check_model(const rank_runner_config& config,
                                             std::int32_t logit_rows) {
  const auto* runner = std::get_if<exec::model_runner_config>(&config.device);
  BOOST_REQUIRE(runner != nullptr);
  BOOST_TEST(runner->model.architecture == "llama");
  BOOST_TEST(runner->model.layers == 8);
  BOOST_TEST(runner->source.folder == demo_model);
  BOOST_TEST(runner->source.name == "tiny-tales");
  BOOST_TEST((runner->source.weights == weights::weight_origin::random));
  BOOST_TEST((runner->type == kernels::dtype::bfloat16));
  BOOST_TEST((runner->rank == rank_id(7)));
  BOOST_TEST(runner->load_threads == 3);
  BOOST_TEST(runner->random_seed == 9U);
  BOOST_TEST((runner->device_deadline == 1234ms));
  check_place(runner->place);
  check_limits(runner->limits, logit_rows);
  return *runner;
}

const frame::wait_settings waits{.spin_budget = 77us, .slice_max = 250ms};

/// The demo model on the CPU: two replicas of two stages with two ranks each.
model_setup setup_of(const std::vector<std::string>& overrides) {
  const auto config = config::parse("[model]\npath = \"" + demo_model
                                        + "\"\nmax_model_len = 192\n"
                                          "[device]\nkind = \"cpu\"\nkv_cache_bytes = 16777216\n"
                                          "[parallel]\ndata = 2\npipeline = 2\ntensor = 2\n"
                                          "pipeline_layers = [3, 5]\n"
                                          "[scheduler]\nmax_batch_tokens = 512\n"
                                          "max_sequences = 32\nblock_size = 8\n"
                                          "[fault_tolerance]\ncollective_deadline_ms = 1500\n"
                                          "step_deadline_ms = 2345\n",
                                    "test.toml",
                                    overrides);
  BOOST_REQUIRE_MESSAGE(config.has_value(), (config ? "" : config.error().context));
  auto setup = set_up_model(*config, config::environment{}, [](auto, const auto&) {});
  BOOST_REQUIRE_MESSAGE(setup.has_value(), (setup ? "" : setup.error().context));
  BOOST_REQUIRE(!setup->shortage);
  return std::move(*setup);
}

void check_same_after_the_wire(const worker_order& order) {
  std::vector<std::byte> bytes;
  protocol::encode(order, bytes);
  worker_order decoded;
  const auto done = protocol::decode(bytes, decoded);
  BOOST_REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().context));
  BOOST_TEST((decoded == order));
}

} // namespace

BOOST_AUTO_TEST_SUITE(settings_of_an_order)

BOOST_AUTO_TEST_CASE(a_cpu_worker_computes_its_part_of_the_model) {
  const auto config = runner_of(order_for(worker_device::cpu));
  check_common(config);
  BOOST_TEST(!config.cuda.has_value());
  check_model(config, exec::logit_rows_max);
}

BOOST_AUTO_TEST_CASE(a_cuda_worker_does_so_on_its_device) {
  const auto config = runner_of(order_for(worker_device::cuda));
  check_common(config);
  BOOST_REQUIRE(config.cuda.has_value());
  BOOST_TEST(config.cuda->device == 5);
  BOOST_TEST(!config.cuda->use_graphs);
  BOOST_TEST(config.meets_peers());
  check_model(config, exec::device_logit_rows_max);
  auto with_graphs = order_for(worker_device::cuda);
  with_graphs.device_graphs = true;
  BOOST_TEST(runner_of(with_graphs).cuda->use_graphs);
}

BOOST_AUTO_TEST_CASE(weights_come_from_the_checkpoint_unless_they_are_random) {
  auto order = order_for(worker_device::cpu);
  order.has_random_weights = false;
  const auto config = runner_of(order);
  BOOST_TEST((std::get<exec::model_runner_config>(config.device).source.weights
              == weights::weight_origin::checkpoint));
}

BOOST_AUTO_TEST_CASE(a_sim_worker_needs_no_model) {
  auto order = order_for(worker_device::sim);
  order.model_folder.clear();
  const auto config = runner_of(order);
  check_common(config);
  BOOST_TEST(!config.cuda.has_value());
  const auto* runner = std::get_if<exec::sim_runner_config>(&config.device);
  BOOST_REQUIRE(runner != nullptr);
  BOOST_TEST((runner->rank == rank_id(7)));
  BOOST_TEST(runner->vocabulary == 6144);
  BOOST_TEST(runner->step_time.count() == 1.5);
  BOOST_TEST(runner->token_time.count() == 0.25);
  check_place(runner->place);
  check_limits(runner->limits, exec::logit_rows_max);
}

BOOST_AUTO_TEST_CASE(a_model_that_is_not_there_is_an_error_that_names_it) {
  for (const auto device : {worker_device::cpu, worker_device::cuda}) {
    auto order = order_for(device);
    order.model_folder = "/no/such/model";
    const auto made = runner_config_of(order);
    BOOST_REQUIRE(!made.has_value());
    BOOST_TEST(made.error().context.find("/no/such/model") != std::string::npos,
               made.error().context);
  }
}

BOOST_AUTO_TEST_CASE(wiring_plans_identity_and_waits_do_not_depend_on_the_device) {
  for (const auto device : {worker_device::cpu, worker_device::sim, worker_device::cuda}) {
    const auto order = order_for(device);
    const auto wiring = wiring_of(order);
    BOOST_TEST(wiring.cluster == 42U);
    BOOST_TEST(wiring.replica == 1);
    BOOST_TEST(wiring.first_rank == 4);
    BOOST_TEST((wiring.stage_of_slot == std::vector<std::int32_t>{0, 0, 1, 1}));
    const auto limits = plan_limits_of(order);
    BOOST_TEST(limits.slots == 32U);
    BOOST_TEST(limits.blocks == 100);
    BOOST_TEST(limits.vocabulary == 6144);
    BOOST_TEST(limits.max_positions == 192);
    BOOST_TEST(limits.block_size == 8);
    const auto who = identity_of(order);
    BOOST_TEST(who.cluster == 42U);
    BOOST_TEST(who.replica == 1);
    BOOST_TEST((who.rank == rank_id(7)));
    BOOST_TEST((who.worker == incarnation(7)));
    BOOST_TEST((waits_of(order).spin_budget == 77us));
    BOOST_TEST((waits_of(order).slice_max == 250ms));
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(orders_of_a_setup)

BOOST_AUTO_TEST_CASE(every_worker_gets_its_place) {
  const auto setup = setup_of({});
  for (std::int32_t replica = 0; replica < 2; ++replica) {
    for (std::int32_t slot = 0; slot < 4; ++slot) {
      const auto order = order_of(setup, 42, replica, slot, waits);
      BOOST_TEST(order.cluster == 42U);
      BOOST_TEST(order.replica == replica);
      BOOST_TEST(order.first_rank == replica * 4);
      BOOST_TEST(order.rank() == replica * 4 + slot);
      BOOST_TEST(order.incarnation == 0U, "filled in when it is started");
      BOOST_TEST((order.stage_of_slot == std::vector<std::int32_t>{0, 0, 1, 1}));
      BOOST_TEST(order.tensor_rank == slot % 2);
      BOOST_TEST(order.tensor_size == 2);
      BOOST_TEST(order.stage() == slot / 2);
      BOOST_TEST(order.stages == 2);
      BOOST_TEST(order.first_layer == (slot < 2 ? 0 : 3));
      BOOST_TEST(order.last_layer == (slot < 2 ? 3 : 8));
      check_same_after_the_wire(order);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_cpu_order_says_all_that_the_setup_decided) {
  const auto setup = setup_of({"device.threads=3", "log.level=warn"});
  const auto order = order_of(setup, 42, 0, 0, waits);
  BOOST_TEST((order.device == worker_device::cpu));
  BOOST_TEST(order.max_batch_tokens == 512);
  BOOST_TEST(order.max_sequences == 32);
  BOOST_TEST(order.max_positions == 192);
  BOOST_TEST(order.blocks == setup.limits.blocks);
  BOOST_TEST(order.blocks > 0);
  BOOST_TEST(order.block_size == 8);
  BOOST_TEST(order.vocabulary == 6144);
  BOOST_TEST(order.threads == 3);
  BOOST_TEST(order.collective_deadline_ms == 1'500);
  BOOST_TEST(order.spin_us == 77);
  BOOST_TEST(order.sleep_slice_ms == 250);
  BOOST_TEST(order.log_level == "warn");
  BOOST_TEST(order.model_folder == demo_model);
  BOOST_TEST(order.model_name == "tiny-tales");
  BOOST_TEST(!order.has_random_weights);
  BOOST_TEST(order.weight_type == static_cast<std::uint8_t>(kernels::dtype::bfloat16));
  BOOST_TEST(order.step_us == 0);
  BOOST_TEST(order.device_index == 0);
}

BOOST_AUTO_TEST_CASE(threads_are_an_even_share_of_the_cores) {
  const auto order = order_of(setup_of({}), 42, 1, 3, waits);
  BOOST_TEST(order.threads == std::max(1, available_cores() / 8));
}

BOOST_AUTO_TEST_CASE(random_weights_and_their_seed_are_ordered) {
  const auto order =
      order_of(setup_of({"model.path=random:" + demo_model, "model.seed=9"}), 42, 0, 1, waits);
  BOOST_TEST(order.has_random_weights);
  BOOST_TEST(order.random_seed == 9U);
  BOOST_TEST(order.model_folder == demo_model);
}

BOOST_AUTO_TEST_CASE(a_sim_order_says_how_long_steps_take_and_names_no_model) {
  const auto order = order_of(setup_of({"device.kind=sim",
                                        "model.path=",
                                        "device.sim.layers=8",
                                        "device.sim.vocabulary=1000",
                                        "device.sim.step_us=1.5",
                                        "device.sim.token_us=0.25"}),
                              42,
                              1,
                              2,
                              waits);
  BOOST_TEST((order.device == worker_device::sim));
  BOOST_TEST(order.vocabulary == 1'000);
  BOOST_TEST(order.step_us == 1.5);
  BOOST_TEST(order.token_us == 0.25);
  BOOST_TEST(order.model_folder.empty());
  check_same_after_the_wire(order);
  BOOST_TEST(runner_config_of(order).has_value());
}

BOOST_AUTO_TEST_CASE(a_cuda_order_names_the_device_of_its_rank) {
  auto setup =
      setup_of({"device.graphs=false", R"(node=[{name="here",devices=[8,9,10,11,0,1,2,3]}])"});
  // As on a host that has the devices; the setup of a CPU differs in nothing else that is ordered.
  setup.device = config::device_kind::cuda;
  for (std::int32_t rank = 0; rank < 8; ++rank) {
    const auto order = order_of(setup, 42, rank / 4, rank % 4, waits);
    BOOST_TEST((order.device == worker_device::cuda));
    BOOST_TEST(order.device_index == (rank < 4 ? 8 + rank : rank - 4));
    BOOST_TEST(!order.device_graphs);
    BOOST_TEST(order.peer_devices.empty());
    BOOST_TEST(order.step_deadline_ms == 2'345);
    check_same_after_the_wire(order);
    const auto runner = runner_of(order);
    BOOST_REQUIRE(runner.cuda.has_value());
    BOOST_TEST(runner.cuda->device == order.device_index);
    BOOST_TEST(!runner.meets_peers());
  }
  setup.peer_exchange = true;
  const auto order = order_of(setup, 42, 1, 2, waits);
  BOOST_TEST(order.peer_devices == (std::vector<std::int32_t>{0, 1, 2, 3}));
  BOOST_TEST(runner_of(order).meets_peers());
  check_same_after_the_wire(order);
}

BOOST_AUTO_TEST_SUITE_END()
