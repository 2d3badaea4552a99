// tests/kernels/attention/attention_scenario.hpp — sequences with fixed queries, keys and values
// that can be served in any chunking, batch composition and block size; the outputs must not
// notice.
#pragma once

#include "tests/kernels/kernel_fixture.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace vdist::kernels::testing {

struct attention_scenario {
  std::int32_t heads = 4;
  std::int32_t kv_heads = 2;
  std::int32_t head_dim = 32;
  dtype type = dtype::bfloat16;
  std::int32_t window = 0;
  std::vector<std::int32_t> lengths; // tokens of each sequence
  std::uint32_t seed = 1;

  [[nodiscard]] std::int32_t q_width() const { return heads * head_dim; }

  [[nodiscard]] std::int32_t kv_width() const { return kv_heads * head_dim; }

  [[nodiscard]] float scale() const { return 1.0F / std::sqrt(static_cast<float>(head_dim)); }

  /// Rows of all tokens of sequence s: the same numbers whatever the batch.
  [[nodiscard]] std::vector<float>
  rows(std::int32_t s, std::int32_t width, std::uint32_t what) const {
    random_source random(seed * 1000 + static_cast<std::uint32_t>(s) * 10 + what);
    return random.normals(static_cast<std::size_t>(lengths[static_cast<std::size_t>(s)] * width));
  }
};

/// One way to serve a scenario.
struct serving {
  std::int32_t block_size = 16;
  std::int32_t chunk = 1 << 20;         // tokens of each sequence per step
  bool is_batched = true;               // all sequences in one step, or one after the other
  std::vector<std::int32_t> order = {}; // of the sequences in a step; empty: as they are
};

class attention_server {
public:
  attention_server(const attention_scenario& scenario, const serving& how)
      : scenario_(scenario), how_(how) {
    const std::int32_t longest =
        *std::max_element(scenario.lengths.begin(), scenario.lengths.end());
    blocks_per_sequence_ = (longest + how.block_size - 1) / how.block_size;
    const auto sequences = static_cast<std::int32_t>(scenario.lengths.size());
    for (std::int32_t s = 0; s < sequences; ++s) {
      q_.push_back(scenario.rows(s, scenario.q_width(), 0));
      k_.push_back(scenario.rows(s, scenario.kv_width(), 1));
      v_.push_back(scenario.rows(s, scenario.kv_width(), 2));
      out_.emplace_back(q_.back().size(), 0.0F);
    }
    tables_.resize(static_cast<std::size_t>(sequences * blocks_per_sequence_));
    std::iota(tables_.begin(), tables_.end(), 0);
    std::shuffle(tables_.begin(), tables_.end(), std::mt19937(scenario.seed));
    const std::size_t elements =
        tables_.size() * static_cast<std::size_t>(how.block_size * scenario.kv_width());
    keys_.assign(elements * size_of(scenario.type),
                 0xff); // NaN in every dtype: reading an unwritten position shows
    values_ = keys_;
  }

  /// Outputs of every sequence, token by token.
  [[nodiscard]] const std::vector<std::vector<float>>& serve(backend& device) {
    std::vector<std::int32_t> order = how_.order;
    if (order.empty()) {
      order.resize(scenario_.lengths.size());
      std::iota(order.begin(), order.end(), 0);
    }
    const std::int32_t longest =
        *std::max_element(scenario_.lengths.begin(), scenario_.lengths.end());
    for (std::int32_t at = 0; at < longest; at += std::min(how_.chunk, longest)) {
      if (how_.is_batched) {
        step(device, order, at);
        continue;
      }
      for (const std::int32_t s : order) {
        step(device, {s}, at);
      }
    }
    return out_;
  }

private:
  void step(backend& device, const std::vector<std::int32_t>& sequences, std::int32_t at) {
    std::vector<std::int32_t> starts = {0};
    std::vector<std::int32_t> first;
    std::vector<std::int32_t> tables;
    std::vector<float> q, k, v;
    std::vector<std::int32_t> present;
    std::int32_t max_position = 0;
    for (const std::int32_t s : sequences) {
      const std::int32_t length = scenario_.lengths[static_cast<std::size_t>(s)];
      const std::int32_t count = std::min(how_.chunk, length - at);
      if (count <= 0) {
        continue;
      }
      const auto append =
          [at, count](std::vector<float>& to, const std::vector<float>& from, std::int32_t width) {
            to.insert(to.end(), from.begin() + at * width, from.begin() + (at + count) * width);
          };
      append(q, q_[static_cast<std::size_t>(s)], scenario_.q_width());
      append(k, k_[static_cast<std::size_t>(s)], scenario_.kv_width());
      append(v, v_[static_cast<std::size_t>(s)], scenario_.kv_width());
      starts.push_back(starts.back() + count);
      first.push_back(at);
      present.push_back(s);
      max_position = std::max(max_position, at + count);
      const auto table = tables_.begin() + s * blocks_per_sequence_;
      tables.insert(tables.end(), table, table + blocks_per_sequence_);
    }
    if (present.empty()) {
      return;
    }
    const sequence_batch batch{.query_start = starts.data(),
                               .first_position = first.data(),
                               .block_tables = tables.data(),
                               .block_table_stride = blocks_per_sequence_,
                               .sequences = static_cast<std::int32_t>(present.size()),
                               .tokens = starts.back()};
    const paged_kv kv{.keys = keys_.data(),
                      .values = values_.data(),
                      .type = scenario_.type,
                      .block_size = how_.block_size,
                      .kv_heads = scenario_.kv_heads,
                      .head_dim = scenario_.head_dim};
    device.kv_append({.k = k.data(),
                      .v = v.data(),
                      .k_stride = scenario_.kv_width(),
                      .v_stride = scenario_.kv_width(),
                      .kv = kv,
                      .batch = batch});
    guarded_rows out(batch.tokens, scenario_.q_width(), scenario_.q_width() + 4);
    device.attention({.q = q.data(),
                      .out = out.data(),
                      .q_stride = scenario_.q_width(),
                      .out_stride = scenario_.q_width() + 4,
                      .kv = kv,
                      .batch = batch,
                      .heads = scenario_.heads,
                      .scale = scenario_.scale(),
                      .window = scenario_.window,
                      .max_position = max_position});
    BOOST_TEST(out.is_exactly_filled());
    for (std::size_t i = 0; i < present.size(); ++i) {
      for (std::int32_t t = starts[i]; t < starts[i + 1]; ++t) {
        std::copy_n(out.row(t),
                    scenario_.q_width(),
                    out_[static_cast<std::size_t>(present[i])].begin()
                        + (at + t - starts[i]) * scenario_.q_width());
      }
    }
  }

  attention_scenario scenario_;
  serving how_;
  std::int32_t blocks_per_sequence_;
  std::vector<std::vector<float>> q_, k_, v_, out_;
  std::vector<std::int32_t> tables_;
  std::vector<std::uint8_t> keys_, values_;
};

} // namespace vdist::kernels::testing
