#include "vdist/embedding/engine_core.hpp"

#include "actors/system/model_inspection.hpp"

#include "runtime/base/log.hpp"
#include "runtime/config/cluster_config.hpp"

#include <dlfcn.h>
#include <exception>
#include <fmt/format.h>
#include <pthread.h>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "vdist/embedding/stream_state.hpp"
#include "vdist/embedding/translate.hpp"
#include "vdist/embedding/watch_state.hpp"

namespace vdist::embedding {

namespace {

/// Between two looks at how many requests a draining engine still has.
constexpr std::chrono::milliseconds drain_look_interval{20};

void set_log_level_once(config::log_level level) {
  static std::once_flag once; // G-3
  std::call_once(once, [level] { log::initialise(config::to_string(level)); });
}

/// Where `make install` puts the programs, seen from libvdist.so; empty: not there.
std::filesystem::path programs_beside_library() {
  ::Dl_info found{};
  if (::dladdr(reinterpret_cast<const void*>(&programs_beside_library), &found) == 0
      || found.dli_fname == nullptr) {
    return {};
  }
  std::error_code failed;
  const auto folder = std::filesystem::canonical(found.dli_fname, failed).parent_path();
  for (const auto& candidate : {folder, folder.parent_path() / "bin"}) {
    if (!failed && std::filesystem::exists(candidate / "vdist-run", failed)) {
      return candidate;
    }
  }
  return {};
}

std::filesystem::path programs_of(const engine_launch& launch) {
  if (!launch.options.programs.empty()) {
    return launch.options.programs;
  }
  return !launch.environment.programs.empty() ? launch.environment.programs
                                              : programs_beside_library();
}

engine_error closed() {
  return {error_code::closed, "engine: it has been closed"};
}

} // namespace

engine_core::engine_core(engine_launch launch) : launch_(std::move(launch)) {}

expected<engine> engine_core::start(engine_launch launch) {
  set_log_level_once(launch.config.log.level);
  const bool waits = launch.options.waits_until_ready;
  const auto deadline = launch.options.ready_deadline;
  const auto core = std::make_shared<engine_core>(
      std::move(launch)); // shared: engine, owner thread, streams while they look at it
  try {
    std::thread owner([core] { core->own(); });
    ::pthread_setname_np(owner.native_handle(), "vdist-owner");
    owner.detach(); // close() is the join, with a deadline
  } catch (const std::system_error& cause) {
    return engine_error{error_code::resource_exhausted,
                        fmt::format("engine: no thread can be started: {}", cause.what())};
  }
  engine started(core); // from here on its destructor closes
  if (waits) {
    if (auto ready = core->wait_until_ready(deadline); !ready) {
      return ready.error();
    }
  }
  return started;
}

result<std::unique_ptr<actors::engine>> engine_core::load() {
  actors::engine_listener listener;
  if (launch_.options.on_phase) {
    listener.on_phase = [told = launch_.options.on_phase](std::string_view phase,
                                                          const std::string& outcome) {
      told(phase, outcome);
    };
  }
  listener.on_load = launch_.options.on_load;
  const auto on_phase = listener.on_phase
                            ? listener.on_phase
                            : actors::phase_listener([](std::string_view, const std::string&) {});
  VDIST_ASSIGN(auto setup, actors::set_up_model(launch_.config, launch_.environment, on_phase));
  if (stop_.stop_requested()) {
    return vdist::fail(errc::cancelled, "start: it was called off");
  }
  return actors::engine::start(std::move(setup),
                               std::move(listener),
                               {.programs = programs_of(launch_)},
                               {.actors = launch_.actors, .stop = stop_.get_token()});
}

/// The owner thread.
void engine_core::own() {
  std::optional<engine_error> failed;
  std::unique_ptr<actors::engine> made;
  watch_list watches;
  try {
    auto loaded = load();
    if (loaded) {
      made = std::move(*loaded);
    } else {
      failed = to_public(loaded.error());
    }
  } catch (const std::exception& cause) {
    failed = engine_error{error_code::internal, fmt::format("start: {}", cause.what())};
  }
  {
    std::unique_lock lock(mutex_);
    cluster_ = std::move(made);
    failure_ = std::move(failed);
    has_loaded_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_closing_ && users_ == 0; });
    made = std::move(cluster_);
    watches = watches_; // C-2: nobody can add one any more
  }
  for (const auto& [key, watch] : watches) {
    watch->end();
  }
  made.reset(); // as long as it takes
  {
    const std::lock_guard lock(mutex_);
    has_ended_ = true;
  }
  changed_.notify_all();
  events_->wait_until_ended();
  {
    const std::lock_guard lock(mutex_);
    is_all_gone_ = true;
  }
  changed_.notify_all();
}

engine_error engine_core::why_not_running() const {
  if (is_closing_) {
    return closed();
  }
  if (failure_) {
    return *failure_;
  }
  return {error_code::not_ready, "engine: the model is being loaded"};
}

expected<engine_core::user> engine_core::enter() {
  const std::lock_guard lock(mutex_);
  if (is_closing_ || !cluster_) {
    return why_not_running();
  }
  ++users_;
  return user(*this);
}

void engine_core::leave() {
  const std::lock_guard lock(mutex_);
  if (--users_ == 0) {
    changed_.notify_all();
  }
}

expected<void> engine_core::wait_until_ready(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  const auto is_settled = [this] {
    return has_loaded_ || is_closing_;
  };
  if (!changed_.wait_until(lock, deadline_after(timeout), is_settled)) {
    return engine_error{error_code::timed_out, "engine: the model has not been loaded in time"};
  }
  return cluster_ && !is_closing_ ? expected<void>() : expected<void>(why_not_running());
}

bool engine_core::wait_for_close(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline_after(timeout), [this] { return is_closing_; });
}

bool engine_core::add(const std::shared_ptr<stream_state>& stream) {
  const std::lock_guard lock(mutex_);
  if (is_closing_) {
    return false;
  }
  streams_.emplace(stream.get(), stream);
  return true;
}

bool engine_core::add(const std::shared_ptr<watch_state>& watch) {
  const std::lock_guard lock(mutex_);
  if (is_closing_) {
    return false;
  }
  watches_.emplace(watch.get(), watch);
  return true;
}

void engine_core::forget(const watch_state& watch) {
  const std::lock_guard lock(mutex_);
  watches_.erase(&watch);
}

void engine_core::forget(const stream_state& stream) {
  const std::lock_guard lock(mutex_);
  streams_.erase(&stream);
}

expected<stream> engine_core::generate(const generate_request& request) {
  auto cluster = enter();
  if (!cluster) {
    return std::move(cluster).error();
  }
  auto made = (*cluster)->generate(to_internal(request, (*cluster)->default_params()));
  if (!made) {
    return to_public(made.error());
  }
  const auto state = stream_state::make({.prompt_tokens = made->prompt_tokens,
                                         .event_timeout = request.event_timeout,
                                         .sequences = std::move(made->sequences),
                                         .events = events_,
                                         .engine = weak_from_this()});
  if (!add(state)) { // closed meanwhile, and waits for us
    state->close();
    return closed();
  }
  return stream(state);
}

engine_health engine_core::health() {
  auto cluster = enter();
  if (!cluster) {
    const auto code = cluster.error().code;
    return {.state = code == error_code::not_ready ? engine_state::loading
                     : code == error_code::closed  ? engine_state::closed
                                                   : engine_state::failed,
            .reason = code == error_code::not_ready || code == error_code::closed
                          ? std::string()
                          : cluster.error().message};
  }
  const auto workers = (*cluster)->workers();
  engine_health health{.state = (*cluster)->is_draining() ? engine_state::draining
                                                          : engine_state::running,
                       .reason = {},
                       .workers = workers.living,
                       .workers_configured = workers.configured};
  if (const auto failure = (*cluster)->failure()) {
    health.state = engine_state::failed;
    health.reason = failure->context;
  }
  return health;
}

expected<engine_stats> engine_core::stats() {
  auto cluster = enter();
  if (!cluster) {
    return std::move(cluster).error();
  }
  return to_public((*cluster)->status());
}

expected<model_description> engine_core::model() {
  auto cluster = enter();
  if (!cluster) {
    return std::move(cluster).error();
  }
  auto described = actors::describe_model((*cluster)->setup());
  if (!described) {
    return to_public(described.error());
  }
  return to_public(std::move(*described));
}

expected<layer_watch> engine_core::watch_layer(const layer_watch_request& request) {
  auto cluster = enter();
  if (!cluster) {
    return std::move(cluster).error();
  }
  auto made = (*cluster)->watch_layer(
      {.layer = request.layer, .rank = request.rank, .rows_max = request.rows_max});
  if (!made) {
    return to_public(made.error());
  }
  // Shared: layer_watch, and this engine until the watch has ended.
  const auto state = std::make_shared<watch_state>(std::move(*made), weak_from_this());
  if (!add(state)) { // closed meanwhile, and waits for us
    state->end();
    return closed();
  }
  return layer_watch(state);
}

expected<void> engine_core::drain(std::chrono::nanoseconds timeout) {
  const auto deadline = deadline_after(timeout);
  while (true) {
    std::uint64_t left = 0;
    {
      auto cluster = enter();
      if (!cluster) {
        return std::move(cluster).error();
      }
      const auto told = (*cluster)->drain(); // again and again: it answers with what is left
      if (!told) {
        if (const auto failure = (*cluster)->failure()) { // then every request has ended
          return to_public(*failure);
        }
        return to_public(told.error());
      }
      left = told->active;
    }
    if (left == 0) {
      return {};
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      return engine_error{error_code::timed_out,
                          fmt::format("drain: requests are still under way (requests={})", left)};
    }
    if (wait_for_close(drain_look_interval)) {
      return closed();
    }
  }
}

expected<void> engine_core::close(std::chrono::nanoseconds timeout) {
  const auto deadline = deadline_after(timeout);
  std::vector<std::shared_ptr<stream_state>> streams;
  watch_list watches;
  {
    const std::lock_guard lock(mutex_);
    ++users_; // C-2: the owner waits until the streams are closed
    if (!std::exchange(is_closing_, true)) {
      for (const auto& [key, stream] : streams_) {
        if (auto living = stream.lock()) {
          streams.push_back(std::move(living));
        }
      }
      watches = watches_;
    }
  }
  changed_.notify_all();
  stop_.request_stop();
  for (const auto& stream : streams) {
    stream->close();
  }
  streams.clear();
  for (const auto& [key, watch] : watches) {
    watch->refuse();
  }
  events_->stop();
  leave();
  const bool is_own = events_->is_this_thread(); // in a callback, which is not waited for
  std::unique_lock lock(mutex_);
  if (!changed_.wait_until(
          lock, deadline, [this, is_own] { return is_all_gone_ || (is_own && has_ended_); })) {
    return engine_error{error_code::timed_out,
                        "close: workers or callbacks are stuck and are left behind"};
  }
  return {};
}

} // namespace vdist::embedding
