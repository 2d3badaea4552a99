#include "runtime/base/result.hpp"

namespace vdist {

std::string_view to_string(errc code) noexcept {
  switch (code) {
  case errc::ok:
    return "ok";
  case errc::invalid_argument:
    return "invalid_argument";
  case errc::bad_configuration:
    return "bad_configuration";
  case errc::unsupported:
    return "unsupported";
  case errc::not_found:
    return "not_found";
  case errc::corrupt:
    return "corrupt";
  case errc::resource_exhausted:
    return "resource_exhausted";
  case errc::queue_full:
    return "queue_full";
  case errc::timed_out:
    return "timed_out";
  case errc::stale:
    return "stale";
  case errc::aborted:
    return "aborted";
  case errc::closed:
    return "closed";
  case errc::cancelled:
    return "cancelled";
  case errc::io_failed:
    return "io_failed";
  case errc::internal:
    return "internal";
  case errc::device_failed:
    return "device_failed";
  case errc::device_lost:
    return "device_lost";
  }
  return "unknown";
}

int exit_code(errc code) noexcept {
  switch (code) {
  case errc::ok:
    return 0;
  case errc::invalid_argument:
  case errc::bad_configuration:
  case errc::unsupported:
    return 2;
  case errc::not_found:
  case errc::corrupt:
  case errc::resource_exhausted:
  case errc::io_failed:
    return 3;
  case errc::cancelled:
    return 130;
  default:
    return 4;
  }
}

} // namespace vdist
