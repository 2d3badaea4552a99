// The actor behind service_engine::handle(): a go-between from messages to calls of the engine and back. It may block, having
// a thread of its own; what it holds are streams, whose events go to their readers straight from the event thread.
#include "runtime/base/log.hpp"
#include "runtime/config/load.hpp"

#include <caf/actor_cast.hpp>
#include <caf/exit_reason.hpp>
#include <caf/response_promise.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <caf/typed_response_promise.hpp>

#include <cstddef>
#include <unordered_map>
#include <utility>

#include "vdist/actors.hpp"
#include "vdist/embedding/engine_core.hpp"

namespace vdist {

namespace embedding {

namespace {

/// From the event thread: nothing of this stream comes any more.
struct forget_stream {
  std::uint64_t stream = 0;
};

} // namespace

} // namespace embedding

} // namespace vdist

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::embedding::forget_stream)

namespace vdist {

namespace embedding {

namespace {

using go_between = engine_actor::extend<caf::reacts_to<forget_stream>>;

struct go_between_state {
  struct entry {
    vdist::stream stream;
    caf::actor_addr reader;
  };

  std::shared_ptr<engine_core> engine; // shared with service_engine's engine
  std::unordered_map<std::uint64_t, entry> streams;
  std::unordered_map<caf::actor_addr, std::size_t> readers; // how many streams of each; monitored
  std::uint64_t last_id = 0;
  const char* name = "vdist-engine";
};

using go_between_pointer = go_between::stateful_pointer<go_between_state>;

void forget(go_between_pointer self, std::uint64_t id) {
  auto& state = self->state;
  const auto found = state.streams.find(id);
  if (found == state.streams.end()) {
    return;
  }
  const auto reader = found->second.reader;
  if (const auto counted = state.readers.find(reader);
      counted != state.readers.end() && --counted->second == 0) {
    self->demonitor(reader);
    state.readers.erase(counted);
  }
  state.streams.erase(found);
}

/// What a stream's handler does, on the event thread.
class forwarder {
public:
  forwarder(std::uint64_t id, caf::actor reader, caf::actor_addr owner)
      : id_(id), reader_(std::move(reader)), owner_(std::move(owner)) {}

  void operator()(stream_item item) const {
    if (item && *item) {
      caf::anon_send(reader_, stream_event{id_, std::move(**item)});
      return;
    }
    caf::anon_send(reader_,
                   stream_end{id_, item ? engine_error{error_code::none, {}} : item.error()});
    if (const auto owner =
            caf::actor_cast<caf::actor>(owner_)) { // weak: it owns the stream that owns this
      caf::anon_send(owner, forget_stream{id_});
    }
  }

private:
  std::uint64_t id_;
  caf::actor reader_;
  caf::actor_addr owner_;
};

caf::typed_response_promise<submit_outcome> on_submit(go_between_pointer self,
                                                      const submit_request& message) {
  auto& state = self->state;
  auto answer = self->make_response_promise<submit_outcome>();
  if (!message.reader) {
    answer.deliver(
        submit_outcome{.cause = {error_code::invalid_argument, "submit: it names no reader"}});
    return answer;
  }
  auto made = state.engine->generate(message.request);
  if (!made) {
    answer.deliver(submit_outcome{.cause = std::move(made).error()});
    return answer;
  }
  const auto id = ++state.last_id;
  const auto reader = caf::actor_cast<caf::actor_addr>(message.reader);
  answer.deliver(submit_outcome{
      .stream = id, .prompt_tokens = made->prompt_tokens()}); // before it is listened to
  if (++state.readers[reader] == 1) {
    self->monitor(message.reader);
  }
  auto& entry =
      state.streams.emplace(id, go_between_state::entry{std::move(*made), reader}).first->second;
  const auto listens = entry.stream.on_event(forwarder(id, message.reader, self->address()));
  if (!listens) {
    caf::anon_send(message.reader, stream_end{id, listens.error()});
    forget(self, id);
  }
  return answer;
}

///
void on_down(go_between_pointer self, const caf::down_msg& message) {
  auto& state = self->state;
  state.readers.erase(message.source);
  std::erase_if(state.streams,
                [&message](const auto& one) { return one.second.reader == message.source; });
}

go_between::behavior_type make_go_between(go_between_pointer self,
                                          std::shared_ptr<engine_core> engine) {
  self->state.engine = std::move(engine);
  self->set_down_handler([self](const caf::down_msg& message) { on_down(self, message); });
  self->set_exception_handler([](std::exception_ptr&) -> caf::error {
    log::error("vdist-engine: an exception has ended the actor");
    return caf::exit_reason::unhandled_exception;
  });
  return {
      [self](const submit_request& message) { return on_submit(self, message); },
      [self](const cancel_stream& message) {
        if (const auto found = self->state.streams.find(message.stream);
            found != self->state.streams.end()) {
          found->second.stream.cancel();
        }
      },
      [self](const get_engine_health&) { return self->state.engine->health(); },
      [self](const forget_stream& message) { forget(self, message.stream); },
  };
}

} // namespace

} // namespace embedding

inline namespace v0 {

service_engine::service_engine(vdist::engine engine, engine_actor handle) noexcept
    : engine_(std::move(engine)), handle_(std::move(handle)) {}

service_engine::service_engine(service_engine&&) noexcept = default;

service_engine& service_engine::operator=(service_engine&& other) noexcept {
  if (this != &other) {
    const service_engine ended(std::move(*this));
    engine_ = std::move(other.engine_);
    handle_ = std::move(other.handle_);
  }
  return *this;
}

/// The engine's own destructor follows: streams are closed there, so that readers hear of it before their streams go.
service_engine::~service_engine() {
  if (!handle_) {
    return;
  }
  if (const auto& core = embedding::engine_core::of(engine_)) {
    (void)engine_.close(core->close_deadline());
  }
  caf::anon_send_exit(handle_, caf::exit_reason::user_shutdown);
}

expected<service_engine> service_engine::make(caf::actor_system& system,
                                              expected<vdist::engine> engine) {
  if (!engine) {
    return std::move(engine).error();
  }
  auto handle =
      system.spawn<caf::detached>(embedding::make_go_between, embedding::engine_core::of(*engine));
  return service_engine(std::move(*engine), caf::actor_cast<engine_actor>(std::move(handle)));
}

expected<service_engine> service_engine::from_file(caf::actor_system& system,
                                                   const std::filesystem::path& file,
                                                   engine_options options) {
  auto config = config::load(file, options.settings);
  return make(system, embedding::start_engine(std::move(config), std::move(options), &system));
}

expected<service_engine> service_engine::from_text(caf::actor_system& system,
                                                   std::string_view toml,
                                                   engine_options options) {
  auto config = config::parse(toml, "cluster.toml", options.settings);
  return make(system, embedding::start_engine(std::move(config), std::move(options), &system));
}

expected<service_engine> service_engine::from_config(caf::actor_system& system,
                                                     const engine_config& config,
                                                     engine_options options) {
  auto parsed = embedding::parse_config(config, options);
  return make(system, embedding::start_engine(std::move(parsed), std::move(options), &system));
}

} // namespace v0
} // namespace vdist
