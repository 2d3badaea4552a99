// kernels/cpu/cpu_backend.hpp — the CPU implementation of kernels/backend.hpp and the oracle of
// every other device. The instruction set is chosen at construction; AVX-512, AVX2+FMA and the
// portable path give the same bits (N-2).
#pragma once

#include "kernels/backend.hpp"

#include <cstdint>
#include <memory>

namespace vdist::kernels {

enum class cpu_isa : std::uint8_t { automatic, portable, avx2, avx512 };

struct cpu_backend_config {
  std::int32_t threads = 1;          // threads that share one operation, the caller included; >= 1
  std::int32_t max_positions = 8192; // longest sequence; sizes the attention scratch
  std::int32_t max_tokens = 8192;    // largest batch of one step in tokens
  std::int32_t max_features = 65536; // largest in_features of a linear
  cpu_isa isa =
      cpu_isa::automatic; // an instruction set that the machine lacks falls back to the best it has
};

/// All scratch is allocated here, once. Owned by one worker; its extra threads sleep when there is
/// no work.
[[nodiscard]] std::unique_ptr<backend> make_cpu_backend(const cpu_backend_config& config);

} // namespace vdist::kernels
