#include "actors/worker/worker_program.hpp"

#include "actors/gateway/board_areas.hpp"
#include "actors/gateway/worker_link.hpp"
#include "actors/worker/worker_order.hpp"
#include "actors/worker/worker_thread.hpp"

#include "model/exec/device_regions.hpp"

#include "transport/socket/shared_file.hpp"
#include "transport/vault/vault_client.hpp"

#include "runtime/base/log.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <pthread.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "host/standby.hpp"

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
        store_file_(std::move(given.store)),
        watch_(progress_word(given.life->progress), time_, watch_settings_of(order_)) {}

  error run() {
    watch_.load(); // its memory may let it wait, too
    auto connected = map_replica();
    if (connected) {
      connected = open_link();
    }
    if (!connected) {
      return connected.error();
    }
    start_stepping();
    return obey_commands();
  }

  /// S-1. The stepping thread goes on when this has returned.
  result<void> prepare(const host::standby_link& spare) {
    spare_ = &spare;
    watch_.load();
    VDIST_TRY(map_replica());
    start_stepping();
    lane_->get_ready();
    return {};
  }

  /// S-2, S-3. What it was prepared for is the promoted order but for the incarnation.
  error run_as(const worker_order& promoted) {
    if (spare_hash_of(promoted) != spare_hash_of(order_) || promoted.incarnation == 0) {
      return fail(errc::invalid_argument,
                  fmt::format("spare: it was prepared for another order (rank={})", order_.rank()));
    }
    VDIST_TRY(check_memory());
    order_.incarnation = promoted.incarnation; // read by the stepping thread behind become()
    VDIST_TRY(open_link());
    lane_->become(incarnation(order_.incarnation));
    return obey_commands();
  }

private:
  result<void> map_replica() {
    VDIST_ASSIGN(replica_,
                 map_words<replica_words>(memory_, replica_words_key(rank_id(order_.first_rank))));
    watch_.inherit(replica_->paces.at(static_cast<std::size_t>(order_.slot)));
    VDIST_TRY(map_store());
    lane_ = std::make_unique<worker_thread>(thread_config(), thread_links());
    return {};
  }

  /// S-3.
  result<void> check_memory() {
    VDIST_ASSIGN(const auto now,
                 map_words<replica_words>(memory_, replica_words_key(rank_id(order_.first_rank))));
    return now.hold == replica_.hold
               ? result<void>()
               : fail(errc::stale, "spare: its replica has other memory than it was prepared with");
  }

  result<void> open_link() {
    auto mine = identity_of(order_);
    mine.points = &points_;
    VDIST_ASSIGN(link_, open_worker_link(mine, memory_, replica_->events, waits_));
    is_somebody_.store(true, std::memory_order_release);
    return {};
  }

  void start_stepping() {
    std::thread stepping([this] {
      pthread_setname_np(pthread_self(), fmt::format("worker-{}", order_.rank()).c_str());
      lane_->run();
    });
    stepping.detach(); // the process ends by a kill or by _exit, never by joining
  }

  /// On the stepping thread.
  void on_prepared(const result<void>& prepared) {
    if (prepared) {
      spare_->say_ready();
    } else if (!is_somebody_.load(std::memory_order_acquire)) {
      log::warn("spare of worker {}: {}", order_.rank(), prepared.error().context);
      ::_exit(exit_code(prepared.error().code));
    }
  }

  result<std::unique_ptr<exec::step_runner>> make_runner() {
    VDIST_ASSIGN(auto config, runner_config_of(order_));
    if (auto* const model = std::get_if<exec::model_runner_config>(&config.device)) {
      model->is_standby = !is_somebody_.load(std::memory_order_acquire); // S-1
    }
    const rank_runner_links links{.memory = &memory_,
                                  .stop = &replica_->fence,
                                  .maps_peers = true,
                                  .watch = &watch_,
                                  .orders = &replica_->watched,
                                  .store = store_ ? store_->memory() : std::span<std::byte>()};
    return make_rank_runner(config, links, waits_);
  }

  result<void> map_store() {
    if (order_.store_slots > 0) {
      const auto bytes =
          order_.store_first + static_cast<std::uint64_t>(order_.store_slots) * order_.store_stride;
      VDIST_ASSIGN(auto mapped, socket::shared_mapping::map(store_file_, bytes));
      store_.emplace(std::move(mapped));
    }
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
            .make_runner = [this] { return make_runner(); },
            .progress =
                [this](std::uint64_t done, std::uint64_t total) {
                  tell_progress({done, total});
                },
            .on_prepared = [this](const result<void>& prepared) { on_prepared(prepared); },
            .watch = &watch_,
            .end_process =
                [] {
                  ::_exit(exit_device_failed);
                }};
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
    case worker_command::kind::nothing:
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
    if (!is_somebody_.load(std::memory_order_acquire)) {
      return;
    }
    // For people: dropped when nobody reads, as while the control process is started again.
    (void)send(progress, protocol::load_progress_kind, time_.now());
  }

  worker_order order_; // constant but for the incarnation
  system_clock time_;
  frame::wait_policy waits_;
  vault::vault_client memory_;
  failpoints points_;
  socket::unique_fd store_file_;
  std::optional<socket::shared_mapping> store_;
  step_watch watch_;
  mapped_words<replica_words> replica_;
  worker_end link_;
  std::unique_ptr<worker_thread> lane_;
  const host::standby_link* spare_ = nullptr; // of a spare
  std::atomic<bool> is_somebody_{false};      // link_ is there

  std::mutex events_mutex_;
  std::vector<std::byte> encoded_; // guarded by events_mutex_
  std::mutex progress_mutex_;
  time_point next_progress_{}; // guarded by progress_mutex_
};

/// Never destroyed: its threads use it until the process ends.
worker_program* make_program(worker_order order, worker_inheritance given, const char* role) {
  log::initialise(order.log_level);
  pthread_setname_np(pthread_self(), fmt::format("vdist-{}-{}", role, order.rank()).c_str());
  return new worker_program(std::move(order), std::move(given));
}

/// Ends without a word when nobody can need it any more.
result<host::standby_order> wait_until_needed(const host::standby_link& link) {
  auto given = link.wait();
  if (!given && given.error().code == errc::closed) {
    ::_exit(exit_done);
  }
  return given;
}

/// `link` outlives the process's threads.
error run_prepared(worker_inheritance given, const host::standby_link& link) {
  auto order = read_order(given.order);
  if (!order) {
    return order.error();
  }
  auto* const program = make_program(std::move(*order), std::move(given), "spare");
  if (auto begun = program->prepare(link); !begun) {
    return begun.error();
  }
  auto wanted = wait_until_needed(link);
  if (!wanted) {
    return wanted.error();
  }
  auto promoted = read_order(wanted->order);
  if (!promoted) {
    return promoted.error();
  }
  pthread_setname_np(pthread_self(), fmt::format("vdist-worker-{}", promoted->rank()).c_str());
  return program->run_as(*promoted);
}

} // namespace

error run_worker(worker_inheritance given) {
  auto order = read_order(given.order);
  if (!order) {
    return order.error();
  }
  return make_program(std::move(*order), std::move(given), "worker")->run();
}

error run_spare(worker_inheritance given, socket::unique_fd link) {
  const auto* const spare = new host::standby_link(std::move(link)); // for the stepping thread, too
  auto first = wait_until_needed(*spare);
  if (!first) {
    return first.error();
  }
  given.order = std::move(first->order);
  given.vault = std::move(first->vault);
  switch (first->what) {
  case host::standby_step::start:
    return run_worker(std::move(given));
  case host::standby_step::prepare:
    return run_prepared(std::move(given), *spare);
  case host::standby_step::promote:
    break;
  }
  return fail(errc::corrupt, "spare: it was prepared for nothing");
}

} // namespace vdist::actors
