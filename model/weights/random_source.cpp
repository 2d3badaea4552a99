#include "model/weights/random_source.hpp"

#include "model/weights/convert.hpp"

#include <algorithm>
#include <string_view>

namespace vdist::weights {

namespace {

constexpr std::size_t chunk_elements = 1024;

std::uint64_t key_of(std::uint64_t seed, std::string_view name) {
  std::uint64_t key = kernels::random_mix(seed + 0x9E3779B97F4A7C15ULL);
  for (const char letter : name) {
    key = kernels::random_mix(key ^ static_cast<unsigned char>(letter));
  }
  return key;
}

/// Generates runs of elements, many at a time. All values are small: they fit every type.
class generator final : public tensor_reader {
public:
  explicit generator(const kernels::random_fill_rule& rule) : rule_(rule) {}

  result<void> read(const tensor_block& block, const block_target& target) override {
    for (std::int64_t line = 0; line < block.lines; ++line) {
      write(static_cast<std::uint64_t>(block.first + line * block.stride),
            static_cast<std::uint64_t>(block.count),
            target.type,
            target.data + static_cast<std::size_t>(line) * target.stride);
    }
    return {};
  }

private:
  void write(std::uint64_t first,
             std::uint64_t count,
             kernels::dtype type,
             std::byte* destination) const noexcept {
    float buffer[chunk_elements];
    const std::uint64_t end = first + count;
    while (first < end) {
      // A chunk never crosses a multiple of 2^32, so that it has one key.
      const std::uint64_t page_end = ((first >> 32U) + 1) << 32U;
      const auto here = static_cast<std::uint32_t>(
          std::min<std::uint64_t>({chunk_elements, end - first, page_end - first}));
      fill(first, here, buffer);
      static_cast<void>(convert_floats(buffer, type, destination, here));
      destination += here * kernels::size_of(type);
      first += here;
    }
  }

  void fill(std::uint64_t first, std::uint32_t count, float* out) const noexcept {
    if (rule_.scale == 0.0F) {
      std::fill_n(out, count, rule_.constant);
      return;
    }
    const auto key = kernels::random_page_key(rule_.key, first >> 32U);
    const auto low = static_cast<std::uint32_t>(first);
    for (std::uint32_t i = 0; i < count; ++i) {
      out[i] = kernels::random_value(low + i, key, rule_.scale);
    }
  }

  kernels::random_fill_rule rule_;
};

} // namespace

result<std::unique_ptr<tensor_reader>> random_source::open(const tensor_ref& tensor,
                                                           weight_role role) const {
  return std::unique_ptr<tensor_reader>(std::make_unique<generator>(rule_of(tensor, role)));
}

std::optional<kernels::random_fill_rule> random_source::rule(const tensor_ref& tensor,
                                                             weight_role role) const {
  return rule_of(tensor, role);
}

kernels::random_fill_rule random_source::rule_of(const tensor_ref& tensor, weight_role role) const {
  if (role == weight_role::norm) {
    return {.constant = 1.0F};
  }
  const float deviation =
      role == weight_role::bias ? random_bias_deviation : random_matrix_deviation;
  return {.key = key_of(seed_, tensor.names.front()),
          .scale = deviation / kernels::random_unit_deviation};
}

} // namespace vdist::weights
