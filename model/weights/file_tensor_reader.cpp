#include "model/weights/file_tensor_reader.hpp"

#include "model/weights/convert.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::weights {

namespace {

/// Lines that begin closer together than this share pages.
constexpr std::size_t page_bytes = 4096;

} // namespace

file_tensor_reader::file_tensor_reader(tensor_place place)
    : place_(std::move(place)), element_bytes_(kernels::size_of(place_.type)) {}

result<void> file_tensor_reader::read(const tensor_block& block, const block_target& target) {
  if (block.count == 0 || block.lines == 0) {
    return {};
  }
  check_bounds(block);
  VDIST_TRY(open_file());
  const auto lines = in_bytes(block);
  if (lines.count > 1 && lines.stride < page_bytes) {
    return read_together(lines, target);
  }
  return place_.type == target.type ? read_straight(lines, target) : read_apart(lines, target);
}

void file_tensor_reader::check_bounds(const tensor_block& block) const {
  const std::int64_t end = block.first + (block.lines - 1) * block.stride + block.count;
  VDIST_CHECK(block.first >= 0 && block.count > 0 && block.lines > 0
                  && (block.lines == 1 || block.stride >= block.count)
                  && static_cast<std::uint64_t>(end) * element_bytes_ <= place_.bytes,
              "W-3: a slice must lie inside its tensor");
}

/// C-2. Every reader has its own descriptor: with a shared one, the system would take the reads of
/// several threads for random ones and not read ahead.
result<void> file_tensor_reader::open_file() {
  if (file_) {
    return {};
  }
  VDIST_ASSIGN(auto file, weight_file::open(place_.path));
  if (!(file.identity() == place_.identity)) {
    return fail(errc::corrupt,
                fmt::format("read {}: the file has changed since its header was read (tensor={}, "
                            "bytes={}, bytes_before={})",
                            place_.path.string(),
                            place_.name,
                            file.identity().bytes,
                            place_.identity.bytes));
  }
  file_.emplace(std::move(file));
  return {};
}

file_tensor_reader::byte_lines file_tensor_reader::in_bytes(const tensor_block& block) const {
  return {.first = place_.first + static_cast<std::uint64_t>(block.first) * element_bytes_,
          .bytes = static_cast<std::size_t>(block.count) * element_bytes_,
          .count = static_cast<std::size_t>(block.lines),
          .stride = static_cast<std::size_t>(block.stride) * element_bytes_};
}

/// The elements have their type already.
result<void> file_tensor_reader::read_straight(const byte_lines& lines,
                                               const block_target& target) {
  for (std::size_t line = 0; line < lines.count; ++line) {
    VDIST_TRY(file_->read(lines.first + line * lines.stride,
                          {target.data + line * target.stride, lines.bytes},
                          place_.name));
  }
  return {};
}

/// Each line on its own, through the buffer.
result<void> file_tensor_reader::read_apart(const byte_lines& lines, const block_target& target) {
  for (std::size_t line = 0; line < lines.count; ++line) {
    std::byte* out = target.data + line * target.stride;
    for (std::size_t done = 0; done < lines.bytes; done += read_buffer_bytes) {
      const std::size_t here = std::min(read_buffer_bytes, lines.bytes - done);
      VDIST_ASSIGN(const auto* from, buffered(lines.first + line * lines.stride + done, here));
      VDIST_TRY(convert_into(from, here, target.type, out));
      out += here / element_bytes_ * kernels::size_of(target.type);
    }
  }
  return {};
}

/// As many lines as the buffer holds, and what lies between them.
result<void> file_tensor_reader::read_together(const byte_lines& lines,
                                               const block_target& target) {
  const std::size_t group = 1 + (read_buffer_bytes - lines.bytes) / lines.stride;
  for (std::size_t done = 0; done < lines.count; done += group) {
    const std::size_t here = std::min(group, lines.count - done);
    VDIST_ASSIGN(
        const auto* from,
        buffered(lines.first + done * lines.stride, (here - 1) * lines.stride + lines.bytes));
    for (std::size_t line = 0; line < here; ++line) {
      VDIST_TRY(convert_into(from + line * lines.stride,
                             lines.bytes,
                             target.type,
                             target.data + (done + line) * target.stride));
    }
  }
  return {};
}

result<const std::byte*> file_tensor_reader::buffered(std::uint64_t first, std::size_t bytes) {
  if (bytes > buffer_.size()) {
    buffer_.resize(bytes);
  }
  VDIST_TRY(file_->read(first, {buffer_.data(), bytes}, place_.name));
  return static_cast<const std::byte*>(buffer_.data());
}

result<void> file_tensor_reader::convert_into(const std::byte* from,
                                              std::size_t bytes,
                                              kernels::dtype type,
                                              std::byte* to) const {
  if (convert(place_.type, from, type, to, bytes / element_bytes_)) {
    return {};
  }
  return fail(errc::unsupported,
              fmt::format("read {}: a value does not fit the type (tensor={}, dtype={}, "
                          "legal=bfloat16 float32)",
                          place_.path.string(),
                          place_.name,
                          kernels::to_string(type)));
}

} // namespace vdist::weights
