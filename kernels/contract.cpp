#include "kernels/contract.hpp"

#include <cstdio>
#include <cstdlib>

namespace vdist::kernels {

void contract_broken(const char* operation, const char* condition) noexcept {
  std::fprintf(stderr, "%s: contract broken (%s)\n", operation, condition);
  std::abort();
}

} // namespace vdist::kernels
