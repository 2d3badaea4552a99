// transport/vault/vault_keeper.hpp — what the parent of a vault keeps of it, so that its death costs nothing: a duplicate of
// every region's descriptor with what is known of the region, and the vault's end of every client's socket. The next vault
// gets all of it. Regions keep their memory, address and contents; clients keep their sockets, whose requests wait in the
// kernel meanwhile; nobody but the parent notices.
// N-1 What a client has been told is known here, or in the control socket on its way here (vault_server.hpp, H-7).
// N-2 Vaults that end, three in a row, before they say that they have taken over may die of the regions that they are
// given: can_go_on() is false, and the parent had better forget() it all. N-3 No call waits for a vault, but hand_over() and new_client() for
// room in the control socket. Costs one descriptor per region and one per client in this process.
// Not thread-safe.
#pragma once

#include "transport/socket/message_socket.hpp"
#include "transport/vault/vault_protocol.hpp"

#include "runtime/base/clock.hpp"

#include <map>
#include <optional>

namespace vdist::vault {

class vault_keeper {
public:
  /// `time` must outlive this object.
  explicit vault_keeper(const clock& time) : clock_(time) {}

  /// The next vault begins empty, and the clients of this one are closed.
  void forget();

  /// To a vault that is being started with the other end of `control`: what there is. Errors: those of
  /// message_socket::send; `closed`, when it has died already, is left to whoever waits for its end.
  [[nodiscard]] result<void> hand_over(socket::unique_fd control, time_point deadline);

  /// A client's end of a new pair, for a vault_client; the next vault serves it when this one has died. Errors: as hand_over().
  [[nodiscard]] result<socket::unique_fd> new_client(time_point deadline);

  /// Takes in what the vault has said. Call when fd() is readable, and when the vault has ended. Errors: corrupt (it said
  /// what makes no sense), resource_exhausted (no descriptor is left here): then the vault is let go, and N-2 holds.
  [[nodiscard]] result<void> listen();

  /// For poll(); -1: there is nothing to listen to.
  [[nodiscard]] int fd() const { return control_ ? control_->fd() : -1; }

  /// Whether the next vault may get what there is (N-2).
  [[nodiscard]] bool can_go_on() const { return given_ < given_max; }

  /// Whether the present or last vault has said so. True also where there was no region to take over.
  [[nodiscard]] bool has_taken_over() const { return given_ == 0; }

  [[nodiscard]] std::size_t regions() const { return regions_.size(); }

  [[nodiscard]] std::size_t clients() const { return clients_.size(); }

private:
  static constexpr int given_max = 3;

  struct kept_region {
    record_message known;
    socket::unique_fd memory;
  };

  struct kept_client {
    socket::unique_fd link; // the vault's end
    std::uint64_t done = 0; // its last request that has changed anything
  };

  [[nodiscard]] result<void> hear_one();
  [[nodiscard]] result<void> take_in(const record_message& record, socket::message& message);
  [[nodiscard]] result<void>
  tell(record_message record, const socket::unique_fd* file, time_point deadline) const;
  [[nodiscard]] result<void> tell_client(std::uint64_t id,
                                         const kept_client& client,
                                         bool is_known,
                                         time_point deadline) const;

  const clock& clock_;
  std::optional<socket::message_socket> control_;
  int given_ = 0; // to so many vaults, of which none has said that it has taken over
  std::map<region_key, kept_region> regions_;
  std::map<std::uint64_t, kept_client> clients_; // by id
  std::uint64_t next_client_ = 1;
  std::uint64_t next_region_ = 1;
  std::uint64_t host_end_ = 0; // of the range that was handed out last
  std::uint64_t devices_end_ = 0;
};

} // namespace vdist::vault
