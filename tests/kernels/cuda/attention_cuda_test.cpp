// Attention on the GPU against double precision on the same rounded inputs. Everything in the cache that a batch must not
// see is NaN: blocks of nobody, positions behind the last query, positions before the window.
//
// Tolerance of an output x = sum w v of weights w: the weights may be rounded to the type of the cache before they are
// multiplied, and x is rounded once: (epsilon(cache) sum w |v| + epsilon(out) |x|) / 2. Scores and sums are float32:
// (head_dim + 64) 2^-23 sum w |v| beside that, and 2^-25 where float16 is subnormal.
#include "tests/kernels/attention/attention_ref.hpp"
#include "tests/kernels/cuda/cuda_fixture.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

struct chunk {
  std::int32_t first; // position of the first query; -1: padding
  std::int32_t queries = 1;
};

struct attention_case {
  std::int32_t heads = 8;
  std::int32_t kv_heads = 2;
  std::int32_t head_dim = 128;
  dtype q = dtype::bfloat16;
  dtype kv = dtype::bfloat16;
  dtype out = dtype::bfloat16;
  std::int32_t block_size = 16;
  std::int32_t window = 0;
  std::vector<chunk> chunks;
  bool has_table_rows = false;
  std::int32_t gap = 8;           // between rows of q and of out, in elements
  std::int32_t longest_query = 0; // as the batch says
  std::int32_t max_position = 0;  // 0: as it is
  std::uint32_t seed = 1;

  [[nodiscard]] std::int32_t group() const { return heads / kv_heads; }

  [[nodiscard]] std::int32_t first_seen(const chunk& c) const {
    return window > 0 ? std::max(0, c.first - window + 1) : 0;
  }
};

std::ostream& operator<<(std::ostream& to, const attention_case& c) {
  return to << "heads " << c.heads << '/' << c.kv_heads << " x " << c.head_dim << " q "
            << to_string(c.q) << " kv " << to_string(c.kv) << " out " << to_string(c.out)
            << " block " << c.block_size << " window " << c.window << " seed " << c.seed;
}

attention_case of_type(dtype type, attention_case c) {
  c.q = c.kv = c.out = type;
  return c;
}

/// One batch in device memory.
class attention_batch {
public:
  attention_batch(backend& device, attention_case c) : device_(&device), case_(std::move(c)) {
    random_source random(case_.seed);
    lay_out(random);
    const auto width = static_cast<std::size_t>(case_.heads * case_.head_dim);
    std::vector<float> q(static_cast<std::size_t>(tokens_) * (width + case_.gap),
                         std::numeric_limits<float>::quiet_NaN());
    for (std::int32_t t = 0; t < tokens_; ++t) {
      std::generate_n(q.begin() + t * q_stride(), width, [&] { return random.normal(); });
    }
    q_.emplace(device, case_.q, std::move(q));
    const auto elements =
        static_cast<std::size_t>(blocks_) * case_.kv_heads * case_.block_size * case_.head_dim;
    std::vector<float> keys(elements, std::numeric_limits<float>::quiet_NaN());
    std::vector<float> values = keys;
    for (std::int32_t s = 0; s < sequences(); ++s) {
      const chunk& c = case_.chunks[static_cast<std::size_t>(s)];
      for (std::int32_t j = c.first < 0 ? 0 : case_.first_seen(c); j < c.first + c.queries; ++j) {
        for (std::int32_t h = 0; c.first >= 0 && h < case_.kv_heads; ++h) {
          const std::int64_t at = cache_at(s, h, j);
          std::generate_n(keys.begin() + at, case_.head_dim, [&] { return random.normal(); });
          std::generate_n(values.begin() + at, case_.head_dim, [&] { return random.normal(); });
        }
      }
    }
    keys_.emplace(device, case_.kv, std::move(keys));
    values_.emplace(device, case_.kv, std::move(values));
    starts_device_.emplace(device, starts_);
    first_device_.emplace(device, first_);
    rows_device_.emplace(device, rows_);
    tables_device_.emplace(device, tables_);
  }

  [[nodiscard]] std::int32_t sequences() const {
    return static_cast<std::int32_t>(case_.chunks.size());
  }

  [[nodiscard]] std::int64_t q_stride() const { return case_.heads * case_.head_dim + case_.gap; }

  [[nodiscard]] attention_args args(elements out) const {
    std::int32_t last = 0;
    for (const chunk& c : case_.chunks) {
      last = std::max(last, c.first + c.queries);
    }
    return {.q = q_->at(),
            .out = out,
            .q_stride = q_stride(),
            .out_stride = q_stride(),
            .kv = {.keys = keys_->at().data,
                   .values = values_->at().data,
                   .type = case_.kv,
                   .block_size = case_.block_size,
                   .kv_heads = case_.kv_heads,
                   .head_dim = case_.head_dim},
            .batch = {.query_start = starts_device_->data(),
                      .first_position = first_device_->data(),
                      .table_rows = case_.has_table_rows ? rows_device_->data() : nullptr,
                      .block_tables = tables_device_->data(),
                      .block_table_stride = table_stride_,
                      .sequences = sequences(),
                      .tokens = tokens_,
                      .longest_query = case_.longest_query},
            .heads = case_.heads,
            .scale = scale(),
            .window = case_.window,
            .max_position = case_.max_position > 0 ? case_.max_position : last};
  }

  [[nodiscard]] device_rows make_out() const {
    return {*device_, case_.out, tokens_, case_.heads * case_.head_dim, q_stride()};
  }

  [[nodiscard]] std::vector<float> compute() const {
    const device_rows out = make_out();
    device_->attention(args(out.at()));
    finish(*device_);
    return out.read();
  }

  /// Compares all rows of short chunks, and a sample of long ones.
  void check(const std::vector<float>& got) const {
    double worst = 0.0; // in tolerances
    for (std::int32_t s = 0; s < sequences(); ++s) {
      for (std::int32_t h = 0; h < case_.kv_heads; ++h) {
        worst = std::max(worst, worst_of(got, s, h));
      }
    }
    BOOST_TEST(worst <= 1.0, case_ << ": off by " << worst << " tolerances");
  }

private:
  /// Gives every sequence blocks in random order. Block 0 is nobody's; what a batch does not see points to it.
  void lay_out(random_source& random) {
    starts_ = {0};
    std::int32_t longest = 1;
    for (const chunk& c : case_.chunks) {
      starts_.push_back(starts_.back() + c.queries);
      first_.push_back(c.first);
      longest = std::max(longest, c.first + c.queries);
    }
    tokens_ = starts_.back();
    table_stride_ = (longest + case_.block_size - 1) / case_.block_size + 1;
    rows_.resize(case_.chunks.size());
    std::iota(rows_.begin(), rows_.end(), case_.has_table_rows ? 3 : 0);
    if (case_.has_table_rows) {
      std::reverse(rows_.begin(), rows_.end());
    }
    tables_.assign((case_.chunks.size() + 4) * static_cast<std::size_t>(table_stride_), 0);
    std::vector<std::int32_t*> seen;
    for (std::int32_t s = 0; s < sequences(); ++s) {
      const chunk& c = case_.chunks[static_cast<std::size_t>(s)];
      if (c.first < 0) {
        continue;
      }
      for (std::int32_t b = case_.first_seen(c) / case_.block_size;
           b <= (c.first + c.queries - 1) / case_.block_size;
           ++b) {
        seen.push_back(&table_entry(s, b));
      }
    }
    for (std::size_t i = seen.size(); i > 1; --i) {
      std::swap(seen[i - 1],
                seen[static_cast<std::size_t>(random.below(static_cast<std::int32_t>(i)))]);
    }
    for (std::int32_t* const entry : seen) {
      *entry = blocks_++;
    }
  }

  [[nodiscard]] std::int32_t& table_entry(std::int32_t s, std::int32_t block) {
    return tables_[static_cast<std::size_t>(rows_[static_cast<std::size_t>(s)] * table_stride_
                                            + block)];
  }

  [[nodiscard]] std::int64_t cache_at(std::int32_t s, std::int32_t kv_head, std::int32_t j) {
    const std::int64_t block = table_entry(s, j / case_.block_size);
    return ((block * case_.kv_heads + kv_head) * case_.block_size + j % case_.block_size)
           * case_.head_dim;
  }

  [[nodiscard]] float scale() const { return 1.0F / std::sqrt(static_cast<float>(case_.head_dim)); }

  [[nodiscard]] double
  worst_of(const std::vector<float>& got, std::int32_t s, std::int32_t kv_head) const {
    const chunk& c = case_.chunks[static_cast<std::size_t>(s)];
    const auto width = static_cast<std::int64_t>(case_.heads) * case_.head_dim;
    std::vector<std::vector<float>> keys;
    std::vector<std::vector<float>> values;
    std::vector<std::vector<float>> magnitudes;
    for (std::int32_t j = 0; j < c.first + c.queries && c.first >= 0; ++j) {
      const auto at = const_cast<attention_batch*>(this)->cache_at(s, kv_head, j);
      keys.emplace_back(keys_->values().begin() + at,
                        keys_->values().begin() + at + case_.head_dim);
      values.emplace_back(values_->values().begin() + at,
                          values_->values().begin() + at + case_.head_dim);
      magnitudes.push_back(values.back());
      for (float& x : magnitudes.back()) {
        x = std::abs(x);
      }
    }
    double worst = 0.0;
    for (std::int32_t i = 0; i < c.queries; ++i) {
      if (c.queries > 140 && i % 13 != 0 && i + 2 < c.queries) {
        continue;
      }
      const std::int64_t token = starts_[static_cast<std::size_t>(s)] + i;
      for (std::int32_t h = kv_head * case_.group(); h < (kv_head + 1) * case_.group(); ++h) {
        const float* x = got.data() + token * width + static_cast<std::int64_t>(h) * case_.head_dim;
        if (c.first < 0) {
          const bool is_zero =
              std::all_of(x, x + case_.head_dim, [](float y) { return y == 0.0F; });
          worst = std::max(worst, is_zero ? 0.0 : 1e30);
          continue;
        }
        const float* q = q_->values().data() + token * q_stride()
                         + static_cast<std::int64_t>(h) * case_.head_dim;
        const auto attend = [&](const std::vector<std::vector<float>>& rows) {
          return attend_in_double(q, keys, rows, c.first + i, case_.window, scale());
        };
        const std::vector<double> want = attend(values);
        const std::vector<double> sizes = attend(magnitudes);
        for (std::int32_t d = 0; d < case_.head_dim; ++d) {
          const auto at = static_cast<std::size_t>(d);
          const double off = std::abs(x[d] - want[at]) / tolerance(want[at], sizes[at]);
          worst = std::isnan(off) ? 1e30 : std::max(worst, off);
        }
      }
    }
    return worst;
  }

  [[nodiscard]] double tolerance(double want, double size) const {
    return 0.5 * (epsilon_of(case_.kv) * size + epsilon_of(case_.out) * std::abs(want))
           + (case_.head_dim + 64) * 0x1p-23 * size + 0x1p-25;
  }

  backend* device_;
  attention_case case_;
  std::int32_t tokens_ = 0;
  std::int32_t blocks_ = 1;
  std::int32_t table_stride_ = 1;
  std::vector<std::int32_t> starts_, first_, rows_, tables_;
  std::optional<device_elements> q_, keys_, values_;
  std::optional<device_array<std::int32_t>> starts_device_, first_device_, rows_device_,
      tables_device_;
};

void check_case(backend& device, const attention_case& c) {
  const attention_batch batch(device, c);
  batch.check(batch.compute());
}

/// One query each, at the last of so many positions.
std::vector<chunk> decoding(const std::vector<std::int32_t>& lengths) {
  std::vector<chunk> out;
  for (const std::int32_t length : lengths) {
    out.push_back({length - 1, 1});
  }
  return out;
}

const dtype half_types[] = {dtype::bfloat16, dtype::float16};

} // namespace

BOOST_AUTO_TEST_CASE(decodes_every_length_group_and_block_size,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  std::uint32_t seed = 1;
  const std::int32_t block_sizes[] = {16, 1, 7, 32};
  for (const std::int32_t head_dim : {64, 96, 128, 256}) {
    for (const std::int32_t group : {1, 3, 4, 7, 8, 20}) {
      check_case(*device,
                 of_type(half_types[seed % 2],
                         {.heads = 2 * group,
                          .kv_heads = 2,
                          .head_dim = head_dim,
                          .block_size = block_sizes[seed % 4],
                          .chunks = decoding({1, 2, 15, 16, 17, 63, 64, 65, 129, 500}),
                          .has_table_rows = seed % 3 == 0,
                          .longest_query = 1,
                          .seed = seed}));
      ++seed;
    }
  }
}

BOOST_AUTO_TEST_CASE(decodes_long_sequences_beside_short_ones,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype type : half_types) {
    check_case(
        *device,
        of_type(type,
                {.chunks = decoding({1000, 3, 5000, 64, 1}), .longest_query = 1, .seed = 31}));
    check_case(*device,
               of_type(type,
                       {.heads = 4,
                        .kv_heads = 1,
                        .head_dim = 64,
                        .chunks = decoding({9000}),
                        .longest_query = 1,
                        .seed = 32}));
  }
}

// More rounds of keys than blocks, and fewer; the grid follows the bound, not the lengths.
BOOST_AUTO_TEST_CASE(decodes_many_sequences_under_a_loose_bound,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  std::vector<std::int32_t> lengths;
  random_source random(33);
  for (int i = 0; i < 150; ++i) {
    lengths.push_back(1 + random.below(300));
  }
  for (const std::int32_t bound : {0, 301, test_max_positions}) {
    check_case(*device,
               {.heads = 4,
                .kv_heads = 4,
                .head_dim = 64,
                .chunks = decoding(lengths),
                .has_table_rows = true,
                .longest_query = 1,
                .max_position = bound,
                .seed = 34});
  }
  check_case(*device, {.chunks = decoding({20}), .max_position = test_max_positions, .seed = 35});
}

BOOST_AUTO_TEST_CASE(prefills_every_length_group_and_head_size,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  std::uint32_t seed = 40;
  const std::int32_t block_sizes[] = {16, 1, 7, 32};
  for (const std::int32_t head_dim : {64, 96, 128, 256}) {
    for (const std::int32_t group : {1, 3, 4, 7, 8, 20}) {
      check_case(*device,
                 of_type(half_types[seed % 2],
                         {.heads = group,
                          .kv_heads = 1,
                          .head_dim = head_dim,
                          .block_size = block_sizes[seed % 4],
                          .chunks = {{0, 2}, {0, 15}, {0, 33}, {0, 64}, {0, 65}, {0, 130}},
                          .has_table_rows = seed % 3 == 0,
                          .seed = seed}));
      ++seed;
    }
  }
}

BOOST_AUTO_TEST_CASE(prefills_a_long_prompt_alone, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype type : half_types) {
    check_case(*device, of_type(type, {.chunks = {{0, 1000}}, .longest_query = 1000, .seed = 70}));
  }
}

BOOST_AUTO_TEST_CASE(chunks_continue_behind_what_the_cache_holds,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  std::uint32_t seed = 80;
  for (const dtype type : half_types) {
    for (const std::int32_t group : {1, 4}) {
      check_case(*device,
                 of_type(type,
                         {.heads = 2 * group,
                          .block_size = 7,
                          .chunks = {{1, 2}, {63, 3}, {64, 64}, {100, 129}, {1000, 40}, {2999, 4}},
                          .seed = ++seed}));
    }
  }
}

BOOST_AUTO_TEST_CASE(one_batch_decodes_prefills_and_pads,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  std::uint32_t seed = 90;
  for (const std::int32_t head_dim : {64, 80, 128}) {
    for (const std::int32_t longest : {0, 70}) {
      check_case(*device,
                 {.head_dim = head_dim,
                  .chunks = {{-1}, {300, 1}, {0, 70}, {-1}, {40, 1}, {17, 17}, {0, 1}, {-1}, {-1}},
                  .has_table_rows = true,
                  .longest_query = longest,
                  .seed = ++seed});
    }
  }
}

BOOST_AUTO_TEST_CASE(batches_of_padding_alone_are_zeros, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  for (const dtype type : all_dtypes) {
    check_case(
        *device,
        of_type(type, {.chunks = {{-1}, {-1}, {-1}}, .longest_query = 1, .max_position = 1}));
  }
}

BOOST_AUTO_TEST_CASE(windows_hide_what_lies_before_them, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  std::uint32_t seed = 100;
  for (const std::int32_t window : {1, 13, 64, 100, 1000}) {
    for (const std::int32_t head_dim : {80, 128}) {
      check_case(*device,
                 of_type(half_types[seed % 2],
                         {.head_dim = head_dim,
                          .block_size = seed % 3 == 0 ? 5 : 16,
                          .window = window,
                          .chunks = {{700, 1}, {0, 130}, {500, 60}, {63, 1}, {99, 2}, {12, 1}},
                          .seed = seed}));
      ++seed;
    }
  }
}

BOOST_AUTO_TEST_CASE(any_type_head_size_and_alignment_is_served,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  const std::vector<chunk> chunks = {{0, 40}, {99, 1}, {31, 3}, {0, 1}, {-1}, {7, 33}};
  std::uint32_t seed = 120;
  for (const std::int32_t head_dim : {16, 20, 80, 128, 300}) {
    for (const dtype type : all_dtypes) {
      check_case(*device,
                 of_type(type,
                         {.heads = 6,
                          .kv_heads = 2,
                          .head_dim = head_dim,
                          .block_size = 7,
                          .chunks = chunks,
                          .gap = 3,
                          .seed = ++seed}));
    }
  }
  for (const dtype q : all_dtypes) {
    for (const dtype kv : all_dtypes) {
      check_case(*device,
                 {.heads = 5,
                  .kv_heads = 1,
                  .head_dim = 64,
                  .q = q,
                  .kv = kv,
                  .out = q == dtype::float32 ? dtype::float16 : dtype::float32,
                  .window = 50,
                  .chunks = chunks,
                  .seed = ++seed});
    }
  }
  check_case(*device,
             {.heads = 66, .kv_heads = 1, .head_dim = 64, .chunks = chunks, .seed = ++seed});
}

// N-4
BOOST_AUTO_TEST_CASE(the_same_call_gives_the_same_bits, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  const std::vector<chunk> chunks = {{2500, 1}, {0, 200}, {800, 1}, {-1}, {77, 33}};
  for (const dtype type : all_dtypes) {
    const attention_batch batch(*device, of_type(type, {.chunks = chunks, .seed = 140}));
    const auto want = batch.compute();
    for (int i = 0; i < 5; ++i) {
      BOOST_TEST(same_bits(batch.compute(), want), to_string(type));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_recorded_call_follows_the_lengths_in_device_memory,
                     *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  const attention_case c{.chunks = decoding({900, 200, 70, 1}),
                         .longest_query = 1,
                         .max_position = test_max_positions,
                         .seed = 150};
  const attention_batch batch(*device, c);
  const device_rows out = batch.make_out();
  const attention_args args = batch.args(out.at());
  auto* const first_position = const_cast<std::int32_t*>(args.batch.first_position);
  const std::vector<std::int32_t> whole = {899, 199, 69, 0};
  for (int turn = 0; turn < 3; ++turn) {
    const std::vector<std::int32_t> shorter = {10 + turn, -1, 64, 0};
    device->queue().copy_in(first_position, shorter.data(), shorter.size() * sizeof(std::int32_t));
    device->queue().run(1, [&] { device->attention(args); });
    device->queue().copy_in(first_position, whole.data(), whole.size() * sizeof(std::int32_t));
    device->queue().run(1, [&] { device->attention(args); });
    finish(*device);
    batch.check(out.read());
  }
}

BOOST_AUTO_TEST_CASE(huge_scores_do_not_overflow, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  const std::int32_t dim = 64;
  for (const dtype type : {dtype::float32, dtype::bfloat16}) {
    for (const std::int32_t queries : {1, 4}) {
      // The last queries see two keys far above and two far below: only the first count.
      std::vector<float> keys(static_cast<std::size_t>(4 * dim), 1e17F);
      std::fill_n(keys.begin() + 2 * dim, 2 * dim, -1e17F);
      const device_elements k(*device, type, keys);
      const device_elements v(*device, type, std::vector<float>(keys.size(), 1.0F));
      const device_elements q(
          *device, type, std::vector<float>(static_cast<std::size_t>(queries * dim), 1e17F));
      const device_rows out(*device, type, queries, dim, dim);
      const device_array<std::int32_t> starts(*device, {0, queries});
      const device_array<std::int32_t> first(*device, {4 - queries});
      const device_array<std::int32_t> table(*device, {0});
      device->attention({.q = q.at(),
                         .out = out.at(),
                         .q_stride = dim,
                         .out_stride = dim,
                         .kv = {.keys = k.at().data,
                                .values = v.at().data,
                                .type = type,
                                .block_size = 4,
                                .kv_heads = 1,
                                .head_dim = dim},
                         .batch = {.query_start = starts.data(),
                                   .first_position = first.data(),
                                   .block_tables = table.data(),
                                   .block_table_stride = 1,
                                   .sequences = 1,
                                   .tokens = queries},
                         .heads = 1,
                         .scale = 1.0F,
                         .window = 0,
                         .max_position = 4});
      finish(*device);
      BOOST_TEST(
          same_bits(out.read(), std::vector<float>(static_cast<std::size_t>(queries * dim), 1.0F)),
          to_string(type) << " queries " << queries);
    }
  }
}

BOOST_AUTO_TEST_CASE(an_empty_batch_does_nothing, *boost::unit_test::precondition(has_gpu)) {
  const auto device = make_cuda_backend();
  const device_array<std::int32_t> starts(*device, {0});
  attention_args args{};
  args.batch.query_start = starts.data();
  args.heads = 1;
  args.kv.kv_heads = 1;
  args.kv.head_dim = 64;
  args.kv.block_size = 16;
  device->attention(args);
  finish(*device);
}
