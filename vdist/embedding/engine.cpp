#include "vdist/engine.hpp"

#include "runtime/config/load.hpp"

#include <algorithm>
#include <deque>
#include <utility>

#include "vdist/embedding/engine_core.hpp"
#include "vdist/embedding/stream_state.hpp"
#include "vdist/embedding/translate.hpp"

namespace vdist {

namespace embedding {

expected<engine> start_engine(result<config::cluster_config> config,
                              engine_options options,
                              caf::actor_system* actors) {
  if (!config) {
    return to_public(config.error());
  }
  return engine_core::start({.config = std::move(*config),
                             .environment = config::read_environment(),
                             .options = std::move(options),
                             .actors = actors});
}

result<config::cluster_config> parse_config(const engine_config& config,
                                            const engine_options& options) {
  auto settings = to_settings(config);
  settings.insert(settings.end(), options.settings.begin(), options.settings.end());
  return config::parse("", "engine_config", settings);
}

namespace {

/// Between two tries while the requests of others fill the engine.
constexpr std::chrono::milliseconds full_look_interval{10};

/// Requests of a batch under way, the oldest first.
class batch {
public:
  batch(engine_core& core,
        std::span<const generate_request> requests,
        std::chrono::nanoseconds timeout)
      : core_(core), requests_(requests), deadline_(deadline_after(timeout)) {}

  std::vector<expected<generation>> run() {
    for (std::size_t index = 0; index < requests_.size(); ++index) {
      results_.emplace_back(
          engine_error{error_code::timed_out, "generate_all: its turn has not come in time"});
      submit(index);
    }
    while (!under_way_.empty()) {
      finish_oldest();
    }
    return std::move(results_);
  }

private:
  [[nodiscard]] std::chrono::nanoseconds left() const {
    return deadline_ - std::chrono::steady_clock::now();
  }

  /// When the engine is full, the oldest one's end makes room; if none is ours, somebody else's.
  void submit(std::size_t index) {
    while (left() > std::chrono::nanoseconds(0)) {
      auto made = core_.generate(requests_[index]);
      if (made) {
        under_way_.emplace_back(index, std::move(*made));
        return;
      }
      results_[index] = std::move(made).error();
      if (results_[index].error().code != error_code::queue_full) {
        return;
      }
      if (!under_way_.empty()) {
        finish_oldest();
      } else if (core_.wait_for_close(
                     std::min<std::chrono::nanoseconds>(full_look_interval, left()))) {
        return;
      }
    }
  }

  /// Late ones are cancelled by their streams' ends.
  void finish_oldest() {
    auto& [index, stream] = under_way_.front();
    results_[index] = stream.collect(left());
    under_way_.pop_front();
  }

  engine_core& core_;
  std::span<const generate_request> requests_;
  steady_time deadline_;
  std::vector<expected<generation>> results_; // by request
  std::deque<std::pair<std::size_t, stream>> under_way_;
};

engine_error moved_from() {
  return {error_code::closed, "engine: it has been moved from"};
}

} // namespace

} // namespace embedding

inline namespace v0 {

using embedding::moved_from;

engine::engine(std::shared_ptr<embedding::engine_core> core) noexcept : core_(std::move(core)) {}

engine::engine(engine&&) noexcept = default;

engine& engine::operator=(engine&& other) noexcept {
  if (this != &other) {
    const engine ended(std::exchange(core_, std::move(other.core_)));
  }
  return *this;
}

engine::~engine() {
  if (core_) {
    (void)close(core_->close_deadline());
  }
}

expected<engine> engine::from_file(const std::filesystem::path& file, engine_options options) {
  auto config = config::load(file, options.settings);
  return embedding::start_engine(std::move(config), std::move(options));
}

expected<engine> engine::from_text(std::string_view toml, engine_options options) {
  auto config = config::parse(toml, "cluster.toml", options.settings);
  return embedding::start_engine(std::move(config), std::move(options));
}

expected<engine> engine::from_config(const engine_config& config, engine_options options) {
  auto parsed = embedding::parse_config(config, options);
  return embedding::start_engine(std::move(parsed), std::move(options));
}

expected<void> engine::wait_until_ready(std::chrono::nanoseconds timeout) const {
  return core_ ? core_->wait_until_ready(timeout) : moved_from();
}

expected<stream> engine::generate(const generate_request& request) {
  return core_ ? core_->generate(request) : moved_from();
}

std::vector<expected<generation>> engine::generate_all(std::span<const generate_request> requests,
                                                       std::chrono::nanoseconds timeout) {
  if (!core_) {
    return std::vector<expected<generation>>(requests.size(), moved_from());
  }
  return embedding::batch(*core_, requests, timeout).run();
}

engine_health engine::health() const {
  return core_ ? core_->health() : engine_health{.state = engine_state::closed};
}

expected<engine_stats> engine::stats() const {
  return core_ ? core_->stats() : moved_from();
}

expected<model_description> engine::model() const {
  return core_ ? core_->model() : moved_from();
}

expected<layer_watch> engine::watch_layer(const layer_watch_request& request) {
  return core_ ? core_->watch_layer(request) : moved_from();
}

expected<void> engine::drain(std::chrono::nanoseconds timeout) {
  return core_ ? core_->drain(timeout) : moved_from();
}

expected<void> engine::close(std::chrono::nanoseconds timeout) noexcept {
  return core_ ? core_->close(timeout) : expected<void>();
}

} // namespace v0
} // namespace vdist
