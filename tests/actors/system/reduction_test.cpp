// With what a cluster goes on that has lost a worker for good: decided, kept on the board, and read by the next process.
#include "actors/system/reduction.hpp"

#include "actors/system/capacity_book.hpp"
#include "actors/system/model_setup.hpp"

#include "runtime/config/load.hpp"

#include <boost/test/unit_test.hpp>

#include <fmt/format.h>
#include <memory>
#include <string>
#include <vector>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

const std::string demo_model = VDIST_SOURCE_DIR "/examples/models/tiny-tales";

template <class T>
std::string why_not(const result<T>& made) {
  return made ? "" : made.error().context;
}

config::cluster_config configured(const std::string& parallel, const std::string& device = "") {
  auto config = config::parse(fmt::format("[model]\npath = \"{}\"\nmax_model_len = 256\n"
                                          "[device]\nkind = \"cpu\"\nkv_cache_bytes = 16777216\n"
                                          "{}\n[parallel]\n{}\n",
                                          demo_model,
                                          device,
                                          parallel),
                              "test");
  BOOST_REQUIRE_MESSAGE(config.has_value(), why_not(config));
  return *config;
}

model_setup setup_of(const config::cluster_config& config) {
  auto setup = set_up_model(config, {}, [](std::string_view, const std::string&) {});
  BOOST_REQUIRE_MESSAGE(setup.has_value(), why_not(setup));
  BOOST_REQUIRE(!setup->shortage.has_value());
  return std::move(*setup);
}

/// The same cluster on GPUs of a host that is made up: one per worker.
model_setup on_gpus(const config::cluster_config& config) {
  auto setup = setup_of(config);
  setup.device = config::device_kind::cuda;
  return setup;
}

reduction planned(const model_setup& setup, const std::vector<rank_id>& lost = {}) {
  const auto made = plan_reduction(setup, lost);
  BOOST_REQUIRE_MESSAGE(made.has_value(), why_not(made));
  return *made;
}

reduction example() {
  return {.pipeline = 2,
          .tensor = 1,
          .configured = 4,
          .keeps_sums = false,
          .since = time_point(12345ns),
          .retired = {1, 3},
          .reason = "worker slot 1 died"};
}

} // namespace

BOOST_AUTO_TEST_SUITE(reductions)

BOOST_AUTO_TEST_CASE(the_board_gives_back_the_newest_one) {
  const auto run = std::make_unique<run_words>();
  BOOST_TEST(!read_reduction(*run).has_value());
  for (int i = 1; i <= 5; ++i) {
    auto made = example();
    made.tensor = i;
    write_reduction(*run, made);
    BOOST_TEST((read_reduction(*run) == made));
    BOOST_TEST(run->reductions == static_cast<std::uint32_t>(i));
  }
}

BOOST_AUTO_TEST_CASE(one_that_is_half_written_is_not_there) { // Z-1
  const auto run = std::make_unique<run_words>();
  write_reduction(*run, example());
  auto next = example();
  next.pipeline = 1;
  write_reduction(*run, next);
  run->reductions = 1; // the writer ended before it counted
  BOOST_TEST((read_reduction(*run) == example()));
}

BOOST_AUTO_TEST_CASE(what_is_too_long_is_cut_and_what_is_damaged_stays_in_bounds) {
  const auto run = std::make_unique<run_words>();
  auto made = example();
  made.reason.assign(5000, 'x');
  made.retired.assign(5000, 7);
  write_reduction(*run, made);
  BOOST_TEST(read_reduction(*run)->reason == std::string(511, 'x'));
  BOOST_TEST(read_reduction(*run)->retired.size() == host::life_entries_max);
  auto& words = run->reduction.at(1);
  words.reason.fill('y');
  words.retired_used = 0xffffffff;
  BOOST_TEST(read_reduction(*run)->reason == std::string(512, 'y'));
  BOOST_TEST(read_reduction(*run)->retired.size() == host::life_entries_max);
}

BOOST_AUTO_TEST_CASE(a_cluster_has_run_when_an_epoch_began) { // Z-4
  const auto run = std::make_unique<run_words>();
  run->replicas.at(1).epoch = 1; // prepared only
  BOOST_TEST(!has_run(*run));
  run->replicas.at(1).wired = 1;
  BOOST_TEST(has_run(*run));
}

BOOST_AUTO_TEST_CASE(it_becomes_settings_that_are_no_larger_than_those_of_the_file) { // Z-5
  auto config = configured("tensor = 2\npipeline = 2\npipeline_layers = [1, 3]");
  const std::vector<std::string> wanted{
      "parallel.tensor=1", "parallel.pipeline=1", "parallel.pipeline_layers=[]"};
  BOOST_TEST(overrides_of({.pipeline = 1, .tensor = 1}, config) == wanted,
             boost::test_tools::per_element());
  const std::vector<std::string> bounded{"parallel.tensor=2", "parallel.pipeline=2"};
  BOOST_TEST(overrides_of({.pipeline = 99, .tensor = 2000000000}, config) == bounded,
             boost::test_tools::per_element());
  BOOST_TEST(overrides_of({.pipeline = -1, .tensor = 0}, config) == wanted,
             boost::test_tools::per_element());
  const auto again = config::parse("[model]\npath = \"x\"\n[parallel]\ntensor = 2\npipeline = 2\n"
                                   "pipeline_layers = [1, 3]\n",
                                   "test",
                                   wanted);
  BOOST_REQUIRE_MESSAGE(again.has_value(), why_not(again));
  BOOST_TEST(again->parallel.tensor == 1);
  BOOST_TEST(again->parallel.pipeline == 1);
  BOOST_TEST(again->parallel.pipeline_layers.empty());
}

BOOST_AUTO_TEST_CASE(the_next_shape_that_fits_is_taken) {
  const auto from_tensor = planned(setup_of(configured("tensor = 2")));
  BOOST_TEST(from_tensor.pipeline == 1);
  BOOST_TEST(from_tensor.tensor == 1);
  BOOST_TEST(from_tensor.configured == 2);
  BOOST_TEST(from_tensor.keeps_sums);
  const auto from_both = planned(setup_of(configured("tensor = 2\npipeline = 2\ndata = 2")));
  BOOST_TEST(from_both.pipeline == 1);
  BOOST_TEST(from_both.tensor == 2);
  BOOST_TEST(from_both.configured == 4);
  const auto from_stages = planned(setup_of(configured("pipeline = 2\npipeline_layers = [3, 5]")));
  BOOST_TEST(from_stages.pipeline == 1, "the layers of two stages do not hinder it");
}

BOOST_AUTO_TEST_CASE(what_changed_once_is_remembered) {
  auto setup = setup_of(configured("tensor = 2"));
  setup.reduced = example();
  const auto made = planned(setup);
  BOOST_TEST(made.configured == 4);
  BOOST_TEST(!made.keeps_sums);
  const std::vector<std::int32_t> retired{1, 3};
  BOOST_TEST(made.retired == retired, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(one_worker_has_nothing_smaller) { // Z-3
  const auto refused = plan_reduction(setup_of(configured("data = 2")), {});
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == errc::resource_exhausted));
  BOOST_TEST(refused.error().context == "a replica has one worker already");
}

BOOST_AUTO_TEST_CASE(a_shape_without_room_is_not_taken_and_the_refusal_says_what_is_missing) {
  auto config = configured("tensor = 2\npipeline = 2");
  auto setup = setup_of(config);
  // Room for one sequence of one worker in four, not of one in two.
  setup.config.device.kv_cache_bytes =
      static_cast<std::int64_t>(setup.memory.front().kv_per_block) * 16 + 1;
  auto refused = plan_reduction(setup, {});
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST(refused.error().context.find(
                 "no smaller shape fits; pipeline 1 x tensor 2: memory: the KV cache")
                 != std::string::npos,
             refused.error().context);
  setup.config.device.kv_cache_bytes *= 2;
  BOOST_TEST(planned(setup).tensor == 2);
}

BOOST_AUTO_TEST_CASE(those_that_are_left_share_the_memory_of_their_host) {
  const auto setup = setup_of(configured("tensor = 2"));
  const auto made = resize(setup, configured("tensor = 1"));
  BOOST_REQUIRE_MESSAGE(made.has_value(), why_not(made));
  BOOST_TEST(made->memory_budget == 2 * setup.memory_budget);
  BOOST_TEST(made->memory.size() == 1U);
  BOOST_TEST(made->accepted_max() == setup.accepted_max(), "whoever was accepted finds room");
}

BOOST_AUTO_TEST_CASE(the_gpu_of_a_lost_worker_is_not_used_again) {
  const auto setup = on_gpus(configured("tensor = 4"));
  const auto made = planned(setup, {rank_id(0)});
  BOOST_TEST(made.tensor == 2);
  const std::vector<std::int32_t> first{0};
  BOOST_TEST(made.retired == first, boost::test_tools::per_element());
  auto config = configured("tensor = 2");
  BOOST_REQUIRE(retire_devices(config, made.retired, 4).has_value());
  auto next = on_gpus(config);
  BOOST_TEST(next.layout->place_of(rank_id(0)).device == 1);
  BOOST_TEST(next.layout->place_of(rank_id(1)).device == 2);
  BOOST_TEST(next.layout->sizes().world() == 2);
  next.reduced = made;
  const auto last = planned(next, {rank_id(1)});
  const std::vector<std::int32_t> both{0, 2};
  BOOST_TEST(last.retired == both, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_gpu_that_is_shared_is_used_again) {
  const auto made = planned(on_gpus(configured("tensor = 2", "shared = true")), {rank_id(0)});
  BOOST_TEST(made.retired.empty());
}

BOOST_AUTO_TEST_CASE(devices_that_are_listed_lose_the_retired_ones_and_one_has_to_be_left) {
  auto config = configured("tensor = 2");
  config.nodes = {{.name = "here", .devices = {4, 5, 6}}};
  const std::vector<std::int32_t> some{5, 0};
  BOOST_REQUIRE(retire_devices(config, some, 99).has_value());
  const std::vector<std::int32_t> left{4, 6};
  BOOST_TEST(config.nodes.front().devices == left, boost::test_tools::per_element());
  BOOST_TEST(!retire_devices(config, left, 99).has_value());
  auto plain = configured("tensor = 2");
  BOOST_REQUIRE(retire_devices(plain, {}, 2).has_value());
  BOOST_TEST(plain.nodes.empty());
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(capacity)

BOOST_AUTO_TEST_CASE(is_what_was_not_given_up_of_what_was_configured) {
  const auto setup = setup_of(configured("data = 2\ntensor = 2"));
  capacity_book book(setup, 0);
  BOOST_TEST(book.gauge().workers == 4);
  BOOST_TEST(book.gauge().workers_configured == 4);
  BOOST_TEST(!book.of(0).since.has_value());
  BOOST_TEST(!book.lose(1, time_point(5s), "why"));
  BOOST_TEST(!book.lose(1, time_point(9s), "again"), "the other one is left");
  BOOST_TEST(book.gauge().workers == 2);
  BOOST_TEST(book.gauge().replicas_lost == 1U);
  BOOST_TEST((book.of(1).since == time_point(5s)));
  BOOST_TEST(book.of(1).reason == "why");
  BOOST_TEST(book.lose(0, time_point(9s), "too"));
  BOOST_TEST(book.gauge().workers == 0);
}

BOOST_AUTO_TEST_CASE(of_a_smaller_cluster_says_since_when_and_why) {
  auto setup = setup_of(configured("tensor = 2"));
  setup.reduced = example();
  const capacity_book book(setup, 3);
  BOOST_TEST(book.gauge().workers == 2);
  BOOST_TEST(book.gauge().workers_configured == 4);
  BOOST_TEST(book.gauge().reductions == 3U);
  BOOST_TEST((book.of(0).since == example().since));
  BOOST_TEST(book.of(0).reason == "worker slot 1 died");
}

BOOST_AUTO_TEST_SUITE_END()
