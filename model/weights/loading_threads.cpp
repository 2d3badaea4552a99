#include "model/weights/loading_threads.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <system_error>
#include <thread>
#include <vector>

namespace vdist::weights {

result<void>
work_on_threads(std::int32_t threads, std::size_t pieces, const std::function<void()>& work) {
  if (threads < 1 || threads > max_load_threads) {
    return fail(errc::invalid_argument,
                fmt::format("load weights: illegal number of threads (threads={}, legal=1 to {})",
                            threads,
                            max_load_threads));
  }
  const auto wanted = std::min(static_cast<std::size_t>(threads), pieces);
  std::vector<std::jthread> helpers;
  try {
    for (std::size_t i = 1; i < wanted; ++i) {
      helpers.emplace_back([&work] { work(); });
    }
  } catch (const std::system_error&) { // no more threads to be had
  }
  work();
  return {};
}

} // namespace vdist::weights
