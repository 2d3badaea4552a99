// runtime/sched/waiting_queue.hpp — requests that wait for a slot and blocks, in policy order.
// Borrows the sequences. A sequence's key must not change while it is in here.
// Cost: O(log n) per change, O(1) to look; n may be tens of thousands.
#pragma once

#include "runtime/sched/sequence.hpp"

#include <cstddef>
#include <set>

namespace vdist::sched {

class waiting_queue {
public:
  /// `keeps_age`: oldest() works, at the price of a second order.
  explicit waiting_queue(bool keeps_age) : keeps_age_(keeps_age) {}

  void insert(sequence& waiting);
  void erase(sequence& waiting);

  [[nodiscard]] std::size_t size() const { return by_policy_.size(); }

  [[nodiscard]] bool empty() const { return by_policy_.empty(); }

  /// First by policy. Must not be empty.
  [[nodiscard]] sequence& head() const { return **by_policy_.begin(); }

  /// First by arrival. Must not be empty, and keep ages.
  [[nodiscard]] sequence& oldest() const { return **by_age_.begin(); }

  [[nodiscard]] bool contains(sequence& waiting) const { return by_policy_.contains(&waiting); }

private:
  struct policy_order {
    bool operator()(const sequence* a, const sequence* b) const { return a->key < b->key; }
  };

  struct age_order {
    bool operator()(const sequence* a, const sequence* b) const {
      return a->key.arrival != b->key.arrival ? a->key.arrival < b->key.arrival
                                              : a->key.id < b->key.id;
    }
  };

  bool keeps_age_;
  std::set<sequence*, policy_order> by_policy_;
  std::set<sequence*, age_order> by_age_;
};

} // namespace vdist::sched
