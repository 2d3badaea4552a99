// tests/gpu/logits_dump.cpp — vdist-logits MODEL LISTS OUTPUT [options]: what a model computes for given tokens, for
// comparisons with another implementation (against_transformers.py).
//   MODEL   a model folder      LISTS   a JSON array of arrays of token ids
//   OUTPUT  an .npy file: [positions, vocabulary] float32, or [positions] int32 with --tokens
// All lists run in one batch. Of each list the last K positions (--last, default all) come out, lists in order, positions
// in rising order. What lies before them is one prompt, in chunks of --chunk tokens; from there on the list's own tokens
// are fed one by one, whatever the model would have said. Hence --last 0 decodes from the second token on, and a small
// --last makes long lists quick.
//
// --tokens keeps the greedy tokens instead of the logits: nobody looks at the logits then, so that on a GPU the device
// samples. Decode steps there are recorded unless --graphs off, or unless ranks share a GPU (--gpus).
// Exit code: 0, 1 when the model cannot be run, 2 for wrong arguments.
#include "tests/support/model_driver.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace vdist::testing {

namespace {

struct options {
  std::string model;
  std::string lists;
  std::string output;
  std::string device = "cuda";
  std::string type; // empty: the checkpoint's
  std::string graphs = "on";
  std::int32_t gpus = 1;
  std::int32_t tensor = 1;
  std::int32_t pipeline = 1;
  std::int32_t chunk = 0;     // tokens; 0: the whole prompt at once
  std::int32_t last = 0;      // positions of each list; 0: all
  std::int32_t positions = 0; // longest sequence that the model is set up for; 0: the longest list
  std::int32_t threads = 1;   // of a CPU rank
  bool keeps_tokens = false;
};

const std::map<std::string, kernels::dtype> types_by_name{{"float32", kernels::dtype::float32},
                                                          {"bfloat16", kernels::dtype::bfloat16},
                                                          {"float16", kernels::dtype::float16}};

/// Lists run side by side: each has a slot of its own.
constexpr std::size_t lists_max = 1024;

using token_lists = std::vector<std::vector<token_id>>;

std::int32_t size_of(const std::vector<token_id>& list) {
  return static_cast<std::int32_t>(list.size());
}

token_lists read_lists(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    throw std::runtime_error("read lists: cannot open the file (path=" + path + ")");
  }
  token_lists lists;
  try {
    lists = nlohmann::json::parse(file).get<token_lists>();
  } catch (const nlohmann::json::exception& cause) {
    throw std::runtime_error(std::string("read lists: ") + cause.what() + " (path=" + path + ")");
  }
  const bool has_empty =
      std::any_of(lists.begin(), lists.end(), [](const auto& list) { return list.empty(); });
  if (lists.empty() || lists.size() > lists_max || has_empty) {
    throw std::runtime_error("read lists: 1 to " + std::to_string(lists_max)
                             + " lists, none of them empty (path=" + path + ")");
  }
  return lists;
}

/// Positions of a list that are kept.
std::int32_t kept_of(const std::vector<token_id>& list, const options& wanted) {
  return wanted.last > 0 ? std::min(wanted.last, size_of(list)) : size_of(list);
}

/// Tokens of a list that are known from the start: all up to the first position that is kept.
std::int32_t prompt_of(const std::vector<token_id>& list, const options& wanted) {
  return size_of(list) - kept_of(list, wanted) + 1;
}

exec::runner_limits limits_of(const token_lists& lists, const options& wanted) {
  exec::runner_limits limits{.max_sequences = static_cast<std::int32_t>(lists.size()),
                             .max_positions = wanted.positions};
  for (const auto& list : lists) {
    const auto prompt = prompt_of(list, wanted);
    limits.max_batch_tokens += wanted.chunk > 0 ? std::min(prompt, wanted.chunk) : prompt;
    limits.max_positions = std::max(limits.max_positions, size_of(list));
    limits.blocks += (size_of(list) + limits.block_size - 1) / limits.block_size;
  }
  return limits;
}

/// Layers of every stage, as even as they can be.
std::vector<std::int32_t> stages_of(std::int32_t layers, std::int32_t stages) {
  if (stages < 1 || stages > layers) {
    throw std::runtime_error("split layers: as many stages as layers at most (layers="
                             + std::to_string(layers) + " stages=" + std::to_string(stages) + ")");
  }
  std::vector<std::int32_t> counts;
  for (std::int32_t i = 0; i < stages; ++i) {
    counts.push_back(layers * (i + 1) / stages - layers * i / stages);
  }
  return counts;
}

driver_config config_of(const token_lists& lists, const options& wanted) {
  driver_config config{.folder = wanted.model,
                       .tensor = wanted.tensor,
                       .limits = limits_of(lists, wanted),
                       .backend_threads = wanted.threads,
                       .is_on_gpu = wanted.device == "cuda",
                       .gpus = wanted.gpus,
                       .use_graphs = wanted.graphs == "on",
                       .meets_peers = wanted.tensor * wanted.pipeline <= wanted.gpus,
                       .observes = !wanted.keeps_tokens};
  if (!wanted.type.empty()) {
    config.type = types_by_name.at(wanted.type);
  }
  if (wanted.pipeline > 1) {
    const auto model = weights::read_model_config(config.folder, arch::supported_architectures());
    if (!model) {
      throw std::runtime_error(model.error().context);
    }
    config.stage_layers = stages_of(model.value().layers, wanted.pipeline);
  }
  return config;
}

/// Feeds every list to its end. Returns the sequences in the order of the lists.
std::vector<driven_sequence>
run(model_driver& driver, const token_lists& lists, const options& wanted) {
  std::vector<driven_sequence> sequences;
  for (const auto& list : lists) {
    const auto prompt = prompt_of(list, wanted);
    sequences.push_back(driver.add({list.begin(), list.begin() + prompt}));
  }
  while (true) {
    std::vector<chunk> chunks;
    for (std::size_t i = 0; i < lists.size(); ++i) {
      auto& sequence = sequences[i];
      if (sequence.computed == size_of(lists[i])) {
        continue;
      }
      if (sequence.computed == size_of(sequence.tokens)) {
        sequence.tokens.push_back(lists[i][sequence.tokens.size()]);
      }
      const auto open = size_of(sequence.tokens) - sequence.computed;
      chunks.push_back({&sequence, wanted.chunk > 0 ? std::min(open, wanted.chunk) : open});
    }
    if (chunks.empty()) {
      return sequences;
    }
    driver.step(chunks);
  }
}

/// Version 1.0 of NumPy's format: magic, length and text of the header, padded to 64 bytes, then the numbers.
std::string npy_header(const char* type, const std::string& shape) {
  constexpr std::size_t alignment = 64;
  std::string header =
      std::string("{'descr': '") + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  constexpr std::size_t preamble = 10;
  const auto length = (preamble + header.size() + 1 + alignment - 1) / alignment * alignment;
  header.resize(length - preamble - 1, ' ');
  header += '\n';
  const auto size = header.size();
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(size & 0xffU)
         + static_cast<char>(size >> 8U) + header;
}

template <class T>
void write_values(std::ofstream& file, std::span<const T> values) {
  static_assert(std::endian::native == std::endian::little && sizeof(T) == 4);
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size_bytes()));
}

void write_output(const std::vector<driven_sequence>& sequences, const options& wanted) {
  std::ofstream file(wanted.output, std::ios::binary | std::ios::trunc);
  std::size_t rows = 0;
  for (const auto& sequence : sequences) {
    rows += sequence.sampled.size();
  }
  if (wanted.keeps_tokens) {
    file << npy_header("<i4", std::to_string(rows) + ",");
  } else {
    const auto width = sequences.front().logits.front().size();
    file << npy_header("<f4", std::to_string(rows) + ", " + std::to_string(width));
  }
  for (const auto& sequence : sequences) {
    if (wanted.keeps_tokens) {
      write_values(file, std::span<const token_id>(sequence.sampled));
    }
    for (const auto& row : sequence.logits) {
      write_values(file, std::span<const float>(row));
    }
  }
  file.close();
  if (!file) {
    throw std::runtime_error("write output: the file is not complete (path=" + wanted.output + ")");
  }
}

void add_options(CLI::App& app, options& wanted) {
  app.add_option("model", wanted.model, "model folder")->required();
  app.add_option("lists", wanted.lists, "JSON array of arrays of token ids")->required();
  app.add_option("output", wanted.output, ".npy file that is written")->required();
  app.add_option("--device", wanted.device, "cpu or cuda")->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--dtype", wanted.type, "of matrices and KV; default: the checkpoint's")
      ->check(CLI::IsMember(types_by_name));
  app.add_option("--graphs", wanted.graphs, "whether steps are recorded, see --tokens")
      ->check(CLI::IsMember({"on", "off"}));
  app.add_option("--gpus", wanted.gpus, "with one per rank, ranks meet in device memory")
      ->check(CLI::Range(1, 64));
  app.add_option("--tensor", wanted.tensor, "ranks of a stage")->check(CLI::Range(1, 64));
  app.add_option("--pipeline", wanted.pipeline, "stages")->check(CLI::Range(1, 64));
  app.add_option("--chunk", wanted.chunk, "tokens of a prompt at once; 0: all")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--last", wanted.last, "positions of each list that come out; 0: all")
      ->check(CLI::NonNegativeNumber);
  app.add_option(
         "--positions", wanted.positions, "longest sequence of the set-up; 0: the longest list")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--threads", wanted.threads, "of a rank on the CPU")->check(CLI::Range(1, 256));
  app.add_flag("--tokens", wanted.keeps_tokens, "greedy tokens instead of logits");
}

int main_of(int argc, char** argv) {
  CLI::App app("vdist-logits: what a model computes for given tokens", "vdist-logits");
  options wanted;
  add_options(app, wanted);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& wrong) {
    return app.exit(wrong) == 0 ? 0 : 2;
  }
  try {
    const auto lists = read_lists(wanted.lists);
    model_driver driver(config_of(lists, wanted));
    const auto sequences = run(driver, lists, wanted);
    write_output(sequences, wanted);
    return 0;
  } catch (const std::exception& cause) {
    std::fprintf(stderr, "vdist-logits: %s\n", cause.what());
    return 1;
  }
}

} // namespace

} // namespace vdist::testing

int main(int argc, char** argv) {
  return vdist::testing::main_of(argc, argv);
}
