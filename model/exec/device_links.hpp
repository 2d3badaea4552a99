// model/exec/device_links.hpp — the tensor plane of devices that reach each other's memory: the communicator and the pipe
// of transport/tensor over a kernels::device_group. Data is device memory of the backend. Calls enqueue and return: they
// may be part of queue().run(), whose recording then serves every later epoch.
//
// L-1 A call's success means that it was enqueued. What became of it is in status(), final once the queue has passed a
//     mark behind it: whoever takes a step's results asks status() first, and drops them on an error.
// L-2 After an error everything behind it falls through (C-3 of kernels/collective/collective.hpp) until start_epoch().
// L-3 The fence of the replica ends waits on the device: a thread asleep on it writes the device's own word.
// L-4 waiting() says for whom the device waits while it does (P-5 of kernels/collective/lane_protocol.hpp).
// Not offered (errc::unsupported): reduce-scatter, all-to-all, and send and recv within a group.
// One thread per object; the backend, the fence and the policy outlive it.
#pragma once

#include "transport/frame/fence.hpp"
#include "transport/frame/wait_policy.hpp"
#include "transport/tensor/communicator.hpp"
#include "transport/tensor/fence_watch.hpp"

#include "runtime/base/result.hpp"

#include "kernels/backend.hpp"

#include <chrono>
#include <cstdint>
#include <memory>

namespace vdist::exec {

struct device_link_settings {
  kernels::device_group_config
      group; // for a pipe: ranks 2, rank 0 the sender, layout pipe_layout()
  std::chrono::milliseconds quiesce{2000};   // start_epoch() waits no longer for what is enqueued
  const frame::fence* stop = nullptr;        // borrowed; nullptr: none
  const frame::wait_policy* waits = nullptr; // borrowed; of the thread that watches `stop`
};

/// What both have: the member, its epoch and its fence.
class device_link {
public:
  explicit device_link(const device_link_settings& settings,
                       std::unique_ptr<kernels::device_group> group)
      : settings_(settings), group_(std::move(group)) {}

  [[nodiscard]] result<void> start(epoch next);

  /// The epoch is over for this rank: whoever waits on its device leaves, as behind a fence. Until start().
  void leave() const noexcept { group_->raise_fence(now_.value + 1); }

  /// L-1. Errors: timed_out (names the operation and the rank that is late), aborted.
  [[nodiscard]] result<void> status() const;

  /// Before the first epoch: operations may be called now, within queue().record_ahead() only.
  void allow_recording() { may_record_ = true; }

  /// L-4. Any thread.
  [[nodiscard]] tensor::peer_wait waiting() const noexcept;

  /// Before an operation. Errors: aborted (no epoch), those of status().
  [[nodiscard]] result<void> begin(const char* operation) const;

  [[nodiscard]] kernels::device_group& group() const { return *group_; }

  [[nodiscard]] const kernels::device_group_config& config() const { return settings_.group; }

private:
  device_link_settings settings_;
  std::unique_ptr<kernels::device_group> group_;
  std::unique_ptr<tensor::fence_watch> watch_; // of the present epoch
  epoch now_;
  bool may_record_ = false;
};

class device_communicator final : public tensor::communicator {
public:
  explicit device_communicator(device_link link) : link_(std::move(link)) {}

  /// L-1.
  [[nodiscard]] result<void> status() const override { return link_.status(); }

  [[nodiscard]] tensor::peer_wait waiting() const noexcept override { return link_.waiting(); }

  [[nodiscard]] bool skip_next() noexcept override {
    link_.group().skip_next();
    return true;
  }

  [[nodiscard]] std::int32_t rank() const noexcept override { return link_.config().rank; }

  [[nodiscard]] std::int32_t size() const noexcept override { return link_.config().ranks; }

  /// Also waits for what is enqueued, at most `quiesce`.
  [[nodiscard]] result<void> start_epoch(epoch next) override { return link_.start(next); }

  /// See device_link.
  void allow_recording() { link_.allow_recording(); }

  /// See device_link.
  void leave() const noexcept { link_.leave(); }

  [[nodiscard]] result<void> all_reduce_sum(std::span<float> data) override;
  [[nodiscard]] result<void> add_sum(std::span<float> data, std::span<float> onto) override;

  [[nodiscard]] bool adds_sums() const noexcept override { return true; }

  [[nodiscard]] result<void>
  all_gather(std::span<const float> in, std::span<float> out, std::size_t rows) override;
  /// data.size() is a multiple of 4.
  [[nodiscard]] result<void> broadcast(std::span<std::byte> data, std::int32_t root) override;
  /// On the device: the host does not wait.
  [[nodiscard]] result<void> barrier() override;

  [[nodiscard]] result<void> reduce_scatter_sum(std::span<const float> in,
                                                std::span<float> out) override;
  [[nodiscard]] result<void> all_to_all(std::span<const std::byte> in,
                                        std::span<std::byte> out) override;
  [[nodiscard]] result<void> all_to_all_v(std::span<const std::byte> in,
                                          const tensor::rank_parts& in_parts,
                                          std::span<std::byte> out,
                                          const tensor::rank_parts& out_parts) override;
  [[nodiscard]] result<void> send(std::span<const std::byte> data, std::int32_t to) override;
  [[nodiscard]] result<void> recv(std::span<std::byte> data, std::int32_t from) override;

private:
  device_link link_;
};

class device_pipe final : public tensor::pipe {
public:
  explicit device_pipe(device_link link) : link_(std::move(link)) {}

  /// L-1.
  [[nodiscard]] result<void> status() const override { return link_.status(); }

  [[nodiscard]] tensor::peer_wait waiting() const noexcept override { return link_.waiting(); }

  [[nodiscard]] bool skip_next() noexcept override {
    link_.group().skip_next();
    return true;
  }

  [[nodiscard]] result<void> start_epoch(epoch next) override { return link_.start(next); }

  /// See device_link.
  void allow_recording() { link_.allow_recording(); }

  /// See device_link.
  void leave() const noexcept { link_.leave(); }

  /// May be written again by what is enqueued behind it. Sizes are not compared (T-1 is the caller's).
  [[nodiscard]] result<void> send(std::span<const float> data) override;
  [[nodiscard]] result<void> recv(std::span<float> data) override;

private:
  device_link link_;
};

/// Error: unsupported, when the devices do not reach each other or the backend has no collectives: the caller stages
/// through the host instead (staged_links.hpp), on all ranks of the group or on none.
[[nodiscard]] result<std::unique_ptr<device_communicator>>
make_device_communicator(kernels::backend& device, const device_link_settings& settings);
[[nodiscard]] result<std::unique_ptr<device_pipe>>
make_device_pipe(kernels::backend& device, const device_link_settings& settings);

} // namespace vdist::exec
