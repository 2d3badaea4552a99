#include "runtime/ledger/ledger_reader.hpp"

#include "runtime/ledger/ledger_rules.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::ledger {

namespace {

error too_quick(std::string_view operation) {
  return fail(errc::timed_out,
              fmt::format("{}: the ledger changed during every attempt to copy it (attempts={})",
                          operation,
                          ledger_reader::attempts_max));
}

} // namespace

result<ledger_reader> ledger_reader::open(std::span<const std::byte> region) {
  // shared_region serves the writer too; through a const one nothing can be written.
  const std::span writable(const_cast<std::byte*>(region.data()), region.size());
  VDIST_ASSIGN(const auto opened, shared_region::open(writable));
  return ledger_reader(opened);
}

result<ledger_reader::snapshot> ledger_reader::copy_all() const {
  const auto& header = region_.header();
  snapshot all;
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    const auto published = header.published.get();
    const auto used = header.entries_used.get();
    all.entries.clear();
    for (std::uint32_t slot = 0; slot < used && slot < region_.layout().entries; ++slot) {
      const auto copy = copy_entry(region_.entry(slot), published);
      if (copy.is_used) {
        all.entries.push_back(copy);
      }
    }
    all.tokens_committed = copy_totals(header, published).tokens_committed;
    if (header.published.get() == published) {
      for (const auto& copy : all.entries) {
        VDIST_TRY(check_entry(copy, region_));
      }
      return all;
    }
  }
  return too_quick("ledger");
}

result<entry_copy> ledger_reader::copy_one(std::uint32_t slot) const {
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    const auto published = region_.header().published.get();
    const auto copy = copy_entry(region_.entry(slot), published);
    if (region_.header().published.get() == published) {
      if (copy.is_used) {
        VDIST_TRY(check_entry(copy, region_));
      }
      return copy;
    }
  }
  return too_quick("ledger");
}

result<std::vector<ledger_entry>> ledger_reader::list(std::size_t max) const {
  VDIST_ASSIGN(const auto all, copy_all());
  std::vector<ledger_entry> entries;
  entries.reserve(all.entries.size());
  for (const auto& copy : all.entries) {
    entries.push_back(to_ledger_entry(copy));
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return arrives_before(a, b);
  });
  entries.resize(std::min(max, entries.size()));
  return entries;
}

result<ledger_stats> ledger_reader::stats() const {
  VDIST_ASSIGN(const auto all, copy_all());
  ledger_stats sums{.tokens_committed = all.tokens_committed};
  for (const auto& copy : all.entries) {
    const bool is_unfinished = copy.reason == protocol::finish_reason::none;
    ++(is_unfinished ? sums.unfinished : sums.finished);
    sums.tokens_reserved += is_unfinished ? copy.room : copy.words();
  }
  return sums;
}

template <class Read>
auto ledger_reader::read_held(std::string_view operation,
                              request_id id,
                              std::int32_t from,
                              Read&& read) const
    -> result<typename decltype(read(entry_copy{}))::value_type> {
  // A request does not move, so looking for it needs no version: only what is found does.
  const auto used = region_.header().entries_used.get();
  for (std::uint32_t slot = 0; slot < used && slot < region_.layout().entries; ++slot) {
    if (region_.entry(slot).id.get() != id.value) {
      continue;
    }
    VDIST_ASSIGN(const auto before, copy_one(slot));
    if (!before.is_used || before.id != id) {
      continue;
    }
    VDIST_TRY(check_from(operation, id, from, before.committed));
    auto found = read(before);
    // L-4: if it is still held now, its blocks were nobody else's while they were read.
    VDIST_ASSIGN(const auto after, copy_one(slot));
    if (!after.is_used || after.accepted_version != before.accepted_version) {
      break;
    }
    if (!found) {
      return fail(
          errc::corrupt,
          fmt::format("{}: a chain of blocks is damaged (request={})", operation, id.value));
    }
    return std::move(*found);
  }
  return unknown_request(operation, id);
}

result<std::vector<token_id>> ledger_reader::tokens(request_id id, std::int32_t from) const {
  return read_held("tokens", id, from, [this, from](const entry_copy& held) {
    std::optional tokens(std::vector<token_id>(static_cast<std::size_t>(held.committed - from)));
    if (!read_chain(region_, held.tokens_head, static_cast<std::uint64_t>(from), *tokens)) {
      tokens.reset();
    }
    return tokens;
  });
}

result<std::vector<protocol::token_event>> ledger_reader::replay(request_id id,
                                                                 std::int32_t from) const {
  return read_held("replay", id, from, [this, from](const entry_copy& held) {
    return read_events(region_, held, from);
  });
}

} // namespace vdist::ledger
