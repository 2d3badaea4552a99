// tests/runtime/sched/torn_table.hpp — the bytes of a kv_table as a writer leaves them that dies between two of its stores.
// Knows the layout of the table and the order of stores that T-3 promises; kv_table_kill_test.cpp compares that with the
// real stores, instruction by instruction.
#pragma once

#include "runtime/sched/kv_table.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace vdist::testing {

using table_bytes = std::vector<std::byte>;

/// Memory for one table, zeros at first.
class table_memory {
public:
  explicit table_memory(const sched::kv_table_config& config);

  [[nodiscard]] std::span<std::byte> span() const { return span_; }

  [[nodiscard]] table_bytes copy() const { return {span_.begin(), span_.end()}; }

  void assign(const table_bytes& bytes) const;

private:
  std::unique_ptr<std::byte[]> owner_;
  std::span<std::byte> span_; // aligned
};

/// Every state between `before` and `after`, both included: one store more in each. `slots`: in the order in which they were
/// written; each once. Throws if bytes differ that the writer of these slots does not touch.
[[nodiscard]] std::vector<table_bytes> states_between(const table_bytes& before,
                                                      const table_bytes& after,
                                                      std::span<const std::uint32_t> slots,
                                                      const sched::kv_table_config& config);

} // namespace vdist::testing
