// examples/caf-service/main.cpp — a service made of actors, with the engine among them: a narrator asks for a story, prints
// its tokens as they come as messages, and ends.
//   build/bin/vdist-example-caf-service [cluster.toml]
#include <caf/actor_cast.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/stateful_actor.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vdist/actors.hpp>

namespace {

constexpr std::chrono::seconds submit_deadline{60};

struct narrator_state {
  std::uint64_t stream = 0;
  const char* name = "narrator";
};

/// Owns nothing of the engine: a handle to talk to, and the name of its stream. Should it die, its stream is cancelled.
caf::behavior narrator(caf::stateful_actor<narrator_state>* self,
                       vdist::engine_actor engine,
                       std::string prompt) {
  std::printf("%s", prompt.c_str());
  vdist::submit_request order{
      .request = {.prompt = std::move(prompt), .sampling = {.seed = 7, .max_tokens = 40}},
      .reader = caf::actor_cast<caf::actor>(self)};
  self->request(engine, caf::duration(submit_deadline), std::move(order))
      .then(
          [self](const vdist::submit_outcome& outcome) {
            self->state.stream = outcome.stream;
            if (outcome.stream == 0) { // refused: queue_full, closed, a bad parameter
              std::printf("(%s)\n", outcome.cause.message.c_str());
              self->quit();
            }
          },
          [self](const caf::error&) {
            std::printf("(the engine does not answer)\n");
            self->quit();
          });
  return {
      [](const vdist::stream_event& message) { std::fputs(message.event.text.c_str(), stdout); },
      [self](const vdist::stream_end& message) {
        std::printf("%s\n\n", message.cause.message.c_str());
        self->quit();
      },
  };
}

} // namespace

int main(int argc, char** argv) {
  caf::actor_system_config config;
  config.set("scheduler.policy", caf::atom("sharing")); // the default burns half a core when idle
  caf::actor_system system{config};                     // outlives the engine
  auto engine = vdist::service_engine::from_file(
      system,
      argc > 1 ? argv[1] : "config/demo.toml",
      {.settings = {"log.level=warn", "cluster.isolation=thread"}});
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().message.c_str());
    return 1;
  }
  caf::scoped_actor self{system};
  for (const auto* prompt : {"The little rabbit", "Once upon a time"}) {
    const auto one = self->spawn(narrator, engine->handle(), std::string(prompt));
    self->wait_for(one);
  }
  return 0;
}
