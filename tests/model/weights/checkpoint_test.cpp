#include "model/weights/checkpoint.hpp"

#include "tests/model/weights/expected_error.hpp"
#include "tests/support/safetensors_writer.hpp"
#include "tests/support/temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <numeric>

namespace {

using namespace vdist;
using namespace vdist::weights;
using namespace vdist::weights::testing;
using vdist::testing::safetensors_writer;
using vdist::testing::temporary_folder;

std::string bytes_of(std::span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

std::string file_with(std::string_view name, std::vector<float> values) {
  safetensors_writer writer;
  writer.add(name, "F32", {static_cast<std::int64_t>(values.size())}, bytes_of(values));
  return writer.file();
}

std::string index_of(std::string_view map) {
  return R"({"metadata":{"total_size":1},"weight_map":)" + std::string(map) + "}";
}

block_target target_of(std::vector<float>& values) {
  return {.data = reinterpret_cast<std::byte*>(values.data()), .type = kernels::dtype::float32};
}

std::vector<float> read_all(const checkpoint& source, const std::string& name, std::int64_t count) {
  const auto reader = source.open({.names = {name}, .shape = {count}}, weight_role::matrix);
  BOOST_REQUIRE_MESSAGE(reader.has_value(), error_of(reader).context);
  std::vector<float> values(static_cast<std::size_t>(count));
  BOOST_TEST(says(error_of((*reader)->read({.count = count}, target_of(values))), errc::ok));
  return values;
}

/// A folder with two shards and this index.
error opened_with_index(std::string_view map) {
  const temporary_folder folder;
  folder.write("one.safetensors", file_with("a", {1, 2}));
  folder.write("two.safetensors", file_with("b", {3}));
  folder.write("model.safetensors.index.json", index_of(map));
  return error_of(checkpoint::open(folder.path()));
}

} // namespace

BOOST_AUTO_TEST_CASE(reads_tensors_of_all_shards_also_through_links_and_after_a_move) {
  const temporary_folder folder;
  folder.write("blobs/aa", file_with("a", {1, 2}));
  folder.write("snapshots/x/two.safetensors", file_with("b", {3}));
  folder.write("snapshots/x/model.safetensors.index.json",
               index_of(R"({"a":"one.safetensors","b":"two.safetensors"})"));
  // The Hugging Face cache keeps its files as links out of the snapshot.
  std::filesystem::create_symlink("../../blobs/aa", folder.path() / "snapshots/x/one.safetensors");
  auto opened = checkpoint::open(folder.path() / "snapshots/x");
  BOOST_REQUIRE_MESSAGE(opened.has_value(), error_of(opened).context);
  const checkpoint moved = std::move(*opened);
  BOOST_TEST(moved.file_count() == 2U);
  BOOST_TEST(moved.tensor_count() == 2U);
  BOOST_TEST(read_all(moved, "a", 2) == std::vector<float>({1, 2}));
  BOOST_TEST(read_all(moved, "b", 1) == std::vector<float>({3}));
  BOOST_TEST(read_all(moved, "a", 2) == std::vector<float>({1, 2}), "again");
}

BOOST_AUTO_TEST_CASE(reads_any_run_of_a_tensor_larger_than_a_page_at_an_odd_address) {
  std::vector<float> values(5000);
  std::iota(values.begin(), values.end(), 0.0F);
  safetensors_writer writer;
  writer.add("odd", "U8", {3}, "xyz"); // what follows is not aligned to its type
  writer.add("v", "F32", {5000}, bytes_of(values));
  const temporary_folder folder;
  folder.write("model.safetensors", writer.file(false));
  const auto source = checkpoint::open(folder.path());
  BOOST_REQUIRE(source.has_value());
  const auto reader = source->open({.names = {"v"}, .shape = {5000}}, weight_role::matrix);
  BOOST_REQUIRE(reader.has_value());
  std::vector<float> run(100);
  BOOST_TEST(
      says(error_of((*reader)->read({.first = 4321, .count = 100}, target_of(run))), errc::ok));
  BOOST_TEST(std::equal(run.begin(), run.end(), values.begin() + 4321));
}

BOOST_AUTO_TEST_CASE(a_folder_without_weights_names_both_files_that_were_looked_for) {
  const temporary_folder folder;
  BOOST_TEST(says(error_of(checkpoint::open(folder.path())),
                  errc::not_found,
                  {folder.path().string(), "model.safetensors,", "model.safetensors.index.json"}));
}

BOOST_AUTO_TEST_CASE(an_index_is_not_trusted) {
  BOOST_TEST(says(opened_with_index(R"({"a":"one.safetensors","b":"two.safetensors"})"), errc::ok));
  BOOST_TEST(says(opened_with_index(R"({"a":"three.safetensors"})"),
                  errc::not_found,
                  {"three.safetensors", "No such file"}));
  for (const char* outside : {"../one.safetensors",
                              "/etc/passwd",
                              "sub/one.safetensors",
                              "..",
                              "",
                              ".hidden",
                              "a\\\\b",
                              "a\\u0000b",
                              "a\\nb"}) {
    BOOST_TEST(says(opened_with_index(R"({"a":")" + std::string(outside) + "\"}"),
                    errc::corrupt,
                    {"index.json", "not a file of this folder", "tensor=a"}));
  }
  BOOST_TEST(says(opened_with_index(R"({"a":7})"), errc::corrupt, {"not a file of this folder"}));
  BOOST_TEST(says(opened_with_index(R"({"a":"two.safetensors","b":"one.safetensors"})"),
                  errc::corrupt,
                  {"does not have the tensor", "tensor=a", "file=two.safetensors"}));
  BOOST_TEST(says(opened_with_index(R"({"c":"one.safetensors"})"), errc::corrupt, {"tensor=c"}));
  BOOST_TEST(says(opened_with_index(R"({"a":"one.safetensors","a":"one.safetensors"})"),
                  errc::corrupt,
                  {"duplicate key"}));
  BOOST_TEST(says(opened_with_index("[]"), errc::corrupt, {"weight_map is not an object"}));
}

BOOST_AUTO_TEST_CASE(a_tensor_in_two_shards_is_corrupt) {
  const temporary_folder folder;
  folder.write("one.safetensors", file_with("a", {1}));
  folder.write("two.safetensors", file_with("a", {1}));
  folder.write("model.safetensors.index.json",
               index_of(R"({"a":"one.safetensors","b":"two.safetensors"})"));
  BOOST_TEST(says(error_of(checkpoint::open(folder.path())),
                  errc::corrupt,
                  {"two.safetensors", "tensor=a", "other=one.safetensors"}));
}

BOOST_AUTO_TEST_CASE(a_truncated_file_is_corrupt_and_named) {
  const temporary_folder folder;
  const std::string file = file_with("a", {1, 2});
  folder.write("model.safetensors", file.substr(0, file.size() - 1));
  BOOST_TEST(says(error_of(checkpoint::open(folder.path())),
                  errc::corrupt,
                  {(folder.path() / "model.safetensors").string(), "tensor=a"}));
  folder.write("model.safetensors", "");
  BOOST_TEST(says(error_of(checkpoint::open(folder.path())), errc::corrupt, {"shorter than 8"}));
}
