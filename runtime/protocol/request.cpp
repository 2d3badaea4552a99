#include "runtime/protocol/request.hpp"

namespace vdist::protocol {

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
    return "error";
  }
  return "unknown";
}

} // namespace vdist::protocol
