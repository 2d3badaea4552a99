#include "tests/kernels/attention/attention_ref.hpp"
#include "tests/kernels/attention/attention_scenario.hpp"

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

using outputs = std::vector<std::vector<float>>;

outputs serve(const attention_scenario& scenario, const serving& how, backend& device) {
  return attention_server(scenario, how).serve(device);
}

bool same(const outputs& a, const outputs& b) {
  for (std::size_t s = 0; s < a.size(); ++s) {
    if (!same_bits(a[s], b[s])) {
      return false;
    }
  }
  return true;
}

/// Heads with and without groups, head dimensions that are and are not whole lane vectors, windows,
/// every dtype.
std::vector<attention_scenario> scenarios() {
  return {
      {.heads = 1,
       .kv_heads = 1,
       .head_dim = 16,
       .type = dtype::float32,
       .lengths = {1, 2},
       .seed = 1},
      {.heads = 4,
       .kv_heads = 2,
       .head_dim = 32,
       .type = dtype::bfloat16,
       .lengths = {70, 3, 33},
       .seed = 2},
      {.heads = 6,
       .kv_heads = 2,
       .head_dim = 24,
       .type = dtype::float16,
       .lengths = {40, 17},
       .seed = 3},
      {.heads = 8,
       .kv_heads = 1,
       .head_dim = 64,
       .type = dtype::bfloat16,
       .window = 13,
       .lengths = {81, 5},
       .seed = 4},
      {.heads = 3,
       .kv_heads = 3,
       .head_dim = 80,
       .type = dtype::float32,
       .window = 1,
       .lengths = {20, 60},
       .seed = 5},
      {.heads = 7,
       .kv_heads = 1,
       .head_dim = 8,
       .type = dtype::float16,
       .window = 40,
       .lengths = {100},
       .seed = 6},
      {.heads = 2,
       .kv_heads = 2,
       .head_dim = 128,
       .type = dtype::bfloat16,
       .lengths = {150, 49},
       .seed = 7},
  };
}

std::vector<std::vector<float>>
stored_rows(const attention_scenario& c, std::int32_t s, std::int32_t head, std::uint32_t what) {
  const std::vector<float> rows = c.rows(s, c.kv_width(), what);
  std::vector<std::vector<float>> out;
  for (std::int32_t j = 0; j < c.lengths[static_cast<std::size_t>(s)]; ++j) {
    std::vector<float> row;
    for (std::int32_t d = 0; d < c.head_dim; ++d) {
      row.push_back(rounded_to(
          c.type, rows[static_cast<std::size_t>(j * c.kv_width() + head * c.head_dim + d)]));
    }
    out.push_back(row);
  }
  return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(agrees_with_double_precision) {
  const auto device = make_backend(cpu_isa::automatic);
  for (const attention_scenario& c : scenarios()) {
    const outputs got = serve(c, {}, *device);
    for (std::int32_t s = 0; s < static_cast<std::int32_t>(c.lengths.size()); ++s) {
      const std::vector<float> q = c.rows(s, c.q_width(), 0);
      for (std::int32_t h = 0; h < c.heads; ++h) {
        const auto keys = stored_rows(c, s, h / (c.heads / c.kv_heads), 1);
        const auto values = stored_rows(c, s, h / (c.heads / c.kv_heads), 2);
        for (std::int32_t t = 0; t < c.lengths[static_cast<std::size_t>(s)]; ++t) {
          const std::int32_t at = t * c.q_width() + h * c.head_dim;
          const auto want = attend_in_double(q.data() + at, keys, values, t, c.window, c.scale());
          double worst = 0.0;
          for (std::int32_t d = 0; d < c.head_dim; ++d) {
            const double x = got[static_cast<std::size_t>(s)][static_cast<std::size_t>(at + d)];
            worst = std::max(worst,
                             std::isnan(x) ? 1.0 : std::abs(x - want[static_cast<std::size_t>(d)]));
          }
          BOOST_TEST(worst < 4e-6,
                     "seed " << c.seed << " sequence " << s << " head " << h << " position " << t
                             << " off by " << worst);
        }
      }
    }
  }
}

// A-1, N-1
BOOST_AUTO_TEST_CASE(chunking_block_size_batch_threads_and_instruction_set_do_not_change_a_bit) {
  const auto reference = make_backend(cpu_isa::automatic);
  for (const attention_scenario& c : scenarios()) {
    const outputs want = serve(c, {}, *reference);
    for (const std::int32_t chunk : {1, 5, 16, 37}) {
      for (const std::int32_t block_size : {1, 7, 16, 64}) {
        const bool is_batched = (chunk + block_size) % 2 == 0;
        const serving how{.block_size = block_size, .chunk = chunk, .is_batched = is_batched};
        BOOST_TEST(same(serve(c, how, *reference), want),
                   "seed " << c.seed << " chunk " << chunk << " block " << block_size);
      }
    }
    for (const std::int32_t threads : {1, 2, 3}) {
      for (const auto& device : all_backends(threads)) {
        for (const std::int32_t chunk : {1, 1 << 20}) {
          BOOST_TEST(same(serve(c, {.chunk = chunk}, *device), want),
                     device->name()
                         << " seed " << c.seed << " threads " << threads << " chunk " << chunk);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_order_of_sequences_in_a_batch_does_not_matter) {
  const auto device = make_backend(cpu_isa::automatic, 2);
  const attention_scenario c{.lengths = {9, 50, 20, 1}, .seed = 11};
  const outputs want = serve(c, {}, *device);
  BOOST_TEST(same(serve(c, {.order = {3, 1, 0, 2}}, *device), want));
  BOOST_TEST(same(serve(c, {.chunk = 7, .order = {2, 3, 1, 0}}, *device), want));
}

BOOST_AUTO_TEST_CASE(huge_scores_do_not_overflow) {
  const std::int32_t table = 0;
  const std::int32_t starts[] = {0, 4};
  const std::int32_t first = 0;
  for (const auto& device : all_backends()) {
    std::vector<float> keys(4 * 16);
    std::vector<float> values(4 * 16);
    const std::vector<float> q(4 * 16, 1e18F);
    std::vector<float> k(4 * 16, 1e18F);
    std::vector<float> v(4 * 16, 1.0F);
    std::fill_n(k.begin() + 32, 32, -1e18F);
    const sequence_batch batch{.query_start = starts,
                               .first_position = &first,
                               .block_tables = &table,
                               .block_table_stride = 1,
                               .sequences = 1,
                               .tokens = 4};
    const paged_kv kv{.keys = keys.data(),
                      .values = values.data(),
                      .type = dtype::float32,
                      .block_size = 4,
                      .kv_heads = 1,
                      .head_dim = 16};
    guarded_rows out(4, 16, 16);
    device->kv_append(
        {.k = k.data(), .v = v.data(), .k_stride = 16, .v_stride = 16, .kv = kv, .batch = batch});
    device->attention({.q = q.data(),
                       .out = out.data(),
                       .q_stride = 16,
                       .out_stride = 16,
                       .kv = kv,
                       .batch = batch,
                       .heads = 1,
                       .scale = 1.0F,
                       .window = 0,
                       .max_position = 4});
    BOOST_TEST(same_bits(out.values(), std::vector<float>(64, 1.0F)));
  }
}

BOOST_AUTO_TEST_CASE(an_empty_batch_does_nothing) {
  const auto device = make_backend(cpu_isa::automatic, 2);
  const std::int32_t starts[] = {0};
  attention_args args{};
  args.batch.query_start = starts;
  args.heads = 1;
  args.kv.kv_heads = 1;
  args.kv.head_dim = 16;
  args.kv.block_size = 16;
  device->attention(args);
}

BOOST_AUTO_TEST_CASE(appended_keys_and_values_are_rounded_to_nearest_even_and_nan_stays_nan) {
  // Halves between neighbours, ties, overflow, subnormals, signed zeros, NaN.
  std::vector<float> inputs = {0.0F,
                               -0.0F,
                               1.0F,
                               1.00390625F,
                               1.01171875F,
                               65504.0F,
                               65519.9F,
                               65520.0F,
                               1e-7F,
                               3e-8F,
                               -5.9604645e-8F,
                               6.1e-5F,
                               3.4e38F,
                               -1e38F,
                               2.98e-8F,
                               2.9802322e-8F};
  random_source random(5);
  while (inputs.size() < 4096) {
    inputs.push_back(std::ldexp(random.normal(), random.below(60) - 30));
  }
  inputs[20] = std::numeric_limits<float>::infinity();
  inputs[21] = -std::numeric_limits<float>::infinity();
  const std::int32_t table = 0;
  const auto tokens = static_cast<std::int32_t>(inputs.size() / 24);
  const std::int32_t starts[] = {0, tokens};
  const std::int32_t first = 0;
  for (const dtype type : {dtype::bfloat16, dtype::float16}) {
    for (const auto& device : all_backends()) {
      std::vector<std::uint16_t> keys(inputs.size(), 0x1234);
      std::vector<std::uint16_t> values(inputs.size(), 0x1234);
      inputs[22] =
          std::bit_cast<float>(0x7f800001U); // the payload is only in the bits that are cut off
      device->kv_append({.k = inputs.data(),
                         .v = inputs.data(),
                         .k_stride = 24,
                         .v_stride = 24,
                         .kv = {.keys = keys.data(),
                                .values = values.data(),
                                .type = type,
                                .block_size = tokens,
                                .kv_heads = 1,
                                .head_dim = 24},
                         .batch = {.query_start = starts,
                                   .first_position = &first,
                                   .block_tables = &table,
                                   .block_table_stride = 1,
                                   .sequences = 1,
                                   .tokens = tokens}});
      for (std::size_t i = 0; i < static_cast<std::size_t>(tokens) * 24; ++i) {
        const float want = rounded_to(type, inputs[i]);
        if (std::isnan(want)) {
          BOOST_TEST(std::isnan(decode(type, keys[i])));
        } else {
          BOOST_TEST(keys[i] == encode(type, want),
                     device->name() << " " << to_string(type) << " " << inputs[i]);
        }
      }
      BOOST_TEST((keys == values));
      BOOST_TEST(keys[static_cast<std::size_t>(tokens) * 24] == 0x1234);
    }
  }
}
