#include "model/weights/safetensors_header.hpp"

#include "tests/model/weights/expected_error.hpp"
#include "tests/support/safetensors_writer.hpp"

#include <boost/test/unit_test.hpp>

#include <random>
#include <string>

namespace {

using namespace vdist;
using namespace vdist::weights;
using namespace vdist::weights::testing;
using vdist::testing::safetensors_file;
using vdist::testing::safetensors_writer;

result<safetensors_header> parsed(std::string_view file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), file.size(), "x.safetensors");
}

std::string one_tensor(std::string_view description, std::size_t data_bytes) {
  return safetensors_file("{\"t\":" + std::string(description) + "}", std::string(data_bytes, 'x'));
}

/// A file with every kind of thing in it.
std::string good_file() {
  safetensors_writer writer;
  writer.add("b.weight", "F32", {2, 3}, std::string(24, 'b'));
  writer.add("a.weight", "BF16", {5}, std::string(10, 'a'));
  writer.add("scalar", "I64", {}, std::string(8, 's'));
  writer.add("empty", "F16", {0, 7}, "");
  writer.add("half", "F4", {2, 3}, std::string(3, 'h'));
  return writer.file();
}

} // namespace

BOOST_AUTO_TEST_CASE(reads_types_shapes_and_places_in_order_of_the_data) {
  const auto header = parsed(good_file());
  BOOST_REQUIRE(header.has_value());
  BOOST_REQUIRE(header->tensors.size() == 5U);
  const auto& tensors = header->tensors;
  BOOST_TEST(tensors[0].name == "b.weight");
  BOOST_TEST((tensors[0].type == kernels::dtype::float32));
  BOOST_TEST((tensors[0].shape == std::vector<std::int64_t>{2, 3}));
  BOOST_TEST(tensors[1].begin == 24U);
  BOOST_TEST(tensors[1].end == 34U);
  BOOST_TEST((tensors[1].type == kernels::dtype::bfloat16));
  BOOST_TEST(tensors[2].type_name == "I64");
  BOOST_TEST(!tensors[2].type.has_value());
  BOOST_TEST(header->data_offset + 45 == good_file().size());
}

BOOST_AUTO_TEST_CASE(metadata_and_an_empty_file_are_legal) {
  BOOST_TEST(parsed(safetensors_file("{}", "")).has_value());
  BOOST_TEST(parsed(safetensors_file("{\"__metadata__\":{\"format\":\"pt\"}}  ", "")).has_value());
}

BOOST_AUTO_TEST_CASE(S_1_a_length_or_text_that_is_not_a_header_is_corrupt) {
  const auto refused = [](const std::string& file, std::initializer_list<std::string_view> parts) {
    BOOST_TEST(says(error_of(parsed(file)), errc::corrupt, {"x.safetensors"}));
    BOOST_TEST(says(error_of(parsed(file)), errc::corrupt, parts));
  };
  refused("", {"shorter than 8"});
  refused("1234567", {"shorter than 8"});
  refused(std::string(8, '\xFF'), {"does not fit", "header of 18446744073709551615 bytes"});
  std::string long_header(8, '\0');
  long_header[3] = 0x10; // 256 MiB
  refused(long_header, {"does not fit", "bytes_max=100000000"});
  refused(good_file().substr(0, 60), {"does not fit", "file_bytes=60"});
  refused(safetensors_file("", ""), {"does not start with {"});
  refused(safetensors_file(" {}", ""), {"does not start with {"});
  refused(safetensors_file("[]", ""), {"does not start with {"});
  refused(safetensors_file("{\"t\":", ""), {"broken json (byte=6)"});
  refused(safetensors_file("{}{}", ""), {"broken json"});
  refused(safetensors_file("{\"t\xFF\":{}}", ""), {"broken json"});
  std::string deep = "{\"t\":";
  deep += std::string(100'000, '[');
  refused(safetensors_file(deep, ""), {"nested too deeply"});
  refused(safetensors_file(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                           R"("t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                           "x"),
          {"duplicate key (key=t)"});
  refused(one_tensor(R"({"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]})", 1),
          {"duplicate key (key=dtype)"});
}

BOOST_AUTO_TEST_CASE(S_2_S_3_a_description_that_does_not_add_up_is_corrupt_and_names_the_tensor) {
  const auto refused =
      [](std::string_view description, std::string_view part, std::size_t data_bytes = 8) {
        BOOST_TEST(says(error_of(parsed(one_tensor(description, data_bytes))),
                        errc::corrupt,
                        {"x.safetensors", "tensor=t", part}));
      };
  refused("7", "not an object");
  refused("{}", "dtype is not a string");
  refused(R"({"dtype":7,"shape":[2],"data_offsets":[0,8]})", "dtype is not a string");
  refused(R"({"dtype":"f32","shape":[2],"data_offsets":[0,8]})", "unknown dtype f32");
  refused(R"({"dtype":"F32","data_offsets":[0,8]})", "shape is not a list");
  refused(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})", "shape is not a list");
  refused(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]})", "at most 8 sizes");
  refused(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})", "illegal size");
  refused(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})", "illegal size");
  refused(R"({"dtype":"F32","shape":["2"],"data_offsets":[0,8]})", "illegal size");
  refused(R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]})", "illegal size");
  refused(R"({"dtype":"F32","shape":[2]})", "data_offsets");
  refused(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})", "data_offsets");
  refused(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})", "rising pair");
  refused(R"({"dtype":"F32","shape":[2],"data_offsets":[-1,7]})", "rising pair");
  refused(R"({"dtype":"F32","shape":[2],"data_offsets":[0,1e1]})", "rising pair");
  refused(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})", "do not fill the 8 bytes");
  refused(R"({"dtype":"F4","shape":[3],"data_offsets":[0,1]})", "do not fill the 1 bytes");
  // 2^31 * 2^31 * 2 elements of 4 bytes: 2^65 wraps to 0 where nobody looks.
  refused(R"({"dtype":"F32","shape":[2147483648,2147483648,2],"data_offsets":[0,0]})",
          "do not fill the 0 bytes");
}

BOOST_AUTO_TEST_CASE(S_4_ranges_that_do_not_tile_the_data_are_corrupt) {
  const auto refused = [](std::string_view first,
                          std::string_view second,
                          std::size_t bytes,
                          std::string_view part) {
    const std::string header =
        R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + std::string(first)
        + R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + std::string(second) + "}}";
    BOOST_TEST(says(error_of(parsed(safetensors_file(header, std::string(bytes, 'x')))),
                    errc::corrupt,
                    {"x.safetensors", part}));
  };
  refused("[0,4]", "[2,6]", 6, "overlaps");
  refused("[0,4]", "[0,4]", 4, "overlaps");
  refused("[0,4]", "[5,9]", 9, "gap of 1 bytes");
  refused("[1,5]", "[5,9]", 9, "gap of 1 bytes before its data (tensor=a)");
  refused("[0,4]", "[4,8]", 7, "ends at 8, behind the 7 bytes");
  refused("[0,4]", "[4,8]", 9, "1 bytes behind the last tensor");
  refused("[4,8]", "[9223372036854775804,9223372036854775808]", 8, "gap");
}

BOOST_AUTO_TEST_CASE(error_text_shows_no_bytes_of_the_file_as_they_are) {
  const std::string name = "\\n\\u001b[2J" + std::string(5000, 'n');
  const auto failure = error_of(parsed(safetensors_file("{\"" + name + "\":7}", "")));
  BOOST_TEST(failure.context.find('\n') == std::string::npos);
  BOOST_TEST(failure.context.find('\x1b') == std::string::npos);
  BOOST_TEST(failure.context.size() < 300U);
}

BOOST_AUTO_TEST_CASE(damaged_files_are_refused_or_describe_only_bytes_that_exist) {
  // Oracle: whatever the damage, an accepted header tiles exactly the data that is there.
  std::mt19937 random(2024);
  const std::string good = good_file();
  const std::string_view alphabet = "{}[]\",:0123456789-.eEfnulFBU \\\xFF";
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string file = good;
    const auto damages = 1 + random() % 3;
    for (std::uint32_t i = 0; i < damages && !file.empty(); ++i) {
      const std::size_t at = random() % file.size();
      switch (random() % 5) {
      case 0:
        file[at] = static_cast<char>(random());
        break;
      case 1:
        file[at] = alphabet[random() % alphabet.size()];
        break;
      case 2:
        file.erase(at, random() % 9);
        break;
      case 3:
        file.insert(at, file.substr(random() % file.size(), random() % 40));
        break;
      default:
        file.resize(at);
        break;
      }
    }
    const auto header = parsed(file);
    if (!header) {
      BOOST_TEST_REQUIRE((header.error().code == errc::corrupt));
      continue;
    }
    ++accepted;
    std::uint64_t end = 0;
    for (const tensor_entry& tensor : header->tensors) {
      BOOST_TEST_REQUIRE(tensor.begin == end);
      end = tensor.end;
    }
    BOOST_TEST_REQUIRE(header->data_offset + end == file.size());
  }
  BOOST_TEST_MESSAGE("accepted " << accepted << " of 20000 damaged files");
  BOOST_TEST(accepted > 0);
}
