// examples/embed/main.cpp — an embedding service: threads of a server that all ask one engine, and an end that loses nobody.
//   build/bin/vdist-example-embed [cluster.toml]
// Here the threads answer a list of prompts; in a service of yours they answer connections.
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <thread>
#include <vdist/engine.hpp>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr std::size_t callers = 4;
constexpr auto drain_deadline = 30s;

constexpr std::array prompts{"The little rabbit",
                             "Once upon a time",
                             "The old king",
                             "One morning",
                             "In the forest",
                             "A poor miller had"};

/// One caller: takes the next prompt until there is none. generate() may be called by all of them at once.
void answer(vdist::engine& engine,
            std::atomic<std::size_t>& next,
            std::vector<std::string>& stories) {
  for (auto index = next++; index < prompts.size(); index = next++) {
    auto stream =
        engine.generate({.prompt = prompts[index], .sampling = {.seed = index, .max_tokens = 40}});
    if (!stream) { // queue_full: tell your client to come back later; closed: the service drains
      stories[index] = "(" + stream.error().message + ")";
      continue;
    }
    std::string story = prompts[index];
    for (const auto& event :
         *stream) { // as the tokens come; a worker that dies in between changes none
      story += event.text;
    }
    const auto read = stream->status();
    stories[index] = read ? story : "(" + read.error().message + ")";
  }
}

} // namespace

int main(int argc, char** argv) {
  auto engine = vdist::engine::from_file(argc > 1 ? argv[1] : "config/demo.toml",
                                         {.settings = {"log.level=warn"}});
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().message.c_str());
    return 1;
  }

  std::vector<std::string> stories(prompts.size());
  {
    std::atomic<std::size_t> next = 0;
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < callers; ++i) {
      threads.emplace_back([&] { answer(*engine, next, stories); });
    }
  }

  // The end: nothing new, everything that was accepted finishes, then the workers go.
  if (const auto drained = engine->drain(drain_deadline); !drained) {
    std::fprintf(stderr, "%s\n", drained.error().message.c_str());
    return 1;
  }
  for (const auto& story : stories) {
    std::printf("%s\n\n", story.c_str());
  }
  if (const auto stats = engine->stats()) {
    std::printf("%llu tokens in %llu steps\n",
                static_cast<unsigned long long>(stats->computed_tokens),
                static_cast<unsigned long long>(stats->steps));
  }
  return 0;
}
