// Prints a greedy story of the model folder in argv[1]; with "process" in argv[2] from workers that are processes.
#include <chrono>
#include <cstdio>
#include <string_view>
#include <vdist/engine.hpp>

int main(int argc, char** argv) {
  const bool uses_processes = argc > 2 && std::string_view(argv[2]) == "process";
  auto engine = vdist::engine::from_config({.model = argc > 1 ? argv[1] : "",
                                            .max_model_len = 128,
                                            .device = "cpu",
                                            .kv_cache_bytes = 16777216,
                                            .threads = 1,
                                            .uses_processes = uses_processes,
                                            .settings = {"log.level=warn"}});
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().message.c_str());
    return 1;
  }
  const auto model = engine->model();
  auto watch = engine->watch_layer({.layer = 0, .rank = 0});
  if (!model || model->parameters.empty() || !watch) {
    std::fprintf(stderr, "the model cannot be looked into\n");
    return 1;
  }
  auto stream = engine->generate(
      {.prompt = "Once upon a time", .sampling = {.temperature = 0.0F, .max_tokens = 12}});
  if (!stream) {
    std::fprintf(stderr, "%s\n", stream.error().message.c_str());
    return 1;
  }
  for (auto& event : *stream) {
    std::fputs(event.text.c_str(), stdout);
  }
  std::fputs("\n", stdout);
  const auto row = watch->next(std::chrono::seconds(0));
  return stream->status() && row && row->request_id == stream->request_id(0) ? 0 : 1;
}
