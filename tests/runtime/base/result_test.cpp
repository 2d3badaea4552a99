#include "runtime/base/result.hpp"

#include "runtime/base/ids.hpp"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <unordered_set>

using namespace vdist;

namespace {

result<int> half(int value) {
  if (value % 2 != 0) {
    return fail(errc::invalid_argument, "half: odd");
  }
  return value / 2;
}

result<int> quarter(int value) {
  VDIST_ASSIGN(const int once, half(value));
  VDIST_ASSIGN(const int twice, half(once));
  return twice;
}

result<void> check_even(int value) {
  VDIST_TRY(half(value));
  return {};
}

} // namespace

BOOST_AUTO_TEST_CASE(assign_unwraps_a_value_and_returns_the_first_error) {
  BOOST_TEST(quarter(12).value() == 3);
  BOOST_TEST(!quarter(6).has_value());
  BOOST_TEST(quarter(6).error().context == "half: odd");
}

BOOST_AUTO_TEST_CASE(try_returns_the_error_of_any_result_type) {
  BOOST_TEST(check_even(4).has_value());
  BOOST_TEST((check_even(3).error().code == errc::invalid_argument));
}

BOOST_AUTO_TEST_CASE(holds_types_that_only_move) {
  result<std::unique_ptr<int>> owned(std::make_unique<int>(7));
  BOOST_TEST(*std::move(owned).value() == 7);
}

BOOST_AUTO_TEST_CASE(exit_codes_follow_the_kind_of_error) {
  BOOST_TEST(exit_code(errc::ok) == 0);
  BOOST_TEST(exit_code(errc::bad_configuration) == 2);
  BOOST_TEST(exit_code(errc::not_found) == 3);
  BOOST_TEST(exit_code(errc::resource_exhausted) == 3);
  BOOST_TEST(exit_code(errc::internal) == 4);
  BOOST_TEST(exit_code(errc::cancelled) == 130);
}

BOOST_AUTO_TEST_CASE(ids_compare_hash_and_advance) {
  const std::unordered_set<request_id> seen{request_id(1), request_id(2)};
  BOOST_TEST(seen.contains(request_id(2)));
  BOOST_TEST((step_id(3).next() == step_id(4)));
  BOOST_TEST((epoch(1) < epoch(2)));
}
