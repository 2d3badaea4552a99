#include "actors/system/adoption.hpp"

#include "actors/gateway/regions.hpp"
#include "actors/system/worker_orders.hpp"
#include "actors/worker/worker_order.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>

namespace vdist::actors {

namespace {

using supervisor::slot_start;

/// A killed process ends within this; one that holds a GPU takes some seconds.
constexpr std::chrono::seconds end_deadline{30};
/// Incarnations of a rank whose links are looked for: a control process loses at most those whose end it was told and did
/// not get round to.
constexpr std::uint32_t links_looked_at = 8;

/// Kills the worker and waits until it has ended.
result<void> end_worker(host::host_link& host, const protocol::process_key& key) {
  struct end {
    std::mutex mutex;
    std::condition_variable is_told;
    bool has_ended = false; // guarded by mutex
  };

  const auto one = std::make_shared<end>(); // with the link, should this give up
  const auto on_ended = [one](const protocol::process_ended&) {
    {
      const std::lock_guard lock(one->mutex);
      one->has_ended = true;
    }
    one->is_told.notify_all();
  };
  VDIST_TRY(host.adopt(key, {.on_ended = on_ended, .on_dying = {}}));
  host.kill(key);
  std::unique_lock lock(one->mutex);
  return one->is_told.wait_for(lock, end_deadline, [&one] { return one->has_ended; })
             ? result<void>()
             : fail(errc::timed_out, "adoption: it does not end: " + to_string(key));
}

/// Whether the process has told its board that it is through with loading.
bool has_loaded(const host::board_words& board, const protocol::process_key& key) {
  const auto found =
      std::find_if(board.lives.begin(), board.lives.end(), [&key](const auto& entry) {
        return host::identity_of(entry) == key;
      });
  const auto phase =
      found == board.lives.end() ? work_phase::none : phase_of(found->progress.word.load());
  return phase != work_phase::none && phase != work_phase::loading;
}

/// One replica, as the predecessor left it.
class found_replica {
public:
  found_replica(isolated_parts& parts,
                const model_setup& setup,
                const frame::wait_settings& waits,
                std::int32_t index)
      : parts_(parts), setup_(setup), waits_(waits), index_(index) {}

  result<std::vector<slot_start>> take_over() {
    VDIST_ASSIGN(const bool can_go_on, look_at_fence());
    std::vector<slot_start> slots;
    const auto ranks = setup_.layout->ranks_of_replica(index_);
    for (std::size_t slot = 0; slot < ranks.size(); ++slot) {
      VDIST_ASSIGN(const auto found,
                   take_over_slot(ranks[slot].value, static_cast<std::int32_t>(slot), can_go_on));
      slots.push_back(found);
    }
    return slots;
  }

private:
  /// False: no epoch can come behind it, and its words are given back for new ones. Spares have mapped them, too.
  result<bool> look_at_fence() {
    const auto ranks = setup_.layout->ranks_of_replica(index_);
    const auto key = replica_words_key(ranks.front());
    VDIST_ASSIGN(const auto words, map_words<replica_words>(*parts_.memory, key));
    if (words->fence.word().load() != std::numeric_limits<std::uint32_t>::max()) {
      return true;
    }
    for (const auto rank : ranks) {
      parts_.host->prepare_spare({.rank = rank.value, .order = {}}, {});
    }
    VDIST_TRY(parts_.memory->release(key));
    return false;
  }

  result<slot_start> take_over_slot(std::int32_t rank, std::int32_t slot, bool can_go_on) {
    auto& host = *parts_.host;
    const auto last = host.last_incarnation(rank);
    slot_start found{.worker = incarnation(last)};
    for (const auto& one : host.living()) {
      if (one.key.rank != rank) {
        continue;
      }
      const bool is_ours = can_go_on && one.key.incarnation == last
                           && one.order_hash == order_hash(slot, incarnation(last));
      if (is_ours) {
        found.what = has_loaded(*host.board(), one.key) ? slot_start::kind::living
                                                        : slot_start::kind::loading;
      } else {
        log::warn("adoption: {} (pid={}) was started for another order: it is ended",
                  to_string(one.key),
                  one.pid);
        VDIST_TRY(end_worker(host, one.key));
      }
    }
    forget_links(rank, found);
    return found;
  }

  [[nodiscard]] std::uint64_t order_hash(std::int32_t slot, incarnation worker) const {
    auto order = order_of(setup_, parts_.cluster, index_, slot, waits_);
    order.incarnation = worker.value;
    return hash_of(order);
  }

  /// That of the next incarnation, too: the predecessor may have made it and died before anybody was started for it.
  void forget_links(std::int32_t rank, const slot_start& found) {
    const auto last = found.worker.value;
    const auto first = last - std::min(last, links_looked_at) + 1;
    for (auto worker = first; worker <= last + 1; ++worker) {
      if (worker != last || found.what == slot_start::kind::absent) {
        // not_found: it was given back as it should.
        (void)parts_.memory->release(worker_link_key(rank_id(rank), incarnation(worker)));
      }
    }
  }

  isolated_parts& parts_;
  const model_setup& setup_;
  const frame::wait_settings& waits_;
  const std::int32_t index_;
};

} // namespace

result<std::vector<std::vector<slot_start>>>
find_workers(isolated_parts& parts, const model_setup& setup, const frame::wait_settings& waits) {
  std::vector<std::vector<slot_start>> left;
  if (!parts.host || parts.host->node_starts() == 1) {
    return left;
  }
  for (const auto& one : parts.host->living()) {
    if (one.key.rank >= setup.layout->world()) { // of a larger cluster
      VDIST_TRY(end_worker(*parts.host, one.key));
    }
  }
  for (std::int32_t index = 0; index < setup.layout->sizes().data; ++index) {
    VDIST_ASSIGN(auto slots, found_replica(parts, setup, waits, index).take_over());
    left.push_back(std::move(slots));
  }
  return left;
}

} // namespace vdist::actors
