// Headers of weight files (S-1 to S-4 of model/weights/safetensors_header.hpp).
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/fuzz/text_material.hpp"
#include "tests/support/safetensors_writer.hpp"

#include "model/weights/safetensors_header.hpp"

#include <boost/test/unit_test.hpp>

#include <nlohmann/json.hpp>

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::testing::fuzz;
using weights::safetensors_header;

namespace {

constexpr heap_bound bound{.fixed = std::size_t{16} << 10U, .times = 256};

const std::vector<std::string_view> weight_pieces{"{",
                                                  "}",
                                                  "[",
                                                  "]",
                                                  "\"",
                                                  ":",
                                                  ",",
                                                  "null",
                                                  "-1",
                                                  "0",
                                                  "1e9",
                                                  "F32",
                                                  "F4",
                                                  "BF16",
                                                  "dtype",
                                                  "shape",
                                                  "\xff",
                                                  "[[[[",
                                                  "\\u0000",
                                                  "9223372036854775807",
                                                  "18446744073709551615",
                                                  "4294967296",
                                                  "__metadata__",
                                                  "data_offsets",
                                                  "1.5",
                                                  "\"a\":{}"};

/// The input is a whole file: what is known of it besides its header is its length.
result<safetensors_header> decoded(std::span<const std::byte> file) {
  const auto start = file.first(std::min(file.size(), weights::header_length_bytes));
  VDIST_ASSIGN(const auto head, weights::safetensors_head_bytes(start, file.size(), "f"));
  if (head > file.size()) {
    return fail(errc::internal, "a header longer than its file");
  }
  VDIST_ASSIGN(auto header, weights::parse_safetensors_header(file.first(head), file.size(), "f"));
  for (const auto& tensor : header.tensors) { // whoever reads a tensor believes its range
    if (tensor.begin > tensor.end || tensor.end > file.size() - header.data_offset) {
      return fail(errc::internal, "a range outside of the file");
    }
  }
  return header;
}

bytes encoded(const safetensors_header& header) {
  auto tensors = nlohmann::json::object();
  std::uint64_t data = 0;
  for (const auto& tensor : header.tensors) {
    tensors[tensor.name] = {{"dtype", tensor.type_name},
                            {"shape", tensor.shape},
                            {"data_offsets", {tensor.begin, tensor.end}}};
    data = std::max(data, tensor.end);
  }
  return bytes_of(
      safetensors_file(tensors.dump(), std::string(static_cast<std::size_t>(data), 'd')));
}

bool same_tensor(const weights::tensor_entry& a, const weights::tensor_entry& b) {
  return a.name == b.name && a.type_name == b.type_name && a.type == b.type && a.shape == b.shape
         && a.begin == b.begin && a.end == b.end;
}

/// Of two tensors without bytes at one place either may be first.
bool same_header(safetensors_header a, safetensors_header b) {
  const auto by_name = [](const auto& x, const auto& y) {
    return x.name < y.name;
  };
  std::sort(a.tensors.begin(), a.tensors.end(), by_name);
  std::sort(b.tensors.begin(), b.tensors.end(), by_name);
  return std::equal(
      a.tensors.begin(), a.tensors.end(), b.tensors.begin(), b.tensors.end(), same_tensor);
}

/// The length of the header counts what stands between it and the data.
specimen file_specimen(const std::string& header, std::size_t data) {
  const auto file = safetensors_file(header, "");
  auto made = text_specimen(header);
  made.prefix = bytes_of(std::string_view(file).substr(0, weights::header_length_bytes));
  made.units.emplace_back(data, std::byte{'d'});
  return made;
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_weights)

BOOST_AUTO_TEST_CASE(headers_of_safetensors) { // S-1 to S-4
  material from{.pieces = text_pieces(weight_pieces)};
  from.specimens = {
      file_specimen(
          R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
          R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"__metadata__":{"x":"y"}})",
          32),
      file_specimen(R"({"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                    R"("e":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}}   )",
                    8),
      file_specimen("{}", 0)};
  run(subject_of<safetensors_header>(
      "safetensors header",
      std::move(from),
      {.decode = decoded, .encode = encoded, .is_same = same_header, .bound = bound}));
}

BOOST_AUTO_TEST_SUITE_END()
