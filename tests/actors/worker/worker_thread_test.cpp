#include "actors/worker/worker_thread.hpp"

#include "tests/support/counted_allocations.hpp"

#include "model/exec/sim_runner.hpp"

#include "transport/vault/memory_vault.hpp"

#include "runtime/protocol/step_codec.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t cluster = 77;
constexpr exec::runner_limits limits{.max_batch_tokens = 64,
                                     .max_sequences = 4,
                                     .max_positions = 1024,
                                     .blocks = 64,
                                     .block_size = 16};

/// What the lane reported, for a test that waits for it.
class reports {
public:
  void add(worker_event event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    changed_.notify_all();
  }

  /// The next report; an empty text fails the test that expected another one.
  worker_event take() {
    std::unique_lock lock(mutex_);
    BOOST_REQUIRE(changed_.wait_for(lock, 10s, [this] { return !events_.empty(); }));
    auto event = events_.front();
    events_.erase(events_.begin());
    return event;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<worker_event> events_;
};

/// Counts its rehearsals.
class rehearsing_runner final : public exec::step_runner {
public:
  rehearsing_runner(std::unique_ptr<exec::step_runner> inner, std::atomic<int>& rehearsals)
      : inner_(std::move(inner)), rehearsals_(&rehearsals) {}

  result<void> load(const exec::load_progress& progress) override { return inner_->load(progress); }

  result<void> rehearse() override {
    ++*rehearsals_;
    return {};
  }

  result<void> start_epoch(epoch now) override { return inner_->start_epoch(now); }

  result<void> launch(const protocol::step_plan& plan) override { return inner_->launch(plan); }

  result<void> finish(protocol::step_result& out) override { return inner_->finish(out); }

  result<void> disturb(exec::disturbance what) override { return inner_->disturb(what); }

private:
  std::unique_ptr<exec::step_runner> inner_;
  std::atomic<int>* rehearsals_;
};

/// Steps of a device that finishes, waits or is silent as a test likes.
struct device_play {
  std::atomic<bool> is_silent{false};
  std::atomic<bool> is_waiting{false};
  std::atomic<std::uint64_t> silent_from{~0ULL}; // in launches that wait
  std::atomic<bool> host_chooses{false};  // so launch() waits for the device, for all before first
  std::atomic<bool> is_settling{false};   // and does not come to an end
  std::atomic<bool> is_looked_at{false};  // meanwhile
  std::vector<int> settles_in;            // looks at each launched step, a millisecond each
  std::atomic<std::uint64_t> launched{0}; // steps
  std::atomic<bool> is_broken{false};     // as is found out by settling
  std::atomic<int> disturbed{-1};
  std::atomic<int> late_asks{0}; // so often a step is not done yet
  manual_clock* hand = nullptr;  // moves on with each of them, where there is one
  std::chrono::milliseconds per_ask{1};
};

class device_runner final : public exec::step_runner {
public:
  explicit device_runner(device_play& play) : play_(play) {}

  result<void> load(const exec::load_progress& /*progress*/) override { return {}; }

  result<void> settle() override {
    while (play_.is_settling) {
      if (play_.is_looked_at) {
        VDIST_TRY(by_->look(launched_.front().step));
      }
      std::this_thread::yield();
    }
    for (std::size_t i = 0; i < play_.settles_in.size(); ++i) {
      for (int looks = 0; looks < play_.settles_in[i]; ++looks) {
        play_.hand->advance(1ms);
        VDIST_TRY(by_->look(launched_.at(i).step));
      }
      by_->go_on(launched_.at(i).step);
    }
    return play_.is_broken ? result<void>(fail(errc::device_failed, "it is broken"))
                           : result<void>();
  }

  result<void> start_epoch(epoch /*now*/) override {
    launched_.clear();
    return {};
  }

  [[nodiscard]] std::int32_t flights_max() const noexcept override { return 2; }

  result<void> launch(const protocol::step_plan& plan) override {
    launched_.push_back({.step = plan.step, .epoch = plan.epoch});
    ++play_.launched;
    if (!play_.host_chooses) {
      return {};
    }
    for (const auto& step : launched_) {
      while (!is_ready() || step.step >= play_.silent_from) {
        VDIST_TRY(by_->look(step.step));
      }
      by_->go_on(step.step);
    }
    return {};
  }

  void observe_waits(exec::wait_observer* by) override { by_ = by; }

  [[nodiscard]] bool is_ready() noexcept override {
    beat_ += play_.is_waiting ? 1U : 0U;
    if (play_.late_asks > 0) {
      --play_.late_asks;
      play_.hand->advance(play_.per_ask);
      return false;
    }
    return !play_.is_silent && !play_.is_waiting;
  }

  result<void> finish(protocol::step_result& out) override {
    out = launched_.front();
    launched_.erase(launched_.begin());
    return {};
  }

  [[nodiscard]] exec::device_waits waits() const noexcept override {
    exec::device_waits all;
    all[0] = {.rank = 1, .beat = beat_, .operation = "all_reduce_sum"};
    return all;
  }

  result<void> disturb(exec::disturbance what) override {
    play_.disturbed = static_cast<int>(what);
    return {};
  }

private:
  device_play& play_;
  exec::wait_observer* by_ = nullptr;
  std::uint64_t beat_ = 0;
  std::vector<protocol::step_result> launched_;
};

/// What most tests have.
struct fixture_settings {
  step_watch_settings watch{.detect = 300ms, .step_deadline = 5000ms, .load_stall = 7000ms};
  const vdist::clock* watched = nullptr; // of the watch; null: that of the machine
  std::int32_t max_positions = 1024;
};

/// One worker with a sim runner, and the executor's side of its channels.
struct fixture {
  system_clock time;
  frame::wait_policy waits{{}, time};
  frame::fence fence;
  vault::memory_vault memory;
  failpoints points;
  reports heard;
  progress_cell cell;
  step_watch watch;
  int kills = 0;
  std::atomic<int> runners{0}; // made
  std::atomic<int> rehearsals{0};
  std::promise<result<void>> prepared;
  std::atomic<work_phase> phase_then{work_phase::none}; // when that was said
  std::atomic<int> ends{0};                             // of the process
  device_play* device = nullptr;                        // null: the sim device
  const wiring_config wiring_settings{.cluster = cluster, .stage_of_slot = {0}};
  const wiring_links rings{.memory = &memory, .stop = &fence};
  std::shared_ptr<epoch_wiring> wiring = make(epoch(1));
  std::shared_ptr<worker_thread> lane;
  std::thread thread;

  fixture() : fixture(fixture_settings()) {}

  explicit fixture(const fixture_settings& settings)
      : watch(progress_word(cell),
              settings.watched != nullptr ? *settings.watched : time,
              settings.watch) {
    worker_thread_links links{.points = &points,
                              .time = &time,
                              .wiring = rings,
                              .waits = &waits,
                              .make_runner = [this] { return make_runner(); },
                              .progress = {},
                              .on_prepared =
                                  [this](const auto& how) {
                                    phase_then = phase_of(cell.word.load());
                                    prepared.set_value(how);
                                  },
                              .watch = &watch,
                              .end_process =
                                  [this] {
                                    ++ends;
                                  }};
    worker_thread_config config{
        .wanted = {.slot = 0,
                   .worker = incarnation(1),
                   .report = [this](worker_event event) { heard.add(std::move(event)); },
                   .kill_actor =
                       [this] {
                         ++kills;
                       }},
        .wiring = wiring_settings,
        .limits = {.slots = 4,
                   .blocks = 64,
                   .vocabulary = 1000,
                   .max_positions = settings.max_positions,
                   .block_size = 16}};
    lane = std::make_shared<worker_thread>(std::move(config), std::move(links));
    thread = std::thread([this] { lane->run(); });
  }

  ~fixture() {
    fence.raise(epoch(1000));
    lane->stop();
    thread.join();
  }

  result<std::unique_ptr<exec::step_runner>> make_runner() {
    if (device != nullptr) {
      return std::unique_ptr<exec::step_runner>(std::make_unique<device_runner>(*device));
    }
    const exec::sim_runner_config config{
        .place = {.layers = {0, 2}}, .vocabulary = 1000, .limits = limits};
    ++runners;
    return std::unique_ptr<exec::step_runner>(std::make_unique<rehearsing_runner>(
        std::make_unique<exec::sim_runner>(config, exec::peers{}, memory), rehearsals));
  }

  std::shared_ptr<epoch_wiring> make(epoch now, std::uint32_t worker = 1) {
    auto made = make_wiring(wiring_settings, now, epoch(now.value - 1), {worker}, rings, waits);
    BOOST_REQUIRE(made.has_value());
    return *made;
  }

  void start() {
    lane->load();
    BOOST_TEST((heard.take().what == worker_event::kind::loaded));
    lane->begin(wiring->now);
  }

  /// Step `n` of one sequence: the prompt of one token first, then one token per step.
  protocol::step_plan plan_of(std::uint64_t n) const {
    const auto position = static_cast<std::int32_t>(n - 1);
    protocol::step_plan plan{.step = n, .epoch = wiring->now.value};
    plan.slots = {0};
    plan.request_ids = {1};
    plan.flags = {
        static_cast<std::uint8_t>(protocol::flag_samples | (n == 1 ? protocol::flag_new : 0))};
    plan.first_position = {position};
    plan.token_counts = {1};
    const bool needs_block = position % 16 == 0;
    plan.block_counts = {needs_block ? 1 : 0};
    if (needs_block) {
      plan.new_blocks = {position / 16};
    }
    plan.tokens = {5};
    if (n == 1) {
      plan.sampling.push_back({.prompt_tokens = 1});
    }
    return plan;
  }

  void send(const std::vector<std::byte>& body) {
    const frame::envelope header{.protocol = protocol::step_protocol,
                                 .version = protocol::step_version,
                                 .kind = protocol::step_plan_kind,
                                 .cluster = cluster,
                                 .epoch = wiring->now.value};
    BOOST_REQUIRE(wiring->plans[0]->write(header, body, time.now() + 5s).has_value());
  }

  void send(const protocol::step_plan& plan) {
    std::vector<std::byte> body;
    protocol::encode(plan, body);
    send(body);
  }

  void receive(protocol::step_result& into) {
    auto read = wiring->results[0]->read(time.now() + 5s);
    BOOST_REQUIRE(read.has_value());
    BOOST_REQUIRE(protocol::decode(read->body, into).has_value());
  }
};

} // namespace

BOOST_FIXTURE_TEST_CASE(answers_every_plan_with_its_step_epoch_and_rank, fixture) {
  start();
  protocol::step_result result;
  for (std::uint64_t n = 1; n <= 40; ++n) {
    send(plan_of(n));
    receive(result);
    BOOST_TEST(result.step == n);
    BOOST_TEST(result.epoch == 1U);
    BOOST_TEST(result.tokens.size() == 1U);
  }
}

BOOST_FIXTURE_TEST_CASE(a_step_in_the_steady_state_allocates_nothing, fixture) {
  start();
  constexpr std::uint64_t warm_up = 100;
  constexpr std::uint64_t steps = 400;
  std::vector<std::vector<std::byte>> bodies(steps + 1);
  for (std::uint64_t n = 1; n <= steps; ++n) {
    protocol::encode(plan_of(n), bodies[n]);
  }
  protocol::step_result result;
  std::size_t before = 0;
  for (std::uint64_t n = 1; n <= steps; ++n) {
    if (n == warm_up) {
      before = testing::allocations();
    }
    send(bodies[n]);
    receive(result);
  }
  BOOST_TEST(testing::allocations() - before < 1U);
}

BOOST_FIXTURE_TEST_CASE(a_raised_fence_and_prepare_end_an_epoch_at_once, fixture) {
  start();
  protocol::step_result result;
  send(plan_of(1));
  receive(result);
  fence.raise(epoch(2));
  lane->prepare(epoch(2));
  const auto event = heard.take();
  BOOST_TEST((event.what == worker_event::kind::quiesced));
  BOOST_TEST((event.now == epoch(2)));
  wiring = make(epoch(2));
  lane->begin(epoch(2));
  send(plan_of(1)); // announced anew
  receive(result);
  BOOST_TEST(result.epoch == 2U);
}

BOOST_FIXTURE_TEST_CASE(a_plan_that_contradicts_itself_fails_the_worker, fixture) {
  start();
  auto plan = plan_of(1);
  plan.tokens = {5, 6};
  send(plan);
  const auto event = heard.take();
  BOOST_TEST((event.what == worker_event::kind::failed));
  BOOST_TEST((event.status == errc::corrupt));
}

BOOST_FIXTURE_TEST_CASE(l5_a_failpoint_throws_in_the_lane_or_kills_the_actor, fixture) {
  BOOST_REQUIRE(points.arm(
      {.point = "worker.step_begin", .step = 2, .action = failpoint_action::kill_actor}));
  BOOST_REQUIRE(points.arm({.point = "worker.step_end", .step = 3}));
  start();
  protocol::step_result result;
  for (std::uint64_t n = 1; n <= 2; ++n) {
    send(plan_of(n));
    receive(result);
  }
  BOOST_TEST(kills == 1);
  send(plan_of(3));
  const auto event = heard.take();
  BOOST_TEST((event.what == worker_event::kind::failed));
  BOOST_TEST(event.text == "failpoint worker.step_end");
}

BOOST_FIXTURE_TEST_CASE(l8_a_lane_that_was_not_told_to_load_loads_before_it_says_quiesced,
                        fixture) {
  lane->prepare(epoch(1));
  const auto event = heard.take();
  BOOST_TEST((event.what == worker_event::kind::quiesced));
  BOOST_TEST((event.now == epoch(1)));
  lane->begin(epoch(1));
  protocol::step_result result;
  send(plan_of(1));
  receive(result);
  BOOST_TEST(result.step == 1U);
}

BOOST_FIXTURE_TEST_CASE(l8_a_lane_that_cannot_load_says_so_as_often_as_it_is_asked, fixture) {
  BOOST_REQUIRE(points.arm({.point = "worker.load"})); // once
  lane->load();
  lane->prepare(epoch(2));
  lane->begin(epoch(2));
  for (int i = 0; i < 3; ++i) {
    const auto event = heard.take();
    BOOST_TEST((event.what == worker_event::kind::failed));
  }
}

BOOST_FIXTURE_TEST_CASE(l13_a_spare_is_somebody_when_it_is_told_and_has_all_by_then, fixture) {
  BOOST_REQUIRE(points.arm({.point = "worker.prepare", .action = failpoint_action::hang}));
  lane->get_ready();
  while (cell.budget_ms.load() == 0) { // a spare that hangs is found like a worker that hangs
    std::this_thread::yield();
  }
  BOOST_TEST(cell.budget_ms.load() == 7'000U);
  points.clear();
  BOOST_TEST(prepared.get_future().get().has_value());
  BOOST_TEST((phase_of(cell.word.load()) == work_phase::idle), "it may sleep for ever");
  BOOST_TEST(rehearsals == 1);
  lane->become(incarnation(5));
  lane->load();
  const auto first = heard.take(); // and nothing before it
  BOOST_TEST((first.what == worker_event::kind::loaded));
  BOOST_TEST((first.worker == incarnation(5)));
  BOOST_TEST(runners == 1);
  BOOST_TEST(rehearsals == 1);
  wiring = make(epoch(2), 5);
  lane->begin(wiring->now);
  send(plan_of(1));
  protocol::step_result result;
  receive(result);
  BOOST_TEST(result.step == 1U);
}

BOOST_FIXTURE_TEST_CASE(l13_what_could_not_be_prepared_is_done_when_it_loads, fixture) {
  BOOST_REQUIRE(points.arm({.point = "worker.prepare", .action = failpoint_action::oom})); // once
  lane->get_ready();
  BOOST_TEST((prepared.get_future().get().error().code == errc::resource_exhausted));
  BOOST_TEST((phase_then == work_phase::loading), "nobody takes it for a ready one");
  lane->become(incarnation(2));
  lane->load();
  BOOST_TEST((heard.take().what == worker_event::kind::loaded));
  BOOST_TEST(runners == 1);
  BOOST_TEST(rehearsals == 0, "others wait for it");
}

BOOST_FIXTURE_TEST_CASE(l13_a_prepared_worker_that_cannot_load_says_so, fixture) {
  lane->get_ready();
  BOOST_TEST(prepared.get_future().get().has_value());
  BOOST_REQUIRE(points.arm({.point = "worker.load"})); // once
  lane->become(incarnation(2));
  lane->load();
  lane->prepare(epoch(2));
  for (int i = 0; i < 2; ++i) { // L-8
    BOOST_TEST((heard.take().what == worker_event::kind::failed));
  }
}

BOOST_FIXTURE_TEST_CASE(l9_the_board_says_what_the_thread_does, fixture) {
  const auto phase = [this] {
    return phase_of(cell.word.load());
  };
  BOOST_REQUIRE(points.arm({.point = "worker.step_begin",
                            .step = 2,
                            .action = failpoint_action::delay,
                            .argument = 200}));
  start();
  protocol::step_result result;
  send(plan_of(1));
  receive(result);
  const auto before = cell.word.load();
  send(plan_of(2));
  while (phase() != work_phase::computing) {
    std::this_thread::yield();
  }
  BOOST_TEST(cell.word.load() != before);
  BOOST_TEST(cell.budget_ms.load() == 5'000U, "the pace of such steps is not known yet");
  receive(result);
  fence.raise(epoch(2));
  lane->prepare(epoch(2));
  BOOST_TEST((heard.take().what == worker_event::kind::quiesced));
  while (phase() != work_phase::idle) {
    std::this_thread::yield();
  }
}

BOOST_FIXTURE_TEST_CASE(l9_who_loads_has_to_get_on_and_who_waits_for_that_has_not, fixture) {
  const auto phase = [this] {
    return phase_of(cell.word.load());
  };
  while (phase() != work_phase::loading) {
    std::this_thread::yield();
  }
  BOOST_TEST(cell.budget_ms.load() == 0U, "nobody has told it to");
  BOOST_REQUIRE(points.arm({.point = "worker.load", .action = failpoint_action::hang}));
  lane->load();
  while (cell.budget_ms.load() == 0) {
    std::this_thread::yield();
  }
  BOOST_TEST((phase() == work_phase::loading));
  BOOST_TEST(cell.budget_ms.load() == 7'000U);
  BOOST_TEST(cell.standstill_ms.load() == 0U, "a disk may be slow");
  const auto before = cell.word.load();
  watch.load_more();
  BOOST_TEST(cell.word.load() != before);
  points.clear();
  BOOST_TEST((heard.take().what == worker_event::kind::loaded));
}

BOOST_FIXTURE_TEST_CASE(l9_who_computes_may_not_stand_still_even_in_its_first_step, fixture) {
  BOOST_REQUIRE(points.arm({.point = "worker.step_begin", .action = failpoint_action::hang}));
  start();
  send(plan_of(1));
  while (phase_of(cell.word.load()) != work_phase::computing) {
    std::this_thread::yield();
  }
  BOOST_TEST(cell.budget_ms.load() == 5'000U);
  BOOST_TEST(cell.standstill_ms.load() == 200U, "two thirds of detect");
  points.clear();
  protocol::step_result result;
  receive(result);
}

BOOST_FIXTURE_TEST_CASE(l9_the_budget_follows_the_slowest_step_of_a_size, fixture) {
  constexpr std::uint64_t last = step_pace::steps_to_learn + 2;
  BOOST_REQUIRE(points.arm({.point = "worker.step_begin",
                            .step = last,
                            .action = failpoint_action::delay,
                            .argument = 200}));
  start();
  protocol::step_result result;
  for (std::uint64_t n = 1; n < last; ++n) {
    send(plan_of(n));
    receive(result);
  }
  send(plan_of(last));
  while (phase_of(cell.word.load()) != work_phase::computing) {
    std::this_thread::yield();
  }
  BOOST_TEST(cell.budget_ms.load() >= 200U);
  BOOST_TEST(cell.budget_ms.load() < 5'000U);
  receive(result);
}

/// With a device whose steps of one token take no time, and a pace that is known.
struct device_fixture : fixture {
  device_play play;
  std::uint64_t next = 1;

  device_fixture() : device_fixture(fixture_settings()) {}

  explicit device_fixture(const fixture_settings& settings) : fixture(settings) { device = &play; }

  /// One token.
  void send_next() {
    auto plan = plan_of(1);
    plan.step = next++;
    send(plan);
  }

  void learn() {
    start();
    protocol::step_result result;
    for (std::uint32_t i = 0; i <= step_pace::steps_to_learn; ++i) {
      send_next();
      receive(result);
      BOOST_TEST(result.step + 1 == next);
    }
  }

  /// L-15. Returns what is said.
  std::string take_device_failure() {
    auto event = heard.take();
    BOOST_TEST((event.what == worker_event::kind::failed));
    BOOST_TEST((event.status == errc::device_failed));
    while (ends == 0) {
      std::this_thread::yield();
    }
    return event.text;
  }

  /// Behind learn(), with a silent device: the epoch ends while a step is there.
  void leave_a_step() {
    send_next();
    while (cell.budget_ms.load() != 200U) { // it is launched, and looked at
      std::this_thread::yield();
    }
    fence.raise(epoch(2));
    lane->prepare(epoch(2));
  }

  /// Behind learn() and a step of a silent device.
  void check_overdue() {
    const auto text = take_device_failure();
    BOOST_TEST(text.find("step 10 is overdue: the device has been silent for 2") == 0U, text);
  }

  /// Behind learn() and a step of a device that waits for its peer.
  void check_peer_late() {
    const auto event = heard.take();
    BOOST_TEST((event.what == worker_event::kind::peer_late));
    BOOST_TEST(event.text.find("all_reduce_sum: rank 1 is late, the device of rank 0 waits for it "
                               "(step=10 waited_ms=3")
                   == 0U,
               event.text);
    BOOST_TEST(ends == 0, "it is innocent");
  }
};

BOOST_FIXTURE_TEST_CASE(l13_a_device_that_is_silent_ends_its_process, device_fixture) {
  learn();
  play.is_silent = true;
  send_next();
  check_overdue();
}

BOOST_FIXTURE_TEST_CASE(l13_a_device_that_waits_too_long_says_that_its_peer_is_late,
                        device_fixture) {
  learn();
  play.is_waiting = true;
  send_next();
  check_peer_late();
}

// E-7 of step_runner.hpp.
BOOST_FIXTURE_TEST_CASE(l13_a_device_is_looked_at_while_it_is_waited_for_in_a_launch,
                        device_fixture) {
  play.host_chooses = true;
  learn();
  play.is_silent = true;
  send_next();
  check_overdue();
}

BOOST_FIXTURE_TEST_CASE(l13_a_peer_may_be_late_in_a_launch, device_fixture) {
  play.host_chooses = true;
  learn();
  play.is_waiting = true;
  send_next();
  check_peer_late();
}

BOOST_FIXTURE_TEST_CASE(l13_a_fence_ends_a_launch_that_waits, device_fixture) {
  play.host_chooses = true;
  start();
  play.is_waiting = true; // in the first step: for long
  send_next();
  while (phase_of(cell.word.load()) != work_phase::waiting) {
    std::this_thread::yield();
  }
  fence.raise(epoch(2));
  lane->prepare(epoch(2));
  BOOST_TEST((heard.take().what == worker_event::kind::quiesced), "and no failure before it");
}

// The older one is new of its size and may take its time; the quick one behind it is not accused of that.
BOOST_FIXTURE_TEST_CASE(l13_a_launch_that_waits_for_a_step_before_goes_by_that_step,
                        device_fixture) {
  learn();
  play.is_silent = true;
  auto large = plan_of(1);
  large.step = next++;
  large.token_counts = {40};
  large.tokens.assign(40, 5);
  large.block_counts = {3};
  large.new_blocks = {0, 1, 2};
  large.sampling.front().prompt_tokens = 40;
  send(large);
  while (cell.budget_ms.load() <= 500) { // it is launched, and looked at
    std::this_thread::yield();
  }
  play.host_chooses = true;
  send_next();
  const auto since = time.now();
  while (time.now() - since < 400ms) { // the bound of quick ones is 200
    std::this_thread::yield();
  }
  play.is_silent = false;
  protocol::step_result result;
  for (const auto step : {10U, 11U}) {
    receive(result);
    BOOST_TEST(result.step == step);
  }
}

BOOST_FIXTURE_TEST_CASE(l13_what_is_known_behind_a_launch_is_answered_before_the_next_one,
                        device_fixture) {
  play.host_chooses = true;
  learn();
  play.silent_from = 11;
  send_next();
  send_next();
  protocol::step_result result;
  receive(result);
  BOOST_TEST(result.step == 10U);
  play.silent_from = ~0ULL;
  receive(result);
  BOOST_TEST(result.step == 11U);
}

BOOST_FIXTURE_TEST_CASE(l13_a_device_that_is_slow_once_finishes_its_step, device_fixture) {
  learn();
  play.is_waiting = true;
  send_next();
  while (phase_of(cell.word.load()) != work_phase::waiting) {
    std::this_thread::yield();
  }
  play.is_waiting = false;
  protocol::step_result result;
  receive(result);
  BOOST_TEST(result.step == 10U);
}

namespace {

struct manual_time {
  manual_clock hand;
};

/// A GPU whose steps take as long as a test says, in a time that nothing else moves.
struct timed_fixture : manual_time, device_fixture {
  static constexpr std::int32_t cached = 125'000; // tokens of a prefix

  timed_fixture()
      : device_fixture({.watch = {.detect = 300ms,
                                  .step_deadline = 20s,
                                  .load_stall = 7s,
                                  .computes_here = false,
                                  .is_gpu = true},
                        .watched = &hand,
                        .max_positions = 1 << 17}) {
    play.hand = &hand;
  }

  /// So many tokens of a sequence, behind those whose KV is there.
  void send_tokens(std::int32_t first, std::int32_t count) {
    protocol::step_plan plan{.step = next++, .epoch = wiring->now.value};
    plan.slots = {0};
    plan.request_ids = {1};
    plan.flags = {protocol::flag_samples};
    plan.first_position = {first};
    plan.token_counts = {count};
    plan.block_counts = {0};
    plan.tokens.assign(static_cast<std::size_t>(count), 5);
    send(plan);
  }

  void step(std::int32_t first, std::int32_t count, int takes_ms) {
    play.late_asks = takes_ms;
    send_tokens(first, count);
    protocol::step_result result;
    receive(result);
    BOOST_TEST(result.step + 1 == next);
  }

  void learn_prompts() {
    start();
    for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
      step(0, 2048, 49);
    }
  }

  /// And no failure.
  void check_ended_well() {
    fence.raise(epoch(2));
    lane->prepare(epoch(2));
    BOOST_TEST((heard.take().what == worker_event::kind::quiesced));
    BOOST_TEST(ends == 0);
  }
};

} // namespace

// D-1 of step_watch.hpp.
BOOST_FIXTURE_TEST_CASE(l15_a_device_is_not_accused_of_a_long_context, timed_fixture) {
  learn_prompts();
  step(cached, 4000, 900);
  check_ended_well();
}

BOOST_FIXTURE_TEST_CASE(l15_nor_is_that_of_a_successor, timed_fixture) {
  pace_words left;
  left.slowest_ms[12] = 49; // 2048 to 4095 tokens
  watch.inherit(left);
  start();
  step(cached, 4000, 900);
  check_ended_well();
}

// The thread had no CPU behind its question, and the device has finished meanwhile.
BOOST_FIXTURE_TEST_CASE(l15_nor_of_time_in_which_the_thread_stood_still, timed_fixture) {
  learn_prompts();
  play.per_ask = 300ms;
  step(0, 2048, 1);
  check_ended_well();
}

// D-4 of step_watch.hpp: nobody looks meanwhile, but the board says for how long.
BOOST_FIXTURE_TEST_CASE(l16_the_device_has_left_an_epoch_that_is_said_to_be_quiet, device_fixture) {
  learn();
  play.is_silent = true;
  play.is_settling = true;
  leave_a_step();
  while (cell.budget_ms.load() != 3U * 200U) {
    std::this_thread::yield();
  }
  BOOST_TEST((phase_of(cell.word.load()) == work_phase::computing));
  play.is_settling = false;
  BOOST_TEST((heard.take().what == worker_event::kind::quiesced), "and no failure before it");
  BOOST_TEST((phase_of(cell.word.load()) == work_phase::idle));

  play.is_settling = true; // nothing is left: nobody waits
  lane->prepare(epoch(3));
  BOOST_TEST((heard.take().what == worker_event::kind::quiesced));
  play.is_settling = false;
}

// D-4: the time of a step begins when the one before it has ended, behind a fence too.
BOOST_FIXTURE_TEST_CASE(l16_a_short_step_behind_a_long_one_is_not_overdue, timed_fixture) {
  learn_prompts();
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    step(100, 1, 7);
  }
  play.is_silent = true;
  play.settles_in = {900, 7};
  send_tokens(cached, 4000);
  send_tokens(101, 1);
  while (play.launched < 2 * step_pace::steps_to_learn + 2) {
    std::this_thread::yield();
  }
  check_ended_well();
}

// D-4: a device that hangs is found behind a fence as it is before one.
BOOST_FIXTURE_TEST_CASE(l16_a_device_that_does_not_leave_is_overdue, device_fixture) {
  learn();
  play.is_silent = true;
  play.is_settling = true;
  play.is_looked_at = true;
  leave_a_step();
  const auto text = take_device_failure();
  BOOST_TEST(text.find("budget_ms=600") != std::string::npos, text);
}

BOOST_FIXTURE_TEST_CASE(l16_a_launch_that_a_fence_has_ended_is_left_behind_too, device_fixture) {
  play.host_chooses = true;
  learn();
  play.is_silent = true;
  play.is_broken = true;
  leave_a_step();
  take_device_failure();
}

BOOST_FIXTURE_TEST_CASE(l5_faults_of_a_device_go_to_the_runner, device_fixture) {
  BOOST_REQUIRE(points.arm(
      {.point = "worker.step_begin", .step = 3, .action = failpoint_action::skip_collective}));
  learn();
  BOOST_TEST(play.disturbed == static_cast<int>(exec::disturbance::skip_collective));
}

BOOST_FIXTURE_TEST_CASE(l5_a_worker_without_a_device_does_the_nearest, fixture) {
  BOOST_REQUIRE(points.arm(
      {.point = "worker.step_begin", .step = 2, .action = failpoint_action::illegal_address}));
  start();
  protocol::step_result result;
  send(plan_of(1));
  receive(result);
  send(plan_of(2));
  const auto event = heard.take();
  BOOST_TEST((event.what == worker_event::kind::failed));
  BOOST_TEST((event.status == errc::device_failed));
  while (ends == 0) {
    std::this_thread::yield();
  }
}

BOOST_FIXTURE_TEST_CASE(l5_a_flipped_bit_changes_the_digest_of_one_step, fixture) {
  const auto digests = [this] {
    std::vector<std::uint64_t> all;
    protocol::step_result result;
    for (std::uint64_t n = 1; n <= 4; ++n) {
      send(plan_of(n));
      receive(result);
      all.push_back(result.digest);
    }
    return all;
  };
  start();
  const auto right = digests();
  fence.raise(epoch(2));
  lane->prepare(epoch(2));
  BOOST_TEST((heard.take().what == worker_event::kind::quiesced));
  BOOST_REQUIRE(
      points.arm({.point = "worker.step_begin", .step = 4, .action = failpoint_action::flip_bit}));
  wiring = make(epoch(2));
  lane->begin(epoch(2));
  const auto wrong = digests();
  for (std::size_t i = 0; i < right.size(); ++i) {
    BOOST_TEST((right[i] == wrong[i]) == (i < 3), "step " << i + 1);
  }
}

BOOST_FIXTURE_TEST_CASE(l1_gone_is_the_last_report, fixture) {
  start();
  fence.raise(epoch(9));
  lane->stop();
  BOOST_TEST((heard.take().what == worker_event::kind::gone));
}
