// actors/run/nemesis.hpp — strikes again and again at something that it draws: the random part of a fault script.
// A strike arms a rule that acts once, at a place and a worker that are drawn, so that the hit is counted and logged as any
// other; a worker or node that is to be killed is half of the time killed from outside instead, in the middle of whatever
// it does, and a vault always.
//
// N-1 What is drawn is a function of the script's seed, the nemesis and the number of the strike. The number is the count of
//     hits in the armed table: it goes on where it was when the control process is replaced.
// N-2 A strike that has not hit when the next one is due is replaced by it: an idle cluster gathers no strikes.
// N-3 Ends with the object, at once.
// Owns one thread per nemesis, which sleeps. Borrows the failpoints, which outlive it.
#pragma once

#include "runtime/base/failpoint.hpp"
#include "runtime/config/fault_script.hpp"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace vdist::actors {

/// What a nemesis may strike. Ranks are of the cluster, those of a replica are neighbours.
struct nemesis_field {
  std::int32_t ranks = 1;
  std::int32_t ranks_per_replica = 1;
  /// SIGKILL to a process from outside: of a worker by its rank, the node or the vault; false: there is none now.
  /// Empty: all is one process.
  std::function<bool(config::nemesis_choice::target what, std::int32_t rank)> kill;
};

/// A strike, drawn (N-1).
struct nemesis_strike {
  config::nemesis_choice::target what = config::nemesis_choice::target::worker;
  failpoint_rule rule;
  std::int32_t rank = -1;       // of the cluster; -1: not a worker
  bool is_from_outside = false; // by nemesis_field::kill
};

[[nodiscard]] nemesis_strike draw_strike(const config::nemesis& script,
                                         const nemesis_field& field,
                                         std::uint64_t seed,
                                         std::uint64_t number);

class nemesis {
public:
  /// Its rule is number `index` of `points`, reserved by reserved_rule().
  nemesis(const config::nemesis& script,
          const nemesis_field& field,
          std::uint64_t seed,
          failpoints& points,
          std::size_t index);
  ~nemesis();
  nemesis(const nemesis&) = delete;
  nemesis& operator=(const nemesis&) = delete;

  /// Matches nowhere; keeps the place for the strikes.
  [[nodiscard]] static failpoint_rule reserved_rule();

private:
  void run();
  void strike(std::uint64_t number);

  config::nemesis script_;
  nemesis_field field_;
  std::uint64_t seed_;
  failpoints& points_;
  std::size_t index_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_stopping_ = false; // guarded by mutex_
  std::thread thread_;
};

} // namespace vdist::actors
