// A step lane on real rings; the test plays its workers and answers plans well or badly.
#include "actors/executor/step_lane.hpp"

#include "transport/vault/memory_vault.hpp"

#include "runtime/kv/prefix_index.hpp"
#include "runtime/ledger/memory_ledger.hpp"
#include "runtime/protocol/step_codec.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <condition_variable>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 30s;

/// What the lane told its listener, for the test's thread.
class lane_reports {
public:
  void add_tokens(const token_events& events) {
    const std::lock_guard lock(mutex_);
    tokens_.insert(tokens_.end(), events.begin(), events.end());
    changed_.notify_all();
  }

  void add_failure(epoch now, std::string text) {
    const std::lock_guard lock(mutex_);
    failures_.emplace_back(now, std::move(text));
    changed_.notify_all();
  }

  /// All events so far, once there are `count`.
  token_events wait_for_tokens(std::size_t count) {
    std::unique_lock lock(mutex_);
    BOOST_REQUIRE(
        changed_.wait_for(lock, patience, [this, count] { return tokens_.size() >= count; }));
    return tokens_;
  }

  std::pair<epoch, std::string> wait_for_failure(std::size_t count = 1) {
    std::unique_lock lock(mutex_);
    BOOST_REQUIRE(
        changed_.wait_for(lock, patience, [this, count] { return failures_.size() >= count; }));
    return failures_.back();
  }

  void add_culprit(const culprit& found) {
    const std::lock_guard lock(mutex_);
    culprits_.push_back(found);
  }

  std::vector<culprit> culprits() {
    const std::lock_guard lock(mutex_);
    return culprits_;
  }

  void add_acquittal(const acquittal& given) {
    const std::lock_guard lock(mutex_);
    acquittals_.push_back(given);
    changed_.notify_all();
  }

  std::vector<acquittal> wait_for_acquittals(std::size_t count) {
    std::unique_lock lock(mutex_);
    BOOST_REQUIRE(
        changed_.wait_for(lock, patience, [this, count] { return acquittals_.size() >= count; }));
    return acquittals_;
  }

  std::size_t failures() {
    const std::lock_guard lock(mutex_);
    return failures_.size();
  }

  std::size_t tokens() {
    const std::lock_guard lock(mutex_);
    return tokens_.size();
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  token_events tokens_;
  std::vector<std::pair<epoch, std::string>> failures_;
  std::vector<culprit> culprits_;
  std::vector<acquittal> acquittals_;
};

const sched::scheduler_config lane_scheduler{.max_batch_tokens = 64,
                                             .max_sequences = 4,
                                             .max_model_len = 64,
                                             .blocks = 32,
                                             .block_size = 16,
                                             .vocabulary = 100};

/// One stage of two tensor ranks; slot 0 samples.
struct lane_fixture {
  explicit lane_fixture(std::chrono::milliseconds step_deadline = 20s) : inbox(16) {
    step_lane_config config{.cluster = cluster,
                            .stage_of_slot = {0, 0},
                            .step_deadline = step_deadline,
                            .poison_strikes = 3,
                            .scheduler = lane_scheduler};
    step_lane_listener listener{
        .on_tokens =
            [this](const std::shared_ptr<const token_events>& events) {
              for (const auto& event : *events) { // I2: nothing leaves that is not in the ledger
                const auto state = journal.state(event.id);
                uncommitted +=
                    !state || (event.token >= 0 && state->committed <= event.position) ? 1 : 0;
              }
              heard.add_tokens(*events);
            },
        .on_step_failed = [this](epoch now,
                                 std::string text) { heard.add_failure(now, std::move(text)); },
        .on_disagreement = [this](const std::vector<std::int32_t>& slots,
                                  bool /*is_certain*/,
                                  const std::string& /*text*/) { accused = slots; },
        .on_crashed = [this](const std::string& text) { heard.add_failure(epoch(0), text); },
        .on_taken_over = [this] { ++takeovers; },
        .on_ended =
            [this] {
              ++ends;
              tokens_at_end = heard.tokens();
            },
        .on_culprit = [this](const culprit& found) { heard.add_culprit(found); },
        .on_acquittal = [this](const acquittal& given) { heard.add_acquittal(given); },
        .kill_actor = {}};
    lane = std::make_shared<step_lane>(config, listener, links(), waits);
    successor = std::make_shared<step_lane>(config, listener, links(), waits);
    thread = std::thread([this] { lane->run(nullptr); });
  }

  ~lane_fixture() {
    fence.raise(epoch(1000));
    lane->stop();
    if (thread.joinable()) {
      thread.join();
    }
    BOOST_TEST(uncommitted == 0);
  }

  step_lane_links links() {
    return {.inbox = &inbox,
            .journal = &journal,
            .points = &points,
            .times = &times,
            .kv = &kv,
            .kept_total = &kept_total,
            .flights = flights.get(),
            .view = &view};
  }

  /// `kv_content`: which memory the workers keep their KV in.
  void begin(std::uint32_t number,
             std::uint64_t kv_content = 1,
             std::optional<step_death> death = {},
             bool has_late_writers = false) {
    const wiring_config settings{.cluster = cluster, .stage_of_slot = {0, 0}};
    const wiring_links rings{.memory = &memory, .stop = &fence};
    const epoch previous = std::exchange(wired, epoch(number));
    wiring = *make_wiring(settings, epoch(number), previous, {1, 1}, rings, waits);
    wiring->kv_content = kv_content;
    for (std::int32_t slot = 0; slot < 2; ++slot) {
      workers[static_cast<std::size_t>(slot)] =
          *open_worker_wiring(settings, epoch(number), slot, rings, waits);
    }
    inbox.begin({.now = epoch(number),
                 .wiring = wiring,
                 .death = std::move(death),
                 .has_late_writers = has_late_writers});
  }

  /// The plan that is out ends a worker: the next epoch begins.
  void die_of_step() {
    fence.raise(wired.next());
    begin(wired.next().value, 1, step_death{.slot = 1, .cause = "a shot"});
  }

  /// Who is in the next plan, which stays unanswered.
  std::vector<std::uint64_t> next_ids() {
    const auto plan = next_plan(0);
    next_plan(1);
    return plan.request_ids;
  }

  request_id add(std::int32_t max_tokens, std::vector<token_id> prompt = {1, 2, 3}) {
    auto request = std::make_shared<protocol::request>();
    request->id = request_id(++last_id);
    request->arrival = last_id;
    request->prompt = std::move(prompt);
    request->max_tokens = max_tokens;
    BOOST_REQUIRE(journal.accept(*request).has_value());
    BOOST_REQUIRE(inbox.add(request).has_value());
    return request->id;
  }

  /// The lane ends, and its successor begins.
  void replace_lane() {
    lane->stop();
    fence.raise(epoch(wired.value + 1)); // ends its waits, as whoever replaces it does
    thread.join();
    std::swap(lane, successor);
    thread = std::thread([now = lane, before = successor] { now->run(before); });
  }

  /// As the router does it.
  void hand_over(request_id id) {
    for (auto& request : journal.unfinished()) {
      if (request.id == id) {
        BOOST_REQUIRE(
            inbox.add(std::make_shared<protocol::request>(std::move(request))).has_value());
      }
    }
  }

  protocol::step_plan next_plan(std::size_t slot) {
    auto frame = workers[slot].plans->read(time.now() + patience);
    BOOST_REQUIRE_MESSAGE(frame.has_value(), (frame ? "" : frame.error().context));
    protocol::step_plan plan;
    BOOST_REQUIRE(protocol::decode(frame->body, plan).has_value());
    return plan;
  }

  /// A right answer: token = 10 + position of the sampled one.
  static protocol::step_result answer_to(const protocol::step_plan& plan, std::int32_t slot) {
    protocol::step_result result{
        .step = plan.step, .epoch = plan.epoch, .rank = slot, .digest = plan.step * 77};
    if (slot == 0) {
      for (std::size_t i = 0; i < plan.sequences(); ++i) {
        if ((plan.flags[i] & protocol::flag_samples) != 0) {
          result.slots.push_back(plan.slots[i]);
          result.tokens.push_back(10 + plan.first_position[i] + plan.token_counts[i] - 3);
          result.logprobs.push_back(-1);
          result.top_counts.push_back(0);
        }
      }
    }
    return result;
  }

  void send(std::int32_t slot, const protocol::step_result& result, std::uint32_t incarnation = 1) {
    std::vector<std::byte> body;
    protocol::encode(result, body);
    const frame::envelope header{.protocol = protocol::step_protocol,
                                 .version = protocol::step_version,
                                 .kind = protocol::step_result_kind,
                                 .sender = slot,
                                 .cluster = cluster,
                                 .incarnation = incarnation,
                                 .epoch = wiring->now.value};
    BOOST_REQUIRE(workers[static_cast<std::size_t>(slot)]
                      .results->write(header, body, time.now() + patience)
                      .has_value());
  }

  /// Both ranks answer the next plan rightly.
  void step() {
    const auto plan = next_plan(0);
    next_plan(1);
    send(1, answer_to(plan, 1));
    send(0, answer_to(plan, 0));
  }

  /// Rank 1 answers the next plan with what `spoil` made of its answer; the step must not be
  /// committed.
  template <class Spoil>
  std::string fail_step(Spoil spoil) {
    const auto failures_before = heard.failures();
    const auto plan = next_plan(0);
    next_plan(1);
    auto bad = answer_to(plan, 1);
    spoil(bad);
    send(0, answer_to(plan, 0));
    send(1, bad);
    const auto [at, text] = heard.wait_for_failure(failures_before + 1);
    BOOST_TEST((at == wiring->now));
    BOOST_TEST(heard.tokens() == 0U, "X-2: nothing of it is committed");
    return text;
  }

  static constexpr std::uint64_t cluster = 5;
  system_clock time;
  frame::wait_policy waits{{.spin_budget = std::chrono::microseconds(0)}, time};
  frame::fence fence;
  ledger::memory_ledger journal;
  failpoints points;
  metrics::step_times times;
  step_inbox inbox;
  lane_reports heard;
  std::atomic<int> uncommitted{0};
  std::uint64_t last_id = 0;
  alignas(64) std::array<std::byte, 4096> kv_memory{};
  sched::kv_table kv{kv_memory, sched::table_config_of(lane_scheduler)};
  kept_tokens kept_total;
  sched::replica_view view{lane_scheduler.blocks};
  vault::memory_vault memory;
  std::unique_ptr<flight_words> flights = std::make_unique<flight_words>();
  epoch wired;
  std::shared_ptr<epoch_wiring> wiring;
  std::array<worker_wiring, 2> workers; // by slot
  std::shared_ptr<step_lane> lane;
  std::shared_ptr<step_lane> successor; // runs when a case runs it
  std::atomic<int> takeovers{0};
  std::vector<std::int32_t> accused; // by the lane's thread, before it reports the failure
  std::atomic<int> ends{0};
  std::atomic<std::size_t> tokens_at_end{0};
  std::thread thread;
};

struct hasty_lane : lane_fixture {
  hasty_lane() : lane_fixture(50ms) {}
};

} // namespace

BOOST_AUTO_TEST_SUITE(step_lane_rules)

BOOST_FIXTURE_TEST_CASE(commits_what_all_ranks_answered_ledger_first, lane_fixture) {
  begin(1);
  const auto id = add(3);
  for (int i = 0; i < 3; ++i) {
    step();
  }
  const auto events = heard.wait_for_tokens(3);
  for (std::int32_t i = 0; i < 3; ++i) {
    BOOST_TEST(events[static_cast<std::size_t>(i)].position == i);
    BOOST_TEST(events[static_cast<std::size_t>(i)].token == 10 + i);
  }
  BOOST_TEST((events.back().reason == protocol::finish_reason::length));
  BOOST_TEST((*journal.tokens(id) == std::vector<token_id>{10, 11, 12}));
  BOOST_TEST(times.steps == 3U);
}

/// A lane that does not know what its predecessor had in flight.
BOOST_FIXTURE_TEST_CASE(waits_until_the_late_writers_have_gone, lane_fixture) { // X-12, S-11
  begin(1, 1, {}, true);
  const auto other = add(1);
  add(1);
  inbox.cancel(other);
  heard.wait_for_tokens(1); // its end, behind a look for something to plan
  BOOST_TEST(!workers[0].plans->has_frame());
  inbox.lift(epoch(1));
  step();
  BOOST_TEST(heard.wait_for_tokens(2).back().token == 10);
}

BOOST_FIXTURE_TEST_CASE(others_see_what_the_lane_that_works_holds, lane_fixture) {
  std::vector<token_id> prompt(33);
  std::iota(prompt.begin(), prompt.end(), 1);
  std::vector<std::uint64_t> chain;
  kv::chain_of(prompt, lane_scheduler.block_size, 100, lane_scheduler.prefix_salt, chain);
  begin(1);
  add(1, prompt);
  step();
  heard.wait_for_tokens(1); // behind them nobody has to ask for long
  BOOST_TEST(view.prefixes.count_leading(chain) == 2);
  BOOST_TEST(view.blocks_available == 32, "cached ones can be had");
  const auto id = add(5, std::vector<token_id>(20, 7));
  step();
  heard.wait_for_tokens(2);
  BOOST_TEST(view.blocks_available == 30);
  BOOST_TEST(view.prefixes.count_leading(chain) == 2);
  replace_lane();
  begin(wired.value + 2);
  hand_over(id);
  step();
  heard.wait_for_tokens(3);
  BOOST_TEST(view.prefixes.count_leading(chain) == 0, "its cache went with its scheduler");
  BOOST_TEST(view.blocks_available == 30);
  kv::chain_of(std::vector<token_id>(20, 7), lane_scheduler.block_size, 100, 0, chain);
  BOOST_TEST(view.prefixes.count_leading(chain) == 1, "what was kept is published again");
}

BOOST_FIXTURE_TEST_CASE(ranks_that_disagree_commit_nothing, lane_fixture) { // X-2, P-6
  begin(1);
  add(4);
  const auto text = fail_step([](protocol::step_result& bad) { bad.digest ^= 1; });
  BOOST_TEST(text.find("ranks of stage 0 disagree") != std::string::npos, text);
  BOOST_TEST(accused == std::vector<std::int32_t>({0, 1}), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(an_answer_to_another_step_epoch_or_of_another_rank_is_refused,
                        lane_fixture) {
  begin(1);
  add(4);
  fail_step([](protocol::step_result& bad) { ++bad.step; });
  begin(2);
  fail_step([](protocol::step_result& bad) { --bad.epoch; });
  begin(3);
  fail_step([](protocol::step_result& bad) { bad.rank = 0; });
  begin(4);
  step(); // and then it goes on where it was
  BOOST_TEST(heard.wait_for_tokens(1).front().token == 10);
}

BOOST_FIXTURE_TEST_CASE(a_worker_that_answers_too_late_fails_the_step, hasty_lane) {
  begin(1);
  add(4);
  const auto plan = next_plan(0);
  send(0, answer_to(plan, 0));
  const auto [at, text] = heard.wait_for_failure();
  BOOST_TEST((at == epoch(1)));
  BOOST_TEST(text.find("slot 1") != std::string::npos, text);
  BOOST_TEST(heard.tokens() == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_dead_incarnation_is_not_heard, hasty_lane) {
  begin(1);
  add(4);
  const auto plan = next_plan(0);
  send(0, answer_to(plan, 0));
  send(1, answer_to(plan, 1), 7);
  BOOST_TEST(heard.wait_for_failure().second.find("slot 1") != std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(a_fence_makes_it_wait_for_the_next_epoch, lane_fixture) {
  begin(1);
  add(4);
  step();
  heard.wait_for_tokens(1);
  const auto unanswered = next_plan(0);
  fence.raise(epoch(2));
  begin(2);
  const auto again = next_plan(0);
  BOOST_TEST(again.epoch == 2U);
  BOOST_TEST(again.step > unanswered.step, "P-2: a step number is never used twice");
  BOOST_TEST((again.flags[0] & protocol::flag_new) != 0, "P-3: announced anew");
  next_plan(1);
  send(0, answer_to(again, 0));
  send(1, answer_to(again, 1));
  BOOST_TEST(heard.wait_for_tokens(2)[1].token == 11);
  BOOST_TEST(heard.failures() == 0U, "a fence is nobody's fault");
}

BOOST_FIXTURE_TEST_CASE(a_request_that_cannot_run_ends_once, lane_fixture) {
  begin(1);
  add(4, {1, 100}); // beyond the vocabulary
  const auto events = heard.wait_for_tokens(1);
  BOOST_TEST((events[0].reason == protocol::finish_reason::failed));
  BOOST_TEST(!events[0].message.empty());
  BOOST_TEST((journal.state(request_id(1))->reason == protocol::finish_reason::failed));
}

BOOST_FIXTURE_TEST_CASE(a_cancel_is_heard_between_epochs_too, lane_fixture) {
  const auto id = add(4);
  inbox.cancel(id);
  const auto events = heard.wait_for_tokens(1);
  BOOST_TEST((events[0].reason == protocol::finish_reason::cancelled));
}

BOOST_FIXTURE_TEST_CASE(what_is_committed_is_published_also_when_the_lane_has_to_go, lane_fixture) {
  begin(1);
  const auto id = add(4);
  const auto plan = next_plan(0);
  BOOST_REQUIRE(points.arm(
      {.point = "executor.before_send"})); // the lane dies over its second plan, before it
                                           // publishes the first step
  next_plan(1);
  send(1, answer_to(plan, 1));
  send(0, answer_to(plan, 0));
  BOOST_TEST(heard.wait_for_tokens(1)[0].token == 10);
  BOOST_TEST(heard.wait_for_failure().second.find("failpoint") != std::string::npos);
  BOOST_TEST((*journal.tokens(id) == std::vector<token_id>{10}));
}

/// A cluster that is given up ends its requests at once, also those of a step in flight.
BOOST_FIXTURE_TEST_CASE(a_lane_that_has_to_go_is_no_crash_when_others_end_its_requests,
                        lane_fixture) {
  begin(1);
  const auto id = add(4);
  step();
  heard.wait_for_tokens(1);
  const auto plan = next_plan(0);
  next_plan(1);
  lane->stop();
  BOOST_TEST(!lane->has_ended(), "it waits for its workers");
  BOOST_REQUIRE(journal.finish(id, protocol::finish_reason::failed).has_value());
  send(1, answer_to(plan, 1));
  send(0, answer_to(plan, 0));
  thread.join();
  BOOST_TEST(lane->has_ended());
  BOOST_TEST(ends == 1);
  BOOST_TEST(heard.failures() == 0U);
  BOOST_TEST(heard.tokens() == 1U);
  BOOST_TEST(journal.state(id)->committed == 1);
}

BOOST_FIXTURE_TEST_CASE(says_that_it_has_ended_behind_its_last_tokens, lane_fixture) {
  begin(1);
  add(4);
  const auto plan = next_plan(0);
  next_plan(1);
  lane->stop();
  send(1, answer_to(plan, 1));
  send(0, answer_to(plan, 0));
  thread.join();
  BOOST_TEST(heard.tokens() == 1U, "its last step was complete");
  BOOST_TEST(tokens_at_end == 1U);
  BOOST_TEST((lane->turn(time.now()).what == lane_turn::kind::ended));
  BOOST_TEST(ends == 1);
}

BOOST_FIXTURE_TEST_CASE(a_request_that_comes_twice_runs_once, lane_fixture) {
  begin(1);
  auto request = std::make_shared<protocol::request>();
  request->id = request_id(1);
  request->prompt = {1, 2, 3};
  request->max_tokens = 1;
  BOOST_REQUIRE(journal.accept(*request).has_value());
  BOOST_REQUIRE(inbox.add(request).has_value());
  BOOST_REQUIRE(inbox.add(request).has_value());
  step();
  heard.wait_for_tokens(1);
  BOOST_REQUIRE(inbox.add(request).has_value()); // a late repetition
  last_id = 1;
  add(1);
  step();
  BOOST_TEST((heard.wait_for_tokens(2).back().id == request_id(2)));
  BOOST_TEST(heard.failures() == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_result_that_is_an_error_is_a_failed_step, lane_fixture) {
  begin(1);
  add(4);
  const auto plan = next_plan(0);
  next_plan(1);
  auto refusal = answer_to(plan, 0);
  refusal.status = static_cast<std::int16_t>(errc::internal);
  send(0, refusal);
  send(1, answer_to(plan, 1));
  BOOST_TEST((heard.wait_for_failure().first == epoch(1)));
}

BOOST_FIXTURE_TEST_CASE(a_request_of_the_past_is_dropped, lane_fixture) {
  begin(1);
  add(2);
  step();
  step();
  heard.wait_for_tokens(2);
  auto late = std::make_shared<protocol::request>();
  late->id = request_id(++last_id);
  late->prompt = {1, 2, 3};
  late->max_tokens = 4;
  BOOST_REQUIRE(journal.accept(*late).has_value());
  late->generated = {5}; // which nobody has committed
  BOOST_REQUIRE(inbox.add(late).has_value());
  add(1);
  step();
  BOOST_TEST((heard.wait_for_tokens(3).back().id == request_id(3)));
  BOOST_TEST(journal.state(late->id)->committed == 0);
}

BOOST_FIXTURE_TEST_CASE(a_turn_waits_no_longer_than_its_patience, lane_fixture) {
  lane->stop();
  thread.join();
  successor->follow(lane);
  const auto turn = [this] {
    return successor->turn(time.now()).what;
  };
  using kind = lane_turn::kind;
  while (turn() == kind::worked) { // it has taken over
  }
  BOOST_TEST(takeovers == 2, "each lane says once that it works from now on");
  begin(1);
  add(1);
  while (turn() == kind::worked) { // the plan is out, nobody has answered
  }
  const auto plan = next_plan(0);
  next_plan(1);
  send(0, answer_to(plan, 0));
  BOOST_TEST((turn() == kind::waiting), "one of two has answered");
  send(1, answer_to(plan, 1));
  BOOST_TEST((turn() == kind::worked));
  turn();
  BOOST_TEST(heard.tokens() == 1U);
  successor->stop();
  BOOST_TEST((turn() == kind::ended));
  BOOST_TEST((turn() == kind::ended));
}

BOOST_FIXTURE_TEST_CASE(a_successor_begins_when_its_predecessor_has_ended, lane_fixture) {
  std::thread next([this] { successor->run(lane); });
  begin(1);
  add(1);
  step();
  heard.wait_for_tokens(1);
  BOOST_TEST(takeovers == 1);
  lane->stop();
  thread.join();
  begin(2);
  add(1);
  const auto plan = next_plan(0);
  BOOST_TEST(plan.step > 1U, "P-2: a step number is never used twice");
  BOOST_TEST(takeovers == 2);
  successor->stop();
  fence.raise(epoch(1000));
  next.join();
}

BOOST_FIXTURE_TEST_CASE(a_successor_goes_on_with_the_kv_of_its_predecessor, lane_fixture) {
  begin(1);
  const auto ended = add(1);
  step();
  const auto id = add(4);
  step();
  heard.wait_for_tokens(2);
  replace_lane();
  hand_over(id);
  begin(2);
  const auto plan = next_plan(0);
  BOOST_TEST(plan.first_position == std::vector<std::int32_t>{3}, boost::test_tools::per_element());
  BOOST_TEST((plan.tokens == std::vector<token_id>{1, 2, 3, 10}), "P-3: it is announced whole");
  next_plan(1);
  send(0, answer_to(plan, 0));
  send(1, answer_to(plan, 1));
  BOOST_TEST(heard.wait_for_tokens(3).back().token == 11);
  BOOST_TEST(kept_total.restored == 3U);
  BOOST_TEST(kept_total.computed_again == 0U);
  BOOST_TEST((journal.state(ended)->reason == protocol::finish_reason::length));
}

BOOST_FIXTURE_TEST_CASE(kv_in_other_memory_is_not_believed, lane_fixture) { // X-5, T-6
  begin(1);
  const auto id = add(6);
  step();
  heard.wait_for_tokens(1);
  replace_lane();
  hand_over(id);
  begin(2, 7); // a worker found its region new
  const auto plan = next_plan(0);
  BOOST_TEST(plan.first_position == std::vector<std::int32_t>{0}, boost::test_tools::per_element());
  next_plan(1);
  send(0, answer_to(plan, 0));
  send(1, answer_to(plan, 1));
  BOOST_TEST(heard.wait_for_tokens(2).back().token == 11);
  BOOST_TEST(kept_total.computed_again == 3U);
  begin(3, 8); // and again, under a lane that lives
  const auto again = next_plan(0);
  BOOST_TEST(again.first_position == std::vector<std::int32_t>{0},
             boost::test_tools::per_element());
  BOOST_TEST(kv.content() == 8U);
}

using ids = std::vector<std::uint64_t>;

#define CHECK_NEXT_PLAN(...)                                                                       \
  BOOST_TEST(next_ids() == (ids{__VA_ARGS__}), boost::test_tools::per_element())

/// Two prompts that are in the same plans: both came before the first epoch.
struct two_requests : lane_fixture {
  two_requests() {
    first = add(3);
    second = add(3);
    begin(1);
  }

  int strikes(request_id id) { return journal.strikes(id); }

  request_id first;
  request_id second;
};

BOOST_FIXTURE_TEST_CASE(a_culprit_fails_alone_and_bystanders_go_on, two_requests) {
  CHECK_NEXT_PLAN(1, 2);
  die_of_step();
  CHECK_NEXT_PLAN(1, 2);
  BOOST_TEST(strikes(first) == 1);
  die_of_step();
  CHECK_NEXT_PLAN(1); // alone, and dies again
  BOOST_TEST(strikes(second) == 2);
  die_of_step();
  step(); // of the other alone: its token takes its strikes away
  const auto end = heard.wait_for_tokens(2).at(1);
  BOOST_TEST((end.id == first && end.reason == protocol::finish_reason::failed));
  BOOST_TEST(end.message
             == "step: it ended a worker 3 times with this request in it, the last time alone "
                "(rank=1 cause=a shot)");
  BOOST_TEST((journal.state(first)->reason == protocol::finish_reason::failed));
  BOOST_TEST((heard.culprits() == std::vector{culprit{.strikes = 3}}));
  BOOST_TEST(strikes(second) == 0);
  step();
  step();
  BOOST_TEST((heard.wait_for_tokens(4).back().reason == protocol::finish_reason::length));
}

BOOST_FIXTURE_TEST_CASE(an_epoch_that_nobody_died_of_strikes_nobody, two_requests) {
  for (std::uint32_t now = 2; now < 6; ++now) {
    CHECK_NEXT_PLAN(1, 2);
    fence.raise(epoch(now));
    begin(now);
  }
  CHECK_NEXT_PLAN(1, 2);
  BOOST_TEST(strikes(first) == 0);
}

BOOST_FIXTURE_TEST_CASE(a_death_while_nothing_is_in_flight_strikes_nobody, two_requests) {
  for (int i = 0; i < 3; ++i) {
    step();
  }
  heard.wait_for_tokens(6);
  die_of_step();
  add(1);
  CHECK_NEXT_PLAN(3);
  BOOST_TEST(strikes(request_id(3)) == 0);
}

BOOST_FIXTURE_TEST_CASE(a_token_between_two_deaths_takes_the_strike_away, two_requests) {
  for (int i = 0; i < 2; ++i) {
    CHECK_NEXT_PLAN(1, 2);
    die_of_step();
    step();
  }
  CHECK_NEXT_PLAN(1, 2); // both were struck twice, never in a row
  BOOST_TEST(strikes(first) == 0);
}

BOOST_FIXTURE_TEST_CASE(whoever_was_struck_is_acquitted_by_its_next_token, two_requests) {
  CHECK_NEXT_PLAN(1, 2);
  die_of_step();
  step();
  CHECK_NEXT_PLAN(1, 2);
  die_of_step();
  CHECK_NEXT_PLAN(1, 2);
  die_of_step();
  step(); // of one alone
  CHECK_NEXT_PLAN(2);
  BOOST_TEST((heard.wait_for_acquittals(1) == std::vector{acquittal{epoch(2), true}}));
  die_of_step(); // the third time
  step();
  BOOST_TEST((heard.wait_for_acquittals(2).back() == acquittal{epoch(5), true}),
             "the other one was found to be the culprit");
  BOOST_TEST(heard.culprits().size() == 1U);
}

BOOST_FIXTURE_TEST_CASE(whoever_is_cancelled_is_not_acquitted, two_requests) {
  CHECK_NEXT_PLAN(1, 2);
  die_of_step();
  CHECK_NEXT_PLAN(1, 2);
  inbox.cancel(first);
  die_of_step();
  step(); // of the other
  BOOST_TEST((heard.wait_for_acquittals(1) == std::vector{acquittal{epoch(3), false}}));
  CHECK_NEXT_PLAN(2);
  die_of_step();
  step();
  BOOST_TEST((heard.wait_for_acquittals(2).back() == acquittal{epoch(4), true}));
}

BOOST_FIXTURE_TEST_CASE(a_death_that_struck_nobody_is_nobodys_fault_at_once, lane_fixture) {
  begin(1);
  add(1);
  step(); // its only token
  heard.wait_for_tokens(1);
  die_of_step();
  BOOST_TEST((heard.wait_for_acquittals(1) == std::vector{acquittal{epoch(2), true}}));
}

BOOST_FIXTURE_TEST_CASE(the_words_tell_over_whom_a_process_died, two_requests) {
  CHECK_NEXT_PLAN(1, 2);
  fence.raise(epoch(2)); // as its successor does
  lane->stop();
  thread.join();
  std::thread next([this] { successor->run(nullptr); });
  begin(2);
  add(1);
  CHECK_NEXT_PLAN(3); // the router has not handed over the others
  BOOST_TEST(strikes(first) == 1);
  BOOST_TEST(strikes(second) == 1);
  successor->stop();
  fence.raise(epoch(1000));
  next.join();
}

BOOST_FIXTURE_TEST_CASE(a_successor_strikes_whom_its_predecessor_died_over_when_it_is_told,
                        two_requests) {
  std::thread next([this] { successor->run(lane); });
  CHECK_NEXT_PLAN(1, 2);
  fence.raise(epoch(2));
  lane->stop();
  thread.join();
  begin(2, 1, step_death{.slot = -1, .cause = "the executor died"});
  add(1);
  CHECK_NEXT_PLAN(3);
  BOOST_TEST(strikes(first) == 1);
  successor->stop();
  fence.raise(epoch(1000));
  next.join();
}

/// Its lane or process ended between the strike and what follows from it.
BOOST_FIXTURE_TEST_CASE(strikes_are_heeded_when_a_request_is_handed_over, lane_fixture) {
  const auto handed_over = [this](std::uint64_t id, int strikes) {
    auto request = std::make_shared<protocol::request>();
    request->id = request_id(id);
    request->arrival = id;
    request->prompt = {1, 2, 3};
    request->max_tokens = 2;
    BOOST_REQUIRE(journal.accept(*request).has_value());
    for (int i = 0; i < strikes; ++i) {
      journal.strike(std::span(&request->id, 1));
    }
    BOOST_REQUIRE(inbox.add(request).has_value());
  };
  handed_over(1, 3);
  handed_over(2, 2);
  handed_over(3, 1);
  begin(1);
  const auto plan = next_plan(0);
  next_plan(1);
  BOOST_TEST(plan.request_ids == ids{2}, boost::test_tools::per_element());
  send(1, answer_to(plan, 1));
  send(0, answer_to(plan, 0));
  const auto events = heard.wait_for_tokens(2); // the end comes with the step, or before
  BOOST_TEST(std::count_if(events.begin(),
                           events.end(),
                           [](const auto& event) {
                             return event.id == request_id(1)
                                    && event.reason == protocol::finish_reason::failed;
                           })
             == 1);
  BOOST_TEST(heard.culprits().size() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
