// tests/transport/tensor/checked_operations.hpp — every operation of a communicator with its oracle:
// inputs and expected outputs follow from the ranks and the number of the operation.
#pragma once

#include "tests/transport/tensor/rank_group.hpp"

namespace vdist::testing {

using byte_list = std::vector<std::byte>;

/// What rank `from` sends to rank `to` in operation `n`.
inline byte_list letter(std::int32_t from, std::int32_t to, std::uint64_t n, std::size_t bytes) {
  byte_list text(bytes);
  std::uint64_t state =
      n * 0x9e3779b97f4a7c15 + static_cast<std::uint64_t>(from * 64 + to) * 0x2545f4914f6cdd1d;
  for (auto& b : text) {
    state = state * 6364136223846793005 + 1442695040888963407;
    b = static_cast<std::byte>(state >> 56U);
  }
  return text;
}

/// Runs operations on one rank and compares what comes out, bit by bit. Operation `n` has the same
/// number on all ranks.
class checked_operations {
public:
  checked_operations(const test_rank& rank, tensor::communicator& group)
      : rank_(rank), group_(group), size_(static_cast<std::size_t>(rank.size())) {}

  void all_reduce(std::uint64_t n, std::size_t floats) const {
    auto data = contribution(rank_.rank(), n, floats);
    rank_.expect(group_.all_reduce_sum(data), "all_reduce_sum");
    const bool is_right = has_same_bits(data, expected_sum(rank_.size(), n, floats));
    rank_.expect(is_right, "sum of " + std::to_string(floats) + " floats");
  }

  /// The oracle is the slice of the all-reduce.
  void reduce_scatter(std::uint64_t n, std::size_t part) const {
    const auto in = contribution(rank_.rank(), n, part * size_);
    std::vector<float> out(part);
    rank_.expect(group_.reduce_scatter_sum(in, out), "reduce_scatter_sum");
    const auto all = expected_sum(rank_.size(), n, part * size_);
    const auto wanted = std::span(all).subspan(part * me(), part);
    rank_.expect(has_same_bits(out, wanted), "share of " + std::to_string(part) + " floats");
  }

  /// Of [rows, part] floats of every rank.
  void all_gather(std::uint64_t n, std::size_t rows, std::size_t part) const {
    std::vector<float> out(rows * part * size_);
    rank_.expect(group_.all_gather(contribution(rank_.rank(), n, rows * part), out, rows),
                 "all_gather");
    for (std::int32_t r = 0; r < rank_.size(); ++r) {
      const auto given = contribution(r, n, rows * part);
      for (std::size_t row = 0; row < rows; ++row) {
        const auto at = (row * size_ + static_cast<std::size_t>(r)) * part;
        rank_.expect(has_same_bits(std::span(out).subspan(at, part),
                                   std::span(given).subspan(row * part, part)),
                     "gathered row " + std::to_string(row) + " of " + std::to_string(part));
      }
    }
  }

  void all_to_all(std::uint64_t n, std::size_t part) const {
    byte_list in;
    byte_list wanted;
    for (std::int32_t r = 0; r < rank_.size(); ++r) {
      append(in, letter(rank_.rank(), r, n, part));
      append(wanted, letter(r, rank_.rank(), n, part));
    }
    byte_list out(in.size());
    rank_.expect(group_.all_to_all(in, out), "all_to_all");
    rank_.expect(out == wanted, "all_to_all of " + std::to_string(part) + " bytes");
  }

  /// counts(a, b) is what rank a sends to rank b. Parts lie in reverse order, with gaps.
  template <class Counts>
  void all_to_all_v(std::uint64_t n, const Counts& counts) const {
    constexpr std::size_t gap = 3;
    std::vector<std::size_t> in_counts(size_), in_offsets(size_);
    std::vector<std::size_t> out_counts(size_), out_offsets(size_);
    byte_list in(gap, std::byte{0xaa});
    byte_list wanted(gap);
    for (std::int32_t r = rank_.size() - 1; r >= 0; --r) {
      const auto i = static_cast<std::size_t>(r);
      in_counts[i] = counts(rank_.rank(), r);
      in_offsets[i] = in.size();
      append(in, letter(rank_.rank(), r, n, in_counts[i]));
      in.resize(in.size() + gap);
      out_counts[i] = counts(r, rank_.rank());
      out_offsets[i] = wanted.size();
      append(wanted, letter(r, rank_.rank(), n, out_counts[i]));
      wanted.resize(wanted.size() + gap); // stays as it was: 0
    }
    byte_list out(wanted.size());
    const tensor::rank_parts in_parts{in_counts, in_offsets};
    const tensor::rank_parts out_parts{out_counts, out_offsets};
    rank_.expect(group_.all_to_all_v(in, in_parts, out, out_parts), "all_to_all_v");
    rank_.expect(out == wanted, "all_to_all_v and the bytes between its parts");
  }

  void broadcast(std::uint64_t n, std::size_t bytes, std::int32_t root) const {
    const auto wanted = letter(root, 0, n, bytes);
    auto data = rank_.rank() == root ? wanted : byte_list(bytes);
    rank_.expect(group_.broadcast(data, root), "broadcast");
    rank_.expect(data == wanted, "broadcast of " + std::to_string(bytes) + " bytes");
  }

  void send(std::uint64_t n, std::size_t bytes, std::int32_t to) const {
    rank_.expect(group_.send(letter(rank_.rank(), to, n, bytes), to), "send");
  }

  void recv(std::uint64_t n, std::size_t bytes, std::int32_t from) const {
    byte_list data(bytes);
    rank_.expect(group_.recv(data, from), "recv");
    rank_.expect(data == letter(from, rank_.rank(), n, bytes),
                 "message of " + std::to_string(bytes) + " bytes");
  }

  void barrier() const { rank_.expect(group_.barrier(), "barrier"); }

private:
  [[nodiscard]] std::size_t me() const { return static_cast<std::size_t>(rank_.rank()); }

  static void append(byte_list& to, const byte_list& more) {
    to.insert(to.end(), more.begin(), more.end());
  }

  const test_rank& rank_;
  tensor::communicator& group_;
  const std::size_t size_;
};

} // namespace vdist::testing
