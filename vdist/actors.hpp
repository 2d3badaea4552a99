// vdist/actors.hpp — vdist in an actor system of your own (CAF 0.17): the engine's actors run on your scheduler's threads, and
// you talk to it as to any other actor.
//
//   caf::actor_system system{config};                          // declared first: it outlives the engine
//   auto engine = vdist::service_engine::from_file(system, "cluster.toml");
//   …in an actor of yours:
//   self->request(engine->handle(), 1min, vdist::submit_request{{.prompt = "Once"}, caf::actor_cast<caf::actor>(self)})
//       .then([](const vdist::submit_outcome& outcome) { … outcome.stream, or outcome.cause … });
//   …and among its handlers:
//   [](const vdist::stream_event& message) { … message.event.text … },
//   [](const vdist::stream_end& message) { … }
//
// What your actor_system_config needs: nothing. The messages below are structs that stay within the process; they need no
// add_message_type, cannot be sent over the network, and are printed as "<unprintable>" by CAF's logger. Advised is
// scheduler.policy = sharing: CAF's default, stealing, keeps half a core busy when idle. The engine's actors never block;
// two threads of the scheduler are enough for them, beside what yours need. A scheduler whose threads are all blocked by
// your own actors stands still for the engine, too: block in detached actors only.
//
// Who owns what: you the system; service_engine the engine, its actors and its handle's actor; whoever submits owns
// nothing. The destructor ends all of these within engine_options::close_deadline, and nothing of yours. If the system is
// destroyed before, its destructor waits for the engine's actors as for all others: end the engine first.
//
// A-1 handle() stays the same and stays right while workers, schedulers and routers of the engine die and are replaced.
// A-2 The answer to submit_request comes before the first event of its stream, for a reader that has asked for it itself.
// A-3 An accepted stream has exactly one stream_end, behind all its events (T-1 and T-2 of stream.hpp).
// A-4 A reader that ends cancels its streams.
#pragma once

#include <caf/actor.hpp>
#include <caf/actor_system.hpp>
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/replies_to.hpp>
#include <caf/typed_actor.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "vdist/engine.hpp"

namespace vdist {

inline namespace v0 {

/// To the engine: generate this, and send the events to `reader`.
struct submit_request {
  generate_request request = {}; // event_timeout is not used: messages are not waited for
  caf::actor reader = {};
};

struct submit_outcome {
  std::uint64_t stream = 0; // its name in what follows; 0: it was refused
  std::int32_t prompt_tokens = 0;
  engine_error cause{error_code::none, {}}; // of a refusal: as engine::generate()
};

/// To the engine, from anybody: its events end with `cancelled`. A stream that has ended is ignored.
struct cancel_stream {
  std::uint64_t stream = 0;
};

struct get_engine_health {};

/// To the reader. A message per event; what a slow reader has not taken waits in its mailbox, max_tokens at most.
struct stream_event {
  std::uint64_t stream = 0;
  token_event event = {};
};

/// To the reader. `cause`: none when all sequences have had their last event, else why they will not.
struct stream_end {
  std::uint64_t stream = 0;
  engine_error cause{error_code::none, {}};
};

using engine_actor = caf::typed_actor<caf::replies_to<submit_request>::with<submit_outcome>,
                                      caf::reacts_to<cancel_stream>,
                                      caf::replies_to<get_engine_health>::with<engine_health>>;

/// An engine whose actors live in a system of yours.
class service_engine {
public:
  /// As those of engine; not from an actor that is not detached, since they block. `system` outlives the result.
  [[nodiscard]] static expected<service_engine> from_file(caf::actor_system& system,
                                                          const std::filesystem::path& file,
                                                          engine_options options = {});
  [[nodiscard]] static expected<service_engine>
  from_text(caf::actor_system& system, std::string_view toml, engine_options options = {});
  [[nodiscard]] static expected<service_engine>
  from_config(caf::actor_system& system, const engine_config& config, engine_options options = {});

  service_engine(service_engine&&) noexcept;
  service_engine& operator=(service_engine&&) noexcept;
  /// Readers get `closed`. Not from an actor that is not detached.
  ~service_engine();

  /// An actor with a thread of its own that answers one submit after the other; tokens do not pass it. Any thread.
  [[nodiscard]] const engine_actor& handle() const noexcept { return handle_; }

  /// The same engine without actors: drain(), stats(), streams that block. Its calls block, so not for actors that are not
  /// detached, health() excepted. Any thread.
  [[nodiscard]] engine& core() noexcept { return engine_; }

private:
  service_engine(vdist::engine engine, engine_actor handle) noexcept;
  static expected<service_engine> make(caf::actor_system& system, expected<vdist::engine> engine);

  vdist::engine engine_;
  engine_actor handle_; // null: moved from
};

} // namespace v0
} // namespace vdist

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::submit_request)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::submit_outcome)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::cancel_stream)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::get_engine_health)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::engine_health)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::stream_event)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(vdist::stream_end)
