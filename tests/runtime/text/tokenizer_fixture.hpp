// tests/runtime/text/tokenizer_fixture.hpp — tokenizer folders made by tests, and the tiny
// tokenizers of tests/golden.
#pragma once

#include "runtime/text/tokenizer.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <unistd.h>

namespace vdist::text::testing {

inline std::filesystem::path golden_dir() {
  return std::filesystem::path(VDIST_SOURCE_DIR) / "tests" / "golden" / "text";
}

inline std::string read_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  BOOST_REQUIRE_MESSAGE(stream.good(), "cannot read " << file);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

/// A folder of its own under the system's temporary folder, removed at the end.
class model_folder {
public:
  model_folder() {
    static std::atomic<int> next{0};
    path_ = std::filesystem::temp_directory_path()
            / ("vdist-text-" + std::to_string(::getpid()) + "-" + std::to_string(next++));
    std::filesystem::create_directories(path_);
  }

  model_folder(const model_folder&) = delete;
  model_folder& operator=(const model_folder&) = delete;

  ~model_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  void write(const std::string& name, std::string_view text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

  void remove(const std::string& name) const { std::filesystem::remove(path_ / name); }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
  std::filesystem::path path_;
};

/// One of the recorded bases, "bytes" or "characters".
inline nlohmann::json golden_base(const std::string& name) {
  return nlohmann::json::parse(read_file(golden_dir() / (name + ".json")));
}

/// Replaces members of a tokenizer.json; `model` replaces members of its model.
inline nlohmann::json patched(nlohmann::json spec, const nlohmann::json& patch) {
  for (const auto& [key, value] : patch.items()) {
    if (key == "model") {
      spec["model"].update(value);
    } else {
      spec[key] = value;
    }
  }
  return spec;
}

inline result<std::shared_ptr<const tokenizer>> load_spec(const nlohmann::json& spec) {
  const model_folder folder;
  folder.write("tokenizer.json", spec.dump());
  return tokenizer::load(folder.path());
}

inline std::shared_ptr<const tokenizer> require_tokenizer(const nlohmann::json& spec) {
  auto loaded = load_spec(spec);
  BOOST_REQUIRE_MESSAGE(loaded.has_value(), (loaded ? "" : loaded.error().context));
  return *loaded;
}

/// The recorded base with the pipeline of Llama 2: spaces as "▁", byte fallback, fused text.
inline std::shared_ptr<const tokenizer> llama2_like() {
  const std::string mark = "\xE2\x96\x81";
  const nlohmann::json spaces = {
      {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", mark}};
  const nlohmann::json marks = {
      {"type", "Replace"}, {"pattern", {{"String", mark}}}, {"content", " "}};
  const nlohmann::json prepend = {{"type", "Prepend"}, {"prepend", mark}};
  const nlohmann::json strip = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};
  const nlohmann::json decoders =
      nlohmann::json::array({marks, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}, strip});
  return require_tokenizer(
      patched(golden_base("characters"),
              {{"normalizer",
                {{"type", "Sequence"}, {"normalizers", nlohmann::json::array({prepend, spaces})}}},
               {"pre_tokenizer", nullptr},
               {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}}}));
}

inline std::shared_ptr<const tokenizer> gpt2_like() {
  return require_tokenizer(golden_base("bytes"));
}

} // namespace vdist::text::testing
