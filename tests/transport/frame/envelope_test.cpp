#include "transport/frame/envelope.hpp"

#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <vector>

using namespace vdist;
using namespace vdist::frame;

BOOST_AUTO_TEST_SUITE(envelope_suite)

namespace {

envelope example_header() {
  return envelope{.protocol = 7,
                  .version = 2,
                  .kind = 3,
                  .sender = 5,
                  .cluster = 0x1122334455667788,
                  .incarnation = 9,
                  .group = 1,
                  .epoch = 4,
                  .sequence = 77,
                  .deadline_ns = 1'000'000};
}

std::vector<std::byte> example_frame(std::size_t body_bytes) {
  std::vector<std::byte> body(body_bytes);
  for (std::size_t i = 0; i < body_bytes; ++i) {
    body[i] = static_cast<std::byte>(i * 7 + 1);
  }
  auto header = example_header();
  BOOST_REQUIRE(seal(header, body, {}));
  std::vector<std::byte> out(frame_bytes(header));
  encode(header, body, out);
  return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(keeps_its_layout_forever) { // E-3
  BOOST_TEST(offsetof(envelope, magic) == 0U);
  BOOST_TEST(offsetof(envelope, layout) == 4U);
  BOOST_TEST(offsetof(envelope, protocol) == 6U);
  BOOST_TEST(offsetof(envelope, version) == 8U);
  BOOST_TEST(offsetof(envelope, kind) == 10U);
  BOOST_TEST(offsetof(envelope, sender) == 12U);
  BOOST_TEST(offsetof(envelope, cluster) == 16U);
  BOOST_TEST(offsetof(envelope, incarnation) == 24U);
  BOOST_TEST(offsetof(envelope, group) == 28U);
  BOOST_TEST(offsetof(envelope, epoch) == 32U);
  BOOST_TEST(offsetof(envelope, length) == 36U);
  BOOST_TEST(offsetof(envelope, sequence) == 40U);
  BOOST_TEST(offsetof(envelope, deadline_ns) == 48U);
  BOOST_TEST(offsetof(envelope, reserved) == 56U);
  BOOST_TEST(offsetof(envelope, crc32c) == 60U);
}

BOOST_AUTO_TEST_CASE(returns_what_was_sealed) {
  for (const std::size_t bytes : {0U, 1U, 100U, 70000U}) {
    const auto frame = example_frame(bytes);
    const auto view = parse(frame, {});
    BOOST_REQUIRE(view);
    BOOST_TEST(view->body.size() == bytes);
    BOOST_TEST(view->header.sequence == 77U);
    BOOST_TEST(view->header.cluster == example_header().cluster);
    BOOST_TEST(view->header.deadline_ns == 1'000'000);
  }
}

BOOST_AUTO_TEST_CASE(refuses_every_single_flipped_bit) { // E-1
  auto frame = example_frame(50);
  for (std::size_t bit = 0; bit < frame.size() * 8; ++bit) {
    frame[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    const auto view = parse(frame, {});
    BOOST_REQUIRE_MESSAGE(!view, "bit " << bit);
    BOOST_REQUIRE(view.error().code == errc::corrupt);
    frame[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
  }
  BOOST_TEST(parse(frame, {}).has_value());
}

BOOST_AUTO_TEST_CASE(refuses_every_other_length) { // E-2
  auto frame = example_frame(20);
  for (std::size_t bytes = 0; bytes < frame.size(); ++bytes) {
    drop_reason why{};
    BOOST_REQUIRE(!parse(std::span<const std::byte>(frame).first(bytes), {}, &why));
    BOOST_REQUIRE(why == drop_reason::too_short);
  }
  frame.push_back(std::byte{0});
  drop_reason why{};
  BOOST_TEST(!parse(frame, {}, &why));
  BOOST_CHECK(why == drop_reason::too_long);
}

BOOST_AUTO_TEST_CASE(enforces_the_limit_on_both_sides) {
  const std::vector<std::byte> body(101);
  const frame_limits limits{.body_bytes_max = 100};
  auto header = example_header();
  const auto sealed = seal(header, body, limits);
  BOOST_REQUIRE(!sealed);
  BOOST_CHECK(sealed.error().code == errc::invalid_argument);
  BOOST_TEST(sealed.error().context == "frame: body is too long (bytes=101 body_bytes_max=100)");
  drop_reason why{};
  BOOST_TEST(!parse(example_frame(101), limits, &why));
  BOOST_CHECK(why == drop_reason::too_long);
  BOOST_TEST(parse(example_frame(100), limits).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
