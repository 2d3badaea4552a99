// host/spare_pool.hpp — the spare workers of a host supervisor (standby.hpp): generic ones, kept at a number, and at most
// one per rank that is prepared for its order. Starts them, hears that they are ready, makes workers of them, and ends those
// that nobody can use.
//
//   prepare(order) ──▶ wanted ──▶ preparing ──▶ ready ──promote()──▶ a worker, and nothing is wanted any more
//                        ▲ rest, longer each time └──died──┘
//
// Y-1 A rank has one prepared spare at most, and it is of the last order that was given (P-7 of runtime/protocol/host.hpp).
// Y-2 A spare becomes a worker only if its order is that of the worker, its program is the file of now (H-12), it lives, is not
//     stopped, and is ready or may be soon. One that is wanted for its rank and cannot be used is ended: a successor is
//     loading, and nobody competes with it.
// Y-3 A spare that dies by itself is started again after a rest that doubles; too often within a window, nobody tries
//     again until somebody asks for it after that.
// Y-4 None is started within spare_rest of the last one that was used or lost, or of the request for it, which comes when
//     its worker goes to work; nor while a process of its rank is still coming to its end and holds memory of its device.
// Not thread-safe: the supervisor's thread. Cost: O(spares) per call.
#pragma once

#include "transport/socket/message_socket.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/host.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <poll.h>
#include <span>
#include <string>
#include <vector>

#include "host/child_table.hpp"
#include "host/programs.hpp"
#include "host/restart_history.hpp"

namespace vdist::host {

/// Whoever took the last spare has had time to load.
inline constexpr std::chrono::milliseconds spare_rest{200};
/// A spare that is not ready after this long hangs, or is slower than a fresh process: nobody waits for it (Y-2).
inline constexpr std::chrono::seconds preparing_max{5};
/// Y-3.
inline constexpr restart_limits spare_limits{
    .restarts_max = 5, .window = std::chrono::minutes(10), .backoff = std::chrono::seconds(1)};

/// What a worker or spare inherits: a file without a name. Errors: io_failed, resource_exhausted.
[[nodiscard]] result<socket::unique_fd> make_order_file(std::span<const std::byte> order);

/// Borrowed; all outlive the pool.
struct spare_pool_links {
  child_table* children = nullptr;
  const clock* time = nullptr;
  std::function<result<socket::unique_fd>()> new_vault_client;
  std::function<void(const protocol::spare_ready&)> on_ready;
  std::function<void(child_spec& to)>
      give_store; // what a worker has of the host store; may be empty
};

class spare_pool {
public:
  /// `program`: the file of vdist-worker.
  spare_pool(std::filesystem::path program, spare_pool_links links);

  /// From now on; surplus spares are ended.
  void configure(const protocol::host_settings& settings);

  /// Y-1. Its spare is started by keep().
  void prepare(const protocol::prepare_spare& wanted);

  /// Makes a worker of a spare, whose child has the worker's key then. False: there is none that can be used. `order`
  /// is borrowed. Errors: those of links.new_vault_client.
  [[nodiscard]] result<bool> promote(const protocol::spawn_worker& wanted,
                                     const socket::unique_fd& order);

  /// The child is dying, or has ended.
  void on_lost(const protocol::process_key& key);

  /// All children are being killed, and memory that a spare may have mapped with them.
  void forget_all();

  /// Starts what is missing and due.
  void keep();

  /// Hears who is ready.
  void look();

  /// For poll().
  void add_descriptors(std::vector<pollfd>& watched) const;

  /// When to keep() again although no descriptor is readable; nullopt: no need.
  [[nodiscard]] std::optional<time_point> next_start() const;

private:
  struct spare {
    std::int32_t rank = -1;        // that it is prepared for; no_rank: a generic one
    socket::message_socket orders; // where its orders go
    program_stamp program;         // H-12
    std::uint64_t order_hash = 0;  // of a prepared one
    time_point started;
    bool is_ready = false;
    bool is_closed = false; // nothing more comes from it
  };

  /// What one rank is to have.
  struct rank_spare {
    std::vector<std::byte> order; // empty: nothing
    std::uint64_t order_hash = 0;
    restart_history tries{spare_limits};
    time_point due{};
  };

  using spare_map = std::map<std::uint32_t, spare>; // by number

  [[nodiscard]] spare_map::iterator find(std::int32_t rank);
  [[nodiscard]] std::size_t generic_count() const;
  [[nodiscard]] bool is_usable(const spare_map::value_type& one, std::uint64_t order_hash) const;
  [[nodiscard]] bool has_dying_process(std::int32_t rank) const;
  void end(spare_map::iterator one, std::string why);
  [[nodiscard]] result<bool> start_as(spare_map::iterator one,
                                      const protocol::spawn_worker& wanted,
                                      const socket::unique_fd& order);
  [[nodiscard]] result<spare_map::iterator> start(std::int32_t rank);
  [[nodiscard]] result<void> start_prepared(std::int32_t rank, const rank_spare& wanted);
  void retry(std::int32_t rank, const std::string& why);

  std::filesystem::path program_;
  spare_pool_links links_;
  std::size_t generic_wanted_ = 0;
  bool prepares_ = false;
  spare_map spares_;
  std::map<std::int32_t, rank_spare> ranks_;
  std::uint32_t last_number_ = 0;
  time_point generic_due_{};
};

} // namespace vdist::host
