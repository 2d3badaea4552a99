#include "runtime/protocol/step_codec.hpp"

#include "tests/runtime/protocol/step_examples.hpp"

#include <boost/test/unit_test.hpp>
#include <msgpack.hpp>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

using namespace vdist;
using namespace vdist::protocol;
using namespace vdist::testing;

BOOST_AUTO_TEST_SUITE(step_codec_suite)

namespace {

using bytes = std::vector<std::byte>;

template <class Message>
bytes encoded(const Message& message) {
  bytes out;
  encode(message, out);
  return out;
}

/// The same fields packed by msgpack-c: the oracle of the hand-written writer.
class library_packer {
public:
  explicit library_packer(std::uint32_t fields) { packer_.pack_array(fields); }

  void operator()(std::integral auto value) { packer_.pack(value); }

  void operator()(const std::string& text) { packer_.pack(text); }

  template <class T>
  void operator()(const std::vector<T>& column) {
    const auto size = static_cast<std::uint32_t>(column.size() * sizeof(T));
    packer_.pack_bin(size);
    packer_.pack_bin_body(reinterpret_cast<const char*>(column.data()), size);
  }

  [[nodiscard]] bytes packed() const {
    const auto* begin = reinterpret_cast<const std::byte*>(buffer_.data());
    return {begin, begin + buffer_.size()};
  }

private:
  msgpack::sbuffer buffer_;
  msgpack::packer<msgpack::sbuffer> packer_{buffer_};
};

template <class... Fields>
bytes packed_by_library(const Fields&... fields) {
  library_packer packer(sizeof...(Fields));
  (packer(fields), ...);
  return packer.packed();
}

bytes packed_by_library(const step_plan& p) {
  return packed_by_library(p.step,
                           p.epoch,
                           p.slots,
                           p.request_ids,
                           p.flags,
                           p.first_position,
                           p.token_counts,
                           p.block_counts,
                           p.new_blocks,
                           p.tokens,
                           p.retired_slots,
                           p.sampling,
                           p.bias_ids,
                           p.bias_values,
                           p.suppressed_ids,
                           p.saves,
                           p.loads);
}

bytes packed_by_library(const step_result& r) {
  return packed_by_library(r.step,
                           r.epoch,
                           r.rank,
                           r.status,
                           r.digest,
                           r.compute_us,
                           r.slots,
                           r.tokens,
                           r.logprobs,
                           r.top_counts,
                           r.top_ids,
                           r.top_logprobs,
                           r.message,
                           r.saved_step);
}

} // namespace

BOOST_AUTO_TEST_CASE(decodes_what_it_encoded_into_a_used_target) {
  step_plan plan = example_plan(9, 300);
  step_result result = example_result(9, 300);
  for (std::uint64_t n = 0; n < 6; ++n) {
    for (const std::size_t sequences : {0U, 1U, 40U, 256U, 20000U}) {
      const auto wanted_plan = example_plan(n, sequences);
      BOOST_REQUIRE(decode(encoded(wanted_plan), plan));
      BOOST_TEST(same(plan, wanted_plan));
      const auto wanted_result = example_result(n, sequences);
      BOOST_REQUIRE(decode(encoded(wanted_result), result));
      BOOST_TEST(same(result, wanted_result));
    }
  }
}

BOOST_AUTO_TEST_CASE(writes_the_same_bytes_as_the_library) {
  for (std::uint64_t n = 0; n < 6; ++n) {
    for (const std::size_t sequences : {0U, 1U, 7U, 63U, 64U, 255U, 256U, 17000U}) {
      const auto plan = example_plan(n, sequences);
      BOOST_TEST((encoded(plan) == packed_by_library(plan)));
      const auto result = example_result(n, sequences);
      BOOST_TEST((encoded(result) == packed_by_library(result)));
    }
  }
}

BOOST_AUTO_TEST_CASE(numbers_of_every_width_survive) {
  step_result result;
  for (const std::int64_t edge :
       {0LL, 31LL, 32LL, 127LL, 128LL, 255LL, 256LL, 32767LL, 65535LL, 65536LL, 2147483647LL}) {
    for (const std::int64_t value : {edge, -edge, -edge - 1}) {
      step_result wanted;
      wanted.rank = static_cast<std::int32_t>(value);
      wanted.status = static_cast<std::int16_t>(value);
      wanted.digest = static_cast<std::uint64_t>(value);
      wanted.step = static_cast<std::uint64_t>(edge) << 20U;
      BOOST_REQUIRE(decode(encoded(wanted), result));
      BOOST_TEST(same(result, wanted));
      BOOST_TEST((encoded(wanted) == packed_by_library(wanted)));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_missing_tail_keeps_its_defaults) { // S-1
  step_plan plan = example_plan(5, 100);
  const std::vector<std::uint32_t> slots{4, 5};
  BOOST_REQUIRE(decode(packed_by_library(std::uint64_t{7}, std::uint32_t{8}, slots), plan));
  BOOST_TEST(plan.step == 7U);
  BOOST_TEST(plan.epoch == 8U);
  BOOST_TEST(plan.slots == slots);
  BOOST_TEST(plan.request_ids.empty());
  BOOST_TEST(plan.sampling.empty());
  BOOST_TEST(plan.suppressed_ids.empty());
  BOOST_TEST(plan.saves.empty());
  BOOST_TEST(plan.loads.empty());
}

BOOST_AUTO_TEST_CASE(an_unknown_tail_is_skipped) { // S-1
  const auto wanted = example_result(2, 5);
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> packer(buffer);
  packer.pack_array(8);
  packer.pack(std::vector<std::vector<int>>{{1, -5, 70000}, {}, {1 << 30}});
  packer.pack(std::map<std::string, double>{{"a", 1.5}, {std::string(300, 'b'), 2}});
  packer.pack(std::string(70000, 'c'));
  packer.pack_bin(3).pack_bin_body("xyz", 3);
  packer.pack_ext(4, 1).pack_ext_body("1234", 4);
  packer.pack_ext(300, 1).pack_ext_body(std::string(300, 'e').data(), 300);
  packer.pack(std::tuple<float, bool, msgpack::type::nil_t>{1.F, true, {}});
  packer.pack(std::vector<int>(100000, -1000));
  // One array that holds the known fields and then the eight values above.
  auto message = encoded(wanted);
  const auto known = std::to_integer<unsigned>(message[0]) & 0x0fU;
  bytes longer(message.size() + 2);
  longer[0] = std::byte{0xdc};
  longer[2] = static_cast<std::byte>(known + 8);
  std::copy(message.begin() + 1, message.end(), longer.begin() + 3);
  const auto* tail = reinterpret_cast<const std::byte*>(buffer.data());
  longer.insert(longer.end(), tail + 1, tail + buffer.size());
  step_result got;
  BOOST_REQUIRE(decode(longer, got));
  BOOST_TEST(same(got, wanted));
}

BOOST_AUTO_TEST_CASE(a_steady_state_allocates_nothing) {
  const auto message = encoded(example_plan(3, 256));
  step_plan plan;
  BOOST_REQUIRE(decode(message, plan));
  const auto* tokens = plan.tokens.data();
  const auto* sampling = plan.sampling.data();
  BOOST_REQUIRE(decode(message, plan));
  BOOST_CHECK(plan.tokens.data() == tokens);
  BOOST_CHECK(plan.sampling.data() == sampling);
  bytes out;
  encode(plan, out);
  const auto capacity = out.capacity();
  encode(plan, out);
  BOOST_TEST(out.capacity() == capacity);
}

BOOST_AUTO_TEST_CASE(long_texts_are_cut_not_refused) {
  step_result result;
  result.message.assign(10000, 'y');
  step_result got;
  BOOST_REQUIRE(decode(encoded(result), got));
  BOOST_TEST(got.message == std::string(4096, 'y'));
}

// ---- Golden files: bytes of version 1 that every later build must read
// -------------------------------

namespace {

const std::filesystem::path golden_dir =
    std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "step" / "v1";
constexpr std::uint64_t golden_examples = 5;

std::size_t golden_sequences(std::uint64_t n) {
  return n * n * 20;
}

bytes read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto contents = std::as_bytes(std::span(text));
  return {contents.begin(), contents.end()};
}

void write_file(const std::filesystem::path& path, const bytes& contents) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(contents.data()),
             static_cast<std::streamsize>(contents.size()));
}

/// `… -- record` writes files that do not exist yet.
bool is_recording() {
  const auto& suite = boost::unit_test::framework::master_test_suite();
  return suite.argc > 1 && std::string_view(suite.argv[1]) == "record";
}

template <class Message>
void check_golden(const std::string& name, const Message& wanted) {
  const auto path = golden_dir / name;
  if (is_recording() && !std::filesystem::exists(path)) {
    write_file(path, encoded(wanted));
  }
  const auto recorded = read_file(path);
  BOOST_REQUIRE_MESSAGE(!recorded.empty(), "missing " << path);
  Message got;
  BOOST_REQUIRE(decode(recorded, got));
  BOOST_TEST(same(got, wanted), name);
}

} // namespace

BOOST_AUTO_TEST_CASE(reads_the_bytes_of_version_1) {
  for (std::uint64_t n = 0; n < golden_examples; ++n) {
    check_golden("plan_" + std::to_string(n) + ".bin", example_plan(n, golden_sequences(n)));
    check_golden("result_" + std::to_string(n) + ".bin", example_result(n, golden_sequences(n)));
  }
}

BOOST_AUTO_TEST_SUITE_END()
