#include "model/hub/repository.hpp"

#include "tests/support/temporary_folder.hpp"

#include "model/hub/cache_folder.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace vdist::hub;

std::string shown(const std::optional<repository>& parsed) {
  return parsed ? parsed->id + " " + parsed->revision : "none";
}

} // namespace

BOOST_AUTO_TEST_CASE(a_name_may_carry_its_revision) {
  BOOST_TEST(shown(parse_repository("org/name")) == "org/name main");
  BOOST_TEST(shown(parse_repository("gpt2")) == "gpt2 main");
  BOOST_TEST(shown(parse_repository("org/name", "v2")) == "org/name v2");
  BOOST_TEST(shown(parse_repository("org/name@refs/pr/12", "v2")) == "org/name refs/pr/12");
  BOOST_TEST(shown(parse_repository("Org-1/na_me.2@0a")) == "Org-1/na_me.2 0a");
}

BOOST_AUTO_TEST_CASE(what_could_lead_out_of_a_folder_is_no_name) {
  for (const char* text :
       {"",    "/",    "a/",    "/a", "a/b/c", "..",       "../a", "a/..",  "a/.b", ".a/b",
        "a b", "a\\b", "a%2Fb", "a@", "a@..",  "a@b/../c", "a@/b", "a@b@c", "a:b",  "~/a"}) {
    BOOST_TEST(shown(parse_repository(text)) == "none", text);
  }
  BOOST_TEST(shown(parse_repository("a", "../b")) == "none");
  BOOST_TEST(shown(parse_repository(std::string(300, 'a'))) == "none");
}

BOOST_AUTO_TEST_CASE(a_reference_leads_to_its_commit_and_is_replaced_in_one_step) {
  const vdist::testing::temporary_folder root;
  const cache_folder cache(root.path(), "org/name");
  BOOST_TEST(cache.base() == root.path() / "models--org--name");
  BOOST_TEST(*cache.commit_of("main") == "main"); // no reference: perhaps a commit
  BOOST_TEST(!cache.commit_of("refs/pr/1").has_value());
  BOOST_TEST(cache.write_reference("refs/pr/1", "abc").has_value());
  BOOST_TEST(*cache.commit_of("refs/pr/1") == "abc");
  BOOST_TEST(cache.write_reference("refs/pr/1", "def").has_value());
  BOOST_TEST(*cache.commit_of("refs/pr/1") == "def");
  BOOST_TEST(cache.write_reference("abc", "abc").has_value());
  BOOST_TEST(!std::filesystem::exists(cache.reference("abc")));
  const auto entries = std::filesystem::directory_iterator(cache.reference("refs/pr"));
  BOOST_TEST(std::distance(begin(entries), end(entries)) == 1); // no temporary file is left
  root.write("models--org--name/refs/evil", "../../etc");
  BOOST_TEST(*cache.commit_of("evil") == "evil");
}

BOOST_AUTO_TEST_CASE(a_link_is_made_once_and_a_dead_one_is_replaced) {
  const vdist::testing::temporary_folder root;
  const cache_folder cache(root.path(), "m");
  BOOST_REQUIRE(cache.create("c").has_value());
  root.write("models--m/blobs/1", "one");
  root.write("models--m/blobs/2", "two");
  BOOST_TEST(!cache.has_file("c", "f"));
  BOOST_TEST(cache.link("c", "f", "1").has_value());
  BOOST_TEST(cache.link("c", "f", "1").has_value());
  BOOST_TEST(cache.has_file("c", "f"));
  std::filesystem::remove(cache.blob("1"));
  BOOST_TEST(!cache.has_file("c", "f"));
  BOOST_TEST(cache.link("c", "f", "2").has_value());
  BOOST_TEST(std::filesystem::read_symlink(cache.snapshot("c") / "f") == "../../blobs/2");
}
