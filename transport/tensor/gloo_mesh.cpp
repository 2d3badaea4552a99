#include "transport/tensor/gloo_mesh.hpp"

#include "transport/tensor/sigpipe_block.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cstring>
#include <fmt/format.h>
#include <gloo/transport/context.h>
#include <gloo/transport/device.h>
#include <gloo/transport/tcp/device.h>

namespace vdist::tensor {

namespace {

/// What is left of an operation; never negative, which would mean a default of Gloo.
std::chrono::milliseconds time_left(const wait_context& context) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(context.deadline - context.waits->now());
  return std::max(left, std::chrono::milliseconds(0));
}

/// What a failure of Gloo means; it says the same of a dead peer, a late one and one that went on.
error failure_of(std::int32_t peer, const wait_context& context, const std::exception& cause) {
  if (context.is_fenced()) {
    return fenced(context, peer);
  }
  if (context.waits->now() >= context.deadline) {
    return late(context, peer);
  }
  return fail(errc::closed,
              fmt::format("{}: the connection to rank {} is gone (epoch={} bytes={} cause={})",
                          context.operation,
                          peer,
                          context.mine.value,
                          context.bytes,
                          cause.what()));
}

} // namespace

result<std::shared_ptr<gloo::transport::Device>> make_gloo_device(const std::string& address) {
  in6_addr ignored{};
  if (inet_pton(AF_INET, address.c_str(), &ignored) != 1
      && inet_pton(AF_INET6, address.c_str(), &ignored) != 1) {
    return fail(errc::invalid_argument,
                fmt::format("gloo: not a numeric address (address={})", address));
  }
  const sigpipe_block block;
  try {
    return gloo::transport::tcp::CreateDevice(gloo::transport::tcp::attr(address.c_str()));
  } catch (const std::exception& cause) {
    return fail(errc::invalid_argument,
                fmt::format("gloo: cannot listen on this interface (address={} cause={})",
                            address,
                            cause.what()));
  }
}

gloo_mesh::gloo_mesh(std::int32_t rank, std::int32_t size) : rank_(rank), size_(size) {}

gloo_mesh::~gloo_mesh() = default;

result<std::unique_ptr<gloo_mesh>>
gloo_mesh::listen(const std::shared_ptr<gloo::transport::Device>& device,
                  std::int32_t rank,
                  std::int32_t size,
                  std::chrono::milliseconds connect_timeout) {
  // Gloo waits five times its timeout for a connection, and takes 0 as no bound.
  constexpr int factor = 5;
  std::unique_ptr<gloo_mesh> made(new gloo_mesh(rank, size));
  try {
    made->context_ = device->createContext(rank, size);
    made->context_->setTimeout(connect_timeout / factor + std::chrono::milliseconds(1));
    for (std::int32_t r = 0; r < size; ++r) {
      if (r != rank) {
        made->context_->createPair(r);
      }
    }
  } catch (const std::exception& cause) {
    return fail(
        errc::io_failed,
        fmt::format("gloo: cannot listen (rank={} size={} cause={})", rank, size, cause.what()));
  }
  return made;
}

void gloo_mesh::write_addresses(std::span<std::byte> card) const {
  for (std::int32_t r = 0; r < size_; ++r) {
    const auto bytes = r == rank_ ? std::vector<char>{} : context_->getPair(r)->address().bytes();
    const auto length = static_cast<std::uint32_t>(bytes.size());
    VDIST_CHECK(sizeof length + length <= gloo_address_bytes, "gloo: an address fits on a card");
    auto* place = card.data() + static_cast<std::size_t>(r) * gloo_address_bytes;
    std::memcpy(place, &length, sizeof length);
    std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()), length, place + sizeof length);
  }
}

result<void> gloo_mesh::connect(std::int32_t peer,
                                std::span<const std::byte> card,
                                const wait_context& context) {
  const auto* place = card.data() + static_cast<std::size_t>(rank_) * gloo_address_bytes;
  std::uint32_t length = 0;
  std::memcpy(&length, place, sizeof length);
  if (length > gloo_address_bytes - sizeof length) {
    return fail(errc::corrupt,
                fmt::format("{}: no address on the card of rank {} (epoch={})",
                            context.operation,
                            peer,
                            context.mine.value));
  }
  const auto* text = reinterpret_cast<const char*>(place + sizeof length);
  try {
    context_->getPair(peer)->connect(std::vector<char>(text, text + length));
  } catch (const std::exception& cause) {
    return failure_of(peer, context, cause);
  }
  return {};
}

result<void> gloo_mesh::transfer(std::span<const outgoing_message> sends,
                                 std::span<const incoming_message> receives,
                                 gloo_stream stream,
                                 const wait_context& context) {
  const sigpipe_block block;
  if (context.is_fenced() || !open(sends, receives)) {
    return fenced(context, rank_);
  }
  auto outcome = post_and_wait(stream, context);
  release();
  return outcome;
}

/// Makes a buffer for every message; false after abort().
bool gloo_mesh::open(std::span<const outgoing_message> sends,
                     std::span<const incoming_message> receives) {
  const std::lock_guard lock(mutex_);
  is_connecting_ = false;
  if (is_aborted_) {
    return false;
  }
  for (const auto& message : receives) {
    if (!message.data.empty()) {
      pending_.push_back({message.from,
                          true,
                          context_->createUnboundBuffer(message.data.data(), message.data.size())});
    }
  }
  for (const auto& message : sends) {
    if (!message.data.empty()) {
      auto* data = const_cast<std::byte*>(message.data.data()); // Gloo only reads what it sends
      pending_.push_back(
          {message.to, false, context_->createUnboundBuffer(data, message.data.size())});
    }
  }
  return true;
}

result<void> gloo_mesh::post_and_wait(gloo_stream stream, const wait_context& context) {
  const auto slot = static_cast<std::uint64_t>(stream);
  std::int32_t peer = rank_;
  try {
    for (const auto& message : pending_) {
      peer = message.peer;
      message.is_receive ? message.buffer->recv(peer, slot) : message.buffer->send(peer, slot);
    }
    for (const auto& message : pending_) {
      peer = message.peer;
      const auto left = time_left(context);
      if (!(message.is_receive ? message.buffer->waitRecv(left) : message.buffer->waitSend(left))) {
        return fenced(context, peer);
      }
    }
  } catch (const std::exception& cause) {
    return failure_of(peer, context, cause);
  }
  return {};
}

/// Ends the life of the buffers: Gloo forgets the memory behind them.
void gloo_mesh::release() {
  const std::lock_guard lock(mutex_);
  pending_.clear();
}

void gloo_mesh::abort() noexcept {
  const std::lock_guard lock(mutex_);
  is_aborted_ = true;
  for (const auto& message : pending_) {
    message.buffer->abortWaitRecv();
    message.buffer->abortWaitSend();
  }
  if (is_connecting_) {
    close();
  }
}

void gloo_mesh::close() noexcept {
  for (std::int32_t r = 0; r < size_; ++r) {
    if (r != rank_) {
      try {
        context_->getPair(r)->close();
      } catch (const std::exception&) { // it is gone already
      }
    }
  }
}

} // namespace vdist::tensor
