#include "runtime/sched/waiting_queue.hpp"

#include "runtime/base/check.hpp"

namespace vdist::sched {

void waiting_queue::insert(sequence& waiting) {
  const bool is_inserted = by_policy_.insert(&waiting).second;
  VDIST_CHECK(is_inserted, "S-3: a sequence waits once");
  if (keeps_age_) {
    by_age_.insert(&waiting);
  }
}

void waiting_queue::erase(sequence& waiting) {
  const auto erased = by_policy_.erase(&waiting);
  VDIST_CHECK(erased == 1, "S-3: only a waiting sequence leaves the queue");
  if (keeps_age_) {
    by_age_.erase(&waiting);
  }
}

} // namespace vdist::sched
