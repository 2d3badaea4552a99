#include "model/exec/weight_seal.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::exec {

namespace {

constexpr std::size_t seal_alignment = 256; // of weights in a region

std::size_t seal_offset(std::size_t bytes) {
  return (bytes + seal_alignment - 1) / seal_alignment * seal_alignment;
}

/// Over pages spread evenly; all bytes where they are few. Host memory.
std::uint64_t sum_of_pages(kernels::backend& ops, const std::byte* data, std::size_t bytes) {
  constexpr auto pages = host_checked_bytes / host_checked_page;
  std::uint64_t part = 0;
  if (bytes <= host_checked_bytes) {
    ops.checksum({.data = data, .bytes = bytes, .sum = &part});
    return part;
  }
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < pages; ++i) {
    const auto page =
        (bytes / host_checked_page - 1) * i / (pages - 1); // the first and the last, too
    ops.checksum(
        {.data = data + page * host_checked_page, .bytes = host_checked_page, .sum = &part});
    sum = sum * 31 + part; // places count
  }
  return sum;
}

} // namespace

std::size_t sealed_bytes(std::size_t bytes) {
  return seal_offset(bytes) + seal_alignment;
}

weight_seal::weight_seal(kernels::backend& ops,
                         std::span<std::byte> region,
                         std::size_t bytes,
                         std::chrono::milliseconds deadline)
    : ops_(ops),
      region_(region.data()),
      bytes_(bytes),
      deadline_(deadline),
      sum_(ops.queue(), sizeof(std::uint64_t)),
      words_(ops.queue(), 2 * sizeof(std::uint64_t), memory_place::staging) {
  VDIST_CHECK(region.size() >= sealed_bytes(bytes), "W-1: the region has room for its seal");
}

std::uint64_t* weight_seal::seal() const {
  return reinterpret_cast<std::uint64_t*>(region_ + seal_offset(bytes_));
}

void weight_seal::add_up(std::uint64_t* sum) {
  if (ops_.queue().is_host_memory()) {
    *sum = sum_of_pages(ops_, region_, bytes_);
  } else {
    ops_.checksum({.data = region_, .bytes = bytes_, .sum = sum});
  }
}

result<void> weight_seal::set() {
  add_up(seal());
  return wait_for(ops_.queue().mark());
}

void weight_seal::begin_check() {
  auto& queue = ops_.queue();
  add_up(sum_.as<std::uint64_t>());
  queue.copy_out(words_.data(), seal(), sizeof(std::uint64_t));
  queue.copy_out(words_.data() + sizeof(std::uint64_t), sum_.data(), sizeof(std::uint64_t));
  mark_ = queue.mark();
  is_checking_ = true;
}

result<bool> weight_seal::is_intact() {
  VDIST_CHECK(is_checking_, "W-1: a check was begun");
  is_checking_ = false;
  VDIST_TRY(wait_for(mark_));
  const auto* const words = words_.as<std::uint64_t>();
  return words[0] == words[1];
}

result<void> weight_seal::wait_for(kernels::queue_mark mark) {
  auto& queue = ops_.queue();
  if (queue.wait(mark, deadline_)) {
    return {};
  }
  return fail(errc::internal,
              queue.failure().empty()
                  ? fmt::format("check the weights: the device takes too long (deadline_ms={})",
                                deadline_.count())
                  : queue.failure());
}

} // namespace vdist::exec
