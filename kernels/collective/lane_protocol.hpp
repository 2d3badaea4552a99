// kernels/collective/lane_protocol.hpp — what the block of one lane does in a collective: the memory protocol of
// exchange_layout.hpp, written once. CUDA compiles it over the device's instructions (cuda/all_reduce.cu); the tests
// compile it over host threads that delay, stall and die (tests/kernels/collective).
//
// A Machine is one thread of the block: thread(), threads(), sync(), sync_or(b), now_ns(), relax(), and accesses
//   load(p)                       relaxed, whole 32- or 64-bit words, sees what other devices wrote
//   load_acquire, store_release   64 bits; a release behind sync() covers what the whole block has written
//   load_words, store_words       two 64-bit words; each is whole, their order is open
//   load_unit, store_unit         16 bytes of bulk data, ordered by flags only
//   claim(p, value, seen)         writes value if *p is `seen`; true if it did
//   report(p, value)              to the host
//
// P-1 Reuse of slots. Sequence s uses half s % 2. A rank writes that half again at s+2, after its exchange s+1 has heard
//     from every rank; each of them spoke in s+1 only after its whole block had read everything of s: behind the barrier
//     of exchange() (bulk), or the one that ends a round (words). Words and bulk have sequences and slots of their own,
//     and so has every lane, so the argument holds for any mixture of sizes and shapes.
// P-2 A tag is epoch / banks + 1 (12 bits; memory that nobody wrote has 0) and sequence (20 bits). Every 2^18 rounds a sender fills its whole slot, in both
//     halves, so no word in memory has an age of 2^20 rounds, and a tag of an earlier round never equals the present one.
//     Tags of epochs repeat after 2^15 epochs.
// P-3 Every wait ends: the word came, the state says that the group has failed, the fence is above the epoch (aborted),
//     or wait_ns have passed (late, with the rank that is waited for). The first failure of a rank is kept, in the state
//     and in host memory, and all later collectives of the epoch leave at once.
// P-4 What a collective reads and writes lies in device memory: epoch and sequences too. A recorded graph serves every
//     later step and epoch.
// P-5 A rank that waits longer than wait_told_ns says for whom, in host memory, every wait_beat_ns anew and once for all its
//     threads; nobody takes it back: who has fallen silent does not wait, or its device does not run. A rank that is late
//     and silent is late by its own fault. It costs nothing before that time: the looks at the clock are those of P-3.
// Every function returns true if the collective went through; else its output is undefined. All threads of a block call
// the same; all ranks of a group do, with the same sizes and shapes.
#pragma once

#include "kernels/collective/cells.hpp"
#include "kernels/collective/group_state.hpp"

#include <cstddef>
#include <cstdint>

namespace vdist::kernels {

template <class Machine, int Ranks>
class lane {
public:
  VDIST_LANE lane(Machine& machine,
                  const group_view& group,
                  std::int32_t index,
                  std::int32_t lanes,
                  group_operation operation)
      : m_(machine), g_(group), index_(index), lanes_(lanes), operation_(operation) {}

  /// Before anything else. False: the group has failed, or its epoch is over.
  [[nodiscard]] VDIST_LANE bool begin() {
    epoch_ = m_.load(&g_.state->epoch);
    words_ = m_.load(&g_.state->lanes[index_].words);
    bulk_ = m_.load(&g_.state->lanes[index_].bulk);
    return !m_.sync_or(is_over(g_.rank));
  }

  /// After everything else, if it went through.
  VDIST_LANE void end() {
    m_.sync();
    if (m_.thread() == 0) {
      g_.state->lanes[index_].words = words_;
      g_.state->lanes[index_].bulk = bulk_;
    }
  }

  // The sum over ranks of `data` goes to `target`, which may be data itself.

  /// By words.
  template <class Cell, class Target>
  [[nodiscard]] VDIST_LANE bool sum_by_words(const message<cell>& data, const Target& target) {
    const auto mine = part_of(data.units(), index_, lanes_);
    for (std::size_t done = 0; done < mine.count; done += g_.layout.word_units) {
      const auto count = smaller(mine.count - done, g_.layout.word_units);
      ++words_;
      send_words(data, mine.first + done, count);
      if (m_.sync_or(!take_words<Cell>(data, target, mine.first + done, count))) {
        return false;
      }
    }
    return true;
  }

  /// Everybody adds everything.
  template <class Cell, class Target>
  [[nodiscard]] VDIST_LANE bool sum_in_one(const message<cell>& data, const Target& target) {
    const auto mine = part_of(data.units(), index_, lanes_);
    for (std::size_t done = 0; done < mine.count; done += g_.layout.bulk_units) {
      const auto first = mine.first + done;
      const auto count = smaller(mine.count - done, g_.layout.bulk_units);
      ++bulk_;
      each_unit(
          count,
          [&](std::size_t i) { return data.load(first + i); },
          [&](std::size_t i, const unit& value) { push_to_all(i, value); });
      if (!exchange()) {
        return false;
      }
      each_unit(
          count,
          [&](std::size_t i) { return sum_at<Cell>(data.load(first + i), i); },
          [&](std::size_t i, const unit& sum) { target.store(first + i, sum); });
    }
    return true;
  }

  /// Everybody adds one part and hands it round.
  template <class Cell, class Target>
  [[nodiscard]] VDIST_LANE bool sum_in_two(const message<cell>& data, const Target& target) {
    const auto mine = part_of(data.units(), index_, lanes_);
    const auto most = g_.layout.bulk_units * Ranks;
    for (std::size_t done = 0; done < mine.count; done += most) {
      if (!sum_piece<Cell>(data, target, mine.first + done, smaller(mine.count - done, most))) {
        return false;
      }
    }
    return true;
  }

  /// Row i of out = row i of `in` of rank 0, of rank 1, …: `in` is [rows, part] cells, out [rows, Ranks, part].
  [[nodiscard]] VDIST_LANE bool
  gather(const cell* in, cell* out, std::size_t rows, std::size_t part) {
    const message_rows<const cell> source(in, {rows, part, part});
    const auto part_of_rank = [&](std::int32_t r) {
      return message_rows<cell>(out + static_cast<std::size_t>(r) * part,
                                {rows, part, part * Ranks});
    };
    const auto own = part_of_rank(g_.rank);
    const auto mine = part_of(source.units(), index_, lanes_);
    for (std::size_t done = 0; done < mine.count; done += g_.layout.bulk_units) {
      const auto first = mine.first + done;
      const auto count = smaller(mine.count - done, g_.layout.bulk_units);
      ++bulk_;
      each_unit(
          count,
          [&](std::size_t i) { return source.load(first + i); },
          [&](std::size_t i, const unit& value) {
            push_to_all(i, value);
            own.store(first + i, value);
          });
      if (!exchange()) {
        return false;
      }
      for (int r = 0; r < Ranks; ++r) {
        if (r != g_.rank) {
          copy_out(r, part_of_rank(r), first, count);
        }
      }
    }
    return true;
  }

  /// data of all ranks = data of `root`. With no data: a barrier.
  [[nodiscard]] VDIST_LANE bool broadcast(const message<cell>& data, std::int32_t root) {
    const auto mine = part_of(data.units(), index_, lanes_);
    std::size_t done = 0;
    do {
      const auto first = mine.first + done;
      const auto count = smaller(mine.count - done, g_.layout.bulk_units);
      ++bulk_;
      if (g_.rank == root) {
        each_unit(
            count,
            [&](std::size_t i) { return data.load(first + i); },
            [&](std::size_t i, const unit& value) { push_to_all(i, value); });
      }
      if (!exchange()) {
        return false;
      }
      if (g_.rank != root) {
        copy_out(root, data, first, count);
      }
      done += count;
    } while (done < mine.count);
    return true;
  }

  /// To rank `peer`, which calls recv(). At most two rounds are under way.
  [[nodiscard]] VDIST_LANE bool send(const message<const cell>& data, std::int32_t peer) {
    const auto mine = part_of(data.units(), index_, lanes_);
    for (std::size_t done = 0; done < mine.count; done += g_.layout.bulk_units) {
      const auto first = mine.first + done;
      const auto count = smaller(mine.count - done, g_.layout.bulk_units);
      ++bulk_;
      if (!hears_from(peer, bulk_ > 2 ? bulk_ - 2 : 0)) { // it has read what lies in this half
        return false;
      }
      unit* const slot = bulk_slot(peer, g_.rank);
      each_unit(
          count,
          [&](std::size_t i) { return data.load(first + i); },
          [&](std::size_t i, const unit& value) { m_.store_unit(slot + i, value); });
      m_.sync();
      tell(peer);
    }
    return true;
  }

  [[nodiscard]] VDIST_LANE bool recv(const message<cell>& data, std::int32_t peer) {
    const auto mine = part_of(data.units(), index_, lanes_);
    for (std::size_t done = 0; done < mine.count; done += g_.layout.bulk_units) {
      ++bulk_;
      if (!hears_from(peer, bulk_)) {
        return false;
      }
      copy_out(peer, data, mine.first + done, smaller(mine.count - done, g_.layout.bulk_units));
      m_.sync();
      tell(peer);
    }
    return true;
  }

private:
  static VDIST_LANE std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

  [[nodiscard]] VDIST_LANE std::byte* bank(std::int32_t owner) const {
    return g_.regions[owner] + g_.layout.bank_at(epoch_);
  }

  [[nodiscard]] VDIST_LANE std::uint64_t* flag(std::int32_t owner, std::int32_t source) const {
    return reinterpret_cast<std::uint64_t*>(bank(owner) + g_.layout.flag_at(index_, source));
  }

  [[nodiscard]] VDIST_LANE unit* bulk_slot(std::int32_t owner, std::int32_t source) const {
    return reinterpret_cast<unit*>(bank(owner) + g_.layout.bulk_at(index_, bulk_ % 2, source));
  }

  [[nodiscard]] VDIST_LANE std::uint64_t* word_slot(std::int32_t owner, std::int32_t source) const {
    return reinterpret_cast<std::uint64_t*>(bank(owner)
                                            + g_.layout.words_at(index_, words_ % 2, source));
  }

  [[nodiscard]] static VDIST_LANE std::uint32_t sequence(std::uint64_t exchanges) {
    return static_cast<std::uint32_t>(exchanges);
  }

  [[nodiscard]] VDIST_LANE std::uint64_t present_flag() const {
    return static_cast<std::uint64_t>(epoch_) << 32U | sequence(bulk_);
  }

  // Waits.

  VDIST_LANE void fail(group_fault fault, std::int32_t peer, std::uint32_t sequence) {
    const auto word = fault_record{fault, operation_, peer, sequence}.packed();
    if (m_.claim(&g_.state->fault, word, 0)) {
      m_.report(g_.report, word);
    }
  }

  /// P-5. The thread that comes first in this beat speaks.
  VDIST_LANE void say_waiting(std::int32_t peer, std::uint32_t wanted, std::uint64_t now) {
    const auto beat = now / wait_beat_ns;
    const auto last = m_.load(&g_.state->beat);
    if (beat != last && m_.claim(&g_.state->beat, beat, last)) {
      m_.report(
          g_.waiting,
          wait_record{
              static_cast<std::uint16_t>(beat), operation_, static_cast<std::uint8_t>(peer), wanted}
              .packed());
    }
  }

  [[nodiscard]] VDIST_LANE bool is_over(std::int32_t peer) {
    if (m_.load(&g_.state->fault) != 0) {
      return true;
    }
    if (m_.load(g_.fence) > epoch_) {
      fail(group_fault::aborted, peer, sequence(bulk_));
      return true;
    }
    return false;
  }

  /// Polls until `is_there()`; the bounds are looked at now and then (P-3).
  template <class IsThere>
  [[nodiscard]] VDIST_LANE bool
  wait(const IsThere& is_there, const std::int32_t& peer, std::uint32_t wanted) {
    std::uint64_t start = 0;
    for (std::uint32_t polls = 1; !is_there(); ++polls) {
      if (polls % 8 == 0 && is_over(peer)) {
        return false;
      }
      if (polls % 64 == 0) {
        const auto now = m_.now_ns();
        start = start == 0 ? now : start;
        if (now - start > g_.wait_ns) {
          fail(group_fault::late, peer, wanted);
          return false;
        }
        if (now - start > wait_told_ns) {
          say_waiting(peer, wanted, now);
        }
      }
      m_.relax();
    }
    return true;
  }

  [[nodiscard]] VDIST_LANE bool wait_for_flag(std::int32_t peer, std::uint64_t exchanges) {
    const std::uint64_t* const theirs = flag(g_.rank, peer);
    const auto wanted = sequence(exchanges);
    return wait([&] { return has_come(m_.load_acquire(theirs), epoch_, wanted); }, peer, wanted);
  }

  /// Behind the block's barrier: publishes the present sequence to one rank.
  VDIST_LANE void tell(std::int32_t peer) {
    if (m_.thread() == 0) {
      m_.store_release(flag(peer, g_.rank), present_flag());
    }
  }

  /// The whole block waits until `peer` has made as many exchanges.
  [[nodiscard]] VDIST_LANE bool hears_from(std::int32_t peer, std::uint64_t exchanges) {
    bool is_there = true;
    if (m_.thread() == 0 && exchanges > 0) {
      is_there = wait_for_flag(peer, exchanges);
    }
    return !m_.sync_or(!is_there);
  }

  /// Ends the pushes of the present sequence: publishes it to all, waits for all.
  [[nodiscard]] VDIST_LANE bool exchange() {
    m_.sync();
    bool are_there = true;
    for (auto r = static_cast<std::int32_t>(m_.thread()); r < Ranks;
         r += static_cast<std::int32_t>(m_.threads())) {
      if (r != g_.rank) {
        m_.store_release(flag(r, g_.rank), present_flag());
      }
    }
    for (auto r = static_cast<std::int32_t>(m_.thread()); r < Ranks && are_there;
         r += static_cast<std::int32_t>(m_.threads())) {
      are_there = r == g_.rank || wait_for_flag(r, bulk_);
    }
    return !m_.sync_or(!are_there);
  }

  // Bulk.

  /// store(i, load(i)) for this thread's share of `count` units.
  template <class Load, class Store>
  VDIST_LANE void each_unit(std::size_t count, const Load& load, const Store& store) {
    for (std::size_t i = m_.thread(); i < count; i += m_.threads()) {
      store(i, load(i));
    }
  }

  VDIST_LANE void push_to_all(std::size_t at, const unit& value) {
    VDIST_UNROLL
    for (int k = 1; k < Ranks; ++k) { // everybody begins with another one
      m_.store_unit(bulk_slot((g_.rank + k) % Ranks, g_.rank) + at, value);
    }
  }

  /// `to` is a message or rows of them.
  template <class Message>
  VDIST_LANE void
  copy_out(std::int32_t source, const Message& to, std::size_t first, std::size_t count) {
    const unit* const slot = bulk_slot(g_.rank, source);
    each_unit(
        count,
        [&](std::size_t i) { return m_.load_unit(slot + i); },
        [&](std::size_t i, const unit& value) { to.store(first + i, value); });
  }

  /// `own` and what the others have pushed to place `at`.
  template <class Cell>
  [[nodiscard]] VDIST_LANE unit sum_at(const unit& own, std::size_t at) {
    unit parts[Ranks] = {};
    VDIST_UNROLL
    for (int r = 0; r < Ranks; ++r) {
      parts[r] = r == g_.rank ? own : m_.load_unit(bulk_slot(g_.rank, r) + at);
    }
    return sum_units<Cell, Ranks>(parts);
  }

  template <class Cell, class Target>
  [[nodiscard]] VDIST_LANE bool
  sum_piece(const message<cell>& data, const Target& target, std::size_t first, std::size_t count) {
    ++bulk_;
    for (int k = 1; k < Ranks; ++k) {
      const int peer = (g_.rank + k) % Ranks;
      const auto theirs = part_of(count, peer, Ranks);
      unit* const slot = bulk_slot(peer, g_.rank);
      each_unit(
          theirs.count,
          [&](std::size_t i) { return data.load(first + theirs.first + i); },
          [&](std::size_t i, const unit& value) { m_.store_unit(slot + i, value); });
    }
    if (!exchange()) {
      return false;
    }
    const auto mine = part_of(count, g_.rank, Ranks);
    each_unit(
        mine.count,
        [&](std::size_t i) { return sum_at<Cell>(data.load(first + mine.first + i), i); },
        [&](std::size_t i, const unit& sum) {
          target.store(first + mine.first + i, sum);
          ++bulk_; // the other half takes the sums
          push_to_all(i, sum);
          --bulk_;
        });
    ++bulk_;
    if (!exchange()) {
      return false;
    }
    for (int r = 0; r < Ranks; ++r) {
      const auto theirs = part_of(count, r, Ranks);
      if (r != g_.rank) {
        copy_out(r, target, first + theirs.first, theirs.count);
      }
    }
    return true;
  }

  // Words: unit i of a slot is words 4 i … 4 i + 3, each a cell and the tag.

  [[nodiscard]] static VDIST_LANE std::uint64_t word_of(cell data, std::uint32_t tag) {
    return static_cast<std::uint64_t>(tag) << 32U | data;
  }

  VDIST_LANE void send_words(const message<cell>& data, std::size_t first, std::size_t count) {
    const auto tag = tag_of(epoch_, sequence(words_));
    const auto filled = is_refill(sequence(words_)) ? g_.layout.word_units : count;
    for (std::size_t i = m_.thread(); i < filled; i += m_.threads()) {
      const unit value = i < count ? data.load(first + i) : unit{};
      VDIST_UNROLL
      for (int k = 1; k < Ranks; ++k) {
        std::uint64_t* const to = word_slot((g_.rank + k) % Ranks, g_.rank) + unit_cells * i;
        m_.store_words(to, word_of(value.at[0], tag), word_of(value.at[1], tag));
        m_.store_words(to + 2, word_of(value.at[2], tag), word_of(value.at[3], tag));
      }
    }
  }

  /// What the others have sent to place `at`; false: one of them will not come. parts[rank] is left alone.
  [[nodiscard]] VDIST_LANE bool
  receive_words(std::size_t at, std::uint32_t tag, unit (&parts)[Ranks]) {
    std::int32_t missing = g_.rank;
    const auto are_there = [&] {
      bool are_whole = true;
      VDIST_UNROLL
      for (int r = 0; r < Ranks; ++r) { // all at once: their ways through memory overlap
        if (r != g_.rank) {
          const std::uint64_t* const from = word_slot(g_.rank, r) + unit_cells * at;
          std::uint64_t a = 0;
          std::uint64_t b = 0;
          std::uint64_t c = 0;
          std::uint64_t d = 0;
          m_.load_words(from, a, b);
          m_.load_words(from + 2, c, d);
          parts[r] = unit{{static_cast<cell>(a),
                           static_cast<cell>(b),
                           static_cast<cell>(c),
                           static_cast<cell>(d)}};
          if (a >> 32U != tag || b >> 32U != tag || c >> 32U != tag || d >> 32U != tag) {
            are_whole = false;
            missing = r;
          }
        }
      }
      return are_whole;
    };
    return wait(are_there, missing, sequence(words_));
  }

  template <class Cell, class Target>
  [[nodiscard]] VDIST_LANE bool take_words(const message<cell>& data,
                                           const Target& target,
                                           std::size_t first,
                                           std::size_t count) {
    const auto tag = tag_of(epoch_, sequence(words_));
    for (std::size_t i = m_.thread(); i < count; i += m_.threads()) {
      unit parts[Ranks] = {}; // all of them are filled below; the compiler cannot see it
      if (!receive_words(i, tag, parts)) {
        return false;
      }
      const unit own = data.load(first + i);
      VDIST_UNROLL
      for (int r = 0; r < Ranks; ++r) {
        parts[r] = r == g_.rank ? own : parts[r];
      }
      target.store(first + i, sum_units<Cell, Ranks>(parts));
    }
    return true;
  }

  Machine& m_;
  const group_view& g_;
  const std::int32_t index_;
  const std::int32_t lanes_;
  const group_operation operation_;
  std::uint32_t epoch_ = 0;
  std::uint64_t words_ = 0;
  std::uint64_t bulk_ = 0;
};

} // namespace vdist::kernels
