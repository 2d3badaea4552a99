// tests/model/weights/expected_error.hpp — an error has a code and says certain things; its whole
// text is not fixed.
#pragma once

#include "runtime/base/result.hpp"

#include <boost/test/tools/assertion_result.hpp>

#include <initializer_list>
#include <string_view>

namespace vdist::weights::testing {

/// BOOST_TEST(says(failure, code, {"key", "value"})): prints the error where it says something
/// else.
inline boost::test_tools::assertion_result
says(const error& failure, errc code, std::initializer_list<std::string_view> parts = {}) {
  boost::test_tools::assertion_result outcome(failure.code == code);
  for (const std::string_view part : parts) {
    if (failure.context.find(part) == std::string::npos) {
      outcome = false;
      outcome.message() << "lacks '" << part << "' ";
    }
  }
  outcome.message() << "[" << to_string(failure.code) << ": " << failure.context << "]";
  return outcome;
}

/// The error of a result, or an error of code ok.
template <class T>
error error_of(const result<T>& outcome) {
  return outcome ? error{errc::ok, {}} : outcome.error();
}

} // namespace vdist::weights::testing
