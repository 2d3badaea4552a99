#include "transport/tensor/epoch_member.hpp"

#include <fmt/format.h>

namespace vdist::tensor {

result<void> epoch_member::begin(std::string_view operation, std::size_t bytes) {
  if (!is_in_step_) {
    return fail(errc::aborted,
                fmt::format("{}: no epoch was started, or the present one has failed (epoch={})",
                            operation,
                            now_.value));
  }
  context_ = wait_context{&waits_, stop_, waits_.now() + timeout_, now_, operation, bytes};
  return {};
}

} // namespace vdist::tensor
