#include "model/exec/device_links.hpp"

#include "transport/tensor/arguments.hpp"

#include <fmt/format.h>
#include <string>
#include <utility>

namespace vdist::exec {

namespace {

const char* name_of(kernels::group_operation operation) {
  using kernels::group_operation;
  switch (operation) {
  case group_operation::all_reduce:
    return "all_reduce_sum";
  case group_operation::all_gather:
    return "all_gather";
  case group_operation::broadcast:
    return "broadcast";
  case group_operation::barrier:
    return "barrier";
  case group_operation::send:
    return "send";
  case group_operation::recv:
    return "recv";
  case group_operation::none:
    break;
  }
  return "collective";
}

result<void> refuse(const char* operation) {
  return fail(errc::unsupported, std::string(operation) + ": not between devices");
}

result<device_link> make_link(kernels::backend& device, const device_link_settings& settings) {
  if (settings.stop != nullptr && settings.waits == nullptr) {
    return fail(errc::invalid_argument, "device link: a fence needs a policy to wait for it");
  }
  std::string why;
  auto group = device.join_group(settings.group, why);
  if (group == nullptr) {
    return fail(errc::unsupported,
                fmt::format("device link: {} (rank={})", why, settings.group.rank));
  }
  return device_link(settings, std::move(group));
}

} // namespace

result<void> device_link::start(epoch next) {
  if (next <= now_) {
    return fail(errc::stale,
                fmt::format("device link: this or a later epoch has begun (epoch={} present={})",
                            next.value,
                            now_.value));
  }
  group_->raise_fence(next.value); // whoever still waits on the device leaves
  if (!group_->start_epoch(next.value, settings_.quiesce)) {
    return fail(errc::device_failed,
                fmt::format("device link: the device does not come to rest (epoch={} wait_ms={})",
                            next.value,
                            settings_.quiesce.count()));
  }
  watch_.reset();
  now_ = next;
  may_record_ = false;
  if (settings_.stop != nullptr) {
    watch_ = std::make_unique<tensor::fence_watch>(
        *settings_.waits, *settings_.stop, next, [group = group_.get(), next] {
          group->raise_fence(next.value + 1);
        });
  }
  return {};
}

result<void> device_link::status() const {
  const auto found = group_->fault();
  const auto* const name = name_of(found.operation);
  switch (found.fault) {
  case kernels::group_fault::none:
    break;
  case kernels::group_fault::late:
    return fail(
        errc::timed_out,
        fmt::format(
            "{}: rank {} is late (epoch={} sequence={} wait_ms={})",
            name,
            found.peer,
            now_.value,
            found.sequence,
            std::chrono::duration_cast<std::chrono::milliseconds>(settings_.group.wait).count()));
  case kernels::group_fault::aborted:
    return fail(
        errc::aborted,
        fmt::format(
            "{}: the epoch is over (epoch={} waiting_for_rank={})", name, now_.value, found.peer));
  }
  return {};
}

tensor::peer_wait device_link::waiting() const noexcept {
  const auto found = group_->waiting();
  return {.peer = found.peer, .beat = found.beat, .operation = name_of(found.operation)};
}

result<void> device_link::begin(const char* operation) const {
  if (now_.value == 0 && !may_record_) {
    return fail(errc::aborted, std::string(operation) + ": no epoch was started");
  }
  return status();
}

result<void> device_communicator::all_reduce_sum(std::span<float> data) {
  VDIST_TRY(link_.begin("all_reduce_sum"));
  link_.group().all_reduce({.data = data.data(), .count = static_cast<std::int64_t>(data.size())});
  return {};
}

result<void> device_communicator::add_sum(std::span<float> data, std::span<float> onto) {
  VDIST_TRY(link_.begin("add_sum"));
  if (data.size() != onto.size()) {
    return fail(errc::invalid_argument,
                fmt::format("add_sum: sizes differ (data={} onto={})", data.size(), onto.size()));
  }
  link_.group().all_reduce(
      {.data = data.data(), .count = static_cast<std::int64_t>(data.size()), .onto = onto.data()});
  return {};
}

result<void>
device_communicator::all_gather(std::span<const float> in, std::span<float> out, std::size_t rows) {
  VDIST_TRY(link_.begin("all_gather"));
  VDIST_TRY(tensor::check_gather(in.size(), out.size(), rows, static_cast<std::size_t>(size())));
  link_.group().all_gather({.in = in.data(),
                            .out = out.data(),
                            .bytes = static_cast<std::int64_t>(in.size_bytes()),
                            .rows = static_cast<std::int64_t>(rows)});
  return {};
}

result<void> device_communicator::broadcast(std::span<std::byte> data, std::int32_t root) {
  VDIST_TRY(link_.begin("broadcast"));
  if (root < 0 || root >= size() || data.size() % sizeof(std::uint32_t) != 0) {
    return fail(
        errc::invalid_argument,
        fmt::format("broadcast: no such root, or not whole words (root={} size={} bytes={})",
                    root,
                    size(),
                    data.size()));
  }
  link_.group().broadcast(
      {.data = data.data(), .bytes = static_cast<std::int64_t>(data.size()), .root = root});
  return {};
}

result<void> device_communicator::barrier() {
  VDIST_TRY(link_.begin("barrier"));
  link_.group().barrier();
  return {};
}

result<void> device_communicator::reduce_scatter_sum(std::span<const float> /*in*/,
                                                     std::span<float> /*out*/) {
  return refuse("reduce_scatter_sum");
}

result<void> device_communicator::all_to_all(std::span<const std::byte> /*in*/,
                                             std::span<std::byte> /*out*/) {
  return refuse("all_to_all");
}

result<void> device_communicator::all_to_all_v(std::span<const std::byte> /*in*/,
                                               const tensor::rank_parts& /*in_parts*/,
                                               std::span<std::byte> /*out*/,
                                               const tensor::rank_parts& /*out_parts*/) {
  return refuse("all_to_all_v");
}

result<void> device_communicator::send(std::span<const std::byte> /*data*/, std::int32_t /*to*/) {
  return refuse("send");
}

result<void> device_communicator::recv(std::span<std::byte> /*data*/, std::int32_t /*from*/) {
  return refuse("recv");
}

result<void> device_pipe::send(std::span<const float> data) {
  VDIST_TRY(link_.begin("send"));
  if (link_.config().rank != 0) {
    return fail(errc::invalid_argument, "send: this is the receiving end");
  }
  link_.group().send({.data = data.data(), .bytes = static_cast<std::int64_t>(data.size_bytes())});
  return {};
}

result<void> device_pipe::recv(std::span<float> data) {
  VDIST_TRY(link_.begin("recv"));
  if (link_.config().rank != 1) {
    return fail(errc::invalid_argument, "recv: this is the sending end");
  }
  link_.group().recv({.data = data.data(), .bytes = static_cast<std::int64_t>(data.size_bytes())});
  return {};
}

result<std::unique_ptr<device_communicator>>
make_device_communicator(kernels::backend& device, const device_link_settings& settings) {
  VDIST_ASSIGN(auto link, make_link(device, settings));
  return std::make_unique<device_communicator>(std::move(link));
}

result<std::unique_ptr<device_pipe>> make_device_pipe(kernels::backend& device,
                                                      const device_link_settings& settings) {
  if (settings.group.ranks != 2) {
    return fail(errc::invalid_argument, "device pipe: it has two ends");
  }
  VDIST_ASSIGN(auto link, make_link(device, settings));
  return std::make_unique<device_pipe>(std::move(link));
}

} // namespace vdist::exec
