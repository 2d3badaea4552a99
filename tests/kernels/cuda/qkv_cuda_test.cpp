#include "tests/kernels/cuda/cuda_fixture.hpp"

#include <algorithm>
#include <numeric>

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

constexpr std::int32_t block_size = 16;
constexpr std::int32_t positions_max = 200;
constexpr float eps = 1e-6F;
constexpr float untouched = -7.0F; // of every type, exactly

struct shape {
  std::int32_t heads;
  std::int32_t kv_heads;
  std::int32_t head_dim;
  std::int32_t rotary_dim;
  bool has_norms;
};

/// Tokens of each sequence and where they begin; first -1: padding.
struct sequence {
  std::int32_t first;
  std::int32_t tokens;
};

/// One step: the batch, its block tables and the angles, on both sides.
struct step {
  std::int32_t tokens = 0;
  std::vector<std::int32_t> query_start{0}, first_position, table_rows, tables, positions;
  std::int32_t table_stride = positions_max / block_size + 1;
  std::int32_t blocks = 0;
  std::vector<float> cos, sin;

  step(const std::vector<sequence>& sequences,
       std::int32_t rotary_dim,
       bool has_rows,
       random_source& random) {
    for (const auto& [first, count] : sequences) {
      for (std::int32_t i = 0; i < count; ++i) {
        positions.push_back(first < 0 ? -1 : first + i);
      }
      tokens += count;
      query_start.push_back(tokens);
      first_position.push_back(first);
    }
    const auto count = static_cast<std::int32_t>(sequences.size());
    if (has_rows) {
      for (std::int32_t s = 0; s < count; ++s) {
        table_rows.push_back(count - 1 - s);
      }
    }
    blocks = count * table_stride + 1;
    tables.resize(static_cast<std::size_t>(count * table_stride));
    std::iota(tables.begin(), tables.end(), 0);
    for (std::size_t i = tables.size(); i > 1; --i) {
      std::swap(tables[i - 1],
                tables[static_cast<std::size_t>(random.below(static_cast<std::int32_t>(i)))]);
    }
    const std::int32_t half = rotary_dim / 2;
    for (std::int32_t p = 0; p < positions_max; ++p) {
      for (std::int32_t i = 0; i < half; ++i) {
        const double angle = p * std::pow(10000.0, -2.0 * i / rotary_dim);
        cos.push_back(static_cast<float>(std::cos(angle)));
        sin.push_back(static_cast<float>(std::sin(angle)));
      }
    }
  }

  /// Cache row of a token for kv head 0, or -1.
  [[nodiscard]] std::int64_t cache_row(std::int32_t token, std::int32_t kv_heads) const {
    const auto after = std::upper_bound(query_start.begin(), query_start.end(), token);
    const auto s = static_cast<std::size_t>(after - query_start.begin()) - 1;
    if (first_position[s] < 0) {
      return -1;
    }
    const std::int32_t position = first_position[s] + token - query_start[s];
    const auto row = table_rows.empty() ? static_cast<std::int64_t>(s) : table_rows[s];
    const std::int64_t block =
        tables[static_cast<std::size_t>(row * table_stride + position / block_size)];
    return block * kv_heads * block_size + position % block_size;
  }
};

/// The batch in device memory.
struct step_there {
  device_array<std::int32_t> query_start, first_position, table_rows, tables, positions;
  device_array<float> cos, sin;
  sequence_batch batch;

  step_there(backend& device, const step& s)
      : query_start(device, s.query_start),
        first_position(device, s.first_position),
        table_rows(device, s.table_rows),
        tables(device, s.tables),
        positions(device, s.positions),
        cos(device, s.cos),
        sin(device, s.sin),
        batch{.query_start = query_start.data(),
              .first_position = first_position.data(),
              .table_rows = s.table_rows.empty() ? nullptr : table_rows.data(),
              .block_tables = tables.data(),
              .block_table_stride = s.table_stride,
              .sequences = static_cast<std::int32_t>(s.first_position.size()),
              .tokens = s.tokens} {}
};

/// A value with the size of the float32 errors in it.
struct expected {
  double value;
  double size;
};

/// One head in double: norm, then rotation.
std::vector<expected> head_in_double(const float* x,
                                     const shape& of,
                                     const float* norm,
                                     const step& s,
                                     std::int32_t position,
                                     bool is_rotated) {
  std::vector<expected> out;
  double squares = 0;
  for (std::int32_t i = 0; i < of.head_dim; ++i) {
    squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  const double scale =
      norm != nullptr ? 1.0 / std::sqrt(squares / of.head_dim + static_cast<double>(eps)) : 1.0;
  for (std::int32_t i = 0; i < of.head_dim; ++i) {
    const double y = x[i] * scale * (norm != nullptr ? static_cast<double>(norm[i]) : 1.0);
    out.push_back({y, norm != nullptr ? std::abs(y) : 0.0});
  }
  const std::int32_t half = is_rotated ? of.rotary_dim / 2 : 0;
  for (std::int32_t i = 0; i < half; ++i) {
    const auto angle = static_cast<std::size_t>(position * half + i);
    const double c = s.cos[angle];
    const double sn = s.sin[angle];
    const auto left = static_cast<std::size_t>(i);
    const auto right = static_cast<std::size_t>(i + half);
    const double a = out[left].value;
    const double b = out[right].value;
    const double size = std::abs(a) + std::abs(b);
    out[left] = {a * c - b * sn, size};
    out[right] = {b * c + a * sn, size};
  }
  return out;
}

/// One rounding to the type, and float32 arithmetic before it: (log2(head_dim) + 16) roundings of what is added.
std::int64_t count_wrong(const float* got, const std::vector<expected>& want, dtype type) {
  const double arithmetic = (std::log2(want.size()) + 16) * 0x1p-24;
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double tolerance = 0.51 * epsilon_of(type) * std::abs(want[i].value)
                             + arithmetic * want[i].size + (type == dtype::float16 ? 0x1p-24 : 0.0);
    wrong += static_cast<std::int64_t>(!is_near(got[i], want[i].value, tolerance));
  }
  return wrong;
}

/// Rows of the cache that nobody wrote must hold what was there.
class cache_check {
public:
  cache_check(std::vector<float> content, std::int32_t head_dim, dtype type)
      : content_(std::move(content)),
        is_written_(content_.size() / static_cast<std::size_t>(head_dim)),
        head_dim_(head_dim),
        type_(type) {}

  void expect(std::int64_t row, const std::vector<expected>& want) {
    wrong_ += count_wrong(content_.data() + row * head_dim_, want, type_);
    is_written_[static_cast<std::size_t>(row)] = true;
  }

  [[nodiscard]] std::int64_t wrong() const {
    std::int64_t count = wrong_;
    for (std::size_t i = 0; i < content_.size(); ++i) {
      const bool is_written = is_written_[i / static_cast<std::size_t>(head_dim_)];
      count += static_cast<std::int64_t>(!is_written && content_[i] != untouched);
    }
    return count;
  }

private:
  std::vector<float> content_;
  std::vector<bool> is_written_;
  std::int64_t head_dim_;
  dtype type_;
  std::int64_t wrong_ = 0;
};

const std::vector<std::vector<sequence>> batches = {
    {{5, 1}},
    {{0, 1}, {199, 1}, {-1, 1}, {16, 1}, {15, 1}, {-1, 1}, {-1, 1}},
    {{0, 33}, {17, 1}, {40, 5}, {-1, 1}, {-1, 1}},
    {{3, 70}},
};

const std::vector<shape> shapes = {
    {4, 2, 64, 64, true},
    {32, 8, 128, 128, false},
    {3, 1, 128, 64, true}, // partial rotation
    {4, 4, 80, 80, false},
    {6, 2, 96, 32, false},
    {5, 1, 256, 256, true},
    {4, 4, 64, 0, false}, // none at all
    {2, 2, 128, 0, true},
    {3, 3, 7, 4, true}, // not in vectors
    {2, 1, 20, 12, false},
    {1, 1, 1, 0, true},
    {2, 1, 320, 320, true},
    {2, 2, 72, 44, false},
};

void check_prepare(backend& device,
                   const shape& of,
                   const std::vector<sequence>& sequences,
                   dtype type,
                   dtype kv_type,
                   std::int64_t gap) {
  random_source random(static_cast<std::uint32_t>(of.head_dim + of.heads));
  const step s(sequences, of.rotary_dim, gap != 0, random);
  const step_there there(device, s);
  const std::int32_t width = (of.heads + 2 * of.kv_heads) * of.head_dim;
  const std::int64_t stride = width + gap;
  const device_elements qkv(
      device, type, random.normals(static_cast<std::size_t>(s.tokens * stride)));
  const auto q_norm = random.normals(static_cast<std::size_t>(of.head_dim));
  const auto k_norm = random.normals(static_cast<std::size_t>(of.head_dim));
  const device_array<float> q_norm_there(device, q_norm);
  const device_array<float> k_norm_there(device, k_norm);
  const std::vector<float> empty(
      static_cast<std::size_t>(s.blocks * of.kv_heads * block_size * of.head_dim), untouched);
  const device_elements keys(device, kv_type, empty);
  const device_elements values(device, kv_type, empty);
  device.prepare_qkv({.qkv = qkv.at(),
                      .stride = stride,
                      .heads = of.heads,
                      .q_norm = of.has_norms ? q_norm_there.data() : nullptr,
                      .k_norm = of.has_norms ? k_norm_there.data() : nullptr,
                      .eps = eps,
                      .cos_table = there.cos.data(),
                      .sin_table = there.sin.data(),
                      .rotary_dim = of.rotary_dim,
                      .positions = there.positions.data(),
                      .kv = {.keys = keys.at().data,
                             .values = values.at().data,
                             .type = kv_type,
                             .block_size = block_size,
                             .kv_heads = of.kv_heads,
                             .head_dim = of.head_dim},
                      .batch = there.batch});
  finish(device);
  const auto got = qkv.read();
  cache_check got_keys(keys.read(), of.head_dim, kv_type);
  cache_check got_values(values.read(), of.head_dim, kv_type);
  std::int64_t wrong = 0;
  for (std::int32_t t = 0; t < s.tokens; ++t) {
    const float* before = qkv.values().data() + t * stride;
    const float* after = got.data() + t * stride;
    const std::int32_t position = s.positions[static_cast<std::size_t>(t)];
    const std::int64_t row = s.cache_row(t, of.kv_heads);
    for (std::int32_t h = 0; h < of.heads; ++h) {
      const float* x = before + h * of.head_dim;
      if (row < 0) {
        wrong +=
            static_cast<std::int64_t>(!std::equal(x, x + of.head_dim, after + h * of.head_dim));
        continue;
      }
      const auto want =
          head_in_double(x, of, of.has_norms ? q_norm.data() : nullptr, s, position, true);
      wrong += count_wrong(after + h * of.head_dim, want, type);
    }
    for (std::int32_t h = 0; h < of.kv_heads && row >= 0; ++h) {
      const float* k = before + (of.heads + h) * of.head_dim;
      const float* v = before + (of.heads + of.kv_heads + h) * of.head_dim;
      got_keys.expect(
          row + h * block_size,
          head_in_double(k, of, of.has_norms ? k_norm.data() : nullptr, s, position, true));
      got_values.expect(row + h * block_size, head_in_double(v, of, nullptr, s, position, false));
    }
  }
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(got.size()); ++i) { // the gaps
    const auto at = static_cast<std::size_t>(i);
    wrong += static_cast<std::int64_t>(i % stride >= width && got[at] != qkv.values()[at]);
  }
  BOOST_TEST(wrong + got_keys.wrong() + got_values.wrong() == 0,
             "q " << wrong << " keys " << got_keys.wrong() << " values " << got_values.wrong()
                  << " wrong, head_dim " << of.head_dim << " rotary " << of.rotary_dim << " types "
                  << to_string(type) << " " << to_string(kv_type) << " tokens " << s.tokens
                  << " gap " << gap);
}

} // namespace

BOOST_AUTO_TEST_CASE(q_is_prepared_in_place_and_k_and_v_in_the_cache,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const auto& of : shapes) {
    for (const auto& sequences : batches) {
      for (const std::int64_t gap : {0, 3, 8}) {
        check_prepare(*device, of, sequences, dtype::bfloat16, dtype::bfloat16, gap);
      }
    }
  }
  for (const dtype type : all_dtypes) {
    for (const dtype kv_type : all_dtypes) {
      for (const std::size_t i : {0, 2, 5, 8}) {
        check_prepare(*device, shapes[i], batches[2], type, kv_type, 0);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_step_without_tokens_prepares_nothing,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  check_prepare(*device, shapes[0], {}, dtype::bfloat16, dtype::bfloat16, 0);
}

BOOST_AUTO_TEST_CASE(heads_are_rotated_in_place_and_padding_is_left_alone,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype type : all_dtypes) {
    for (const auto& of : shapes) {
      random_source random(7);
      const step s(batches[1], of.rotary_dim, false, random);
      const step_there there(*device, s);
      const std::int64_t stride = of.heads * of.head_dim + 8;
      const device_elements x(
          *device, type, random.normals(static_cast<std::size_t>(s.tokens * stride)));
      device->rope({.x = x.at(),
                    .positions = there.positions.data(),
                    .cos_table = there.cos.data(),
                    .sin_table = there.sin.data(),
                    .tokens = s.tokens,
                    .heads = of.heads,
                    .head_dim = of.head_dim,
                    .rotary_dim = of.rotary_dim,
                    .x_stride = stride});
      finish(*device);
      const auto got = x.read();
      std::int64_t wrong = 0;
      for (std::int32_t t = 0; t < s.tokens; ++t) {
        const float* before = x.values().data() + t * stride;
        const std::int32_t position = s.positions[static_cast<std::size_t>(t)];
        for (std::int32_t h = 0; h < of.heads; ++h) {
          const auto want =
              head_in_double(before + h * of.head_dim, of, nullptr, s, position, position >= 0);
          wrong += count_wrong(got.data() + t * stride + h * of.head_dim, want, type);
        }
        wrong += static_cast<std::int64_t>(
            !std::equal(before + of.heads * of.head_dim,
                        before + stride,
                        got.data() + t * stride + of.heads * of.head_dim));
      }
      BOOST_TEST(wrong == 0,
                 wrong << " wrong, head_dim " << of.head_dim << " rotary " << of.rotary_dim);
    }
  }
}

BOOST_AUTO_TEST_CASE(keys_and_values_are_rounded_into_their_blocks,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype type : all_dtypes) {
    for (const dtype kv_type : all_dtypes) {
      for (const auto& of : {shapes[0], shapes[1], shapes[8], shapes[10]}) {
        for (const auto& sequences : batches) {
          random_source random(8);
          const step s(sequences, 0, true, random);
          const step_there there(*device, s);
          const std::int64_t k_stride = of.kv_heads * of.head_dim + 8;
          const std::int64_t v_stride = of.kv_heads * of.head_dim;
          const device_elements k(
              *device, type, random.normals(static_cast<std::size_t>(s.tokens * k_stride)));
          const device_elements v(
              *device, type, random.normals(static_cast<std::size_t>(s.tokens * v_stride)));
          const std::vector<float> empty(
              static_cast<std::size_t>(s.blocks * of.kv_heads * block_size * of.head_dim),
              untouched);
          const device_elements keys(*device, kv_type, empty);
          const device_elements values(*device, kv_type, empty);
          device->kv_append({.k = k.at(),
                             .v = v.at(),
                             .k_stride = k_stride,
                             .v_stride = v_stride,
                             .kv = {.keys = keys.at().data,
                                    .values = values.at().data,
                                    .type = kv_type,
                                    .block_size = block_size,
                                    .kv_heads = of.kv_heads,
                                    .head_dim = of.head_dim},
                             .batch = there.batch});
          finish(*device);
          auto want_keys = empty;
          auto want_values = empty;
          for (std::int32_t t = 0; t < s.tokens; ++t) {
            const std::int64_t row = s.cache_row(t, of.kv_heads);
            for (std::int32_t i = 0; i < of.kv_heads * of.head_dim && row >= 0; ++i) {
              const auto to = static_cast<std::size_t>(
                  (row + i / of.head_dim * block_size) * of.head_dim + i % of.head_dim);
              want_keys[to] =
                  rounded_to(kv_type, k.values()[static_cast<std::size_t>(t * k_stride + i)]);
              want_values[to] =
                  rounded_to(kv_type, v.values()[static_cast<std::size_t>(t * v_stride + i)]);
            }
          }
          BOOST_TEST(same_bits(keys.read(), want_keys));
          BOOST_TEST(same_bits(values.read(), want_values));
        }
      }
    }
  }
}
