// Which GPUs a cluster gets, how much of them, and how its ranks exchange: decided against hosts that are made up.
#include "actors/system/devices.hpp"

#include "kernels/cuda_module.hpp"

#include <boost/test/unit_test.hpp>

#include <set>
#include <utility>
#include <vector>

using namespace vdist;
using namespace vdist::actors;
using config::exchange_choice;

namespace {

constexpr std::size_t mib = std::size_t{1} << 20U;

/// GPUs that only answer questions.
class described_gpus final : public kernels::cuda_module {
public:
  struct gpu {
    kernels::device_facts facts;
    std::string refusal; // why it may not be used
  };

  std::vector<gpu> gpus;

  explicit described_gpus(std::size_t count) : gpus(count) {
    for (auto& one : gpus) {
      one.facts = {.name = "NVIDIA H100",
                   .major = 9,
                   .total_bytes = 80000 * mib,
                   .free_bytes = 80000 * mib,
                   .processes = 0};
    }
  }

  [[nodiscard]] std::int32_t device_count() const noexcept override {
    return static_cast<std::int32_t>(gpus.size());
  }

  [[nodiscard]] kernels::device_facts facts_of(std::int32_t device, std::string& why) override {
    const auto& one = gpus.at(static_cast<std::size_t>(device));
    why = one.refusal;
    return one.facts;
  }

  [[nodiscard]] bool can_access(std::int32_t, std::int32_t, std::string&) override { return true; }

  [[nodiscard]] bool use_device(std::int32_t, std::string&) override { return true; }

  std::unique_ptr<kernels::device_event_source>
  watch_events(const std::vector<std::int32_t>& /*devices*/, std::string& why) override {
    why = "nothing happens here";
    return nullptr;
  }

  [[nodiscard]] kernels::device_rates measure(std::int32_t, std::string&) override { return {}; }

  [[nodiscard]] void* allocate(std::int32_t, std::size_t, std::string&) override { return nullptr; }

  void release(std::int32_t, void*) noexcept override {}

  [[nodiscard]] int create_shareable(std::int32_t, std::size_t, std::string&) override {
    return -1;
  }

  [[nodiscard]] void*
  map_shared(int, std::int32_t, std::size_t, std::uint64_t, std::string&) override {
    return nullptr;
  }

  void unmap_shared(void*, std::size_t) noexcept override {}

  [[nodiscard]] bool fill_zero(std::int32_t, void*, std::size_t, std::string&) override {
    return true;
  }

  [[nodiscard]] std::unique_ptr<kernels::backend> make_backend(const kernels::cuda_backend_config&,
                                                               std::string&) override {
    return nullptr;
  }
};

template <class T>
std::string why_not(const result<T>& found) {
  return found ? "" : found.error().context;
}

topology::cluster_layout lay_out(const topology::parallel_sizes& sizes,
                                 std::vector<topology::node_spec> nodes = {}) {
  auto made = topology::cluster_layout::make({.sizes = sizes,
                                              .model = {.layers = 8,
                                                        .heads = 48,
                                                        .kv_heads = 48,
                                                        .intermediate = 480,
                                                        .vocabulary = 1000,
                                                        .hidden = 480},
                                              .nodes = std::move(nodes)});
  BOOST_REQUIRE_MESSAGE(made, why_not(made));
  return *made;
}

model_setup cluster_of(const topology::parallel_sizes& sizes,
                       std::vector<topology::node_spec> nodes = {}) {
  model_setup setup{.device = config::device_kind::cuda};
  setup.config.device.memory_utilization = 0.5;
  setup.layout = lay_out(sizes, std::move(nodes));
  return setup;
}

void expect_words(const std::string& text, const std::vector<std::string>& words) {
  for (const auto& word : words) {
    BOOST_TEST(text.find(word) != std::string::npos, "\"" << word << "\" is not in: " << text);
  }
}

void expect_error(const result<worker_budget>& found,
                  errc code,
                  int exit_with,
                  const std::vector<std::string>& words) {
  BOOST_REQUIRE(!found);
  BOOST_TEST((found.error().code == code), found.error().context);
  BOOST_TEST(exit_code(found.error().code) == exit_with);
  expect_words(found.error().context, words);
}

/// Who reaches whom, on a host of as many GPUs as ranks; all at first.
struct reach {
  std::set<std::pair<std::int32_t, std::int32_t>> gaps; // device, peer
  std::int32_t devices = 64;
  std::int32_t questions = 0;

  result<exchange_plane> decide(const topology::cluster_layout& layout,
                                exchange_choice choice = exchange_choice::automatic) {
    return decide_exchange({
        .layout = layout,
        .device_of = [this,
                      &layout](rank_id rank) { return layout.place_of(rank).device % devices; },
        .can_access =
            [this](std::int32_t device, std::int32_t peer, std::string& why) {
              ++questions;
              const bool is_direct = !gaps.contains({device, peer});
              why = is_direct ? "" : "the bridge is out";
              return is_direct;
            },
        .choice = choice,
    });
  }

  void expect(const topology::cluster_layout& layout,
              exchange_choice choice,
              exchange_kind kind,
              const std::vector<std::string>& words) {
    const auto plane = decide(layout, choice);
    BOOST_REQUIRE_MESSAGE(plane, why_not(plane));
    BOOST_TEST((plane->kind == kind), to_string(plane->kind) << ": " << plane->reason);
    BOOST_TEST(!plane->reason.empty());
    expect_words(plane->reason, words);
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(devices_suite)

BOOST_AUTO_TEST_CASE(the_tightest_device_bounds_every_worker) { // D-1
  described_gpus host(4);
  host.gpus[2].facts.free_bytes = 50000 * mib;
  host.gpus[2].facts.processes = 2;
  host.gpus[2].facts.process_bytes = 29000 * mib;
  const auto budget = budget_on_devices(cluster_of({.tensor = 4}), host);
  BOOST_REQUIRE(budget);
  BOOST_TEST(budget->bytes == 10000 * mib - device_reserve_bytes);
  expect_words(budget->origin,
               {"rank 2",
                "device 2",
                "80000 MiB",
                "30000 MiB of them are in use",
                "29000 MiB by 2 other processes",
                "50 %",
                "device.memory_utilization"});
}

BOOST_AUTO_TEST_CASE(a_prepared_spare_has_a_reserve_of_its_own) { // D-1
  described_gpus host(2);
  auto setup = cluster_of({.tensor = 2});
  const auto without = budget_on_devices(setup, host);
  setup.config.fault_tolerance.standby = 1;
  const auto with = budget_on_devices(setup, host);
  BOOST_REQUIRE((without && with));
  BOOST_TEST(without->bytes - with->bytes == device_reserve_bytes);
  expect_words(with->origin, {"for the context and a spare"});
  setup.config.fault_tolerance.spares = config::standby_kind::generic;
  BOOST_TEST(budget_on_devices(setup, host)->bytes == without->bytes);
}

BOOST_AUTO_TEST_CASE(workers_of_one_gpu_share_its_memory) {
  described_gpus host(2);
  auto setup = cluster_of({.tensor = 4});
  setup.config.device.shared = true;
  const auto budget = budget_on_devices(setup, host);
  BOOST_REQUIRE(budget);
  BOOST_TEST(budget->bytes == 20000 * mib - device_reserve_bytes);
  expect_words(budget->origin, {"each of 2 workers"});
}

BOOST_AUTO_TEST_CASE(a_device_that_others_fill_leaves_nothing) {
  described_gpus host(1);
  host.gpus[0].facts.free_bytes = 1000 * mib;
  host.gpus[0].facts.processes = -1; // nobody tells
  const auto budget = budget_on_devices(cluster_of({}), host);
  BOOST_REQUIRE(budget);
  BOOST_TEST(budget->bytes == 0U);
  expect_words(budget->origin, {"79000 MiB of them are in use; 50 %"});
}

BOOST_AUTO_TEST_CASE(devices_that_are_not_there_are_named_with_their_rank) {
  described_gpus host(2);
  expect_error(
      budget_on_devices(cluster_of({.tensor = 4}), host),
      errc::not_found,
      3,
      {"rank 2", "no device 2", "has 2", "0 to 1", "node.devices", "parallel.tensor", "shared"});
  expect_error(budget_on_devices(cluster_of({.tensor = 2}, {{.devices = {1, 7}}}), host),
               errc::not_found,
               3,
               {"rank 1", "no device 7"});
}

BOOST_AUTO_TEST_CASE(a_device_that_may_not_be_used_says_why) {
  described_gpus host(2);
  host.gpus[1].refusal = "device 1: it is busy";
  expect_error(budget_on_devices(cluster_of({.tensor = 2}), host),
               errc::not_found,
               3,
               {"rank 1 on ", "device 1: it is busy"});
}

BOOST_AUTO_TEST_CASE(gpus_of_two_kinds_are_refused_unless_only_one_is_used) {
  described_gpus host(3);
  host.gpus[1].facts.name = "NVIDIA A100";
  host.gpus[1].facts.major = 8;
  expect_error(
      budget_on_devices(cluster_of({.tensor = 2}), host),
      errc::not_found,
      3,
      {"rank 1", "device 1 is NVIDIA A100", "device 0 of rank 0 is NVIDIA H100", "node.devices"});
  BOOST_TEST(bool(budget_on_devices(cluster_of({.tensor = 2}, {{.devices = {0, 2}}}), host)));
}

BOOST_AUTO_TEST_CASE(gpus_that_reach_each_other_exchange_directly) { // D-2
  reach host;
  for (const auto tensor : {1, 2, 4, 8}) {
    host.expect(lay_out({.pipeline = 2, .tensor = tensor}),
                exchange_choice::automatic,
                exchange_kind::peer,
                {"reach each other"});
  }
}

BOOST_AUTO_TEST_CASE(one_direction_is_not_enough) { // D-2
  for (const auto& gap : {std::pair{1, 3}, std::pair{3, 1}}) {
    reach host{.gaps = {gap}};
    const auto layout = lay_out({.tensor = 4});
    const std::vector<std::string> words{"rank 1 (device 1)", "rank 3 (device 3)", "bridge is out"};
    host.expect(layout, exchange_choice::automatic, exchange_kind::host, words);
    const auto insisted = host.decide(layout, exchange_choice::peer);
    BOOST_REQUIRE(!insisted);
    BOOST_TEST((insisted.error().code == errc::not_found));
    expect_words(insisted.error().context, words);
    expect_words(insisted.error().context,
                 {"device.exchange", "IOMMU", "ACS", "one host", "driver", "\"host\""});
  }
}

BOOST_AUTO_TEST_CASE(only_ranks_that_meet_must_reach_each_other) {
  // Ranks 0 1 | 2 3 | 4 5 are the stages: a pipe goes from 0 to 2 to 4 and from 1 to 3 to 5.
  const auto layout = lay_out({.data = 2, .pipeline = 3, .tensor = 2});
  const std::set<std::pair<std::int32_t, std::int32_t>> meeting{
      {0, 1}, {2, 3}, {4, 5}, {0, 2}, {2, 4}, {1, 3}, {3, 5}};
  reach host;
  for (std::int32_t device = 0; device < layout.world(); ++device) {
    for (std::int32_t peer = 0; peer < device; ++peer) {
      const bool is_meeting = device / 6 == peer / 6 && meeting.contains({peer % 6, device % 6});
      if (!is_meeting) {
        host.gaps.insert({device, peer});
        host.gaps.insert({peer, device});
      }
    }
  }
  host.expect(layout, exchange_choice::peer, exchange_kind::peer, {});
  BOOST_TEST(host.questions == 2 * 2 * 7);
  for (const auto& [first, second] : meeting) {
    reach broken{.gaps = {{second + 6, first + 6}}}; // in the second replica
    broken.expect(layout, exchange_choice::automatic, exchange_kind::host, {"bridge is out"});
  }
}

BOOST_AUTO_TEST_CASE(groups_of_other_sizes_go_through_the_host) {
  reach host;
  for (const auto tensor : {3, 6, 16}) {
    const auto layout = lay_out({.tensor = tensor});
    const auto size = "parallel.tensor=" + std::to_string(tensor);
    host.expect(layout, exchange_choice::automatic, exchange_kind::host, {size});
    const auto insisted = host.decide(layout, exchange_choice::peer);
    BOOST_REQUIRE(!insisted);
    BOOST_TEST((insisted.error().code == errc::not_found));
    expect_words(insisted.error().context, {size, "1, 2, 4 or 8", "device.exchange = \"host\""});
  }
}

BOOST_AUTO_TEST_CASE(ranks_of_one_gpu_wait_in_turns_unless_insisted) { // D-3
  reach host{.devices = 2};
  const auto layout = lay_out({.tensor = 4});
  host.expect(
      layout, exchange_choice::automatic, exchange_kind::host, {"ranks 0 and 2 share device 0"});
  BOOST_TEST(host.questions == 0);
  host.expect(layout, exchange_choice::peer, exchange_kind::peer, {});
  host.gaps = {{0, 1}};
  BOOST_TEST(!host.decide(layout, exchange_choice::peer));
}

BOOST_AUTO_TEST_CASE(the_host_is_taken_unasked_where_it_is_chosen_or_nobody_meets) {
  reach host;
  host.expect(
      lay_out({.tensor = 2}), exchange_choice::host, exchange_kind::host, {"device.exchange"});
  for (const auto choice :
       {exchange_choice::automatic, exchange_choice::peer, exchange_choice::host}) {
    host.expect(lay_out({.data = 3}), choice, exchange_kind::host, {"no two ranks meet"});
  }
  BOOST_TEST(host.questions == 0);
}

BOOST_AUTO_TEST_CASE(ranks_of_two_hosts_go_through_them) {
  reach host;
  const auto layout = lay_out({.tensor = 2},
                              {{.name = "left", .host = "10.0.0.1"},
                               {.name = "right", .host = "10.0.0.2"}}); // device 0 each
  host.expect(layout, exchange_choice::automatic, exchange_kind::host, {"different hosts"});
  BOOST_TEST(host.questions == 0);
}

BOOST_AUTO_TEST_CASE(other_devices_have_no_peers_and_say_where_their_memory_is_from) {
  auto setup = cluster_of({.tensor = 2});
  setup.device = config::device_kind::cpu;
  setup.config.device.exchange = exchange_choice::peer;
  const auto plane = exchange_of(setup);
  BOOST_REQUIRE(plane);
  BOOST_TEST((plane->kind == exchange_kind::host));
  expect_words(origin_of_budget(setup), {"MiB free", "50 %", "2 workers"});
}

BOOST_AUTO_TEST_SUITE_END()
