// transport/tensor/epoch_member.hpp — what every member of a group and every end of a pipe keeps
// between operations: the present epoch, whether it is still in step, and the bounds of the
// operation under way. Internal to transport/tensor.
// M-1 Operations work only between enter() and the first failure: a member that has failed may have
//     missed an exchange that the others have made, so nothing it did later would fit theirs.
// One thread per object.
#pragma once

#include "transport/tensor/exchange.hpp"

#include <chrono>

namespace vdist::tensor {

class epoch_member {
public:
  /// `stop` is borrowed and outlives the member; nullptr: none. `timeout` bounds each operation.
  epoch_member(const frame::wait_policy& waits,
               std::chrono::milliseconds timeout,
               const frame::fence* stop)
      : waits_(waits), timeout_(timeout), stop_(stop) {}

  epoch_member(const epoch_member&) = delete;
  epoch_member& operator=(const epoch_member&) = delete;

  /// The place was claimed for `now`: operations may begin.
  void enter(epoch now) noexcept {
    now_ = now;
    is_in_step_ = true;
  }

  /// Begins an operation: its deadline runs from here. `operation` is a literal. Error: aborted
  /// (M-1).
  [[nodiscard]] result<void> begin(std::string_view operation, std::size_t bytes);

  /// Passes `outcome` on; a failure puts this member out of step (M-1).
  [[nodiscard]] result<void> keep(result<void> outcome) noexcept {
    is_in_step_ = is_in_step_ && outcome.has_value();
    return outcome;
  }

  /// Of the operation under way.
  [[nodiscard]] const wait_context& context() const noexcept { return context_; }

  [[nodiscard]] epoch now() const noexcept { return now_; }

private:
  const frame::wait_policy waits_;
  const std::chrono::milliseconds timeout_;
  const frame::fence* const stop_;
  epoch now_;
  bool is_in_step_ = false;
  wait_context context_;
};

} // namespace vdist::tensor
