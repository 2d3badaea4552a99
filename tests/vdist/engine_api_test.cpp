// The calls of vdist/engine.hpp: what they take, what they refuse and how they say so.
#include "tests/support/temporary_folder.hpp"
#include "tests/vdist/api_fixture.hpp"

#include <thread>

using namespace std::chrono_literals;
using vdist::engine_state;
using vdist::error_code;
using vdist::finish_reason;
using namespace vdist::testing;

BOOST_AUTO_TEST_SUITE(vdist_engine)

BOOST_AUTO_TEST_CASE(file_text_and_struct_make_the_same_engine) {
  const temporary_folder folder;
  const auto file = folder.write("sim.toml", sim_config());
  const vdist::engine_options quiet{.settings = {"log.level=off"}};
  auto from_file = vdist::engine::from_file(file, quiet);
  auto from_text = vdist::engine::from_text(sim_config(), quiet);
  auto from_config = vdist::engine::from_config({.device = "sim",
                                                 .kv_cache_bytes = 16777216,
                                                 .max_sequences = 64,
                                                 .max_batch_tokens = 512,
                                                 .settings = {"device.sim.vocabulary=1000",
                                                              "device.sim.layers=8",
                                                              "device.sim.heads=8",
                                                              "device.sim.kv_heads=8",
                                                              "device.sim.hidden=64",
                                                              "device.sim.max_model_len=256"}},
                                                quiet);
  BOOST_REQUIRE(from_file.has_value());
  BOOST_REQUIRE(from_text.has_value());
  BOOST_REQUIRE_MESSAGE(from_config.has_value(), (from_config ? "" : from_config.error().message));
  const auto expected = tokens_of(*from_file, sim_request(20));
  BOOST_TEST(tokens_of(*from_text, sim_request(20)) == expected, boost::test_tools::per_element());
  BOOST_TEST(tokens_of(*from_config, sim_request(20)) == expected,
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(mistakes_are_values_that_name_what_is_legal) {
  const auto missing = vdist::engine::from_file("/nowhere/cluster.toml");
  BOOST_TEST((missing.error().code == error_code::not_found), missing.error().message);
  const auto unknown = vdist::engine::from_text("[device]\nkinds = \"sim\"\n");
  BOOST_TEST((unknown.error().code == error_code::bad_configuration));
  BOOST_TEST(unknown.error().message.find("device.kinds") != std::string::npos,
             unknown.error().message);
  const auto no_model =
      vdist::engine::from_config({.model = "/nowhere \"at\" all", .device = "cpu"});
  BOOST_TEST((no_model.error().code == error_code::not_found), no_model.error().message);

  auto engine = sim_engine();
  auto hot = sim_request(5);
  hot.sampling.temperature = 9.0F;
  const auto refused = engine.generate(hot);
  BOOST_TEST((refused.error().code == error_code::invalid_argument));
  BOOST_TEST(refused.error().message.find("temperature") != std::string::npos);
  BOOST_TEST((engine.generate({.prompt = "text"}).error().code == error_code::invalid_argument),
             "no tokenizer");
  BOOST_TEST(to_string(error_code::queue_full) == "queue_full");
}

BOOST_AUTO_TEST_CASE(a_batch_keeps_its_order_and_one_refusal_costs_the_others_nothing) {
  auto engine = sim_engine({.settings = {"scheduler.max_sequences=4", "scheduler.max_waiting=4"}});
  std::vector<vdist::generate_request> requests;
  for (std::int32_t index = 0; index < 60; ++index) { // more than it takes at once
    requests.push_back(sim_request(10, 1 + index));
  }
  requests[7].sampling.top_p = 5.0F;
  const auto all = engine.generate_all(requests, long_time);
  BOOST_REQUIRE(all.size() == requests.size());
  for (std::size_t index = 0; index < all.size(); ++index) {
    if (index == 7) {
      BOOST_TEST((all[index].error().code == error_code::invalid_argument));
      continue;
    }
    BOOST_REQUIRE_MESSAGE(all[index].has_value(), (all[index] ? "" : all[index].error().message));
    BOOST_TEST(all[index]->sequences.front().token_ids.size() == 10U);
  }
  BOOST_TEST(all[3]->sequences.front().token_ids == tokens_of(engine, requests[3]),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_batch_ends_at_its_deadline) {
  auto engine = sim_engine({.settings = {"device.sim.step_us=5000"}});
  const std::vector<vdist::generate_request> requests(200, sim_request(200));
  const auto all = engine.generate_all(requests, 100ms);
  BOOST_REQUIRE(all.size() == requests.size());
  for (const auto& one : all) {
    BOOST_REQUIRE(!one.has_value());
    BOOST_TEST((one.error().code == error_code::timed_out));
  }
  BOOST_TEST(engine.drain(long_time).has_value(), "what was late has been cancelled");
}

BOOST_AUTO_TEST_CASE(a_full_engine_refuses_and_goes_on) {
  auto engine = sim_engine({.settings = {"scheduler.max_sequences=1",
                                         "scheduler.max_waiting=1",
                                         "device.sim.step_us=2000"}});
  std::vector<vdist::stream> held;
  error_code refusal = error_code::none;
  for (int tries = 0; tries < 10 && refusal == error_code::none; ++tries) {
    auto made = engine.generate(sim_request(100));
    if (made) {
      held.push_back(std::move(*made));
    } else {
      refusal = made.error().code;
    }
  }
  BOOST_TEST((refusal == error_code::queue_full));
  for (auto& one : held) {
    BOOST_TEST(one.collect(long_time).has_value());
  }
}

BOOST_AUTO_TEST_CASE(draining_takes_nothing_new_and_waits_for_the_rest) {
  auto engine = sim_engine({.settings = {"device.sim.step_us=1000"}});
  BOOST_TEST((engine.health().state == engine_state::running));
  BOOST_TEST(engine.health().workers == 1);
  auto stream = stream_of(engine, sim_request(100));
  const auto early = engine.drain(0s);
  BOOST_TEST((early.error().code == error_code::timed_out));
  BOOST_TEST((engine.health().state == engine_state::draining));
  BOOST_TEST((engine.generate(sim_request(1)).error().code == error_code::closed));
  BOOST_TEST(engine.drain(long_time).has_value());
  const auto all = stream.collect(0s); // all of it is there
  BOOST_REQUIRE(all.has_value());
  BOOST_TEST(all->sequences.front().token_ids.size() == 100U);
  const auto stats = engine.stats();
  BOOST_REQUIRE(stats.has_value());
  BOOST_TEST(stats->active_requests == 0U);
  BOOST_TEST(stats->finished_requests == 1U);
}

BOOST_AUTO_TEST_CASE(a_moved_from_engine_answers_closed) {
  auto engine = sim_engine();
  auto other = std::move(engine);
  // NOLINTBEGIN(bugprone-use-after-move): what this is about
  BOOST_TEST((engine.generate(sim_request(1)).error().code == error_code::closed));
  BOOST_TEST((engine.health().state == engine_state::closed));
  BOOST_TEST(engine.close(0s).has_value());
  engine = std::move(other);
  // NOLINTEND(bugprone-use-after-move)
  BOOST_TEST(tokens_of(engine, sim_request(3)).size() == 3U);
}

BOOST_AUTO_TEST_CASE(an_engine_without_workers_says_why) {
  auto engine = sim_engine({.settings = {"fault_tolerance.max_restarts=1"}});
  BOOST_REQUIRE(inside(engine)->points().arm(
      {.point = "worker.step_begin", .action = vdist::failpoint_action::throw_error, .count = 0}));
  auto stream = stream_of(engine, sim_request(10));
  const auto all = stream.collect(long_time);
  BOOST_REQUIRE(all.has_value());
  BOOST_TEST((all->sequences.front().reason == finish_reason::failed), "G-1");
  BOOST_TEST(!stream.status().has_value());
  BOOST_TEST((engine.health().state == engine_state::failed));
  BOOST_TEST(!engine.health().reason.empty());
  BOOST_TEST((engine.generate(sim_request(1)).error().code == error_code::closed));
}

BOOST_AUTO_TEST_SUITE_END()
