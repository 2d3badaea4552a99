// Events, secrets and the heads of answers.
#include "transport/http/message.hpp"

#include "transport/http/response_head.hpp"

#include <boost/test/unit_test.hpp>

using namespace vdist::http;

BOOST_AUTO_TEST_SUITE(messages)

BOOST_AUTO_TEST_CASE(an_event_has_a_field_for_each_line) {
  BOOST_TEST(sse_event(7, "{}") == "id: 7\ndata: {}\n\n");
  BOOST_TEST(sse_event(0, "") == "id: 0\ndata: \n\n");
  BOOST_TEST(sse_event(1, "a\nb\r\nc\rd\n")
             == "id: 1\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
}

BOOST_AUTO_TEST_CASE(secrets_are_compared_as_a_whole) {
  BOOST_TEST(is_same_secret("key", "key"));
  BOOST_TEST(is_same_secret("", ""));
  BOOST_TEST(!is_same_secret("key", "kez"));
  BOOST_TEST(!is_same_secret("key", "Key"));
  BOOST_TEST(!is_same_secret("key", "key1"));
}

BOOST_AUTO_TEST_CASE(an_answer_cannot_carry_what_would_be_another_line) { // M-2
  BOOST_TEST(is_legal({"X-A", "b\tc \xc3\xa9"}));
  BOOST_TEST(!is_legal({"X-A", "b\r\nSet-Cookie: c"}));
  BOOST_TEST(!is_legal({"X-A", "b\nc"}));
  BOOST_TEST(!is_legal({"X-A", std::string("b\0", 2)}));
  BOOST_TEST(!is_legal({"X A", "b"}));
  BOOST_TEST(!is_legal({"", "b"}));
  for (const std::string owned : {"Content-Length", "TRANSFER-ENCODING", "Connection", "Date"}) {
    BOOST_TEST(!is_legal({owned, "1"}), owned);
  }
}

BOOST_AUTO_TEST_CASE(an_origin_is_allowed_by_name_or_with_all) {
  const std::vector<std::string> some{"https://a", "https://b"};
  BOOST_TEST(allowed_for("https://b", some) == "https://b");
  BOOST_TEST(allowed_for("https://c", some).empty());
  BOOST_TEST(allowed_for("", some).empty());
  const std::vector<std::string> all{"*"};
  BOOST_TEST(allowed_for("https://c", all) == "*");
}

BOOST_AUTO_TEST_SUITE_END()
