#include "transport/http/service.hpp"

#include <algorithm>

namespace vdist::http {

response service::answer_to(const refusal& cause, refused_by reason) {
  if (reason != refused_by::count_of_reasons) {
    counts.refuse(reason);
  }
  if (config.error_answer) {
    auto made = config.error_answer(cause);
    made.status = cause.status;
    if (std::all_of(made.headers.begin(), made.headers.end(), is_legal)) {
      return made;
    }
  }
  return plain_error(cause);
}

void service::connection_closed() {
  {
    const std::lock_guard lock(closing);
    counts.connections_open.fetch_sub(1, std::memory_order_relaxed);
  }
  closed.notify_all();
}

} // namespace vdist::http
