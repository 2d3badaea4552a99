#include "runtime/base/log.hpp"

#include <memory>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <string>

namespace vdist::log {

void initialise(std::string_view level) {
  auto logger = spdlog::get("vdist");
  if (!logger) {
    logger = spdlog::stderr_color_mt("vdist");
  }
  logger->set_pattern("%H:%M:%S.%e %^%l%$ %v");
  auto parsed = spdlog::level::from_str(std::string(level));
  const bool is_known = parsed != spdlog::level::off || level == "off";
  logger->set_level(is_known ? parsed : spdlog::level::info);
  spdlog::set_default_logger(logger);
}

} // namespace vdist::log
