// transport/tensor/gloo_mesh.hpp — Gloo's TCP connections between the ranks of a group, for one
// epoch. Internal to transport/tensor. Uses Gloo's pairs and buffers only, not its collectives: their
// sums have another order than T-2, and their waits cannot be ended.
// What Gloo asks for, and how it is met here:
//   It writes without MSG_NOSIGNAL: SIGPIPE is blocked in its thread and in ours while it writes.
//   A connection never recovers: after any failure the mesh is closed; an epoch has a mesh of its own.
//   Its waits know no fence: abort() ends them from another thread.
//   It accepts whoever connects: the first message of every pair is checked (see gloo_communicator).
// A message longer than its receiver expects ends the process within Gloo's thread: that T-1 holds
// is the caller's business.
// One thread, abort() excepted. Exceptions of Gloo end here.
#pragma once

#include "transport/tensor/exchange.hpp"

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace gloo::transport {
class Context;
class Device;
class UnboundBuffer;
} // namespace gloo::transport

namespace vdist::tensor {

/// Bytes of one address on a card, with its length in front.
inline constexpr std::size_t gloo_address_bytes = 256;

/// A device, with its thread, that listens on the interface with this numeric address. Error:
/// invalid_argument.
[[nodiscard]] result<std::shared_ptr<gloo::transport::Device>>
make_gloo_device(const std::string& address);

struct outgoing_message {
  std::int32_t to = 0;
  std::span<const std::byte> data;
};

struct incoming_message {
  std::int32_t from = 0;
  std::span<std::byte> data;
};

/// Messages between two ranks are ordered within a stream only.
enum class gloo_stream : std::uint8_t { collectives = 0, point_to_point = 1 };

class gloo_mesh {
public:
  /// Listens for every peer. `connect_timeout` bounds the wait for one peer that has left its address
  /// and then stopped. Error: io_failed.
  [[nodiscard]] static result<std::unique_ptr<gloo_mesh>>
  listen(const std::shared_ptr<gloo::transport::Device>& device,
         std::int32_t rank,
         std::int32_t size,
         std::chrono::milliseconds connect_timeout);
  ~gloo_mesh();
  gloo_mesh(const gloo_mesh&) = delete;
  gloo_mesh& operator=(const gloo_mesh&) = delete;

  /// Writes the address for every peer; `card` holds size × gloo_address_bytes.
  void write_addresses(std::span<std::byte> card) const;

  /// Connects to `peer`, which has written `card`. Errors: timed_out, aborted, closed, corrupt.
  [[nodiscard]] result<void>
  connect(std::int32_t peer, std::span<const std::byte> card, const wait_context& context);

  /// Sends and receives all of them; returns when all are done. Empty messages are not sent. Nothing
  /// given is touched after the return. Errors: timed_out, aborted, closed.
  [[nodiscard]] result<void> transfer(std::span<const outgoing_message> sends,
                                      std::span<const incoming_message> receives,
                                      gloo_stream stream,
                                      const wait_context& context);

  /// Ends the wait under way, and every later one, with aborted. Any thread.
  void abort() noexcept;

  /// Closes all connections, so that the peers notice.
  void close() noexcept;

private:
  struct pending {
    std::int32_t peer = 0;
    bool is_receive = false;
    std::unique_ptr<gloo::transport::UnboundBuffer> buffer;
  };

  gloo_mesh(std::int32_t rank, std::int32_t size);

  [[nodiscard]] bool open(std::span<const outgoing_message> sends,
                          std::span<const incoming_message> receives);
  [[nodiscard]] result<void> post_and_wait(gloo_stream stream, const wait_context& context);
  void release();

  const std::int32_t rank_;
  const std::int32_t size_;
  std::shared_ptr<gloo::transport::Context> context_; // shared with Gloo's buffers
  std::mutex mutex_;
  std::vector<pending> pending_; // changed under mutex_; receives first
  bool is_aborted_ = false;      // guarded by mutex_
  bool is_connecting_ = true;    // until the first transfer; guarded by mutex_
};

} // namespace vdist::tensor
