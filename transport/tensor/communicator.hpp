// transport/tensor/communicator.hpp — the tensor plane as the model sees it: collectives over the
// ranks of one group, and a one-way pipe between neighbouring stages. Implementations are chosen
// outside; the model never asks which.
//
// T-1 All ranks of a group call the same collectives with the same sizes in the same order. send and
//     recv belong to two ranks: the n-th send to a rank meets its n-th recv, of the same size; they
//     are not ordered against collectives.
// T-2 all_reduce_sum and reduce_scatter_sum add in one fixed order, whatever the implementation, the
//     amount of data and the chunking: a binary tree over neighbours in rank order. tree(a, n) =
//     x[a] for n = 1, else tree(a, h) + tree(a+h, n-h) with h the largest power of two below n. So
//     2: r0+r1; 3: (r0+r1)+r2; 4: (r0+r1)+(r2+r3); 8: ((r0+r1)+(r2+r3))+((r4+r5)+(r6+r7)). Every
//     rank gets the same bits.
// T-3 Nothing of an epoch before start_epoch() is ever used after it, also not what a dead member of
//     the group left behind or still writes.
//
// Errors of every operation: timed_out (names the operation, its bytes and the rank that is late),
// aborted (the fence is above this epoch, or a peer is in a newer one), closed (a peer's connection
// is gone; only where there are connections), corrupt (T-1 is broken, where that can be seen),
// invalid_argument (before anything was sent; the group stays in step). After any other error this
// rank is out of step: only start_epoch() with a newer epoch mends it.
// One thread per communicator object.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace vdist::tensor {

/// Parts of a buffer, one per rank of the group: part r is bytes offsets[r] … offsets[r]+counts[r].
/// Borrowed for the call. Unit: bytes.
struct rank_parts {
  std::span<const std::size_t> counts;
  std::span<const std::size_t> offsets;
};

/// Of operations that run on a device behind the host's back: for whom one waits, since longer than meetings take.
struct peer_wait {
  std::int32_t peer = 0; // place in the group
  std::uint64_t beat =
      0; // another one whenever it is said anew; one that stays says that nobody waits any more
  std::string_view operation; // for messages
};

class communicator {
public:
  virtual ~communicator() = default;

  /// Place in the group, 0 … size()-1; not the global rank.
  [[nodiscard]] virtual std::int32_t rank() const noexcept = 0;
  [[nodiscard]] virtual std::int32_t size() const noexcept = 0;

  /// Starts over for `next`, which is above every epoch this member has taken part in. Does not wait
  /// for peers: those that have not started it yet are waited for by the first operation. Epochs
  /// count from 1. Error: stale, when this place already acts in `next` or a later epoch.
  [[nodiscard]] virtual result<void> start_epoch(epoch next) = 0;

  /// Where operations only enqueue (on a device): what became of those that have run; errors as theirs.
  [[nodiscard]] virtual result<void> status() const { return {}; }

  /// The newest there was, in any epoch. Any thread; a read of memory. Of those that wait on the host: nothing.
  [[nodiscard]] virtual peer_wait waiting() const noexcept { return {}; }

  /// Leaves out the next operation, as a defect would: for tests of what the others do then. False: it cannot.
  [[nodiscard]] virtual bool skip_next() noexcept { return false; }

  /// data[i] = sum over ranks of data[i], in the order of T-2. In place.
  [[nodiscard]] virtual result<void> all_reduce_sum(std::span<float> data) = 0;

  /// onto[i] += sum over ranks of data[i], which is undefined afterwards: a sum and an addition at once, for those whose
  /// adds_sums() says so.
  [[nodiscard]] virtual result<void> add_sum(std::span<float> /*data*/, std::span<float> /*onto*/) {
    return fail(errc::unsupported, "add_sum: not by this communicator");
  }

  [[nodiscard]] virtual bool adds_sums() const noexcept { return false; }

  /// out[i] = sum over ranks of in[rank()*out.size() + i], in the order of T-2: the same bits as
  /// that slice of all_reduce_sum. in.size() == size() * out.size(). `in` may not overlap out.
  [[nodiscard]] virtual result<void> reduce_scatter_sum(std::span<const float> in,
                                                        std::span<float> out) = 0;

  /// `in` is [rows, part], `out` [rows, size(), part]: row i of out = row i of `in` of rank 0, of
  /// rank 1, …. in.size() is a multiple of `rows`, out.size() == size() * in.size(); no rows only
  /// without data. `in` may not overlap out.
  [[nodiscard]] virtual result<void>
  all_gather(std::span<const float> in, std::span<float> out, std::size_t rows) = 0;

  /// Both buffers are size() equal parts: part r of out = part rank() of in of rank r. `in` may not
  /// overlap out.
  [[nodiscard]] virtual result<void> all_to_all(std::span<const std::byte> in,
                                                std::span<std::byte> out) = 0;

  /// As all_to_all with a size for every pair of ranks: what rank a counts for b in `in_parts` is
  /// what b counts for a in `out_parts`; 0 is allowed. Parts of `out` may not overlap each other.
  [[nodiscard]] virtual result<void> all_to_all_v(std::span<const std::byte> in,
                                                  const rank_parts& in_parts,
                                                  std::span<std::byte> out,
                                                  const rank_parts& out_parts) = 0;

  /// data of every rank = data of `root`.
  [[nodiscard]] virtual result<void> broadcast(std::span<std::byte> data, std::int32_t root) = 0;

  /// Returns when all ranks have called it.
  [[nodiscard]] virtual result<void> barrier() = 0;

  /// To another rank of the group. Returns when the data has been copied out of `data`. How much may
  /// be under way is bounded, perhaps by nothing: it may wait until `to` receives, so two ranks that
  /// exchange use all_to_all_v, or one of them receives first.
  [[nodiscard]] virtual result<void> send(std::span<const std::byte> data, std::int32_t to) = 0;

  /// Receives exactly data.size() bytes, which is what `from` sends (T-1).
  [[nodiscard]] virtual result<void> recv(std::span<std::byte> data, std::int32_t from) = 0;
};

/// One end of a one-way connection between two neighbouring stages. A bounded number of messages
/// may be under way; then send() waits. The sending end may only send, the receiving end only
/// receive: the other call is invalid_argument.
class pipe {
public:
  virtual ~pipe() = default;

  /// As for communicator.
  [[nodiscard]] virtual result<void> start_epoch(epoch next) = 0;

  [[nodiscard]] virtual result<void> status() const { return {}; }

  /// As for communicator; the peer is the other end.
  [[nodiscard]] virtual peer_wait waiting() const noexcept { return {}; }

  [[nodiscard]] virtual bool skip_next() noexcept { return false; }

  /// Returns when the data has been copied out of `data`.
  [[nodiscard]] virtual result<void> send(std::span<const float> data) = 0;

  /// Receives a message of exactly data.size() floats. Error: corrupt, when it has another size.
  [[nodiscard]] virtual result<void> recv(std::span<float> data) = 0;
};

} // namespace vdist::tensor
