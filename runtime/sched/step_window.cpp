#include "runtime/sched/step_window.hpp"

#include "runtime/base/check.hpp"

namespace vdist::sched {

step_record& step_window::open(step_id step) {
  VDIST_CHECK(!is_full(), "S-2: too many steps in flight");
  ++size_;
  auto& opened = youngest();
  opened.step = step;
  opened.samples = 0;
  opened.entries.clear();
  opened.saves.clear();
  return opened;
}

void step_window::abandon() {
  VDIST_CHECK(size_ > 0, "S-2: no step to abandon");
  --size_;
}

void step_window::close_oldest() {
  VDIST_CHECK(size_ > 0, "S-2: no step to close");
  first_ = (first_ + 1) % ring_.size();
  --size_;
}

} // namespace vdist::sched
