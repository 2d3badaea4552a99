#include "runtime/text/jinja/workspace.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

/// Steps between two looks at the clock: some tens of microseconds.
constexpr std::uint64_t steps_per_check = 1024;

} // namespace

workspace::workspace(const render_options& options)
    : options_(options),
      meter_(options.limits.memory_bytes_max),
      arena_(first_.data(), first_.size(), &meter_),
      steps_left_(options.limits.steps_max),
      until_check_(0),
      clock_(options.clock != nullptr ? *options.clock : machine_clock_),
      deadline_(clock_.now() + options.limits.time_max) {}

void workspace::check(std::uint64_t steps) {
  steps -= until_check_;
  until_check_ = 0;
  if (steps > steps_left_) {
    throw template_error(errc::resource_exhausted,
                         fmt::format("too many steps (steps_max={})", options_.limits.steps_max));
  }
  if (clock_.now() >= deadline_) {
    const auto time_max =
        std::chrono::duration_cast<std::chrono::milliseconds>(options_.limits.time_max);
    throw template_error(errc::timed_out,
                         fmt::format("too slow (time_max_ms={})", time_max.count()));
  }
  steps_left_ -= steps;
  until_check_ = std::min(steps_left_, steps_per_check);
  steps_left_ -= until_check_;
}

void workspace::level::too_deep() {
  throw template_error(errc::resource_exhausted, "evaluations are nested too deeply");
}

void* workspace::meter::do_allocate(std::size_t bytes, std::size_t alignment) {
  if (bytes > left_) {
    throw template_error(errc::resource_exhausted, "too much memory is needed");
  }
  left_ -= bytes;
  return std::pmr::new_delete_resource()->allocate(bytes, alignment);
}

void workspace::meter::do_deallocate(void* at, std::size_t bytes, std::size_t alignment) {
  left_ += bytes;
  std::pmr::new_delete_resource()->deallocate(at, bytes, alignment);
}

} // namespace vdist::text::jinja
