// D-1 and D-2: who is to blame when a step of a device does not come to an end.
#include "actors/worker/step_watch.hpp"

#include <boost/test/unit_test.hpp>

#include <utility>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;

namespace {

using kind = device_verdict::kind;

constexpr std::int64_t tokens = 64;

/// A rank with a device that finishes, waits or is silent as a test likes, one millisecond after the other.
struct fixture {
  manual_clock time;
  progress_cell cell;
  step_watch watch{progress_word(cell),
                   time,
                   {.detect = 300ms,
                    .step_deadline = 20s,
                    .load_stall = 7s,
                    .computes_here = false,
                    .is_gpu = true}};
  device_step oldest{.tokens = tokens};
  exec::device_waits said{};

  work_phase phase() const { return phase_of(cell.word.load()); }

  void begin(std::int64_t size = tokens) {
    watch.compute({size});
    oldest = {.tokens = size};
    watch.begin_on_device(oldest);
  }

  /// So many looks, each a millisecond later, or a record; the first verdict that is not goes_on.
  device_verdict look(int times, bool is_waiting = false) {
    for (int i = 0; i < times; ++i) {
      time.advance(is_waiting ? duration(device_evidence::beat) : duration(1ms));
      if (is_waiting) {
        said[0] = {.rank = 1, .beat = said[0].beat + 1, .operation = "all_reduce_sum"};
      }
      if (const auto found = watch.look_at_device(oldest, said); found.what != kind::goes_on) {
        return found;
      }
    }
    return {};
  }

  void finish() {
    watch.finish_on_device(oldest);
    watch.wait();
  }

  void step(int computes, int waits = 0, std::int64_t size = tokens) {
    begin(size);
    BOOST_REQUIRE((look(computes / 2).what == kind::goes_on));
    BOOST_REQUIRE((look(waits, true).what == kind::goes_on));
    BOOST_REQUIRE((look(computes - computes / 2).what == kind::goes_on));
    finish();
  }

  void learn(int computes, int waits = 0) {
    watch.begin_epoch();
    for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
      step(computes, waits);
    }
  }
};

} // namespace

BOOST_FIXTURE_TEST_CASE(d1_a_device_that_is_silent_for_its_budget_is_to_blame, fixture) {
  learn(10);
  begin();
  const auto found = look(1000);
  BOOST_TEST((found.what == kind::overdue));
  BOOST_TEST(found.budget.count() == 200, "two thirds of detect, for quick steps");
  BOOST_TEST(found.silent.count() == 201);
}

BOOST_FIXTURE_TEST_CASE(d1_a_slow_size_has_a_longer_budget, fixture) {
  learn(120);
  begin();
  const auto found = look(1000);
  BOOST_TEST((found.what == kind::overdue));
  BOOST_TEST(found.budget.count() == 4 * 120);
}

BOOST_FIXTURE_TEST_CASE(d1_first_steps_have_the_long_bound, fixture) {
  begin();
  BOOST_TEST(cell.budget_ms.load() == 20'000U);
  BOOST_TEST((look(19'900).what == kind::goes_on));
  const auto found = look(200);
  BOOST_TEST((found.what == kind::overdue));
}

BOOST_FIXTURE_TEST_CASE(d1_a_device_that_others_make_three_times_slower_is_not_accused, fixture) {
  learn(60);
  for (int i = 0; i < 5; ++i) {
    step(3 * 60);
  }
}

BOOST_FIXTURE_TEST_CASE(d1_the_time_behind_a_step_before_does_not_count, fixture) {
  learn(40);
  // Two under way: the second one begins when the first is done.
  begin();
  BOOST_TEST((look(150).what == kind::goes_on));
  watch.compute({tokens}); // launches
  finish();
  oldest.begun = time.now();
  BOOST_TEST((look(4 * 150).what == kind::goes_on), "the slowest there was");
  BOOST_TEST((look(1).what == kind::overdue));
}

BOOST_FIXTURE_TEST_CASE(d2_who_waits_is_innocent_and_its_time_begins_behind_the_wait, fixture) {
  learn(10);
  watch.begin_epoch(); // whoever is new may take long
  begin();
  BOOST_TEST((look(5).what == kind::goes_on));
  BOOST_TEST((phase() == work_phase::computing));
  BOOST_TEST(cell.budget_ms.load() == 200U);
  BOOST_TEST((look(4'000, true).what == kind::goes_on));
  BOOST_TEST((phase() == work_phase::waiting));
  BOOST_TEST((look(200).what == kind::goes_on));
  BOOST_TEST((phase() == work_phase::computing));
  BOOST_TEST((look(30).what == kind::overdue), "silent, and behind the wait");
}

/// Its peer is slower, and then it is not: the time before a wait is this rank's own, too.
BOOST_FIXTURE_TEST_CASE(d1_who_has_always_waited_near_the_end_may_compute_all_the_way, fixture) {
  watch.begin_epoch();
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    begin();
    BOOST_REQUIRE((look(250).what == kind::goes_on));
    BOOST_REQUIRE((look(40, true).what == kind::goes_on));
    BOOST_REQUIRE((look(1).what == kind::goes_on));
    finish();
  }
  begin();
  const auto found = look(2'000);
  BOOST_TEST((found.what == kind::overdue));
  BOOST_TEST(found.budget.count() == 4 * 251, "all but what it waited");
}

/// Choosing tokens of a large vocabulary takes longer than the step.
BOOST_FIXTURE_TEST_CASE(d1_what_the_host_computes_behind_the_device_is_not_its_pace, fixture) {
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    begin();
    BOOST_REQUIRE((look(60).what == kind::goes_on));
    watch.take_over(oldest);
    time.advance(600ms);
    finish();
  }
  watch.compute({tokens});
  BOOST_TEST(cell.budget_ms.load() == 4U * 600U, "the host's own");
  begin();
  const auto found = look(1'000);
  BOOST_TEST((found.what == kind::overdue));
  BOOST_TEST(found.budget.count() == 4 * 60);
}

/// Logits come in several parts, and each is worked on before the next one.
BOOST_FIXTURE_TEST_CASE(d1_nor_is_it_silent_while_the_host_works_in_between, fixture) {
  learn(10);
  begin();
  for (int part = 0; part < 4; ++part) {
    BOOST_TEST((look(150).what == kind::goes_on));
    watch.take_over(oldest);
    time.advance(600ms);
  }
  finish();
  for (std::uint32_t i = 1; i < step_pace::steps_to_learn; ++i) {
    step(150);
  }
  begin();
  BOOST_TEST(look(1'000).budget.count() == 4 * 150);
}

/// A layer in the middle is watched, and the rest of the step follows.
BOOST_FIXTURE_TEST_CASE(d1_a_step_that_goes_on_behind_its_wait_is_seen_to_its_end, fixture) {
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    begin();
    BOOST_REQUIRE((look(2).what == kind::goes_on));
    watch.take_over(oldest);
    BOOST_REQUIRE((look(150).what == kind::goes_on));
    finish();
  }
  begin();
  BOOST_TEST(look(1'000).budget.count() >= 4 * 149);
}

BOOST_FIXTURE_TEST_CASE(d1_waits_of_the_next_step_do_not_shorten_the_one_before, fixture) {
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    begin();
    BOOST_REQUIRE((look(100).what == kind::goes_on));
    watch.take_over(oldest);
    device_step next{.tokens = 1};
    std::swap(oldest, next);
    BOOST_REQUIRE((look(50, true).what == kind::goes_on));
    std::swap(oldest, next);
    finish();
    time.advance(device_evidence::silence);
  }
  begin();
  BOOST_TEST(look(1'000).budget.count() == 4 * 100);
}

/// Blocks that are loaded are copied while the step is launched: the device's share of it says nothing of a step that computes
/// as many tokens.
BOOST_FIXTURE_TEST_CASE(d1_loaded_tokens_teach_no_pace_of_computed_ones, fixture) {
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    watch.compute({4 * tokens + 1});
    oldest = {.tokens = 1, .loaded = 4 * tokens, .begun = time.now()};
    BOOST_REQUIRE((look(2).what == kind::goes_on));
    finish();
  }
  begin(4 * tokens);
  BOOST_TEST((look(900).what == kind::goes_on));
}

BOOST_FIXTURE_TEST_CASE(d2_a_wait_that_was_said_long_ago_is_none, fixture) {
  learn(10);
  begin();
  BOOST_TEST((look(3, true).what == kind::goes_on));
  BOOST_TEST((look(300).what == kind::overdue), "its record stays as it is");
}

BOOST_FIXTURE_TEST_CASE(d2_a_peer_for_whom_it_waits_too_long_is_late, fixture) {
  learn(10);
  begin();
  const auto found = look(1'000, true);
  BOOST_TEST((found.what == kind::peer_is_late));
  BOOST_TEST(found.peer == 1);
  BOOST_TEST(found.operation == "all_reduce_sum");
  BOOST_TEST(found.budget.count() == 300, "detect: one that is stuck is found by itself before");
  BOOST_TEST(found.silent.count() == 301);
}

BOOST_FIXTURE_TEST_CASE(d2_waits_that_are_usual_make_nobody_late, fixture) {
  learn(10, 200); // the stage before takes that long
  begin();
  BOOST_TEST((look(1'200, true).what == kind::goes_on));
  BOOST_TEST((look(100, true).what == kind::peer_is_late));
}

BOOST_FIXTURE_TEST_CASE(d2_in_the_first_steps_of_an_epoch_nobody_is_late, fixture) {
  learn(10);
  watch.begin_epoch();
  for (std::uint32_t i = 1; i < step_pace::steps_to_learn; ++i) {
    step(10);
  }
  begin();
  BOOST_TEST((look(4'000, true).what == kind::goes_on));
  finish();
  for (int i = 0; i < 200; ++i) { // that one is not forgotten at once
    step(10);
  }
  begin();
  BOOST_TEST((look(400, true).what == kind::peer_is_late));
}

BOOST_FIXTURE_TEST_CASE(d3_a_step_whose_tokens_the_host_chooses_takes_its_time_while_it_is_launched,
                        fixture) {
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    watch.compute({tokens});
    time.advance(700ms);
    oldest = {.tokens = tokens, .begun = time.now()};
    watch.compute({tokens}); // it is ready at once
    finish();
  }
  watch.compute({tokens});
  BOOST_TEST(cell.budget_ms.load() == 4U * 700U);
}

/// Nothing would be unknown to a successor, and nothing times any size.
BOOST_AUTO_TEST_CASE(d1_a_step_too_short_to_be_looked_at_has_a_pace) {
  step_pace pace(200ms, 30'000ms);
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    pace.finished(1, 0ns);
  }
  pace_words left;
  pace.leave(1, left);
  BOOST_TEST(left.slowest_ms[1].load() == 1U);
  BOOST_TEST(pace.budget(1).count() == 200);
  BOOST_TEST(pace.budget(127).count() == 8 * 1 * 128);
}

/// Who has nothing to wait for has one pace.
BOOST_FIXTURE_TEST_CASE(d3_a_launch_in_which_nobody_had_to_wait_teaches_both_paces, fixture) {
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    watch.compute({tokens});
    time.advance(700ms);
    watch.finish({tokens});
    watch.wait();
  }
  watch.compute({tokens});
  BOOST_TEST(cell.budget_ms.load() == 4U * 700U);
  oldest = {.tokens = tokens, .begun = time.now()};
  BOOST_TEST(look(5'000).budget.count() == 4 * 700);
}

BOOST_FIXTURE_TEST_CASE(d3_who_launches_has_the_long_bound_until_its_size_is_known, fixture) {
  learn(10);
  watch.compute({tokens});
  BOOST_TEST(cell.budget_ms.load() == 2'000U, "the host may have to choose the tokens");
  watch.compute({4 * tokens});
  BOOST_TEST(cell.budget_ms.load() == 20'000U, "it may have to load and record");
  oldest = {.tokens = 4 * tokens, .begun = time.now()};
  BOOST_TEST((look(1).what == kind::goes_on));
  BOOST_TEST(cell.budget_ms.load() == 4U * 10U * 8U, "but the device borrows from a smaller size");
}

namespace {

/// A follow-up behind what a prefix cache holds: ten times as slow as its tokens at the beginning of a sequence.
constexpr device_step far_away{.tokens = 4000, .attention = 496'000};

} // namespace

BOOST_FIXTURE_TEST_CASE(d1_tokens_that_look_far_back_take_their_time, fixture) {
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    step(49, 0, 2048);
  }
  watch.compute(far_away.size());
  oldest = far_away;
  BOOST_TEST((look(900).what == kind::goes_on));
  finish();
  begin(2048);
  BOOST_TEST(look(5'000).budget.count() == 4 * 899, "they are steps of so many tokens, too");
}

BOOST_FIXTURE_TEST_CASE(d1_and_teach_how_long_that_is, fixture) {
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    oldest = far_away;
    BOOST_REQUIRE((look(901).what == kind::goes_on));
    finish();
    step(200, 0, 2 * far_away.tokens);
  }
  oldest = far_away;
  oldest.tokens *= 2;
  BOOST_TEST(look(10'000).budget.count() == 4 * 900);
}

/// The stage before takes as long.
BOOST_FIXTURE_TEST_CASE(d2_nobody_is_late_for_tokens_that_look_far_back, fixture) {
  learn(10);
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    step(10, 0, 2048);
  }
  oldest = far_away;
  BOOST_TEST((look(900, true).what == kind::goes_on));
}

BOOST_FIXTURE_TEST_CASE(d4_what_is_left_of_them_has_their_time, fixture) {
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    step(49, 0, 2048);
  }
  watch.settle(far_away.size(), 2);
  BOOST_TEST(cell.budget_ms.load() == 3U * 2U * 20'000U);
}

BOOST_FIXTURE_TEST_CASE(d4_behind_a_fence_a_step_is_as_overdue_as_before_it, fixture) {
  learn(250);
  begin();
  BOOST_REQUIRE((look(900).what == kind::goes_on));
  watch.settle({tokens}, 2);
  const auto found = look(1'000);
  BOOST_TEST((found.what == kind::overdue));
  BOOST_TEST(found.silent.count() == 4 * 250 + 2 * 200 + 1, "its time has not begun anew");
}

BOOST_FIXTURE_TEST_CASE(d4_with_the_patience_of_first_steps_and_nobody_is_late, fixture) {
  learn(10);
  begin();
  watch.settle({tokens}, 1);
  BOOST_TEST((look(599, true).what == kind::goes_on));
  const auto found = look(2'000);
  BOOST_TEST((found.what == kind::overdue));
  BOOST_TEST(found.budget.count() == 3 * 200);
  watch.begin_epoch();
  begin();
  BOOST_TEST(look(1'000).budget.count() == 200);
}

/// A worker that computes itself has no other pace.
BOOST_AUTO_TEST_CASE(d1_a_worker_without_a_device_takes_its_time_for_them) {
  manual_clock time;
  progress_cell cell;
  step_watch watch(progress_word(cell), time, {.detect = 300ms, .step_deadline = 20s});
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    watch.compute({2048});
    time.advance(49ms);
    watch.finish({2048});
  }
  watch.compute({4000});
  BOOST_TEST(cell.budget_ms.load() == 8U * 49U);
  watch.compute(far_away.size());
  BOOST_TEST(cell.budget_ms.load() == 20'000U);
}

namespace {

/// Two workers of a place, one after the other.
struct successor_fixture : fixture {
  successor_fixture() { watch.inherit(words); }

  void replace() {
    watch = step_watch(progress_word(cell),
                       time,
                       {.detect = 300ms,
                        .step_deadline = 20s,
                        .load_stall = 7s,
                        .computes_here = false,
                        .is_gpu = true});
    watch.inherit(words);
  }

  pace_words words;
};

} // namespace

/// A kernel that hangs may hang again, in the first step of the next worker.
BOOST_FIXTURE_TEST_CASE(d1_a_successor_goes_by_its_predecessors_pace, successor_fixture) {
  learn(10);
  replace();
  begin();
  const auto found = look(2'000);
  BOOST_TEST((found.what == kind::overdue));
  BOOST_TEST(found.budget.count() == 3 * 200);
  BOOST_TEST(cell.budget_ms.load() == 600U, "the host hears the same");
}

BOOST_FIXTURE_TEST_CASE(d1_with_patience_until_it_knows_by_itself, successor_fixture) {
  learn(120);
  replace();
  begin();
  BOOST_TEST((look(1'400).what == kind::goes_on), "3 * 4 * 120");
  finish();
  for (std::uint32_t i = 1; i < step_pace::steps_to_learn; ++i) {
    step(10);
  }
  begin();
  BOOST_TEST(look(1'000).budget.count() == 200, "its own pace");
}

BOOST_FIXTURE_TEST_CASE(d1_of_another_size_nothing_is_left, successor_fixture) {
  learn(10);
  replace();
  begin(4 * tokens);
  BOOST_TEST((look(19'900).what == kind::goes_on));
}

BOOST_FIXTURE_TEST_CASE(d1_nor_of_tokens_that_look_far_back, successor_fixture) {
  for (std::uint32_t i = 0; i < step_pace::steps_to_learn; ++i) {
    step(49, 0, 2048);
  }
  replace();
  oldest = far_away;
  BOOST_TEST((look(900).what == kind::goes_on));
}

BOOST_FIXTURE_TEST_CASE(d1_what_a_damaged_word_says_has_bounds, successor_fixture) {
  for (auto& word : words.slowest_ms) {
    word = 0xffffffff;
  }
  begin();
  BOOST_TEST((look(19'900).what == kind::goes_on));
  BOOST_TEST((look(200).what == kind::overdue));
}

/// Few steps say nothing.
BOOST_FIXTURE_TEST_CASE(d1_what_is_not_known_is_not_left, successor_fixture) {
  step(10);
  replace();
  begin();
  BOOST_TEST((look(19'900).what == kind::goes_on));
}
