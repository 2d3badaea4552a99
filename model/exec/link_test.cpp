#include "model/exec/link_test.hpp"

#include "model/exec/device_failure.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <vector>

namespace vdist::exec {

namespace {

constexpr std::size_t part_floats = 4096; // 16 KiB: the sum of a small step

std::size_t bytes_for(std::int32_t ranks) {
  return (static_cast<std::size_t>(ranks) + 1) * part_floats * sizeof(float);
}

/// What a rank sends: integers that floats hold exactly, also when ranks are added.
std::vector<float> values_of(std::int32_t sender, epoch now) {
  std::vector<float> values(part_floats);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto mixed = static_cast<std::uint32_t>(sender + 1) * 7919U + now.value * 104729U
                       + static_cast<std::uint32_t>(i) * 31U;
    values[i] = static_cast<float>(mixed % 65521U);
  }
  return values;
}

} // namespace

link_tester::link_tester(kernels::device_queue& queue,
                         std::int32_t rank,
                         std::int32_t ranks_max,
                         std::chrono::milliseconds deadline)
    : queue_(queue),
      rank_(rank),
      deadline_(deadline),
      device_(queue, bytes_for(ranks_max)),
      staging_(queue, bytes_for(ranks_max), memory_place::staging) {}

/// In device memory.
std::span<float> link_tester::part(std::size_t index) const {
  return {device_.as<float>() + index * part_floats, part_floats};
}

/// Into the first part.
void link_tester::write_own(epoch now) {
  const auto mine = values_of(rank_, now);
  std::copy(mine.begin(), mine.end(), staging_.as<float>());
  queue_.copy_in(device_.data(), staging_.data(), mine.size() * sizeof(float));
}

/// What the device has there when it has done everything before.
result<std::span<const float>> link_tester::read(std::span<float> device) {
  queue_.copy_out(staging_.data(), device.data(), device.size_bytes());
  if (queue_.wait(queue_.mark(), deadline_)) {
    return std::span<const float>(staging_.as<float>(), device.size());
  }
  return queue_.failure().empty() ? fail(
             errc::device_failed,
             fmt::format("link test: the device does not come to an end (rank={} wait_ms={})",
                         rank_,
                         deadline_.count()))
                                  : error_of(queue_);
}

result<void> link_tester::check(std::span<const float> got,
                                std::span<const float> sent,
                                std::int32_t sender) const {
  const auto wrong = std::mismatch(got.begin(), got.end(), sent.begin());
  if (wrong.first == got.end()) {
    return {};
  }
  return fail(
      errc::io_failed,
      fmt::format("peer access is broken: rank {} does not read what rank {} wrote (at={} got={} "
                  "sent={}); switch IOMMU and ACS off, or set device.exchange = \"host\"",
                  rank_,
                  sender,
                  wrong.first - got.begin(),
                  *wrong.first,
                  *wrong.second));
}

result<void> link_tester::test_gather(tensor::communicator& group, epoch now) {
  const auto ranks = static_cast<std::size_t>(group.size());
  const std::span<float> all(part(1).data(), ranks * part_floats);
  write_own(now);
  VDIST_TRY(group.all_gather(part(0), all, 1));
  VDIST_ASSIGN(const auto got, read(all));
  VDIST_TRY(group.status());
  for (std::size_t r = 0; r < ranks; ++r) {
    const auto sender = rank_ - group.rank() + static_cast<std::int32_t>(r);
    VDIST_TRY(check(got.subspan(r * part_floats, part_floats), values_of(sender, now), sender));
  }
  return {};
}

result<void> link_tester::test_sum(tensor::communicator& group, epoch now) {
  write_own(now);
  VDIST_TRY(group.all_reduce_sum(part(0)));
  VDIST_ASSIGN(const auto got, read(part(0)));
  VDIST_TRY(group.status());
  const auto first = rank_ - group.rank();
  std::vector<float> sum(part_floats);
  for (std::int32_t r = 0; r < group.size(); ++r) {
    const auto sent = values_of(first + r, now);
    std::transform(sent.begin(), sent.end(), sum.begin(), sum.begin(), std::plus<>());
  }
  return check(
      got, sum, group.rank() == 0 ? first + 1 : first); // who it is, the gather could not tell
}

result<void> link_tester::test_group(tensor::communicator& group, epoch now) {
  VDIST_TRY(test_gather(group, now));
  return test_sum(group, now);
}

result<void> link_tester::test_sending(tensor::pipe& to, epoch now) {
  write_own(now);
  VDIST_TRY(to.send(part(0)));
  VDIST_TRY(read(part(0)));
  return to.status();
}

result<void> link_tester::test_receiving(tensor::pipe& from, std::int32_t sender, epoch now) {
  VDIST_TRY(from.recv(part(1)));
  VDIST_ASSIGN(const auto got, read(part(1)));
  VDIST_TRY(from.status());
  return check(got, values_of(sender, now), sender);
}

} // namespace vdist::exec
