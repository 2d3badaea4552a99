// kernels/contract.hpp — a kernel called outside its contract ends the process: the arguments
// come from model/, never from outside, and a wrong shape would write beyond its arrays.
#pragma once

namespace vdist::kernels {

/// Prints "operation: contract broken (condition)" and aborts.
[[noreturn]] void contract_broken(const char* operation, const char* condition) noexcept;

} // namespace vdist::kernels

#define VDIST_CONTRACT(operation, condition)                                                       \
  do {                                                                                             \
    if (!(condition)) [[unlikely]] {                                                               \
      ::vdist::kernels::contract_broken(operation, #condition);                                    \
    }                                                                                              \
  } while (false)
