#include "actors/worker/worker_program.hpp"

#include "actors/gateway/board_areas.hpp"
#include "actors/gateway/worker_link.hpp"
#include "actors/worker/worker_order.hpp"
#include "actors/worker/worker_thread.hpp"

#include "model/exec/device_regions.hpp"

#include "transport/vault/vault_client.hpp"

#include "runtime/base/log.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <pthread.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace vdist::actors {

namespace {

using protocol::worker_command;
using protocol::worker_order;

constexpr int exit_done = 0;
/// Longest single wait for a command.
constexpr std::chrono::seconds command_slice{60};
/// Room in the event ring is waited for this long: the control process may have to be started again first.
constexpr std::chrono::seconds event_deadline{60};
/// Progress of loading is told at most this often.
constexpr std::chrono::milliseconds progress_interval{50};

result<worker_order> read_order(const socket::unique_fd& file) {
  struct stat size {};

  std::vector<std::byte> bytes;
  if (::fstat(file.get(), &size) == 0) {
    bytes.resize(static_cast<std::size_t>(size.st_size));
  }
  if (bytes.empty()
      || ::pread(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return fail(errc::io_failed, fmt::format("worker order: {}", std::strerror(errno)));
  }
  worker_order order;
  VDIST_TRY(protocol::decode(bytes, order));
  return order;
}

/// A worker on a GPU has weights and KV cache there, and finds them again where its predecessor had them; it may reach what
/// the others of its replica have for it on their GPUs.
vault::device_access devices_of(const worker_order& order) {
  if (order.device != protocol::worker_device::cuda) {
    return {};
  }
  return exec::access_to_devices(order.device_index,
                                 [devices = order.peer_devices,
                                  own = order.device_index,
                                  first = order.first_rank](rank_id rank) {
                                   const auto slot = static_cast<std::size_t>(rank.value - first);
                                   return slot < devices.size() ? devices[slot] : own;
                                 });
}

/// Everything that the two threads of a worker share.
class worker_program {
public:
  worker_program(worker_order order, worker_inheritance given)
      : order_(std::move(order)),
        waits_(waits_of(order_), time_),
        memory_(std::move(given.vault), time_, {}, devices_of(order_)),
        points_(failpoints_on(*given.board)),
        watch_(progress_word(given.life->progress), time_, watch_settings_of(order_)) {}

  error run() {
    watch_.load(); // its memory may let it wait, too
    if (auto connected = connect(); !connected) {
      return connected.error();
    }
    std::thread stepping([this] {
      pthread_setname_np(pthread_self(), fmt::format("worker-{}", order_.rank()).c_str());
      lane_->run();
    });
    stepping.detach(); // the process ends by a kill or by _exit, never by joining
    return obey_commands();
  }

private:
  result<void> connect() {
    VDIST_ASSIGN(replica_,
                 map_words<replica_words>(memory_, replica_words_key(rank_id(order_.first_rank))));
    auto mine = identity_of(order_);
    mine.points = &points_;
    VDIST_ASSIGN(link_, open_worker_link(mine, memory_, replica_->events, waits_));
    lane_ = std::make_unique<worker_thread>(thread_config(), thread_links());
    return {};
  }

  worker_thread_config thread_config() {
    return {.wanted = {.slot = order_.slot,
                       .worker = incarnation(order_.incarnation),
                       .report = [this](const worker_event& event) { tell(event); },
                       .kill_actor =
                           [this] {
                             tell({.what = worker_event::kind::kill_actor, .slot = order_.slot});
                           }},
            .wiring = wiring_of(order_),
            .limits = plan_limits_of(order_)};
  }

  worker_thread_links thread_links() {
    return {.points = &points_,
            .time = &time_,
            .wiring = {.memory = &memory_, .stop = &replica_->fence, .points = &points_},
            .waits = &waits_,
            .make_runner = [this]() -> result<std::unique_ptr<exec::step_runner>> {
              VDIST_ASSIGN(const auto config, runner_config_of(order_));
              const rank_runner_links links{.memory = &memory_,
                                            .stop = &replica_->fence,
                                            .maps_peers = true,
                                            .watch = &watch_,
                                            .orders = &replica_->watched};
              return make_rank_runner(config, links, waits_);
            },
            .progress =
                [this](std::uint64_t done, std::uint64_t total) {
                  tell_progress({done, total});
                },
            .watch = &watch_};
  }

  error obey_commands() {
    while (true) {
      auto frame = link_.commands->read(time_.now() + command_slice);
      if (!frame && frame.error().code == errc::timed_out) {
        continue;
      }
      if (!frame) {
        return frame.error();
      }
      worker_command command;
      if (auto decoded = protocol::decode(frame->body, command); !decoded) {
        return decoded.error();
      }
      obey(command);
    }
  }

  void obey(const worker_command& command) {
    switch (command.what) {
    case worker_command::kind::load:
      lane_->load();
      break;
    case worker_command::kind::prepare:
      lane_->prepare(epoch(command.now));
      break;
    case worker_command::kind::begin:
      lane_->begin(epoch(command.now));
      break;
    case worker_command::kind::end: // weights and KV cache lie in the vault, nothing is to be saved
      ::_exit(exit_done);
    }
  }

  template <class Message>
  [[nodiscard]] result<void> send(const Message& message, std::uint16_t kind, time_point deadline) {
    const std::lock_guard lock(events_mutex_);
    protocol::encode(message, encoded_);
    return link_.events->write(link_header(identity_of(order_), kind), encoded_, deadline);
  }

  void tell(const worker_event& event) {
    const auto deadline = time_.now() + event_deadline;
    if (const auto sent = send(event, protocol::worker_event_kind, deadline); !sent) {
      log::error("worker: its events cannot be told: {}", sent.error().context);
      ::_exit(exit_code(errc::closed)); // nobody could steer it any more
    }
  }

  /// Called by several loading threads.
  void tell_progress(const protocol::load_progress& progress) {
    {
      const std::lock_guard lock(progress_mutex_);
      watch_.load_more();
      if (progress.done < progress.total && time_.now() < next_progress_) {
        return;
      }
      next_progress_ = time_.now() + progress_interval;
    }
    // For people: dropped when nobody reads, as while the control process is started again.
    (void)send(progress, protocol::load_progress_kind, time_.now());
  }

  const worker_order order_;
  system_clock time_;
  frame::wait_policy waits_;
  vault::vault_client memory_;
  failpoints points_;
  step_watch watch_;
  mapped_words<replica_words> replica_;
  worker_end link_;
  std::unique_ptr<worker_thread> lane_;

  std::mutex events_mutex_;
  std::vector<std::byte> encoded_; // guarded by events_mutex_
  std::mutex progress_mutex_;
  time_point next_progress_{}; // guarded by progress_mutex_
};

} // namespace

error run_worker(worker_inheritance given) {
  auto order = read_order(given.order);
  if (!order) {
    return order.error();
  }
  log::initialise(order->log_level);
  pthread_setname_np(pthread_self(), fmt::format("vdist-worker-{}", order->rank()).c_str());
  // Never destroyed: its threads use it until the process ends.
  auto* program = new worker_program(std::move(*order), std::move(given));
  return program->run();
}

} // namespace vdist::actors
