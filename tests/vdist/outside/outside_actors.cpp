// The same story, as messages.
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>

#include <chrono>
#include <cstdio>
#include <vdist/actors.hpp>

int main(int argc, char** argv) {
  caf::actor_system_config config;
  config.set("scheduler.policy", caf::atom("sharing"));
  caf::actor_system system{config};
  auto engine = vdist::service_engine::from_config(system,
                                                   {.model = argc > 1 ? argv[1] : "",
                                                    .max_model_len = 128,
                                                    .device = "cpu",
                                                    .kv_cache_bytes = 16777216,
                                                    .threads = 1,
                                                    .settings = {"log.level=warn"}});
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().message.c_str());
    return 1;
  }
  caf::scoped_actor self{system};
  bool is_good = false;
  bool has_ended = false;
  self->send(engine->handle(),
             vdist::submit_request{{.prompt = "Once upon a time",
                                    .sampling = {.temperature = 0.0F, .max_tokens = 12}},
                                   caf::actor_cast<caf::actor>(self)});
  while (!has_ended) {
    self->receive(
        [&](const vdist::submit_outcome& outcome) { has_ended = outcome.stream == 0; },
        [](const vdist::stream_event& message) { std::fputs(message.event.text.c_str(), stdout); },
        [&](const vdist::stream_end& message) {
          has_ended = true;
          is_good = message.cause.code == vdist::error_code::none;
        },
        caf::after(std::chrono::seconds(60)) >> [&] { has_ended = true; });
  }
  std::fputs("\n", stdout);
  return is_good ? 0 : 1;
}
