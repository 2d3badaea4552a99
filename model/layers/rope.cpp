#include "model/layers/rope.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <future>
#include <numbers>

namespace vdist::layers {

namespace {

/// Fewer are not worth a thread.
constexpr std::int32_t positions_per_thread = 4096;

/// Llama 3.1: wavelengths beyond the trained context are stretched by `factor`, short ones are
/// kept, and between the two bounds the share of the stretched frequency changes linearly with the
/// number of turns within the trained context.
double llama3_frequency(double frequency, const weights::rope_config& config) {
  const double turns =
      static_cast<double>(config.original_max_positions) * frequency / (2 * std::numbers::pi);
  if (turns > config.high_freq_factor) {
    return frequency;
  }
  if (turns < config.low_freq_factor) {
    return frequency / config.factor;
  }
  const double kept =
      (turns - config.low_freq_factor) / (config.high_freq_factor - config.low_freq_factor);
  return (1 - kept) * frequency / config.factor + kept * frequency;
}

} // namespace

std::vector<double> rope_frequencies(const weights::rope_config& config, std::int32_t positions) {
  const auto& factors =
      positions > config.original_max_positions ? config.long_factors : config.short_factors;
  std::vector<double> frequencies;
  for (std::int32_t i = 0; i < config.rotary_dim; i += 2) {
    const double frequency = std::pow(config.theta, -static_cast<double>(i) / config.rotary_dim);
    switch (config.scaling) {
    case weights::rope_scaling_kind::none:
      frequencies.push_back(frequency);
      break;
    case weights::rope_scaling_kind::linear:
      frequencies.push_back(frequency / config.factor);
      break;
    case weights::rope_scaling_kind::llama3:
      frequencies.push_back(llama3_frequency(frequency, config));
      break;
    case weights::rope_scaling_kind::longrope:
      frequencies.push_back(frequency / factors[static_cast<std::size_t>(i) / 2]);
      break;
    }
  }
  return frequencies;
}

rope_table
make_rope_table(const weights::rope_config& config, std::int32_t positions, std::int32_t threads) {
  const auto frequencies = rope_frequencies(config, positions);
  rope_table table;
  table.rotary_dim = config.rotary_dim;
  table.positions = positions;
  table.cos.resize(frequencies.size() * static_cast<std::size_t>(positions));
  table.sin.resize(table.cos.size());
  const auto fill = [&config, &frequencies, &table](std::int32_t first, std::int32_t last) {
    auto at = static_cast<std::size_t>(first) * frequencies.size();
    for (std::int32_t position = first; position < last; ++position) {
      for (const double frequency : frequencies) {
        const double angle = position * frequency;
        table.cos[at] = static_cast<float>(config.amplitude * std::cos(angle));
        table.sin[at] = static_cast<float>(config.amplitude * std::sin(angle));
        ++at;
      }
    }
  };
  const auto share = std::max(positions_per_thread, (positions + threads - 1) / threads);
  std::vector<std::future<void>> others;
  for (std::int32_t first = share; first < positions; first += share) {
    others.push_back(
        std::async(std::launch::async, fill, first, std::min(first + share, positions)));
  }
  fill(0, std::min(share, positions));
  for (auto& other : others) {
    other.get();
  }
  return table;
}

} // namespace vdist::layers
