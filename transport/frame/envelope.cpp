#include "transport/frame/envelope.hpp"

#include "transport/frame/crc32c.hpp"

#include <cstring>
#include <fmt/format.h>

namespace vdist::frame {

namespace {

std::uint32_t checksum(envelope header, std::span<const std::byte> body) {
  header.crc32c = 0;
  return crc32c(body, crc32c(std::as_bytes(std::span(&header, 1))));
}

error refuse(drop_reason reason, std::size_t bytes, drop_reason* why) {
  if (why != nullptr) {
    *why = reason;
  }
  return fail(errc::corrupt, fmt::format("frame: {} (bytes={})", to_string(reason), bytes));
}

} // namespace

const char* to_string(drop_reason reason) noexcept {
  switch (reason) {
  case drop_reason::too_short:
    return "too short";
  case drop_reason::bad_magic:
    return "bad magic";
  case drop_reason::too_long:
    return "too long";
  case drop_reason::bad_checksum:
    return "bad checksum";
  case drop_reason::foreign:
    return "foreign";
  case drop_reason::stale_epoch:
    return "stale epoch";
  case drop_reason::stale_incarnation:
    return "stale incarnation";
  case drop_reason::duplicate:
    return "duplicate";
  case drop_reason::gap:
    return "gap";
  case drop_reason::torn:
    return "torn";
  }
  return "unknown";
}

result<void> seal(envelope& header, std::span<const std::byte> body, const frame_limits& limits) {
  if (body.size() > limits.body_bytes_max) {
    return fail(errc::invalid_argument,
                fmt::format("frame: body is too long (bytes={} body_bytes_max={})",
                            body.size(),
                            limits.body_bytes_max));
  }
  header.length = static_cast<std::uint32_t>(body.size());
  header.crc32c = checksum(header, body);
  return {};
}

void encode(const envelope& header, std::span<const std::byte> body, std::span<std::byte> out) {
  VDIST_CHECK(body.size() == header.length && out.size() >= frame_bytes(header),
              "frame: encode() needs a sealed header and room for the frame");
  std::memcpy(out.data(), &header, sizeof header);
  if (!body.empty()) {
    std::memcpy(out.data() + sizeof header, body.data(), body.size());
  }
}

result<frame_view>
parse(std::span<const std::byte> bytes, const frame_limits& limits, drop_reason* why) {
  frame_view view;
  if (bytes.size() < sizeof(envelope)) {
    return refuse(drop_reason::too_short, bytes.size(), why);
  }
  std::memcpy(&view.header, bytes.data(), sizeof(envelope));
  if (view.header.magic != envelope_magic || view.header.layout != envelope_layout) {
    return refuse(drop_reason::bad_magic, bytes.size(), why);
  }
  if (view.header.length > limits.body_bytes_max || bytes.size() > frame_bytes(view.header)) {
    return refuse(drop_reason::too_long, bytes.size(), why);
  }
  if (bytes.size() < frame_bytes(view.header)) {
    return refuse(drop_reason::too_short, bytes.size(), why);
  }
  view.body = bytes.subspan(sizeof(envelope));
  if (checksum(view.header, view.body) != view.header.crc32c) {
    return refuse(drop_reason::bad_checksum, bytes.size(), why);
  }
  return view;
}

} // namespace vdist::frame
