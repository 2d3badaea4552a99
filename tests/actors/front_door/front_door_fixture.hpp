// tests/actors/front_door/front_door_fixture.hpp — a front door on a free port, in front of a backend that the test plays:
// it sees every order, and pushes the tokens.
#pragma once

#include "tests/actors/front_door/api_client.hpp"

#include "actors/front_door/http_front_door.hpp"

#include <boost/test/unit_test.hpp>

#include <condition_variable>
#include <deque>
#include <mutex>

namespace vdist::testing {

inline std::shared_ptr<const text::tokenizer> demo_tokenizer() {
  static const auto loaded = *text::tokenizer::load(VDIST_SOURCE_DIR "/examples/models/tiny-tales");
  return loaded;
}

/// Answers submit() as told, and keeps what was ordered.
class played_backend final : public actors::serving_backend {
public:
  struct accepted {
    actors::prompt_order order;
    std::vector<std::shared_ptr<actors::text_stream>> streams;
    std::atomic<int> cancels{0};
  };

  result<void> check(const actors::prompt_order&) const override { return checks; }

  result<std::vector<std::shared_ptr<actors::text_stream>>>
  submit(const actors::prompt_order& order) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !is_held_; });
    if (refusal) {
      return *refusal;
    }
    if (!can_take(order.replicas)) {
      return fail(errc::closed, "router: not these replicas");
    }
    auto made = std::make_shared<accepted>();
    made->order = order;
    for (std::int32_t i = 0; i < order.params.n; ++i) {
      made->streams.push_back(
          *actors::text_stream::make({.tokenizer = demo_tokenizer(),
                                      .stop = order.params.stop,
                                      .include_stop = order.params.include_stop_str_in_output,
                                      .wants_logprobs = order.params.logprobs.has_value()}));
      made->streams.back()->on_cancel([this, made = std::weak_ptr<accepted>(made)] {
        if (const auto one = made.lock()) {
          const std::lock_guard counted(mutex_);
          ++one->cancels;
          changed_.notify_all();
        }
      });
    }
    all_.push_back(made);
    changed_.notify_all();
    return made->streams;
  }

  result<void> health(std::span<const std::int32_t> replicas) override {
    return can_take(replicas) ? checks : fail(errc::closed, "health: not these replicas");
  }

  bool is_draining(std::span<const std::int32_t> replicas) const override {
    return drains || !can_take(replicas);
  }

  std::string describe_cluster() override { return R"({"status":{}})"; }

  metrics::engine_sample sample() const override {
    return metrics::sample_before_start("tiny", 256, 1);
  }
  actors::cluster_observation observe() override { return {.at_ns = ++looks}; }

  /// The n-th that was accepted; waits for it.
  std::shared_ptr<accepted> wait_for(std::size_t number) {
    std::unique_lock lock(mutex_);
    BOOST_REQUIRE(changed_.wait_for(lock, patience, [&] { return all_.size() > number; }));
    return all_[number];
  }

  void wait_for_cancels(const accepted& one, int count) {
    std::unique_lock lock(mutex_);
    BOOST_REQUIRE(changed_.wait_for(lock, patience, [&] { return one.cancels >= count; }));
  }

  /// submit() does not return meanwhile.
  void hold(bool is_held) {
    const std::lock_guard lock(mutex_);
    is_held_ = is_held;
    changed_.notify_all();
  }

  std::optional<error> refusal; // of submit(); set while nothing is asked
  result<void> checks;
  std::atomic<bool> drains{false};
  std::atomic<std::int32_t> gone{-1}; // a replica that takes nothing
  std::atomic<int> looks{0}; // that were taken

private:
  [[nodiscard]] bool can_take(std::span<const std::int32_t> replicas) const {
    return replicas.empty() || std::any_of(replicas.begin(), replicas.end(), [this](auto one) {
             return one != gone;
           });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<accepted>> all_;
  bool is_held_ = false;
};

struct front_door_fixture {
  explicit front_door_fixture(actors::front_door_config config = {}, bool is_open = true) {
    config.http.port = 0;
    config.http.io_threads = 1;
    auto started = actors::http_front_door::start(
        std::move(config),
        {.name = "tiny",
         .created = 1700000000,
         .max_model_len = 256,
         .tokenizer = demo_tokenizer(),
         .chat = text::jinja::model_template::of_source(
             "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
             "{% if add_generation_prompt %}assistant: {% endif %}",
             R"({"bos_token": "<|bos|>"})"),
         .version = "1.2.3"},
        time);
    BOOST_REQUIRE_MESSAGE(started.has_value(), (started ? "" : started.error().context));
    door = std::move(*started);
    if (is_open) {
      door->open(backend);
    }
  }

  ~front_door_fixture() { door->close(); }

  [[nodiscard]] std::uint16_t port() const { return door->port(); }

  static std::vector<token_id> ids_of(std::string_view text) {
    return *demo_tokenizer()->encode(text, text::special_tokens::omit);
  }

  /// Pushes tokens as the router does, positions from `first` on, with an end behind the last one when there is a reason.
  static void push(actors::text_stream& stream,
                   const std::vector<token_id>& ids,
                   protocol::finish_reason reason = protocol::finish_reason::none,
                   std::int32_t first = 0) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      stream.push({.id = request_id(1),
                   .position = first + static_cast<std::int32_t>(i),
                   .token = ids[i],
                   .reason = i + 1 == ids.size() ? reason : protocol::finish_reason::none,
                   .logprob = -1.0F});
    }
  }

  system_clock time;
  played_backend backend;
  std::unique_ptr<actors::http_front_door> door;
};

} // namespace vdist::testing
