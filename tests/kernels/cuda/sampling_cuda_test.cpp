#include "tests/kernels/cuda/cuda_fixture.hpp"

#include "model/sampling/philox.hpp"
#include "model/sampling/sampler.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::int32_t untouched = -77;
constexpr double boundary =
    1e-9; // relative distance within which a uniform number may fall on either side

using candidate = std::pair<float, std::int32_t>;

bool comes_before(const candidate& a, const candidate& b) {
  return a.first > b.first || (a.first == b.first && a.second < b.second);
}

/// The semantics of kernels/sampling/sampling.hpp written down plainly, in double: all candidates sorted, each cut a loop.
class reference {
public:
  reference(std::vector<float> logits, const sampling_row& wanted)
      : logits_(std::move(logits)), wanted_(wanted) {}

  /// The tokens that are right; more than one where the uniform number or top_p falls on a boundary.
  [[nodiscard]] std::set<std::int32_t> tokens() {
    for (const float logit : logits_) {
      if (std::isnan(logit)) {
        return {-1};
      }
    }
    for (std::size_t i = 0; i < logits_.size(); ++i) {
      order_.emplace_back(logits_[i], static_cast<std::int32_t>(i));
    }
    largest_ = *std::min_element(order_.begin(), order_.end(), comes_before);
    if (!(wanted_.temperature > 0) || std::isinf(largest_.first)) {
      return {largest_.second};
    }
    const auto vocabulary = static_cast<std::int32_t>(order_.size());
    const bool is_cut =
        (wanted_.top_k > 0 && wanted_.top_k < vocabulary) || wanted_.min_p > 0 || wanted_.top_p < 1;
    if (is_cut) {
      std::sort(order_.begin(), order_.end(), comes_before);
      if (wanted_.top_k > 0 && wanted_.top_k < vocabulary) {
        order_.resize(static_cast<std::size_t>(wanted_.top_k));
      }
      cut_min_p();
    }
    for (const candidate& c : order_) {
      masses_.push_back(
          std::exp((static_cast<double>(c.first) - static_cast<double>(largest_.first))
                   / static_cast<double>(wanted_.temperature)));
    }
    std::set<std::int32_t> out;
    for (const double share : {1 - boundary, 1.0, 1 + boundary}) {
      const auto count = wanted_.top_p < 1
                             ? count_of_top_p(share * static_cast<double>(wanted_.top_p))
                             : order_.size();
      for (const double u : {1 - boundary, 1.0, 1 + boundary}) {
        out.insert(draw(count, u * vdist::sampling::uniform(wanted_.seed, wanted_.position)));
      }
    }
    return out;
  }

private:
  void cut_min_p() {
    if (wanted_.min_p <= 0) {
      return;
    }
    const double floor =
        static_cast<double>(largest_.first)
        + std::log(static_cast<double>(wanted_.min_p)) * static_cast<double>(wanted_.temperature);
    std::size_t count = 0;
    while (count < order_.size() && static_cast<double>(order_[count].first) >= floor) {
      ++count;
    }
    order_.resize(std::max<std::size_t>(count, 1));
  }

  [[nodiscard]] std::size_t count_of_top_p(double share) const {
    double total = 0;
    for (const double mass : masses_) {
      total += mass;
    }
    double reached = 0;
    for (std::size_t i = 0; i < masses_.size(); ++i) {
      reached += masses_[i];
      if (reached >= share * total) {
        return i + 1;
      }
    }
    return masses_.size();
  }

  [[nodiscard]] std::int32_t draw(std::size_t count, double u) const {
    double total = 0;
    for (std::size_t i = 0; i < count; ++i) {
      total += masses_[i];
    }
    double reached = 0;
    for (std::size_t i = 0; i < count; ++i) {
      reached += masses_[i];
      if (reached > u * total) {
        return order_[i].second;
      }
    }
    return order_[count - 1].second;
  }

  std::vector<float> logits_;
  sampling_row wanted_;
  std::vector<candidate> order_;
  std::vector<double> masses_;
  candidate largest_;
};

/// Rows of logits and what each wants.
struct problem {
  std::int32_t vocabulary;
  std::int64_t stride;
  std::vector<std::vector<float>> rows;
  std::vector<sampling_row> wanted;

  explicit problem(std::int32_t vocabulary_, std::int64_t gap = 0)
      : vocabulary(vocabulary_), stride(vocabulary_ + gap) {}

  void add(std::vector<float> logits, sampling_row row) {
    row.slot = row.slot < 0 ? -1 : static_cast<std::int32_t>(rows.size()) * 2 + 1;
    rows.push_back(std::move(logits));
    wanted.push_back(row);
  }
};

struct answer {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> fed;
};

answer run(backend& device, const problem& p, bool has_fed = true) {
  std::vector<float> logits;
  for (const auto& row : p.rows) {
    logits.insert(logits.end(), row.begin(), row.end());
    logits.resize(logits.size() + static_cast<std::size_t>(p.stride - p.vocabulary), infinity);
  }
  const auto count = p.rows.size();
  const device_array<float> logits_there(device, logits);
  const device_array<sampling_row> wanted(device, p.wanted);
  const device_array<std::int32_t> tokens(device, std::vector<std::int32_t>(count + 1, untouched));
  const device_array<std::int32_t> fed(device, std::vector<std::int32_t>(2 * count + 1, untouched));
  device.sample({.logits = logits_there.data(),
                 .wanted = wanted.data(),
                 .tokens = tokens.data(),
                 .fed = has_fed ? fed.data() : nullptr,
                 .rows = static_cast<std::int32_t>(count),
                 .vocabulary = p.vocabulary,
                 .logits_stride = p.stride});
  finish(device);
  return {tokens.read(), fed.read()};
}

void check(backend& device, const problem& p) {
  const answer got = run(device, p);
  for (std::size_t r = 0; r < p.rows.size(); ++r) {
    const auto& wanted = p.wanted[r];
    if (wanted.slot < 0) {
      BOOST_TEST(got.tokens[r] == untouched);
      continue;
    }
    const auto right = reference(p.rows[r], wanted).tokens();
    BOOST_TEST(right.contains(got.tokens[r]),
               "row " << r << ": token " << got.tokens[r] << ", wanted " << *right.begin() << " of "
                      << right.size() << "; vocabulary " << p.vocabulary << " temperature "
                      << wanted.temperature << " top_k " << wanted.top_k << " top_p "
                      << wanted.top_p << " min_p " << wanted.min_p);
    BOOST_TEST(got.fed[static_cast<std::size_t>(wanted.slot)] == std::max(got.tokens[r], 0));
    BOOST_TEST(got.fed[static_cast<std::size_t>(wanted.slot) - 1] == untouched);
  }
  BOOST_TEST(got.tokens.back() == untouched);
}

std::vector<float> scaled_normals(random_source& random, std::int32_t count, float scale) {
  auto values = random.normals(static_cast<std::size_t>(count));
  for (float& value : values) {
    value *= scale;
  }
  return values;
}

/// The shapes of logits that matter: spread, many ties, mostly masked, one far ahead, all equal, extreme, around zero.
std::vector<float> logits_of_shape(random_source& random, std::int32_t shape, std::int32_t count) {
  auto values = scaled_normals(random, count, 3.0F);
  const auto somewhere = static_cast<std::size_t>(random.below(count));
  switch (shape) {
  case 0:
    break;
  case 1:
    for (float& value : values) {
      value = std::round(value);
    }
    break;
  case 2:
    for (float& value : values) {
      value = random.below(10) != 0 ? -infinity : value;
    }
    values[somewhere] = 1.0F;
    break;
  case 3:
    values[somewhere] = 60.0F;
    break;
  case 4:
    std::fill(values.begin(), values.end(), -2.5F);
    break;
  case 5:
    for (float& value : values) {
      value *= 1e38F / 4;
    }
    break;
  case 6:
    for (float& value : values) {
      value = random.below(3) != 0 ? (random.below(2) != 0 ? 0.0F : -0.0F) : value * 1e-3F;
    }
    break;
  default:
    for (float& value : values) {
      value = rounded_to(dtype::bfloat16, value);
    }
    break;
  }
  return values;
}

constexpr std::int32_t shapes = 8;

sampling_row random_request(random_source& random, std::int32_t vocabulary) {
  constexpr std::array temperatures = {0.01F, 0.3F, 0.7F, 1.0F, 2.0F, 5.0F, 100.0F, 1e-30F};
  constexpr std::array top_ps = {1.0F, 1.0F, 0.95F, 0.9F, 0.5F, 0.1F, 1e-9F, 0.9999F};
  constexpr std::array min_ps = {0.0F, 0.0F, 0.0F, 0.05F, 0.3F, 1.0F, 1e-6F, 0.9F};
  sampling_row row;
  row.seed = static_cast<std::uint64_t>(random.below(1 << 30)) << 20U;
  row.position = static_cast<std::uint64_t>(random.below(5000));
  row.temperature = temperatures[static_cast<std::size_t>(random.below(8))];
  row.top_p = top_ps[static_cast<std::size_t>(random.below(8))];
  row.min_p = min_ps[static_cast<std::size_t>(random.below(8))];
  const std::array top_ks = {
      0, 0, 0, 1, 2, 40, vocabulary, vocabulary + 5, std::max(vocabulary / 2, 1)};
  row.top_k = top_ks[static_cast<std::size_t>(random.below(9))];
  return row;
}

} // namespace

BOOST_AUTO_TEST_CASE(greedy_takes_the_smallest_id_of_the_largest_logit,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const std::int32_t vocabulary : {1, 2, 31, 1000, 2049, 32000, 128256, 160000}) {
    for (const std::int64_t gap : {0, 3}) {
      random_source random(static_cast<std::uint32_t>(vocabulary));
      problem p(vocabulary, gap);
      for (std::int32_t shape = 0; shape < shapes; ++shape) {
        p.add(logits_of_shape(random, shape, vocabulary), {});
      }
      p.add(std::vector<float>(static_cast<std::size_t>(vocabulary), -infinity), {});
      p.add(scaled_normals(random, vocabulary, 1.0F), {.slot = -1});
      p.add(std::vector<float>(static_cast<std::size_t>(vocabulary), infinity), {.temperature = 1});
      check(*device, p);
      problem one(vocabulary, gap);
      one.add(p.rows[0], {});
      check(*device, one);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_row_with_a_nan_has_no_token_and_feeds_zero,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  random_source random(3);
  constexpr std::int32_t vocabulary = 50001;
  problem p(vocabulary);
  for (const std::int32_t at : {0, 1, 2047, 2048, 50000}) {
    for (const float temperature : {0.0F, 1.0F}) {
      for (const float top_p : {1.0F, 0.5F}) {
        auto logits = scaled_normals(random, vocabulary, 1.0F);
        logits[static_cast<std::size_t>(at)] = std::numeric_limits<float>::quiet_NaN();
        p.add(std::move(logits), {.seed = 1, .temperature = temperature, .top_p = top_p});
      }
    }
  }
  p.add(scaled_normals(random, vocabulary, 1.0F), {.seed = 1, .temperature = 1});
  check(*device, p);
}

BOOST_AUTO_TEST_CASE(draws_agree_with_the_semantics_in_double,
                     *boost::unit_test::precondition(has_gpu)) { // S-1 … S-3
  const auto device = make_cuda_backend();
  random_source random(11);
  for (const std::int32_t vocabulary : {1, 2, 3, 33, 257, 2048, 5003}) {
    for (std::int32_t repeat = 0; repeat < 8; ++repeat) {
      problem p(vocabulary, repeat % 3);
      for (std::int32_t r = 0; r < 64; ++r) {
        p.add(logits_of_shape(random, r % shapes, vocabulary), random_request(random, vocabulary));
      }
      check(*device, p);
    }
  }
  for (const std::int32_t vocabulary : {32000, 128256, 151936, 160000}) {
    problem p(vocabulary, vocabulary == 151936 ? 1 : 0);
    for (std::int32_t r = 0; r < 12; ++r) {
      p.add(logits_of_shape(random, r % shapes, vocabulary), random_request(random, vocabulary));
    }
    check(*device, p);
  }
}

BOOST_AUTO_TEST_CASE(each_cut_alone_keeps_what_it_should,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  random_source random(12);
  constexpr std::int32_t vocabulary = 20000;
  const std::vector<sampling_row> requests = {
      {.temperature = 1},
      {.temperature = 5},
      {.temperature = 0.01F},
      {.temperature = 1, .top_k = 1},
      {.temperature = 5, .top_k = 17},
      {.temperature = 5, .top_k = 19999},
      {.temperature = 1, .top_k = 20000},
      {.temperature = 1, .top_k = 1000000},
      {.temperature = 1, .top_p = 0.9F},
      {.temperature = 1, .top_p = 1e-12F},
      {.temperature = 1, .top_p = 0.0F},
      {.temperature = 5, .top_p = 0.999999F},
      {.temperature = 1, .min_p = 1},
      {.temperature = 1, .min_p = 2},
      {.temperature = 2, .min_p = 0.1F},
      {.temperature = 1, .min_p = 1e-20F},
      {.temperature = 3, .top_p = 0.9F, .min_p = 0.01F, .top_k = 500},
  };
  for (std::int32_t shape = 0; shape < shapes; ++shape) {
    const auto logits = logits_of_shape(random, shape, vocabulary);
    problem p(vocabulary);
    for (std::size_t i = 0; i < requests.size() * 3; ++i) {
      sampling_row row = requests[i % requests.size()];
      row.seed = i;
      row.position = i * i;
      p.add(logits, row);
    }
    check(*device, p);
  }
}

BOOST_AUTO_TEST_CASE(draws_agree_with_the_sampler_of_the_host,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  random_source random(13);
  constexpr std::int32_t vocabulary = 3001;
  vdist::sampling::sampler host(vocabulary);
  std::int32_t different = 0;
  for (std::int32_t repeat = 0; repeat < 8; ++repeat) {
    problem p(vocabulary);
    for (std::int32_t r = 0; r < 64; ++r) {
      p.add(logits_of_shape(random, r % 4, vocabulary), random_request(random, vocabulary));
    }
    const auto got = run(*device, p);
    for (std::size_t r = 0; r < p.rows.size(); ++r) {
      const auto& wanted = p.wanted[r];
      vdist::protocol::sampling_record record;
      record.seed = wanted.seed;
      record.temperature = wanted.temperature;
      record.top_p = wanted.top_p;
      record.min_p = wanted.min_p;
      record.top_k = wanted.top_k;
      auto logits = p.rows[r];
      const std::vector<vdist::token_id> tokens(wanted.position);
      std::vector<std::int32_t> top_ids;
      std::vector<float> top_logprobs;
      const auto choice = host.sample(logits,
                                      {.record = record,
                                       .tokens = tokens,
                                       .bias_ids = {},
                                       .bias_values = {},
                                       .suppressed_ids = {}},
                                      top_ids,
                                      top_logprobs);
      different += static_cast<std::int32_t>(choice.token != got.tokens[r]);
    }
  }
  BOOST_TEST(different
             == 0); // a uniform number within rounding of a boundary: once in millions of rows
}

BOOST_AUTO_TEST_CASE(a_draw_does_not_depend_on_the_batch_or_on_earlier_calls,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  random_source random(14);
  constexpr std::int32_t vocabulary = 32003;
  problem all(vocabulary);
  for (std::int32_t r = 0; r < 64; ++r) {
    all.add(logits_of_shape(random, r % shapes, vocabulary), random_request(random, vocabulary));
  }
  const auto together = run(*device, all);
  BOOST_TEST(run(*device, all, false).tokens == together.tokens,
             boost::test_tools::per_element()); // N-4
  for (std::size_t r = 0; r < all.rows.size(); ++r) {
    problem one(vocabulary, 1);
    one.add(all.rows[r], all.wanted[r]);
    BOOST_TEST(run(*device, one).tokens[0] == together.tokens[r]);
  }
}

BOOST_AUTO_TEST_CASE(no_rows_sample_nothing, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  const auto got = run(*device, problem(1000));
  BOOST_TEST(got.tokens.back() == untouched);
}

BOOST_AUTO_TEST_CASE(the_digest_is_the_formula_and_leaves_out_negative_indices,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const std::int32_t width : {1, 100, 1024, 4097, 20000}) {
    for (const std::vector<std::int32_t>& indices :
         {std::vector<std::int32_t>{}, {0}, {2, -1, 0, 1, -1}}) {
      random_source random(static_cast<std::uint32_t>(width));
      const std::int64_t stride = width + 3;
      const auto x = random.normals(static_cast<std::size_t>(3 * stride));
      const device_array<float> x_there(*device, x);
      const device_array<std::int32_t> indices_there(*device, indices);
      const device_array<std::uint64_t> digest(*device, {0x123456789ULL});
      const auto rows = static_cast<std::int32_t>(indices.size());
      for (int repeat = 0; repeat < 2; ++repeat) {
        device->digest({.x = x_there.data(),
                        .indices = indices_there.data(),
                        .digest = digest.data(),
                        .rows = rows,
                        .width = width,
                        .x_stride = stride});
      }
      finish(*device);
      std::uint64_t want = 0;
      for (std::int32_t r = 0; r < rows; ++r) {
        const std::int64_t index = indices[static_cast<std::size_t>(r)];
        for (std::int32_t c = 0; c < width && index >= 0; ++c) {
          const auto bits =
              std::bit_cast<std::uint32_t>(x[static_cast<std::size_t>(index * stride + c)]);
          want += digest_mix(bits,
                             static_cast<std::uint64_t>(r) * static_cast<std::uint64_t>(width)
                                 + static_cast<std::uint64_t>(c));
        }
      }
      BOOST_TEST(digest.read()[0] == want);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_digest_may_be_added_to_and_take_rows_in_their_order,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  const std::vector<std::int32_t> words{11, 22, 33, -1};
  const std::vector<std::int32_t> indices{7, -1, 5, -1}; // the second and the last are left out
  const device_array<std::int32_t> words_there(*device, words);
  const device_array<std::int32_t> indices_there(*device, indices);
  const device_array<std::uint64_t> digest(*device, {1000});
  device->digest({.x = reinterpret_cast<const float*>(words_there.data()),
                  .indices = indices_there.data(),
                  .digest = digest.data(),
                  .rows = 4,
                  .width = 1,
                  .x_stride = 1,
                  .is_in_order = true,
                  .adds = true});
  finish(*device);
  BOOST_TEST(digest.read()[0] == 1000 + digest_mix(11, 0) + digest_mix(33, 2));
}
