#include "model/hub/retry.hpp"

#include <boost/test/unit_test.hpp>

#include <thread>

namespace {

using namespace vdist;
using namespace vdist::hub;
using namespace std::chrono_literals;

constexpr retry_settings quick{.tries = 4, .backoff = 1ms, .backoff_max = 2ms};

} // namespace

BOOST_AUTO_TEST_CASE(what_may_pass_is_tried_again_and_no_more_often_than_said) {
  for (const errc code : {errc::timed_out, errc::closed, errc::queue_full}) {
    int calls = 0;
    const auto outcome = with_retries(quick, {}, [&]() -> result<int> {
      ++calls;
      return fail(code, "no");
    });
    BOOST_TEST((outcome.error().code == code));
    BOOST_TEST(calls == 4);
  }
}

BOOST_AUTO_TEST_CASE(what_will_not_pass_is_tried_once_and_a_success_ends_it) {
  for (const errc code :
       {errc::not_found, errc::corrupt, errc::cancelled, errc::bad_configuration}) {
    int calls = 0;
    static_cast<void>(with_retries(quick, {}, [&]() -> result<int> {
      ++calls;
      return fail(code, "no");
    }));
    BOOST_TEST(calls == 1);
  }
  int calls = 0;
  const auto outcome = with_retries(quick, {}, [&]() -> result<int> {
    return ++calls < 3 ? result<int>(fail(errc::closed, "not yet")) : result<int>(calls);
  });
  BOOST_TEST(*outcome == 3);
}

BOOST_AUTO_TEST_CASE(waits_are_doubled_up_to_their_bound) {
  retry_budget budget({.tries = 100, .backoff = 1ms, .backoff_max = 4ms}, {});
  const auto started = std::chrono::steady_clock::now();
  for (int i = 0; i < 40; ++i) { // 1 + 2 + 38 × 4
    BOOST_TEST(budget.spend(fail(errc::closed, "no")).has_value());
  }
  const auto waited = std::chrono::steady_clock::now() - started;
  BOOST_TEST((waited >= 155ms));
  BOOST_TEST((waited < 20s));
}

BOOST_AUTO_TEST_CASE(progress_renews_the_tries) {
  retry_budget budget({.tries = 2, .backoff = 1ms, .backoff_max = 1ms}, {});
  BOOST_TEST(budget.spend(fail(errc::closed, "no")).has_value());
  budget.renew();
  BOOST_TEST(budget.spend(fail(errc::closed, "no")).has_value());
  BOOST_TEST(!budget.spend(fail(errc::closed, "no")).has_value());
}

BOOST_AUTO_TEST_CASE(a_stop_ends_a_wait) {
  std::stop_source stop;
  std::jthread other([&stop] { stop.request_stop(); });
  const auto started = std::chrono::steady_clock::now();
  BOOST_TEST((pause(stop.get_token(), 60s).error().code == errc::cancelled));
  BOOST_TEST((std::chrono::steady_clock::now() - started < 30s));
}
