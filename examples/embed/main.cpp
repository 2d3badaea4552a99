// examples/embed/main.cpp — the engine inside a program of your own: start it, send prompts, read two streams at once.
//   build/bin/vdist-example-embed [cluster.toml]
#include "actors/system/engine.hpp"

#include "runtime/config/environment.hpp"
#include "runtime/config/load.hpp"

#include <chrono>
#include <cstdio>

namespace {

using namespace std::chrono_literals;

vdist::result<void> tell_two_stories(const char* config_file) {
  VDIST_ASSIGN(const auto config, vdist::config::load(config_file));
  VDIST_ASSIGN(auto engine, vdist::engine::start(config, vdist::config::read_environment(), {}));

  vdist::generate_request request{
      .prompt = "The little rabbit", .token_ids = {}, .params = engine->default_params()};
  request.params.max_tokens = 60;
  request.params.seed = 7;
  request.params.n = 2; // two stories that begin alike
  VDIST_ASSIGN(auto generation, engine->generate(request));

  for (const auto& story : generation.sequences) {
    std::printf("%s", request.prompt.c_str());
    for (bool has_ended = false; !has_ended;) {
      VDIST_ASSIGN(const auto chunk, story->next(10s));
      if (!chunk) {
        return vdist::fail(vdist::errc::timed_out, "no token for 10 s");
      }
      std::printf("%s", chunk->text.c_str());
      has_ended = chunk->reason != vdist::protocol::finish_reason::none;
    }
    std::printf("\n\n");
  }
  return {};
}

} // namespace

int main(int argc, char** argv) {
  const auto told = tell_two_stories(argc > 1 ? argv[1] : "config/demo.toml");
  if (!told) {
    std::fprintf(stderr, "%s\n", told.error().context.c_str());
    return vdist::exit_code(told.error().code);
  }
  return 0;
}
