// examples/offline-batch/main.cpp — many prompts, one after the other on the standard input, one answer per line on the
// standard output, in their order. The engine batches them: as many run at once as fit.
//   build/bin/vdist-example-offline-batch MODEL_FOLDER [WORKERS] < prompts.txt
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vdist/engine.hpp>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr auto batch_deadline = 10min;

/// One line each.
std::string flat(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODEL_FOLDER [WORKERS] < prompts.txt\n", argv[0]);
    return 2;
  }
  // A configuration without a file. Everything that cluster.toml(5) knows goes into `settings`.
  auto engine = vdist::engine::from_config({.model = argv[1],
                                            .tensor = argc > 2 ? std::atoi(argv[2]) : 1,
                                            .settings = {"log.level=warn", "device.threads=1"}});
  if (!engine) {
    std::fprintf(stderr, "%s\n", engine.error().message.c_str());
    return 1;
  }

  std::vector<vdist::generate_request> requests;
  for (std::string line; std::getline(std::cin, line);) {
    requests.push_back({.prompt = line, .sampling = {.temperature = 0.0F, .max_tokens = 24}});
  }

  int failures = 0;
  const auto results = engine->generate_all(requests, batch_deadline);
  for (std::size_t index = 0; index < results.size(); ++index) {
    const auto& result = results[index];
    if (!result) { // one that is refused costs the others nothing
      std::fprintf(stderr, "line %zu: %s\n", index + 1, result.error().message.c_str());
      ++failures;
      continue;
    }
    std::printf(
        "%s%s\n", requests[index].prompt.c_str(), flat(result->sequences.front().text).c_str());
  }
  return failures == 0 ? 0 : 1;
}
