// examples/embed/coroutines.cpp — many streams on no thread of one's own: a coroutine per prompt.
//   build/bin/vdist-example-coroutines [cluster.toml]
// `task` is all that it takes: a coroutine that starts at once, and tells a latch when it has ended. A program with an event
// loop has a task type already; any will do, since async_next() is a plain awaitable.
#include <array>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <latch>
#include <string>
#include <vdist/engine.hpp>

namespace {

using namespace std::chrono_literals;

constexpr auto token_deadline = 30s;
constexpr std::array prompts{
    "The little rabbit", "Once upon a time", "The old king", "One morning"};

struct task {
  struct promise_type {
    task get_return_object() { return {}; }

    std::suspend_never initial_suspend() noexcept { return {}; }

    std::suspend_never final_suspend() noexcept { return {}; } // it ends itself

    void return_void() {}

    void unhandled_exception() { std::terminate(); }
  };
};

/// Runs on the caller's thread as long as tokens are there, then on the engine's event thread: whatever it does between two
/// awaits should be short. References are to what outlives it: main() waits.
task tell(vdist::engine& engine, const char* prompt, std::string& story, std::latch& done) {
  story = prompt;
  auto stream = engine.generate({.prompt = prompt, .sampling = {.seed = 7, .max_tokens = 40}});
  while (stream) {
    const auto item = co_await stream->async_next(token_deadline);
    if (!item) { // timed_out, or closed
      story += " (" + item.error().message + ")";
      break;
    }
    if (!*item) { // the end
      break;
    }
    story += (*item)->text;
  }
  done.count_down();
}

} // namespace

int main(int argc, char** argv) {
  auto engine = vdist::engine::from_file(argc > 1 ? argv[1] : "config/demo.toml",
                                         {.settings = {"log.level=warn"}});
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().message.c_str());
    return 1;
  }
  std::array<std::string, prompts.size()> stories;
  std::latch done(static_cast<std::ptrdiff_t>(prompts.size()));
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    tell(*engine, prompts[i], stories[i], done);
  }
  done.wait();
  for (const auto& story : stories) {
    std::printf("%s\n\n", story.c_str());
  }
  return 0;
}
