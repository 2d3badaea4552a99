// I-1 to I-7 of vdist/inspection.hpp: what a model is said to be made of adds up, and rows of a watched layer are those of the
// tokens, whoever dies meanwhile.
#include "tests/vdist/api_fixture.hpp"

#include <algorithm>
#include <atomic>
#include <future>
#include <latch>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <thread>

using namespace std::chrono_literals;
using vdist::error_code;
using vdist::layer_watch;
using vdist::layer_watch_request;
using namespace vdist::testing;

namespace {

/// Every layer on two ranks; prompts in chunks of at most 7 tokens.
vdist::engine tales_engine(std::vector<std::string> settings = {}) {
  settings.insert(settings.end(),
                  {"log.level=off",
                   "parallel.tensor=2",
                   "scheduler.prefill_chunk=7",
                   "scheduler.prefix_cache=false"});
  auto made = vdist::engine::from_text(tiny_tales_config(), {.settings = std::move(settings)});
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  return std::move(*made);
}

/// One sequence is greedy; several are drawn, by the same seed.
vdist::generate_request tale(std::string prompt, std::int32_t tokens, std::int32_t n = 1) {
  return {.prompt = std::move(prompt),
          .sampling = {.temperature = n == 1 ? 0.0F : 0.9F,
                       .seed = 7,
                       .max_tokens = tokens,
                       .ignore_eos = true,
                       .n = n}};
}

layer_watch watch(vdist::engine& engine, const layer_watch_request& request) {
  auto made = engine.watch_layer(request);
  BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
  return std::move(*made);
}

/// By request and position.
using row_table = std::map<std::pair<std::uint64_t, std::int32_t>, std::vector<float>>;

/// What is there (I-5). A row that came more than once came with the same values.
row_table rows_of(layer_watch& watch) {
  row_table rows;
  auto row = watch.next(0s);
  for (; row; row = watch.next(0s)) {
    const auto [found, is_new] = rows.try_emplace({row->request_id, row->position}, row->values);
    BOOST_TEST((is_new || found->second == row->values), "I-4");
  }
  BOOST_TEST((row.error().code == error_code::timed_out), row.error().message);
  return rows;
}

/// Of a sequence that has ended: one per token but the last, as wide as the model.
void check_rows(const row_table& rows, std::uint64_t request, std::int32_t tokens) {
  std::int32_t missing = 0;
  for (std::int32_t position = 0; position < tokens - 1; ++position) {
    const auto found = rows.find({request, position});
    missing += found != rows.end() && found->second.size() == 256U ? 0 : 1;
  }
  BOOST_TEST(missing == 0,
             "request " << request << ": of " << tokens - 1 << " rows " << missing
                        << " are missing or have another width");
}

std::int32_t tokens_in(const vdist::generation& made, std::size_t sequence = 0) {
  return made.prompt_tokens
         + static_cast<std::int32_t>(made.sequences.at(sequence).token_ids.size());
}

vdist::generation end_of(vdist::stream& stream) {
  auto all = stream.collect(long_time);
  BOOST_REQUIRE_MESSAGE(all.has_value(), (all ? "" : all.error().message));
  return std::move(*all);
}

void check_refusal(vdist::engine& engine,
                   const layer_watch_request& request,
                   error_code code,
                   std::string_view message) {
  const auto refused = engine.watch_layer(request);
  BOOST_REQUIRE(!refused.has_value());
  BOOST_TEST((refused.error().code == code));
  BOOST_TEST(refused.error().message == message);
}

std::uint64_t elements_of(const std::vector<std::int64_t>& shape) {
  return std::accumulate(
      shape.begin(), shape.end(), std::uint64_t{1}, [](std::uint64_t all, std::int64_t size) {
        return all * static_cast<std::uint64_t>(size);
      });
}

/// How many ranks hold each element of a parameter.
std::vector<int> holders_of(const vdist::parameter_description& parameter) {
  std::vector<int> holders(elements_of(parameter.shape));
  const auto width = parameter.shape.size() == 2 ? parameter.shape[1] : 1;
  for (const auto& shard : parameter.shards) {
    const auto first_row = shard.axis == 0 ? shard.offset : 0;
    const auto first_column = shard.axis == 1 ? shard.offset : 0;
    const auto columns = shard.shape.size() == 2 ? shard.shape[1] : 1;
    for (std::int64_t row = 0; row < shard.shape[0]; ++row) {
      for (std::int64_t column = 0; column < columns; ++column) {
        ++holders.at(static_cast<std::size_t>((first_row + row) * width + first_column + column));
      }
    }
  }
  return holders;
}

} // namespace

BOOST_AUTO_TEST_SUITE(vdist_inspection)

BOOST_AUTO_TEST_CASE(the_description_of_a_model_is_exact) {
  const auto engine = tales_engine();
  const auto model = engine.model();
  BOOST_REQUIRE_MESSAGE(model.has_value(), (model ? "" : model.error().message));
  BOOST_TEST(model->name == "tiny-tales");
  BOOST_TEST(model->architecture == "llama");
  BOOST_TEST(model->dtype == "bfloat16");
  BOOST_TEST(model->hidden == 256);
  BOOST_TEST(model->heads == 8);
  BOOST_TEST(model->kv_heads == 4);
  BOOST_TEST(model->head_dim == 32);
  BOOST_TEST(model->intermediate == 768);
  BOOST_TEST(model->vocabulary == 6144);
  BOOST_TEST(model->max_model_len == 192);
  BOOST_TEST(model->parameter_count == 7868672U);
  constexpr std::uint64_t in_norms = 17 * 256; // float32; the rest is bfloat16
  BOOST_TEST(model->parameter_bytes == (7868672U - in_norms) * 2 + in_norms * 4);
  BOOST_TEST(model->parameters.size() == 74U);
  BOOST_REQUIRE(model->layers.size() == 8U);
  for (std::size_t layer = 0; layer < 8; ++layer) {
    BOOST_TEST(model->layers[layer].layer == static_cast<std::int32_t>(layer));
    BOOST_TEST(model->layers[layer].stage == 0);
    BOOST_TEST(model->layers[layer].ranks == (std::vector<std::int32_t>{0, 1}),
               boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(shards_add_up_to_parameters_and_to_weights) { // I-1, I-2
  const auto engine = tales_engine();
  const auto model = engine.model().value();
  std::map<std::pair<std::int32_t, std::string>, std::uint64_t> held; // by rank and weight
  for (const auto& parameter : model.parameters) {
    const bool is_split = parameter.shards.front().axis.has_value();
    for (const auto& shard : parameter.shards) {
      BOOST_TEST(shard.axis.has_value() == is_split);
      held[{shard.rank, shard.weight}] += elements_of(shard.shape);
    }
    const bool is_matrix = parameter.shape.size() == 2;
    const auto holders = holders_of(parameter);
    const auto [fewest, most] = std::minmax_element(holders.begin(), holders.end());
    BOOST_TEST(*fewest >= 1, "I-1: " << parameter.name);
    if (parameter.layer) {
      BOOST_TEST(*most == (is_matrix ? 1 : 2), parameter.name);
      BOOST_TEST(parameter.shards.size() == 2U, parameter.name);
    }
  }
  BOOST_REQUIRE(model.ranks.size() == 2U);
  for (const auto& rank : model.ranks) {
    BOOST_TEST(rank.first_layer == 0);
    BOOST_TEST(rank.layers == 8);
    BOOST_TEST(rank.tensor == rank.rank);
    std::uint64_t bytes = 0;
    for (const auto& weight : rank.weights) {
      const auto padding = weight.padding_rows * (weight.shape.size() == 2 ? weight.shape[1] : 1);
      BOOST_TEST((held[{rank.rank, weight.name}] + static_cast<std::uint64_t>(padding)
                  == elements_of(weight.shape)),
                 weight.name);
      BOOST_TEST(weight.bytes == elements_of(weight.shape) * (weight.dtype == "float32" ? 4U : 2U));
      bytes += weight.bytes;
    }
    BOOST_TEST(rank.weight_bytes >= bytes);
    BOOST_TEST(rank.kv_bytes_per_block > 0U);
  }
  const auto of_name = [&model](std::string_view name) {
    return *std::find_if(model.parameters.begin(), model.parameters.end(), [name](const auto& one) {
      return one.name == name;
    });
  };
  const auto query = of_name("model.layers.5.self_attn.q_proj.weight");
  BOOST_TEST((query.layer == 5));
  BOOST_TEST((query.shards.at(1).axis == 0));
  BOOST_TEST(query.shards.at(1).offset == 128);
  BOOST_TEST(query.shards.at(1).weight == "layers.5.attention.qkv");
  const auto norm = of_name("model.norm.weight");
  BOOST_TEST(!norm.layer.has_value());
  BOOST_TEST(!norm.shards.at(0).axis.has_value());
}

BOOST_AUTO_TEST_CASE(a_simulated_model_has_layers_and_no_parameters) {
  auto engine = sim_engine();
  const auto model = engine.model().value();
  BOOST_TEST(model.architecture == "sim");
  BOOST_TEST(model.layers.size() == 8U);
  BOOST_TEST(model.parameters.empty());
  BOOST_TEST(model.parameter_count == 0U);
}

BOOST_AUTO_TEST_CASE(rows_are_those_of_the_tokens_of_each_request) { // I-3, I-5, I-6
  auto engine = tales_engine();
  const auto expected = tokens_of(engine, tale("Once upon a time", 20));
  auto first = watch(engine, {.layer = 4, .rank = 0});
  auto second = watch(engine, {.layer = 4, .rank = 1});
  auto one = stream_of(engine, tale("Once upon a time", 20));
  auto other = stream_of(engine, tale("The little rabbit went out to look for a red hen", 9));
  const auto one_made = end_of(one);
  const auto other_made = end_of(other);
  BOOST_TEST(one_made.sequences.front().token_ids == expected, boost::test_tools::per_element());
  const auto rows = rows_of(first);
  BOOST_TEST(one.request_id(0) != other.request_id(0));
  check_rows(rows, one.request_id(0), tokens_in(one_made));
  check_rows(rows, other.request_id(0), tokens_in(other_made));
  BOOST_TEST(rows.size()
             == static_cast<std::size_t>(tokens_in(one_made) + tokens_in(other_made) - 2));
  BOOST_TEST((rows_of(second) == rows), "the residual stream is the same on all ranks of a layer");
  BOOST_TEST(first.lost() == 0U);
  BOOST_TEST((first.next(1ms).error().code == error_code::timed_out));
}

BOOST_AUTO_TEST_CASE(every_sequence_of_a_request_has_an_id) {
  auto engine = tales_engine();
  auto watching = watch(engine, {.layer = 7, .rank = 1});
  auto stream = stream_of(engine, tale("The old king", 6, 3));
  const auto made = end_of(stream);
  const auto rows = rows_of(watching);
  std::set<std::uint64_t> ids;
  for (std::int32_t sequence = 0; sequence < 3; ++sequence) {
    check_rows(
        rows, stream.request_id(sequence), tokens_in(made, static_cast<std::size_t>(sequence)));
    ids.insert(stream.request_id(sequence));
  }
  BOOST_TEST(ids.size() == 3U);
  BOOST_TEST(!ids.contains(0));
  BOOST_TEST(stream.request_id(3) == 0U);
  BOOST_TEST(stream.request_id(-1) == 0U);
}

BOOST_AUTO_TEST_CASE(what_layer_0_reads_can_be_watched) {
  auto engine = tales_engine();
  auto watching = watch(engine, {.layer = vdist::embedding_output, .rank = 0});
  auto stream = stream_of(
      engine, {.token_ids = {9, 10, 9, 10, 9}, .sampling = {.temperature = 0.0F, .max_tokens = 1}});
  static_cast<void>(end_of(stream));
  const auto rows = rows_of(watching);
  BOOST_REQUIRE(rows.size() == 5U);
  const auto row = [&](std::int32_t position) {
    return rows.at({stream.request_id(0), position});
  };
  BOOST_TEST((row(0) == row(2)), "without positions, a token's row is always the same");
  BOOST_TEST((row(1) == row(3)));
  BOOST_TEST((row(0) != row(1)));
}

BOOST_AUTO_TEST_CASE(positions_are_complete_when_workers_die) { // I-4
  for (const std::string isolation : {"thread", "process"}) {
    auto engine = tales_engine({"cluster.isolation=" + isolation});
    const auto action = isolation == "process" ? vdist::failpoint_action::kill9
                                               : vdist::failpoint_action::kill_actor;
    const auto request = tale("Once upon a time", 40);
    const auto expected = tokens_of(engine, request);
    std::uint64_t restarts = 0;
    for (const std::int32_t victim : {0, 1}) { // the watched one, and its neighbour
      auto watching = watch(engine, {.layer = 3, .rank = 0});
      BOOST_REQUIRE(inside(engine)->points().arm(
          {.point = "worker.step_end", .rank = victim, .action = action, .nth = 15}));
      auto stream = stream_of(engine, request);
      const auto made = end_of(stream);
      BOOST_TEST(made.sequences.front().token_ids == expected, boost::test_tools::per_element());
      BOOST_TEST(engine.stats()->worker_restarts > restarts, "it has died");
      restarts = engine.stats()->worker_restarts;
      check_rows(rows_of(watching), stream.request_id(0), tokens_in(made));
      BOOST_TEST(watching.lost() == 0U);
      inside(engine)->points().clear();
    }
  }
}

BOOST_AUTO_TEST_CASE(what_nobody_reads_is_counted_and_holds_nobody) { // I-3
  auto engine = tales_engine();
  auto watching = watch(engine, {.layer = 2, .rank = 0, .rows_max = 4});
  auto stream = stream_of(engine, tale("Once upon a time", 20));
  const auto made = end_of(stream);
  BOOST_TEST(rows_of(watching).size() == 4U);
  BOOST_TEST(watching.lost() == static_cast<std::uint64_t>(tokens_in(made) - 1 - 4));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_watched_is_refused_with_what_is_legal) {
  auto engine = tales_engine();
  check_refusal(engine,
                {.layer = 8},
                error_code::invalid_argument,
                "watch layer: rank 0 does not have this layer (asked=8 legal=-1 to 7)");
  check_refusal(engine,
                {.layer = -2},
                error_code::invalid_argument,
                "watch layer: rank 0 does not have this layer (asked=-2 legal=-1 to 7)");
  check_refusal(engine,
                {.layer = 0, .rank = 2},
                error_code::invalid_argument,
                "watch layer: no such rank (asked=2 legal=0 to 1)");
  check_refusal(engine,
                {.rows_max = 1},
                error_code::invalid_argument,
                "watch layer: rows_max is out of its range (asked=1 legal=2 to 65535)");
  {
    const auto watching = watch(engine, {.layer = 7, .rank = 1});
    check_refusal(engine,
                  {.layer = 6, .rank = 1},
                  error_code::invalid_argument,
                  "watch layer: rank 1 is watched already (layer=7); one watch per rank");
  }
  const auto again = watch(engine, {.layer = 6, .rank = 1}); // the destructor has ended the other
  auto simulated = sim_engine();
  check_refusal(simulated,
                {},
                error_code::unsupported,
                "watch layer: the sim device computes no activations (legal: cpu, cuda)");
}

BOOST_AUTO_TEST_CASE(a_watch_that_is_assigned_to_ends_before) {
  auto engine = tales_engine();
  auto watching = watch(engine, {.layer = 1, .rank = 0});
  watching = watch(engine, {.layer = 2, .rank = 1});
  const auto again = watch(engine, {.layer = 3, .rank = 0});
  auto moved = std::move(watching);
  auto stream = stream_of(engine, tale("One morning", 3));
  const auto made = end_of(stream);
  check_rows(rows_of(moved), stream.request_id(0), tokens_in(made));
}

BOOST_AUTO_TEST_CASE(a_watch_outlives_its_engine) { // I-7
  for (const std::string isolation : {"thread", "process"}) {
    std::optional<vdist::engine> engine(tales_engine({"cluster.isolation=" + isolation}));
    auto waiting = watch(*engine, {.layer = 1, .rank = 0});
    auto unread = watch(*engine, {.layer = 1, .rank = 1, .rows_max = 2});
    auto stream = stream_of(*engine, tale("Once upon a time", 5));
    const auto made = end_of(stream);
    check_rows(rows_of(waiting), stream.request_id(0), tokens_in(made));
    const auto lost = unread.lost();
    BOOST_TEST(lost == static_cast<std::uint64_t>(tokens_in(made) - 1 - 2));
    std::latch has_begun(1);
    auto read = std::async(std::launch::async, [&] {
      has_begun.count_down();
      return waiting.next(2 * long_time); // nothing comes: only the end of the engine ends it
    });
    has_begun.wait();
    engine.reset();
    BOOST_REQUIRE((read.wait_for(long_time) == std::future_status::ready));
    BOOST_TEST((read.get().error().code == error_code::closed));
    BOOST_TEST((waiting.next(long_time).error().code == error_code::closed));
    BOOST_TEST((unread.next(0s).error().code == error_code::closed), "what was not read is gone");
    BOOST_TEST(unread.lost() == lost);
  }
}

BOOST_AUTO_TEST_CASE(a_stuck_worker_holds_neither_engine_nor_watch) { // G-2, I-7
  auto engine = std::make_unique<vdist::engine>(tales_engine());
  const auto core = vdist::embedding::engine_core::of(*engine);
  std::optional<layer_watch> watching(watch(*engine, {.layer = 1, .rank = 0}));
  auto kept = watch(*engine, {.layer = 1, .rank = 1});
  BOOST_REQUIRE(inside(*engine)->points().arm(
      {.point = "worker.step_begin", .action = vdist::failpoint_action::delay, .argument = 3000}));
  auto stream = stream_of(*engine, tale("Once", 5));
  BOOST_TEST((stream.next(20ms).error().code == error_code::timed_out));
  BOOST_TEST((engine->close(1ms).error().code == error_code::timed_out));
  BOOST_TEST((watching->next(long_time).error().code == error_code::closed));
  watching.reset(); // while the cluster cannot end
  BOOST_TEST(core->close(long_time).has_value());
  BOOST_TEST((kept.next(long_time).error().code == error_code::closed));
}

BOOST_AUTO_TEST_CASE(watches_come_and_go_while_the_engine_closes) { // W-1, W-2 of watch_state.hpp
  for (int round = 0; round < 5; ++round) {
    auto engine = tales_engine();
    std::atomic<int> refused = 0;
    std::latch has_begun(4);
    std::vector<std::jthread> watchers;
    for (std::int32_t watcher = 0; watcher < 4; ++watcher) { // two compete for each rank
      watchers.emplace_back([&, watcher] {
        bool is_first = true;
        while (true) {
          auto made = engine.watch_layer({.layer = watcher, .rank = watcher % 2, .rows_max = 8});
          if (std::exchange(is_first, false)) {
            has_begun.count_down();
          }
          if (!made && made.error().code == error_code::closed) {
            ++refused;
            return;
          }
          if (made) {
            static_cast<void>(made->next(100us));
          }
        }
      });
    }
    has_begun.wait();
    BOOST_TEST(engine.close(long_time).has_value());
    watchers.clear();
    BOOST_TEST(refused == 4);
  }
}

BOOST_AUTO_TEST_CASE(an_engine_that_loads_or_is_closed_says_so) {
  std::promise<void> release;
  const auto gate = release.get_future().share();
  vdist::engine_options options{.waits_until_ready = false};
  options.on_phase = [gate](std::string_view, std::string_view) {
    gate.wait();
  };
  auto engine = sim_engine(std::move(options));
  BOOST_TEST((engine.model().error().code == error_code::not_ready));
  BOOST_TEST((engine.watch_layer({}).error().code == error_code::not_ready));
  release.set_value();
  BOOST_TEST(engine.close(long_time).has_value());
  BOOST_TEST((engine.model().error().code == error_code::closed));
  BOOST_TEST((engine.watch_layer({}).error().code == error_code::closed));
  const auto other = std::move(engine);
  // NOLINTBEGIN(bugprone-use-after-move): what this is about
  BOOST_TEST((engine.model().error().code == error_code::closed));
  BOOST_TEST((engine.watch_layer({}).error().code == error_code::closed));
  // NOLINTEND(bugprone-use-after-move)
}

BOOST_AUTO_TEST_SUITE_END()
