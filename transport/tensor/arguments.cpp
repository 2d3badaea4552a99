#include "transport/tensor/arguments.hpp"

#include <fmt/format.h>

namespace vdist::tensor {

namespace {

result<void> check_one_side(std::string_view side,
                            const rank_parts& parts,
                            std::size_t bytes,
                            std::size_t size) {
  if (parts.counts.size() != size || parts.offsets.size() != size) {
    return fail(errc::invalid_argument,
                fmt::format("all_to_all_v: one count and one offset per rank ({}_counts={} "
                            "{}_offsets={} size={})",
                            side,
                            parts.counts.size(),
                            side,
                            parts.offsets.size(),
                            size));
  }
  for (std::size_t r = 0; r < size; ++r) {
    if (parts.offsets[r] > bytes || parts.counts[r] > bytes - parts.offsets[r]) {
      return fail(errc::invalid_argument,
                  fmt::format("all_to_all_v: a part leaves its buffer (side={} rank={} offset={} "
                              "count={} bytes={})",
                              side,
                              r,
                              parts.offsets[r],
                              parts.counts[r],
                              bytes));
    }
  }
  return {};
}

} // namespace

result<void> check_place(std::string_view what, std::int32_t rank, std::int32_t size) {
  if (size >= 1 && size <= group_ranks_max && rank >= 0 && rank < size) {
    return {};
  }
  return fail(errc::invalid_argument,
              fmt::format("{}: rank or size out of range (rank={} size={} size_max={})",
                          what,
                          rank,
                          size,
                          group_ranks_max));
}

result<void>
check_parts_fit(std::string_view operation, std::size_t part, std::size_t whole, std::size_t size) {
  if (whole % size == 0 && whole / size == part) {
    return {};
  }
  return fail(errc::invalid_argument,
              fmt::format("{}: one buffer must hold one part per rank (part={} whole={} size={})",
                          operation,
                          part,
                          whole,
                          size));
}

result<void> check_gather(std::size_t in, std::size_t out, std::size_t rows, std::size_t size) {
  VDIST_TRY(check_parts_fit("all_gather", in, out, size));
  if (rows == 0 ? in == 0 : in % rows == 0) {
    return {};
  }
  return fail(errc::invalid_argument,
              fmt::format("all_gather: a part must be whole rows (part={} rows={})", in, rows));
}

result<void> check_root(std::string_view operation, std::int32_t root, std::int32_t size) {
  if (root >= 0 && root < size) {
    return {};
  }
  return fail(errc::invalid_argument,
              fmt::format("{}: no such root (root={} size={})", operation, root, size));
}

result<void>
check_peer(std::string_view operation, std::int32_t peer, std::int32_t me, std::int32_t size) {
  if (peer >= 0 && peer < size && peer != me) {
    return {};
  }
  return fail(
      errc::invalid_argument,
      fmt::format("{}: the peer must be another rank of the group (peer={} rank={} size={})",
                  operation,
                  peer,
                  me,
                  size));
}

result<void>
check_all_to_all(const all_to_all_arguments& given, std::int32_t me, std::int32_t size) {
  const auto ranks = static_cast<std::size_t>(size);
  VDIST_TRY(check_one_side("in", given.in_parts, given.in.size(), ranks));
  VDIST_TRY(check_one_side("out", given.out_parts, given.out.size(), ranks));
  const auto mine = static_cast<std::size_t>(me);
  if (given.in_parts.counts[mine] != given.out_parts.counts[mine]) {
    return fail(errc::invalid_argument,
                fmt::format("all_to_all_v: what a rank sends to itself it receives (rank={} in={} "
                            "out={})",
                            me,
                            given.in_parts.counts[mine],
                            given.out_parts.counts[mine]));
  }
  return {};
}

equal_parts::equal_parts(std::size_t part_bytes, std::int32_t size)
    : size_(static_cast<std::size_t>(size)) {
  for (std::size_t r = 0; r < size_; ++r) {
    counts_[r] = part_bytes;
    offsets_[r] = r * part_bytes;
  }
}

} // namespace vdist::tensor
