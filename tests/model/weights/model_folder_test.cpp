#include "model/weights/model_folder.hpp"

#include "tests/model/weights/expected_error.hpp"
#include "tests/support/temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <vector>

namespace {

using namespace vdist;
using namespace vdist::weights;
using namespace vdist::weights::testing;
namespace fs = std::filesystem;

/// Two cache roots: org/name lives in the second one, with a branch, a tag and two commits.
struct cache {
  vdist::testing::temporary_folder folder;
  std::vector<fs::path> roots{folder.path() / "first", folder.path() / "second"};

  cache() {
    const fs::path base = "second/models--org--name";
    folder.write(base / "refs/main", "abc123\n");
    folder.write(base / "refs/refs/pr/1", "def456");
    folder.write(base / "snapshots/abc123/config.json", "{}");
    folder.write(base / "snapshots/def456/config.json", "{}");
    folder.write("second/models--gpt2/refs/main", "0123");
    folder.write("second/models--gpt2/snapshots/0123/config.json", "{}");
    folder.write("first/models--org--half/refs/main", "777");
    folder.write("second/models--evil--refs/refs/main", "../../../outside");
    folder.write("outside/config.json", "{}");
    // What ".." below snapshots/ would lead to.
    folder.write(base / "config.json", "{}");
    folder.write("second/models--evil--parent/refs/main", "..");
    folder.write("second/models--evil--parent/config.json", "{}");
  }

  [[nodiscard]] result<model_folder> resolve(std::string_view path) const {
    return resolve_model_folder(path, roots);
  }

  [[nodiscard]] fs::path snapshot(const char* hash) const {
    return roots[1] / "models--org--name/snapshots" / hash;
  }
};

} // namespace

BOOST_AUTO_TEST_CASE(a_folder_is_itself) {
  const cache files;
  const fs::path folder = files.folder.path() / "outside";
  for (const std::string& path : {folder.string(), folder.string() + "/"}) {
    const auto found = files.resolve(path);
    BOOST_REQUIRE(found.has_value());
    BOOST_TEST(fs::equivalent(found->folder, folder));
    BOOST_TEST(found->name == "outside");
    BOOST_TEST(found->revision.empty());
    BOOST_TEST((found->weights == weight_origin::checkpoint));
  }
}

BOOST_AUTO_TEST_CASE(a_repository_is_found_at_its_main_branch_a_branch_or_a_commit) {
  const cache files;
  const auto main = files.resolve("org/name");
  BOOST_REQUIRE(main.has_value());
  BOOST_TEST(main->folder == files.snapshot("abc123"));
  BOOST_TEST(main->name == "org/name");
  BOOST_TEST(main->revision == "abc123");
  BOOST_TEST(files.resolve("org/name@def456")->folder == files.snapshot("def456"));
  BOOST_TEST(files.resolve("org/name@refs/pr/1")->folder == files.snapshot("def456"));
  BOOST_TEST(files.resolve("gpt2")->revision == "0123");
}

BOOST_AUTO_TEST_CASE(a_revision_counts_for_a_path_that_names_none) {
  const cache files;
  const auto resolve = [&files](std::string_view path) {
    return resolve_model_folder(path, files.roots, "def456")->revision;
  };
  BOOST_TEST(resolve("org/name") == "def456");
  BOOST_TEST(resolve("org/name@main") == "abc123");
}

BOOST_AUTO_TEST_CASE(a_path_means_a_repository_if_it_is_not_on_this_disk) {
  const auto shown = [](std::string_view path) {
    const auto found = repository_of(path, "v1");
    return found ? found->wanted.id + " " + found->wanted.revision
                       + (found->weights == weight_origin::random ? " random" : "")
                 : std::string("none");
  };
  BOOST_TEST(shown("org/name") == "org/name v1");
  BOOST_TEST(shown("org/name@main") == "org/name main");
  BOOST_TEST(shown("random:org/name") == "org/name v1 random");
  const cache files; // an existing folder without config.json is a mistake, and no name
  BOOST_TEST(shown(files.folder.path().string()) == "none");
  BOOST_TEST(shown("random:" + (files.folder.path() / "outside").string()) == "none");
  BOOST_TEST(shown("not/a/folder") == "none");
  BOOST_TEST(shown("") == "none");
}

BOOST_AUTO_TEST_CASE(random_takes_a_folder_or_a_repository) {
  const cache files;
  const auto folder = files.resolve("random:" + (files.folder.path() / "outside").string());
  BOOST_REQUIRE(folder.has_value());
  BOOST_TEST((folder->weights == weight_origin::random));
  const auto repository = files.resolve("random:org/name");
  BOOST_REQUIRE(repository.has_value());
  BOOST_TEST((repository->weights == weight_origin::random));
  BOOST_TEST(repository->folder == files.snapshot("abc123"));
}

BOOST_AUTO_TEST_CASE(what_is_not_found_names_every_place_searched) {
  const cache files;
  BOOST_TEST(says(error_of(files.resolve("org/other")),
                  errc::not_found,
                  {"model.path=org/other",
                   "org/other: no such folder",
                   (files.roots[0] / "models--org--other").string(),
                   (files.roots[1] / "models--org--other").string()}));
  BOOST_TEST(says(error_of(files.resolve("org/half")),
                  errc::not_found,
                  {"models--org--half/snapshots/777: no config.json"}));
  BOOST_TEST(says(error_of(files.resolve("org/name@v2")), errc::not_found, {"snapshots/v2"}));
  BOOST_TEST(says(
      error_of(files.resolve("org/name@pr/2")), errc::not_found, {"refs/pr/2: no such revision"}));
  BOOST_TEST(says(
      error_of(files.resolve(files.folder.path().string())), errc::not_found, {"no config.json"}));
  BOOST_TEST(says(error_of(files.resolve("")), errc::invalid_argument, {"org/name@revision"}));
  BOOST_TEST(says(error_of(files.resolve("random:")), errc::invalid_argument));
}

BOOST_AUTO_TEST_CASE(no_name_or_reference_leads_out_of_the_cache) {
  const cache files;
  for (const char* path : {"org/..",
                           "../outside/x",
                           "org/name@../../../outside",
                           "org/name@abc123/../abc123",
                           "org/name@",
                           "evil/refs",
                           "evil/parent",
                           "org/name@..",
                           "org/name@.",
                           "a/b/c",
                           "/org/name"}) {
    BOOST_TEST(says(error_of(files.resolve(path)), errc::not_found), path);
  }
}
