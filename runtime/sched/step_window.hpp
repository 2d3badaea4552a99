// runtime/sched/step_window.hpp — the steps in flight, oldest first, in a ring that keeps its
// memory.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/sched/sequence.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vdist::sched {

/// What a step does for one sequence. The sequence is borrowed: it stays until its last step
/// is over (S-1).
struct step_entry {
  sequence* owner = nullptr;
  std::int32_t count = 0; // tokens computed
  bool samples = false;
};

/// A block that a step copies into the host store. It is held until the step is over.
struct step_save {
  kv::stored_prefix entry;
  block_id block;
};

struct step_record {
  step_id step;
  std::size_t samples = 0; // entries that sample
  std::vector<step_entry> entries;
  std::vector<step_save> saves;
};

class step_window {
public:
  explicit step_window(std::size_t capacity) : ring_(capacity) {}

  [[nodiscard]] std::size_t size() const { return size_; }

  [[nodiscard]] bool is_full() const { return size_ == ring_.size(); }

  /// An empty record behind the youngest. Must not be full.
  step_record& open(step_id step);

  /// Takes back the record opened last.
  void abandon();

  /// `age` 0 is the oldest; below size().
  [[nodiscard]] const step_record& at(std::size_t age) const {
    return ring_[(first_ + age) % ring_.size()];
  }

  [[nodiscard]] const step_record& oldest() const { return at(0); }

  [[nodiscard]] step_record& youngest() { return ring_[(first_ + size_ - 1) % ring_.size()]; }

  void close_oldest();

private:
  std::vector<step_record> ring_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

} // namespace vdist::sched
