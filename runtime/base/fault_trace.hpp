// runtime/base/fault_trace.hpp — when what happened around faults, as plain data in words that processes may share: the
// moments of recoveries, and how many tokens were committed when. Reports and pictures are made of it
// (actors/run/fault_report.hpp, time_line.hpp); the hits themselves are in the failpoints' own log.
//
// T-1 Nothing is recorded before start(). T-2 A moment is whole or not there: its time is written last. T-3 Bounded: later
// moments and tokens are counted as lost, never wait, and never overwrite.
// Threads and processes: any may note, none waits. Cost of a step: one relaxed addition.
#pragma once

#include "runtime/base/clock.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace vdist {

/// The first seven are those of a recovery (supervisor::recovery_point).
enum class fault_moment_kind : std::uint8_t {
  detected,     // the fault was heard of
  fenced,       // every wait of the epoch before has ended
  quiesced,     // a survivor left the epoch before
  spawned,      // a replacement was ordered
  attached,     // a replacement has its weights and waits
  begun,        // everybody was told to go on
  given_up,     // the replica ends here
  first_tokens, // the first step of an epoch was committed
  spare_ready, // the spare of a worker is prepared: the next fault of that one costs as little as it can
};
inline constexpr std::size_t fault_moment_kinds = 9;

[[nodiscard]] std::string_view to_string(fault_moment_kind kind) noexcept;

struct fault_moment {
  fault_moment_kind what = fault_moment_kind::detected;
  std::int32_t replica = 0;
  std::int32_t slot = -1;  // -1: of the whole replica
  std::uint32_t epoch = 0; // that is being prepared, or that began
  std::int64_t at_ns = 0;  // monotonic clock of the host

  bool operator==(const fault_moment&) const = default;
};

/// Tokens are summed up in pieces of this length.
inline constexpr std::int64_t token_bucket_ns = 10'000'000;

/// Zero-filled memory is an empty trace that was not started.
struct fault_trace_table {
  static constexpr std::size_t moments_max = 4096;
  static constexpr std::size_t buckets_max = 32768; // five and a half minutes

  struct moment {
    std::atomic<std::int64_t> at_ns{0};
    std::atomic<std::uint64_t> what{0};  // kind and replica
    std::atomic<std::uint64_t> where{0}; // slot and epoch
  };

  std::atomic<std::int64_t> started_ns{0}; // 0: not started
  std::atomic<std::int64_t> first_step{0};
  std::atomic<std::uint32_t> moments{0};
  std::atomic<std::uint32_t> lost{0}; // T-3
  std::array<moment, moments_max> log;
  std::array<std::atomic<std::uint32_t>, buckets_max> tokens;
};

/// What a trace holds.
struct fault_record {
  std::int64_t started_ns = 0;
  std::int64_t first_step = 0;       // steps before the start, as whoever started it says
  std::vector<fault_moment> moments; // by time
  std::vector<std::uint32_t>
      tokens;             // by bucket from started_ns on; ends with the last that has any
  std::uint32_t lost = 0; // moments
};

/// Borrows the table, which outlives it.
class fault_trace {
public:
  explicit fault_trace(fault_trace_table& table) : table_(&table) {}

  /// Empties the trace; from now on it records.
  void start(time_point now, std::int64_t first_step = 0);
  [[nodiscard]] bool is_started() const;

  void note(const fault_moment& moment);
  void note_tokens(time_point now, std::uint32_t count);

  [[nodiscard]] fault_record read() const;

private:
  fault_trace_table* table_;
};

/// Nanoseconds of the monotonic clock, as in fault_moment::at_ns.
[[nodiscard]] std::int64_t ns_of(time_point time);

} // namespace vdist
