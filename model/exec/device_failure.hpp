// model/exec/device_failure.hpp — the error that a failed device is for those who decide what follows: device_lost where no
// process shall use it any more, else device_failed, which another process mends. The host's own memory never fails like that.
#pragma once

#include "runtime/base/result.hpp"

#include "kernels/device_fault.hpp"
#include "kernels/device_queue.hpp"

#include <string>

namespace vdist::exec {

/// Of a queue whose failure() is not empty.
[[nodiscard]] inline error error_of(const kernels::device_queue& queue) {
  switch (kernels::class_of_cuda_error(queue.failure_code())) {
  case kernels::fault_class::none:
    return fail(errc::internal, queue.failure());
  case kernels::fault_class::device:
    return fail(errc::device_lost, queue.failure());
  case kernels::fault_class::worker:
  case kernels::fault_class::host: // there is no other host: whoever comes back may find it mended
    break;
  }
  return fail(errc::device_failed, queue.failure());
}

} // namespace vdist::exec
