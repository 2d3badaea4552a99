#include "model/hub/web_address.hpp"

#include "model/hub/http_client.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using vdist::hub::web_address;

bool have_one_origin(const char* a, const char* b) {
  return web_address::parse(a)->has_origin_of(*web_address::parse(b));
}

} // namespace

BOOST_AUTO_TEST_CASE(T_1_an_origin_is_scheme_host_and_port) {
  BOOST_TEST(have_one_origin("https://h.co/a", "https://h.co/b?c"));
  BOOST_TEST(have_one_origin("https://h.co", "https://H.co:443/x"));
  BOOST_TEST(have_one_origin("http://h.co:80", "http://user:secret@h.co"));
  BOOST_TEST(!have_one_origin("https://h.co", "http://h.co"));
  BOOST_TEST(!have_one_origin("https://h.co", "https://h.co:444"));
  BOOST_TEST(!have_one_origin("https://h.co", "https://h.co.evil.org"));
  BOOST_TEST(!have_one_origin("https://h.co", "https://h.co@evil.org/"));
  BOOST_TEST(!have_one_origin("https://h.co", "https://evil.org/h.co"));
}

BOOST_AUTO_TEST_CASE(T_1_no_redirect_leaves_encryption) {
  const auto may_lead = [](const char* from, const char* to) {
    return web_address::parse(from)->may_lead_to(*web_address::parse(to));
  };
  BOOST_TEST(may_lead("https://h.co/a", "https://store.org/b"));
  BOOST_TEST(may_lead("http://h.co/a", "https://store.org/b"));
  BOOST_TEST(may_lead("http://h.co/a", "http://store.org/b"));
  BOOST_TEST(!may_lead("https://h.co/a", "http://h.co/b"));
}

BOOST_AUTO_TEST_CASE(only_absolute_web_addresses_are_taken) {
  for (const char* text : {"",
                           "h.co",
                           "/a",
                           "//h.co/a",
                           "ftp://h.co",
                           "file:///etc/passwd",
                           "https://",
                           "https://a b/"}) {
    BOOST_TEST(!web_address::parse(text).has_value(), text);
  }
  BOOST_TEST(!web_address::parse("https://h.co/" + std::string(20'000, 'a')).has_value());
}

BOOST_AUTO_TEST_CASE(T_2_what_is_shown_has_no_user_and_no_query) {
  const auto shown = [](const std::string& text) {
    return web_address::parse(text)->shown();
  };
  BOOST_TEST(shown("https://user:sesame@h.co/a/b?signature=sesame#sesame") == "https://h.co/a/b");
  BOOST_TEST(shown("http://127.0.0.1:81/") == "http://127.0.0.1:81/");
  BOOST_TEST(shown("https://h.co/" + std::string(9'000, 'a')).size() < 300U);
}

BOOST_AUTO_TEST_CASE(names_are_escaped_as_one_part_of_an_address) {
  BOOST_TEST(vdist::hub::url_escaped("refs/pr/1") == "refs%2Fpr%2F1");
  BOOST_TEST(vdist::hub::url_escaped("a-b_c.d~E9") == "a-b_c.d~E9");
  BOOST_TEST(vdist::hub::url_escaped("?#%& \xC3\xBC") == "%3F%23%25%26%20%C3%BC");
}
