// runtime/ledger/ledger_reader.hpp — looks into a shared ledger while another process writes it, or
// after that process has died: what `vdist-ctl ledger` prints. Takes no lock and writes nothing, so
// the region may be mapped read-only and a reader may come, go and die unnoticed.
// Every answer is the state of one published version (L-3): a reader copies, and starts over if the
// version has moved meanwhile; if it moves attempts_max times, the error is timed_out. Nothing that
// it reads is believed (L-5). Threads: any number may share one reader.
// Cost: O(entries that were ever used at the same time) per call and attempt, plus the tokens.
#pragma once

#include "runtime/ledger/shared_region.hpp"

namespace vdist::ledger {

class ledger_reader {
public:
  /// How often a copy is begun before the writer is called too quick.
  static constexpr int attempts_max = 1000;

  /// `region` stays mapped as long as the reader. Errors: corrupt, unsupported, invalid_argument.
  [[nodiscard]] static result<ledger_reader> open(std::span<const std::byte> region);

  /// As ledger::list. Errors: timed_out, corrupt.
  [[nodiscard]] result<std::vector<ledger_entry>> list(std::size_t max) const;

  /// As ledger::stats. Errors: timed_out, corrupt.
  [[nodiscard]] result<ledger_stats> stats() const;

  /// As ledger::tokens. Errors: not_found, invalid_argument, timed_out, corrupt.
  [[nodiscard]] result<std::vector<token_id>> tokens(request_id id, std::int32_t from = 0) const;

  /// As ledger::replay. Errors: as tokens().
  [[nodiscard]] result<std::vector<protocol::token_event>> replay(request_id id,
                                                                  std::int32_t from = 0) const;

private:
  struct snapshot {
    std::vector<entry_copy> entries;
    std::uint64_t tokens_committed = 0;
  };

  explicit ledger_reader(const shared_region& region) : region_(region) {}

  [[nodiscard]] result<snapshot> copy_all() const;
  [[nodiscard]] result<entry_copy> copy_one(std::uint32_t slot) const;

  /// What `read(entry)` makes of the chains of a request: std::optional, nothing if one is damaged.
  template <class Read>
  [[nodiscard]] auto
  read_held(std::string_view operation, request_id id, std::int32_t from, Read&& read) const
      -> result<typename decltype(read(entry_copy{}))::value_type>;

  const shared_region region_;
};

} // namespace vdist::ledger
