// What is measured of requests, through the table that the router keeps them in, on a clock that the test moves.
#include "actors/router/request_meter.hpp"

#include "tests/actors/router/recording_sink.hpp"

#include "actors/router/request_table.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::actors;
using namespace vdist::testing;
using namespace std::chrono_literals;
using metrics::finished_reason;
using protocol::finish_reason;

namespace {

/// Counts of a sink that a stop string satisfied, or not.
class satisfied_sink final : public token_sink {
public:
  void push(const protocol::token_event&) override {}

  [[nodiscard]] bool is_satisfied() const override { return true; }
};

/// Looks at the metrics when it gets an event.
class looking_sink final : public token_sink {
public:
  explicit looking_sink(const metrics::request_metrics& at) : at_(at) {}

  void push(const protocol::token_event&) override {
    tokens.push_back(at_.generation_tokens);
    ends.push_back(at_.finished_for(finished_reason::length));
  }

  std::vector<std::uint64_t> tokens;
  std::vector<std::uint64_t> ends;

private:
  const metrics::request_metrics& at_;
};

struct meter_fixture {
  meter_fixture() {
    time.advance(100s);
    table.measure(request_meter({&first, &second}, refusals, time));
  }

  request_id add(std::int32_t replica = 0,
                 std::size_t prompt = 3,
                 std::shared_ptr<token_sink> sink = std::make_shared<recording_sink>(),
                 const request_times& times = {}) {
    auto request = std::make_shared<protocol::request>();
    request->id = table.next_id();
    request->prompt.assign(prompt, 1);
    table.add(request->id,
              {.request = request, .sink = std::move(sink), .replica = replica, .times = times});
    return request->id;
  }

  void token(request_id id, std::int32_t position, finish_reason reason = finish_reason::none) {
    table.deliver({.id = id, .position = position, .token = 7, .reason = reason});
  }

  void end(request_id id, std::int32_t position, finish_reason reason) {
    table.deliver({.id = id, .position = position, .reason = reason});
  }

  static double only(const metrics::histogram& of) {
    const auto now = of.snapshot();
    BOOST_TEST(now.count() == 1U);
    return now.sum;
  }

  manual_clock time;
  metrics::request_metrics first{256};
  metrics::request_metrics second{256};
  metrics::refusal_metrics refusals{};
  request_table table{2};
};

} // namespace

BOOST_AUTO_TEST_SUITE(request_meters)

BOOST_FIXTURE_TEST_CASE(a_request_is_measured_from_its_acceptance_to_its_end, meter_fixture) {
  const auto id = add();
  BOOST_TEST(first.accepted == 1U);
  BOOST_TEST(first.active == 1);
  time.advance(250ms);
  token(id, 0);
  BOOST_TEST(first.prompt_tokens == 3U);
  BOOST_TEST(only(first.time_to_first_token) == 0.25);
  time.advance(20ms);
  token(id, 1);
  time.advance(40ms);
  token(id, 2, finish_reason::length);
  BOOST_TEST(first.generation_tokens == 3U);
  BOOST_TEST(first.inter_token_latency.snapshot().count() == 2U);
  BOOST_TEST(first.inter_token_latency.snapshot().sum == 0.06, boost::test_tools::tolerance(1e-9));
  BOOST_TEST(only(first.time_per_output_token) == 0.03, boost::test_tools::tolerance(1e-9));
  BOOST_TEST(only(first.e2e_latency) == 0.31, boost::test_tools::tolerance(1e-9));
  BOOST_TEST(only(first.prompt_tokens_of_request) == 3.0);
  BOOST_TEST(only(first.generation_tokens_of_request) == 3.0);
  BOOST_TEST(first.finished_for(finished_reason::length) == 1U);
  BOOST_TEST(first.active == 0);
  BOOST_TEST(second.accepted == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_token_counts_once_however_often_it_is_sent, meter_fixture) { // T-1, M-2
  const auto id = add();
  token(id, 0);
  token(id, 1);
  token(id, 1); // a repetition
  token(id, 5); // a gap
  table.attach(id, std::make_shared<recording_sink>());
  time.advance(10s);
  for (std::int32_t position = 0; position < 3; ++position) {
    token(id, position, position == 2 ? finish_reason::stop : finish_reason::none);
  }
  end(id, 3, finish_reason::failed); // it is over
  BOOST_TEST(first.generation_tokens == 3U);
  BOOST_TEST(first.prompt_tokens == 3U);
  BOOST_TEST(only(first.time_to_first_token) == 0.0);
  BOOST_TEST(first.inter_token_latency.snapshot().count() == 2U);
  BOOST_TEST(first.finished_for(finished_reason::stop) == 1U);
  BOOST_TEST(first.finished_for(finished_reason::failed) == 0U);
}

BOOST_FIXTURE_TEST_CASE(a_stream_sees_what_has_been_counted, meter_fixture) { // T-2
  const auto sink = std::make_shared<looking_sink>(first);
  const auto id = add(0, 3, sink);
  token(id, 0);
  token(id, 1, finish_reason::length);
  BOOST_TEST(sink->tokens == (std::vector<std::uint64_t>{1, 2}), boost::test_tools::per_element());
  BOOST_TEST(sink->ends == (std::vector<std::uint64_t>{0, 1}), boost::test_tools::per_element());
}

BOOST_FIXTURE_TEST_CASE(ends_are_told_apart, meter_fixture) {
  end(add(), 0, finish_reason::failed);
  end(add(), 0, finish_reason::cancelled);
  end(add(0, 3, std::make_shared<satisfied_sink>()), 0, finish_reason::cancelled);
  end(add(0, 3, nullptr), 0, finish_reason::cancelled);
  BOOST_TEST(first.finished_for(finished_reason::failed) == 1U);
  BOOST_TEST(first.finished_for(finished_reason::aborted) == 2U);
  BOOST_TEST(first.finished_for(finished_reason::stop) == 1U, "a stop string");
  BOOST_TEST(first.e2e_latency.snapshot().count() == 4U);
  BOOST_TEST(first.time_per_output_token.snapshot().count() == 0U);
  BOOST_TEST(first.prompt_tokens == 0U, "nobody has a first token");
  BOOST_TEST(first.generation_tokens_of_request.snapshot().sum == 0.0);
}

BOOST_FIXTURE_TEST_CASE(a_request_counts_where_it_is, meter_fixture) { // T-3
  const auto id = add(0);
  token(id, 0);
  time.advance(1s);
  table.move(id, 1, 0);
  BOOST_TEST(first.active == 0);
  BOOST_TEST(second.active == 1);
  BOOST_TEST(std::chrono::nanoseconds(second.active_since_ns).count()
             == std::chrono::nanoseconds(time.now().time_since_epoch()).count());
  token(id, 1, finish_reason::length);
  BOOST_TEST(first.accepted == 1U);
  BOOST_TEST(second.accepted == 0U);
  BOOST_TEST(first.generation_tokens == 1U);
  BOOST_TEST(second.generation_tokens == 1U);
  BOOST_TEST(only(second.inter_token_latency) == 1.0);
  BOOST_TEST(second.finished_for(finished_reason::length) == 1U);
  BOOST_TEST(only(second.generation_tokens_of_request) == 2.0);
}

BOOST_FIXTURE_TEST_CASE(what_a_process_before_this_one_counted_is_not_counted_again,
                        meter_fixture) { // M-2, M-3
  const auto before = time.now() - 30s;
  const auto begun =
      add(0, 3, std::make_shared<recording_sink>(), {.accepted = before, .counted = 2});
  const auto waited = add(0, 5, std::make_shared<recording_sink>(), {.accepted = before});
  BOOST_TEST(first.accepted == 0U);
  BOOST_TEST(first.active == 2);
  for (std::int32_t position = 0; position < 4; ++position) { // from the ledger, then new ones
    token(begun, position, position == 3 ? finish_reason::length : finish_reason::none);
    time.advance(10ms);
  }
  BOOST_TEST(first.generation_tokens == 2U);
  BOOST_TEST(first.prompt_tokens == 0U);
  BOOST_TEST(first.time_to_first_token.snapshot().count() == 0U);
  BOOST_TEST(only(first.inter_token_latency) == 0.01, "between the two that came here");
  BOOST_TEST(first.time_per_output_token.snapshot().count() == 0U);
  BOOST_TEST(only(first.e2e_latency) == 30.03, boost::test_tools::tolerance(1e-9));
  BOOST_TEST(only(first.generation_tokens_of_request) == 4.0);
  token(waited, 0);
  BOOST_TEST(only(first.time_to_first_token) == 30.04, boost::test_tools::tolerance(1e-9));
  BOOST_TEST(first.prompt_tokens == 5U);
}

BOOST_FIXTURE_TEST_CASE(refusals_are_told_apart, meter_fixture) {
  for (const auto why : {errc::queue_full,
                         errc::closed,
                         errc::invalid_argument,
                         errc::queue_full,
                         errc::resource_exhausted}) {
    table.note_refusal(why);
  }
  BOOST_TEST(refusals[static_cast<std::size_t>(metrics::refused_reason::queue_full)] == 2U);
  BOOST_TEST(refusals[static_cast<std::size_t>(metrics::refused_reason::closed)] == 1U);
  BOOST_TEST(refusals[static_cast<std::size_t>(metrics::refused_reason::conflict)] == 1U);
  BOOST_TEST(refusals[static_cast<std::size_t>(metrics::refused_reason::no_room)] == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
