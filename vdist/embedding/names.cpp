#include "vdist/engine.hpp"

namespace vdist {
inline namespace v0 {

std::string_view to_string(error_code code) noexcept {
  switch (code) {
  case error_code::none:
    return "none";
  case error_code::invalid_argument:
    return "invalid_argument";
  case error_code::bad_configuration:
    return "bad_configuration";
  case error_code::unsupported:
    return "unsupported";
  case error_code::not_found:
    return "not_found";
  case error_code::corrupt:
    return "corrupt";
  case error_code::resource_exhausted:
    return "resource_exhausted";
  case error_code::queue_full:
    return "queue_full";
  case error_code::timed_out:
    return "timed_out";
  case error_code::closed:
    return "closed";
  case error_code::cancelled:
    return "cancelled";
  case error_code::io_failed:
    return "io_failed";
  case error_code::internal:
    return "internal";
  case error_code::not_ready:
    return "not_ready";
  }
  return "unknown";
}

std::string_view to_string(finish_reason reason) noexcept {
  switch (reason) {
  case finish_reason::none:
    return "none";
  case finish_reason::stop:
    return "stop";
  case finish_reason::length:
    return "length";
  case finish_reason::cancelled:
    return "cancelled";
  case finish_reason::failed:
    return "failed";
  }
  return "unknown";
}

std::string_view to_string(engine_state state) noexcept {
  switch (state) {
  case engine_state::loading:
    return "loading";
  case engine_state::running:
    return "running";
  case engine_state::draining:
    return "draining";
  case engine_state::failed:
    return "failed";
  case engine_state::closed:
    return "closed";
  }
  return "unknown";
}

std::string_view version() noexcept {
  return VDIST_VERSION;
}

} // namespace v0
} // namespace vdist
