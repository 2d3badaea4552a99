// The resident memory of real worker processes that load a checkpoint and serve.
#include "tests/support/run_fixture.hpp"

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>
#include <thread>
#include <vector>

using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 60s;
constexpr std::size_t mebibyte = std::size_t{1} << 20U;

/// The promise of a load: 1.1 × the shard, and this for the program, its buffers and its threads.
/// All of VmHWM counts, the pages of the vault's regions too (RssShmem): the shard itself lies in
/// one. Key/value cache and exchange regions need no subtraction, the configuration below keeps
/// them at 2 MiB and less; pages of the checkpoint are read, not mapped, and so are nobody's.
constexpr std::size_t allowance = 96 * mebibyte;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool has_own_memory = false; // a sanitizer's shadow is resident too
#else
constexpr bool has_own_memory = true;
#endif

constexpr std::int64_t layers = 3;
constexpr std::int64_t hidden = 2048;
constexpr std::int64_t kv_width = 512; // of keys, and of values
constexpr std::int64_t intermediate = 8192;
constexpr std::int64_t vocabulary = 6144; // of the demo model, whose tokenizer is used
constexpr int tensor_size = 2;

struct tensor {
  std::string name;
  std::int64_t rows = 0;
  std::int64_t columns = 0; // 0: a vector

  [[nodiscard]] std::size_t bytes() const { // bfloat16
    return static_cast<std::size_t>(rows * std::max<std::int64_t>(columns, 1)) * 2;
  }
};

std::vector<tensor> all_tensors() {
  std::vector<tensor> all{{"model.embed_tokens.weight", vocabulary, hidden},
                          {"lm_head.weight", vocabulary, hidden},
                          {"model.norm.weight", hidden}};
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const auto at = fmt::format("model.layers.{}.", layer);
    for (const tensor& one : {tensor{"input_layernorm", hidden},
                              {"self_attn.q_proj", hidden, hidden},
                              {"self_attn.k_proj", kv_width, hidden},
                              {"self_attn.v_proj", kv_width, hidden},
                              {"self_attn.o_proj", hidden, hidden},
                              {"post_attention_layernorm", hidden},
                              {"mlp.gate_proj", intermediate, hidden},
                              {"mlp.up_proj", intermediate, hidden},
                              {"mlp.down_proj", hidden, intermediate}}) {
      all.push_back({at + one.name + ".weight", one.rows, one.columns});
    }
  }
  return all;
}

/// Small bfloat16 numbers of either sign, one mebibyte of them.
std::string noise() {
  std::string bytes(mebibyte, '\0');
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    state = state * 1664525U + 1013904223U;
    const auto value = static_cast<std::uint16_t>(0x3c00U | (state >> 16U & 0x80ffU));
    bytes[i] = static_cast<char>(value & 0xffU);
    bytes[i + 1] = static_cast<char>(value >> 8U);
  }
  return bytes;
}

/// Returns the bytes of its elements.
std::size_t write_checkpoint(const std::filesystem::path& path) {
  const auto tensors = all_tensors();
  std::string header;
  std::size_t end = 0;
  for (const auto& one : tensors) {
    const auto columns = one.columns == 0 ? "" : fmt::format(",{}", one.columns);
    header += fmt::format(R"({}"{}":{{"dtype":"BF16","shape":[{}{}],"data_offsets":[{},{}]}})",
                          header.empty() ? "{" : ",",
                          one.name,
                          one.rows,
                          columns,
                          end,
                          end + one.bytes());
    end += one.bytes();
  }
  header += "}";
  const std::uint64_t length = header.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length)) << header;
  const auto bytes = noise();
  for (auto left = end; left > 0;) {
    const auto here = std::min(left, bytes.size());
    file.write(bytes.data(), static_cast<std::streamsize>(here));
    left -= here;
  }
  BOOST_REQUIRE(file.flush().good());
  return end;
}

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// A line "Key:   123 kB" of /proc/<pid>/status in bytes; 0 when the process is gone.
std::size_t status_bytes(pid_t pid, const std::string& key) {
  std::istringstream status(content_of(fmt::format("/proc/{}/status", pid)));
  for (std::string word; status >> word;) {
    if (word == key + ":") {
      std::size_t kibibytes = 0;
      status >> kibibytes;
      return kibibytes * 1024;
    }
  }
  return 0;
}

/// The worker processes that vdist-run is the parent of.
std::vector<pid_t> workers_of(pid_t parent) {
  std::istringstream children(content_of(fmt::format("/proc/{0}/task/{0}/children", parent)));
  std::vector<pid_t> workers;
  for (pid_t child = 0; children >> child;) {
    const auto command = content_of(fmt::format("/proc/{}/cmdline", child));
    if (command.substr(0, command.find('\0')).ends_with("vdist-worker")) {
      workers.push_back(child);
    }
  }
  return workers;
}

struct memory_fixture : run_fixture {
  memory_fixture() {
    const auto model = folder.path() / "model";
    std::filesystem::create_directory(model);
    for (const auto* name : {"tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::copy_file(demo_model / name, model / name);
    }
    folder.write("model/config.json",
                 fmt::format(R"({{"architectures": ["LlamaForCausalLM"], "model_type": "llama",
"vocab_size": {}, "hidden_size": {}, "intermediate_size": {}, "num_hidden_layers": {},
"num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 128,
"max_position_embeddings": 128, "rope_theta": 10000.0, "rms_norm_eps": 1e-05,
"hidden_act": "silu", "tie_word_embeddings": false, "eos_token_id": 1, "torch_dtype": "bfloat16"}})",
                             vocabulary,
                             hidden,
                             intermediate,
                             layers));
    checkpoint_bytes = write_checkpoint(model / "model.safetensors");
    config = folder
                 .write("memory.toml",
                        "[model]\npath = \"" + model.string()
                            + "\"\nmax_model_len = 64\n"
                              "[device]\nkind = \"cpu\"\nthreads = 1\nkv_cache_bytes = 1048576\n"
                              "[parallel]\ntensor = 2\n[cluster]\nisolation = \"process\"\n"
                              "[scheduler]\nmax_batch_tokens = 16\nmax_sequences = 1\n")
                 .string();
  }

  /// All matrices are cut evenly; norms are on every rank, some KiB.
  [[nodiscard]] std::size_t shard_bytes() const { return checkpoint_bytes / tensor_size; }

  std::size_t checkpoint_bytes = 0;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(memory_of_worker_processes, memory_fixture)

BOOST_AUTO_TEST_CASE(a_worker_that_loaded_its_shard_and_serves_holds_it_once) {
  BOOST_REQUIRE(checkpoint_bytes >= 256 * mebibyte);
  const std::string prompt = "Once upon a time";
  const auto story = start({"--prompt", prompt, "--seed", "1", "--max-tokens", "56", "--quiet"});
  // The first piece behind the prompt: every worker has loaded and computed.
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (story.out().size() <= prompt.size()) {
    BOOST_REQUIRE_MESSAGE(std::chrono::steady_clock::now() < deadline, story.err());
    std::this_thread::sleep_for(5ms); // a file tells nobody that it grew
  }
  const auto workers = workers_of(story.pid());
  BOOST_REQUIRE_EQUAL(workers.size(), static_cast<std::size_t>(tensor_size));
  const std::size_t limit = shard_bytes() * 11 / 10 + allowance;
  for (const auto worker : workers) {
    const auto peak = status_bytes(worker, "VmHWM");
    fmt::print("worker memory: peak {} MiB, of it now {} MiB its own and {} MiB the vault's; shard "
               "{} MiB, limit {} MiB\n",
               peak / mebibyte,
               status_bytes(worker, "RssAnon") / mebibyte,
               status_bytes(worker, "RssShmem") / mebibyte,
               shard_bytes() / mebibyte,
               limit / mebibyte);
    BOOST_TEST(status_bytes(worker, "RssShmem") >= shard_bytes(), "or the measurement is wrong");
    BOOST_TEST((peak <= limit || !has_own_memory));
  }
}

BOOST_AUTO_TEST_SUITE_END()
