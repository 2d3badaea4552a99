#include "model/hub/checksum.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace vdist::hub;

std::string digest_of(checksum_kind kind, std::string_view text, std::size_t step) {
  auto digest = running_digest::start(kind, text.size());
  BOOST_REQUIRE(digest.has_value());
  for (std::size_t at = 0; at < text.size(); at += step) {
    digest->add(std::as_bytes(std::span(text.substr(at, step))));
  }
  return digest->finish();
}

} // namespace

BOOST_AUTO_TEST_CASE(digests_are_those_of_sha256sum_and_git_however_they_are_fed) {
  for (const std::size_t step : {1U, 2U, 100U}) {
    BOOST_TEST(digest_of(checksum_kind::sha256, "abc", step)
               == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    BOOST_TEST(digest_of(checksum_kind::git_sha1, "hello\n", step)
               == "ce013625030ba8dba906f756967f9e9ca394464a");
  }
  BOOST_TEST(digest_of(checksum_kind::sha256, "", 1)
             == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  BOOST_TEST(digest_of(checksum_kind::git_sha1, "", 1)
             == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
}

BOOST_AUTO_TEST_CASE(an_etag_is_one_of_two_checksums_or_none) {
  const std::string sha1(40, 'a');
  const std::string sha256(64, '0');
  BOOST_TEST((parse_checksum('"' + sha1 + '"') == checksum{checksum_kind::git_sha1, sha1}));
  BOOST_TEST((parse_checksum("W/\"" + sha256 + '"') == checksum{checksum_kind::sha256, sha256}));
  BOOST_TEST((parse_checksum(sha256) == checksum{checksum_kind::sha256, sha256}));
  BOOST_TEST((parse_checksum(std::string(40, 'A')) == checksum{checksum_kind::git_sha1, sha1}));
  // It becomes a file name.
  for (const std::string& other : {std::string(),
                                   std::string("\""),
                                   std::string("\"\""),
                                   std::string(39, 'a'),
                                   std::string(41, 'a'),
                                   std::string(63, 'a'),
                                   "../" + std::string(37, 'a'),
                                   std::string(39, 'a') + "g",
                                   "\"" + sha256 + "-12\""}) {
    BOOST_TEST(!parse_checksum(other).has_value(), other);
  }
}
