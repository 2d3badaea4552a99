// T-1, T-3, T-4 of vdist/stream.hpp: three ways of reading, the same tokens.
#include "tests/vdist/api_fixture.hpp"

#include <array>
#include <coroutine>
#include <future>
#include <latch>
#include <pthread.h>
#include <string_view>
#include <thread>

using namespace std::chrono_literals;
using vdist::error_code;
using vdist::finish_reason;
using vdist::stream_item;
using namespace vdist::testing;

namespace {

/// Runs until it suspends for the first time; ends itself.
struct detached_task {
  struct promise_type {
    detached_task get_return_object() { return {}; }

    std::suspend_never initial_suspend() noexcept { return {}; }

    std::suspend_never final_suspend() noexcept { return {}; }

    void return_void() {}

    void unhandled_exception() { std::terminate(); }
  };
};

/// Suspended where it waits, and owned by whoever has the handle.
struct owned_task {
  struct promise_type {
    owned_task get_return_object() {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }

    std::suspend_never initial_suspend() noexcept { return {}; }

    std::suspend_always final_suspend() noexcept { return {}; }

    void return_void() {}

    void unhandled_exception() { std::terminate(); }
  };

  std::coroutine_handle<promise_type> handle;
};

std::string thread_name() {
  std::array<char, 16> name{};
  ::pthread_getname_np(::pthread_self(), name.data(), name.size());
  return name.data();
}

struct read_stream {
  std::vector<std::int32_t> tokens;
  std::vector<std::string> threads;
  finish_reason reason = finish_reason::none;
};

detached_task read_all(vdist::stream& stream, std::promise<read_stream>& done) {
  read_stream all;
  while (true) {
    const auto item = co_await stream.async_next(long_time);
    all.threads.push_back(thread_name());
    if (!item || !*item) {
      break;
    }
    all.tokens.insert(all.tokens.end(), (*item)->token_ids.begin(), (*item)->token_ids.end());
    all.reason = (*item)->reason;
  }
  done.set_value(std::move(all));
}

owned_task wait_for_one(vdist::stream& stream,
                        std::chrono::nanoseconds timeout,
                        std::promise<stream_item>& got) {
  got.set_value(co_await stream.async_next(timeout));
}

/// Every step of the workers hangs from now on.
void hang_workers(const vdist::engine& engine) {
  BOOST_REQUIRE(inside(engine)->points().arm(
      {.point = "worker.step_begin", .action = vdist::failpoint_action::hang, .count = 0}));
}

void let_workers_go(const vdist::engine& engine) {
  inside(engine)->points().clear();
}

} // namespace

BOOST_AUTO_TEST_SUITE(vdist_stream)

BOOST_AUTO_TEST_CASE(every_way_of_reading_gives_the_same_tokens) {
  auto engine = sim_engine();
  const auto request = sim_request(40);
  const auto expected = tokens_of(engine, request);
  BOOST_TEST(expected.size() == 40U);

  auto ranged = stream_of(engine, request);
  std::vector<std::int32_t> tokens;
  finish_reason reason = finish_reason::none;
  for (auto& event : ranged) {
    BOOST_TEST((reason == finish_reason::none), "T-1: one last event");
    tokens.insert(tokens.end(), event.token_ids.begin(), event.token_ids.end());
    reason = event.reason;
  }
  BOOST_TEST(tokens == expected, boost::test_tools::per_element());
  BOOST_TEST((reason == finish_reason::length));
  BOOST_TEST(ranged.status().has_value());
  const auto after = ranged.next(0s);
  BOOST_REQUIRE(after.has_value());
  BOOST_TEST(!after->has_value(), "the end stays the end");

  auto called = stream_of(engine, request);
  std::promise<std::vector<std::int32_t>> done;
  BOOST_REQUIRE(
      called.on_event([&done, all = std::vector<std::int32_t>()](stream_item item) mutable {
        if (!item || !*item) { // an error makes too few tokens
          done.set_value(std::move(all));
          return;
        }
        all.insert(all.end(), (*item)->token_ids.begin(), (*item)->token_ids.end());
      }));
  BOOST_TEST(done.get_future().get() == expected, boost::test_tools::per_element());
  BOOST_TEST((called.next(0s).error().code == error_code::invalid_argument),
             "the handler reads it");
  std::promise<stream_item> refused;
  const auto refusal = wait_for_one(called, 0s, refused);
  BOOST_TEST((refused.get_future().get().error().code == error_code::invalid_argument));
  refusal.handle.destroy();
  BOOST_TEST((called.on_event([](stream_item) {}).error().code == error_code::invalid_argument));

  auto awaited = stream_of(engine, request);
  std::promise<read_stream> read;
  read_all(awaited, read);
  const auto got = read.get_future().get();
  BOOST_TEST(got.tokens == expected, boost::test_tools::per_element());
  BOOST_TEST((got.reason == finish_reason::length));
}

BOOST_AUTO_TEST_CASE(a_coroutine_that_waits_resumes_on_the_event_thread) {
  auto engine = sim_engine();
  hang_workers(engine);
  auto stream = stream_of(engine, sim_request(3));
  std::promise<read_stream> read;
  read_all(stream, read); // suspends: no step is done
  let_workers_go(engine);
  const auto got = read.get_future().get();
  BOOST_TEST(got.tokens.size() == 3U);
  BOOST_TEST(got.threads.front() == "vdist-events");
}

BOOST_AUTO_TEST_CASE(what_is_there_already_does_not_suspend) {
  auto engine = sim_engine();
  auto stream = stream_of(engine, sim_request(3));
  BOOST_REQUIRE(engine.drain(long_time)); // all of it has come
  std::promise<read_stream> read;
  const auto mine = thread_name();
  read_all(stream, read);
  auto future = read.get_future();
  BOOST_REQUIRE((future.wait_for(long_time) == std::future_status::ready));
  for (const auto& thread : future.get().threads) {
    BOOST_TEST(thread == mine);
  }
}

BOOST_AUTO_TEST_CASE(waits_end_at_their_deadline_and_the_stream_goes_on) {
  auto engine = sim_engine();
  const auto expected = tokens_of(engine, sim_request(5));
  hang_workers(engine);
  auto stream = stream_of(engine, sim_request(5));
  BOOST_TEST((stream.next(20ms).error().code == error_code::timed_out));
  BOOST_TEST((stream.status().error().code == error_code::timed_out));

  std::promise<stream_item> got;
  const auto waiting = wait_for_one(stream, 20ms, got);
  BOOST_TEST((got.get_future().get().error().code == error_code::timed_out));

  let_workers_go(engine);
  auto all = stream.collect(long_time);
  BOOST_REQUIRE(all.has_value());
  BOOST_TEST(all->sequences.front().token_ids == expected, boost::test_tools::per_element());
  BOOST_TEST(stream.status().has_value(), "it came after all");
  auto other = stream_of(
      engine, sim_request(1)); // once this is served the event thread has let go of the coroutine
  std::promise<void> served;
  BOOST_REQUIRE(other.on_event([&served](const stream_item& item) {
    if (!item || !*item) {
      served.set_value();
    }
  }));
  served.get_future().get();
  waiting.handle.destroy();
}

BOOST_AUTO_TEST_CASE(a_coroutine_that_is_destroyed_waits_no_more) {
  auto engine = sim_engine();
  hang_workers(engine);
  auto stream = stream_of(engine, sim_request(5));
  std::promise<stream_item> got;
  const auto waiting = wait_for_one(stream, long_time, got);
  waiting.handle.destroy();
  let_workers_go(engine);
  BOOST_TEST(stream.collect(long_time).has_value());
}

BOOST_AUTO_TEST_CASE(cancel_ends_a_stream_whose_reader_waits) {
  auto engine = sim_engine({.settings = {"device.sim.step_us=1000"}});
  auto stream = stream_of(engine, sim_request(200));
  std::jthread canceller([&stream] { stream.cancel(); });
  auto all = stream.collect(long_time);
  BOOST_REQUIRE(all.has_value());
  BOOST_TEST((all->sequences.front().reason == finish_reason::cancelled));
  BOOST_TEST(all->sequences.front().token_ids.size() < 200U);
}

BOOST_AUTO_TEST_CASE(a_stream_that_is_destroyed_cancels_its_request) {
  auto engine = sim_engine();
  hang_workers(engine);
  { const auto ended = stream_of(engine, sim_request(200)); }
  let_workers_go(engine);
  BOOST_TEST(engine.drain(long_time).has_value());
  BOOST_TEST(engine.stats()->computed_tokens < 200U, "T-3");
}

BOOST_AUTO_TEST_CASE(a_handler_may_destroy_its_stream) {
  auto engine = sim_engine();
  auto stream = std::make_unique<vdist::stream>(stream_of(engine, sim_request(100)));
  std::promise<void> done;
  std::atomic<int> calls = 0;
  std::latch has_stream(1);
  BOOST_REQUIRE(stream->on_event([&](const stream_item&) {
    has_stream.wait();
    ++calls;
    stream.reset();
    done.set_value();
  }));
  has_stream.count_down();
  done.get_future().get();
  BOOST_TEST(engine.drain(long_time).has_value());
  BOOST_TEST(engine.close(long_time).has_value());
  BOOST_TEST(calls == 1, "it is called no more");
}

BOOST_AUTO_TEST_CASE(a_destroyed_stream_has_no_handler_under_way) {
  auto engine = sim_engine();
  for (int round = 0; round < 50; ++round) {
    std::atomic<bool> is_alive = true;
    std::atomic<int> late_calls = 0;
    {
      auto stream = stream_of(engine, sim_request(20));
      BOOST_REQUIRE(stream.on_event([&](const stream_item&) { late_calls += is_alive ? 0 : 1; }));
    }
    is_alive = false;
    BOOST_REQUIRE(late_calls == 0);
  }
}

BOOST_AUTO_TEST_CASE(sequences_of_a_request_are_told_apart_and_end_once_each) {
  auto engine = sim_engine();
  auto request = sim_request(20);
  request.sampling.n = 3;
  auto stream = stream_of(engine, request);
  BOOST_TEST(stream.sequences() == 3);
  BOOST_TEST(stream.prompt_tokens() == 3);
  auto all = stream.collect(long_time);
  BOOST_REQUIRE(all.has_value());
  BOOST_REQUIRE(all->sequences.size() == 3U);
  for (const auto& one : all->sequences) {
    BOOST_TEST(one.token_ids.size() == 20U);
    BOOST_TEST((one.reason == finish_reason::length));
  }
  BOOST_TEST((all->sequences[0].token_ids != all->sequences[1].token_ids));
}

BOOST_AUTO_TEST_CASE(text_is_that_of_the_model_and_stop_strings_end_it) {
  auto engine = vdist::engine::from_text(tiny_tales_config(), {.settings = {"log.level=off"}});
  BOOST_REQUIRE(engine.has_value());
  const vdist::generate_request request{
      .prompt = "Once upon a time",
      .sampling = {.temperature = 0.0F, .max_tokens = 30, .logprobs = 2}};
  auto whole = stream_of(*engine, request).collect(long_time);
  BOOST_REQUIRE(whole.has_value());
  const auto& text = whole->sequences.front().text;
  BOOST_TEST(!text.empty());
  BOOST_REQUIRE(whole->sequences.front().logprobs.size()
                == whole->sequences.front().token_ids.size());
  BOOST_TEST(whole->sequences.front().logprobs.front().top.size() == 2U);

  auto stopping = request;
  const auto word = text.substr(text.size() / 2, 4);
  stopping.sampling.stop = {word};
  auto stopped = stream_of(*engine, stopping).collect(long_time);
  BOOST_REQUIRE(stopped.has_value());
  BOOST_TEST(stopped->sequences.front().text == text.substr(0, text.find(word)));
  BOOST_TEST((stopped->sequences.front().reason == finish_reason::stop));
}

BOOST_AUTO_TEST_CASE(a_worker_that_dies_changes_no_token) {
  auto engine = sim_engine({.settings = {"parallel.tensor=2"}});
  const auto expected = tokens_of(engine, sim_request(60));
  BOOST_REQUIRE(inside(engine)->points().arm({.point = "worker.step_begin",
                                              .rank = 1,
                                              .step = 70,
                                              .action = vdist::failpoint_action::kill_actor}));
  BOOST_TEST(tokens_of(engine, sim_request(60)) == expected, boost::test_tools::per_element());
  BOOST_TEST(engine.stats()->worker_restarts == 1U, "T-1");
}

BOOST_AUTO_TEST_CASE(a_worker_process_that_is_killed_changes_no_token) {
  auto engine = sim_engine(
      {.settings = {"parallel.tensor=2", "cluster.isolation=process", "device.sim.step_us=1000"}});
  const auto expected = tokens_of(engine, sim_request(100));
  auto stream = stream_of(engine, sim_request(100));
  std::vector<std::int32_t> tokens;
  bool is_killed = false;
  for (const auto& event : stream) {
    tokens.insert(tokens.end(), event.token_ids.begin(), event.token_ids.end());
    if (!is_killed) {
      BOOST_REQUIRE(inside(engine)->kill({.rank = 1}).has_value());
      is_killed = true;
    }
  }
  BOOST_TEST(tokens == expected, boost::test_tools::per_element());
  BOOST_TEST(engine.stats()->worker_restarts == 1U, "T-1");
}

BOOST_AUTO_TEST_SUITE_END()
