// examples/inspect/main.cpp — a look into a model: its layers, its parameters and who holds them, and how the residual stream
// grows behind a layer, token by token, while the engine generates.
//   build/bin/vdist-example-inspect MODEL_FOLDER [WORKERS [LAYER]]
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vdist/engine.hpp>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr auto generation_deadline = 60s;

int fail(const vdist::engine_error& cause) {
  std::fprintf(stderr, "%s\n", cause.message.c_str());
  return 1;
}

template <class Numbers>
std::string listed(const Numbers& numbers, const char* between) {
  std::string all;
  for (const auto number : numbers) {
    all += (all.empty() ? "" : between) + std::to_string(number);
  }
  return all;
}

void print_model(const vdist::model_description& model) {
  std::printf("%s: %s, %s, %llu parameters, %llu bytes\n",
              model.name.c_str(),
              model.architecture.c_str(),
              model.dtype.c_str(),
              static_cast<unsigned long long>(model.parameter_count),
              static_cast<unsigned long long>(model.parameter_bytes));
  for (const auto& layer : model.layers) {
    std::printf("layer %d on ranks %s\n", layer.layer, listed(layer.ranks, ", ").c_str());
  }
  for (const auto& parameter : model.parameters) {
    std::printf("%s [%s] %s",
                parameter.name.c_str(),
                listed(parameter.shape, ", ").c_str(),
                parameter.dtype.c_str());
    for (const auto& shard : parameter.shards) {
      std::printf("; rank %d has [%s]", shard.rank, listed(shard.shape, ", ").c_str());
      if (shard.axis) {
        std::printf(" from %s %lld",
                    *shard.axis == 0 ? "row" : "column",
                    static_cast<long long>(shard.offset));
      }
    }
    std::printf("\n");
  }
}

double norm_of(const std::vector<float>& values) {
  double sum = 0;
  for (const auto value : values) {
    sum += static_cast<double>(value) * static_cast<double>(value);
  }
  return std::sqrt(sum);
}

/// Of the token at a position, as the vocabulary writes it; the texts of a prompt's tokens are not asked for.
std::string text_at(const vdist::generation& made, std::int32_t position) {
  if (position < made.prompt_tokens) {
    return "(prompt)";
  }
  const auto index = static_cast<std::size_t>(position - made.prompt_tokens);
  return made.sequences.front().logprobs.at(index).chosen.text;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODEL_FOLDER [WORKERS [LAYER]]\n", argv[0]);
    return 2;
  }
  auto engine = vdist::engine::from_config({.model = argv[1],
                                            .threads = 1,
                                            .tensor = argc > 2 ? std::atoi(argv[2]) : 1,
                                            .settings = {"log.level=warn"}});
  if (!engine) {
    return fail(engine.error());
  }
  const auto model = engine->model();
  if (!model) {
    return fail(model.error());
  }
  print_model(*model);

  // From here on every step copies the rows of that layer. All ranks of a layer put out the same.
  const auto layer = argc > 3 ? std::atoi(argv[3]) : static_cast<int>(model->layers.size()) / 2;
  auto watch = engine->watch_layer({.layer = layer, .rank = 0});
  if (!watch) {
    return fail(watch.error());
  }
  auto stream = engine->generate(
      {.prompt = "Once upon a time",
       .sampling = {.temperature = 0.0F, .max_tokens = 12, .logprobs = 0}}); // with tokens' texts
  if (!stream) {
    return fail(stream.error());
  }
  const auto made = stream->collect(generation_deadline);
  if (!made) {
    return fail(made.error());
  }

  // The request has ended, so all its rows are there. Other requests' rows would come in between: hence the id.
  std::printf("\nnorm behind layer %d\n", layer);
  auto row = watch->next(0s);
  for (; row; row = watch->next(0s)) {
    if (row->request_id == stream->request_id(0)) {
      std::printf("%3d %8.3f %s\n",
                  row->position,
                  norm_of(row->values),
                  text_at(*made, row->position).c_str());
    }
  }
  return row.error().code == vdist::error_code::timed_out ? 0 : fail(row.error());
}
