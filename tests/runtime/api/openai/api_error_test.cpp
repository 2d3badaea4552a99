#include "runtime/api/openai/api_error.hpp"

#include <boost/test/unit_test.hpp>

#include <nlohmann/json.hpp>

using namespace vdist;
using namespace vdist::api::openai;

namespace {

std::string text_of(const api_error& cause) {
  std::string out;
  append_error(out, cause);
  return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(api_errors)

BOOST_AUTO_TEST_CASE(an_error_is_openais_object) {
  BOOST_TEST(text_of(invalid_value("top_p", "top_p is \"bad\""))
             == R"({"error":{"message":"top_p is \"bad\"","type":"invalid_request_error",)"
                R"("param":"top_p","code":"invalid_value"}})");
  BOOST_TEST(text_of(invalid_value({}, "x"))
             == R"({"error":{"message":"x","type":"invalid_request_error","param":null,)"
                R"("code":"invalid_value"}})");
}

BOOST_AUTO_TEST_CASE(names_from_outside_are_cut_and_stay_one_line) {
  const auto cause = unknown_parameter(std::string(1000, 'x') + "\n\xff");
  BOOST_TEST(cause.param->size() < 100U);
  BOOST_TEST(nlohmann::json::accept(text_of(cause)));
  BOOST_TEST(unknown_parameter("a\nb").message == "unknown parameter a b");
  BOOST_TEST(model_not_found(std::string(1000, 'x')).message.size() < 150U);
}

BOOST_AUTO_TEST_CASE(what_the_engine_says_has_a_status) {
  const std::pair<errc, int> expected[] = {{errc::invalid_argument, 400},
                                           {errc::not_found, 404},
                                           {errc::unsupported, 501},
                                           {errc::queue_full, 429},
                                           {errc::resource_exhausted, 429},
                                           {errc::closed, 503},
                                           {errc::cancelled, 503},
                                           {errc::timed_out, 504},
                                           {errc::bad_configuration, 500},
                                           {errc::corrupt, 500},
                                           {errc::stale, 500},
                                           {errc::aborted, 500},
                                           {errc::io_failed, 500},
                                           {errc::internal, 500}};
  for (const auto& [code, status] : expected) {
    const auto told = of_engine(fail(code, "step: late"));
    BOOST_TEST(told.status == status);
    BOOST_TEST(told.code == to_string(code));
    BOOST_TEST(told.message == "step: late");
    BOOST_TEST(!told.param.has_value());
    BOOST_TEST((told.type == "invalid_request_error") == (status == 400 || status == 404));
  }
  BOOST_TEST(of_engine(fail(errc::invalid_argument, "x"), "max_tokens").param.value()
             == "max_tokens");
}

BOOST_AUTO_TEST_SUITE_END()
