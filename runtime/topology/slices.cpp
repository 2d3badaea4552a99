#include "runtime/topology/slices.hpp"

#include "runtime/base/check.hpp"

#include <numeric>

namespace vdist::topology {

slice even_slice(std::int32_t total, std::int32_t rank, std::int32_t size) {
  VDIST_CHECK(size >= 1 && rank >= 0 && rank < size, "topology: tensor rank outside its group");
  VDIST_CHECK(total >= 0 && total % size == 0,
              "topology: an even split needs a multiple of the size");
  return {rank * (total / size), total / size};
}

std::int32_t padded_vocabulary(std::int32_t vocabulary, std::int32_t size) {
  VDIST_CHECK(vocabulary >= 0 && size >= 1, "topology: vocabulary and tensor size are positive");
  const std::int32_t unit = std::lcm(vocabulary_padding, size);
  return (vocabulary + unit - 1) / unit * unit;
}

slice vocabulary_slice(std::int32_t vocabulary, std::int32_t rank, std::int32_t size) {
  return even_slice(padded_vocabulary(vocabulary, size), rank, size);
}

} // namespace vdist::topology
