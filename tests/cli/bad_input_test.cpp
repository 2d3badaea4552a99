// Bad input: one message that names file, key and legal values, the right exit code, soon, and
// nothing left behind.
#include "tests/support/run_fixture.hpp"

#include "kernels/cuda_module.hpp"

using namespace vdist::testing;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr int bad_configuration = 2;
constexpr int missing_resource = 3;

struct refusal : run_fixture {
  /// The run must fail in this way, and its message hold all of `needles`.
  void expect(const std::vector<std::string>& arguments,
              int exit_code,
              const std::vector<std::string>& needles) {
    std::string where;
    for (const auto& word : arguments) {
      where += word.substr(0, 60) + ' ';
    }
    BOOST_TEST_CONTEXT(where) {
      const auto done = run(arguments);
      BOOST_TEST(done.exit_code == exit_code, done.err);
      for (const auto& needle : needles) {
        BOOST_TEST(done.err.find(needle) != std::string::npos,
                   "\"" << needle << "\" is not in: " << done.err);
      }
      BOOST_TEST(done.out == "", "stdout belongs to results");
      BOOST_TEST(done.cpu.count() < 1.0);
      BOOST_TEST(done.wall.count() < 10.0, "generous: the machine may be busy");
      BOOST_TEST(fs::is_empty(work), "nothing is left behind");
    }
  }

  /// A copy of the demo model whose weights are links; tests replace single files.
  fs::path copy_model() {
    const auto copy = folder.path() / ("model" + std::to_string(++models));
    fs::create_directory(copy);
    for (const char* name :
         {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}) {
      fs::copy_file(demo_model / name, copy / name);
    }
    fs::create_symlink(demo_model / "model.safetensors", copy / "model.safetensors");
    config = write_config(copy);
    return copy;
  }

  static void write(const fs::path& path, const std::string& bytes) {
    fs::remove(path);
    std::ofstream(path, std::ios::binary) << bytes;
  }

  void edit_json(const fs::path& path, const std::function<void(json&)>& edit) {
    auto value = json::parse(read(path));
    edit(value);
    write(path, value.dump());
  }

  /// Rewrites the header of a copy of the demo model's weights.
  void edit_weights(const std::function<void(json& header)>& edit) {
    const auto path = copy_model() / "model.safetensors";
    const auto bytes = read(path);
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof(length));
    auto header = json::parse(bytes.substr(sizeof(length), length));
    edit(header);
    const auto text = header.dump();
    std::uint64_t new_length = text.size();
    std::string out(reinterpret_cast<const char*>(&new_length), sizeof(new_length));
    write(path, out + text + bytes.substr(sizeof(length) + length));
  }

  static json& first_tensor(json& header) {
    for (auto& [name, value] : header.items()) {
      if (name != "__metadata__") {
        return value;
      }
    }
    throw std::runtime_error("a header without tensors");
  }

  std::vector<std::string> short_story{"--prompt", "Once", "--max-tokens", "2"};
  int models = 0;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(bad_input, refusal)

BOOST_AUTO_TEST_CASE(unknown_and_mistyped_keys) {
  config = write_config(demo_model, "[parallel]\ntensr = 2\n");
  expect({"--check"}, bad_configuration, {config + ":9", "parallel.tensr", "parallel.tensor"});
  config = write_config(demo_model, "[parallel]\ntensor = \"two\"\n");
  expect({"--check"}, bad_configuration, {config + ":9", "parallel.tensor", "an integer from 1"});
  config = write_config(demo_model, "[paralel]\ntensor = 2\n");
  expect({"--check"}, bad_configuration, {config, "paralel", "parallel"});
  config = write_config(demo_model, "[parallel\n");
  expect({"--check"}, bad_configuration, {config + ":8"});
  config = write_config(demo_model);
  expect({"--set", "parallel.tensr=2", "--check"},
         bad_configuration,
         {"--set parallel.tensr=2", "parallel.tensor"});
  expect({"--set", "device.kind=cuad", "--check"},
         bad_configuration,
         {"device.kind", "auto, cuda, cpu, sim", "cuad"});
  expect({"--set", "scheduler.block_size=12", "--check"},
         bad_configuration,
         {"scheduler.block_size", "power of two", "12"});
}

BOOST_AUTO_TEST_CASE(splits_that_the_model_does_not_allow) {
  expect({"--set", "parallel.tensor=3", "--check"},
         bad_configuration,
         {"parallel.tensor=3", "heads=8", "1, 2, 4, 8"});
  expect({"--set", "parallel.pipeline=9", "--check"},
         bad_configuration,
         {"parallel.pipeline=9", "layers=8", "1 to 8"});
  expect({"--set", "parallel.pipeline=2", "--set", "parallel.pipeline_layers=[3,4]", "--check"},
         bad_configuration,
         {"parallel.pipeline_layers", "8"});
}

BOOST_AUTO_TEST_CASE(devices_that_this_machine_lacks_and_isolation_that_nobody_has) {
  std::string why;
  if (vdist::kernels::load_cuda_module(why) == nullptr) {
    expect({"--set", "device.kind=cuda", "--check"},
           missing_resource,
           {"device.kind", "cuda", "install", "legal here: auto, cpu, sim"});
  }
  expect({"--set", "cluster.isolation=container", "--check"},
         bad_configuration,
         {"cluster.isolation", "auto", "thread", "process"});
}

BOOST_AUTO_TEST_CASE(weights_that_are_missing_or_damaged) {
  fs::remove(copy_model() / "model.safetensors");
  expect(short_story, missing_resource, {"model.safetensors"});

  auto path = copy_model() / "model.safetensors";
  const auto whole = read(path);
  write(path, whole.substr(0, whole.size() / 2));
  expect(short_story, missing_resource, {"model.safetensors"});

  path = copy_model() / "model.safetensors";
  write(path, std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8) + "{}");
  expect(short_story, missing_resource, {"model.safetensors", "header"});

  path = copy_model() / "model.safetensors";
  write(path, "");
  expect(short_story, missing_resource, {"model.safetensors"});

  edit_weights([](json& header) {
    auto& tensor = first_tensor(header);
    const auto first = tensor["data_offsets"][0].get<std::uint64_t>();
    const auto last = tensor["data_offsets"][1].get<std::uint64_t>();
    tensor["data_offsets"] = {first + 64, last + 64}; // into its neighbour, or beyond the file
  });
  expect(short_story, missing_resource, {"model.safetensors"});

  edit_weights([](json& header) { first_tensor(header)["dtype"] = "I16"; });
  expect(short_story, bad_configuration, {"model.safetensors", "I16", "legal=F32 BF16 F16"});

  edit_weights([](json& header) { // found by nobody under its new name
    header["model.norm.wait"] = header["model.norm.weight"];
    header.erase("model.norm.weight");
  });
  expect(short_story, missing_resource, {"model.norm.weight"});
}

BOOST_AUTO_TEST_CASE(models_that_are_unknown_or_missing) {
  edit_json(copy_model() / "config.json", [](json& value) {
    value["architectures"] = {"MambaForCausalLM"};
    value["model_type"] = "mamba";
  });
  expect({"--check"}, bad_configuration, {"config.json", "amba", "llama", "gpt2"});

  edit_json(copy_model() / "tokenizer.json",
            [](json& value) { value["model"]["type"] = "WordPiece"; });
  expect({"--check"}, bad_configuration, {"tokenizer.json", "WordPiece", "BPE"});

  fs::remove(copy_model() / "tokenizer.json");
  expect({"--check"}, missing_resource, {"tokenizer.json"});

  write(copy_model() / "config.json", "{\"architectures\": [");
  expect({"--check"}, missing_resource, {"config.json"});

  config = write_config(folder.path() / "nowhere");
  expect({"--check"}, missing_resource, {"model.path", "nowhere"});
  config = (folder.path() / "none.toml").string();
  expect({"--check"}, missing_resource, {"none.toml"});
}

BOOST_AUTO_TEST_CASE(prompts_and_sampling_that_cannot_be) {
  std::string endless;
  for (int i = 0; i < 400; ++i) {
    endless += "hello ";
  }
  expect({"--prompt", endless}, bad_configuration, {"max_model_len=256", "prompt_tokens="});
  expect({"--prompt", "Once", "--max-tokens", "5000"},
         bad_configuration,
         {"max_tokens=5000", "max_model_len=256"});
  expect({"--prompt", ""}, bad_configuration, {"prompt", "empty"});
  expect({"--prompt", "\xff\xfe"}, bad_configuration, {"utf-8", "byte_offset=0"});
  expect({"--prompt", "Once", "--temperature", "7"}, bad_configuration, {"temperature", "0 to 2"});
  expect({"--prompt", "Once", "--logprobs", "50"}, bad_configuration, {"logprobs", "0 to 20"});
}

BOOST_AUTO_TEST_CASE(a_bad_prompt_is_refused_before_anything_is_loaded) {
  for (const auto& prompt : {std::string(), std::string("\xff")}) {
    const auto done = run({"--prompt", prompt});
    BOOST_TEST(done.err.find("weights ") == std::string::npos, done.err);
  }
}

BOOST_AUTO_TEST_CASE(too_little_memory_for_the_kv_cache) {
  expect({"--set", "device.kv_cache_bytes=1000", "--prompt", "Once"},
         missing_resource,
         {"KV cache", "missing", "device.kv_cache_bytes"});
  expect({"--set", "device.kv_cache_bytes=99999999999999", "--prompt", "Once"},
         missing_resource,
         {"device.kv_cache_bytes", "missing"});
}

BOOST_AUTO_TEST_CASE(a_plan_that_does_not_fit_into_memory_is_shown_all_the_same) {
  const std::vector<std::string> too_little{"--set", "device.kv_cache_bytes=1000"};
  auto arguments = too_little;
  arguments.push_back("--check");
  const auto checked = run(arguments);
  BOOST_TEST(checked.exit_code == missing_resource);
  BOOST_TEST(checked.out.find("memory of the largest worker") != std::string::npos, checked.out);
  arguments.back() = "--dump-topology";
  const auto dumped = run(arguments);
  BOOST_TEST(dumped.exit_code == 0, dumped.err);
  BOOST_TEST(json::parse(dumped.out).at("ranks").size() == 1U);
}

BOOST_AUTO_TEST_CASE(files_that_cannot_be_read_or_written) {
  const auto input =
      folder.write("in.jsonl", "{\"prompt\": \"Once\", \"max_tokens\": 2}\n").string();
  expect(
      {"--input", input, "--output", "missing/out.jsonl"}, missing_resource, {"missing/out.jsonl"});
  expect({"--input", input, "--output", "."}, missing_resource, {"."});
  expect(
      {"--input", "nowhere.jsonl", "--output", "out.jsonl"}, missing_resource, {"nowhere.jsonl"});
  expect({"--faults", "nowhere.toml", "--prompt", "Once"}, missing_resource, {"nowhere.toml"});
  const auto faults =
      folder
          .write("faults.toml", "[[fault]]\nat = {point = \"worker.load\"}\naction = \"explode\"\n")
          .string();
  expect(
      {"--faults", faults, "--prompt", "Once"}, bad_configuration, {faults, "throw, kill_actor"});
}

BOOST_AUTO_TEST_CASE(command_lines_that_make_no_sense) {
  expect({"--bogus"}, bad_configuration, {"--bogus", "--help"});
  expect({"--input", "a.jsonl"}, bad_configuration, {"--output"});
  expect({"--prompt", "a", "--input", "a.jsonl", "--output", "b.jsonl"},
         bad_configuration,
         {"--prompt"});
  expect({"--set", "server.host=0.0.0.0"}, bad_configuration, {"server.host", "server.api_key"});
}

BOOST_AUTO_TEST_SUITE_END()
