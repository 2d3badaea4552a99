// vdist_bench_text MODEL_FOLDER TEXT_FILE... — 10^6 bytes of text per second of CPU time, encoding
// and decoding: each file, and 1 MB runs that a quadratic tokenizer would not survive. Best of
// three.
#include "runtime/text/tokenizer.hpp"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>
#include <fstream>
#include <sstream>

namespace {

using vdist::text::special_tokens;
using vdist::text::special_tokens_output;
using vdist::text::tokenizer;

constexpr int repetitions = 3;

/// CPU time of this thread: the figures are per core, whatever else the machine does.
double seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

bool measure(const tokenizer& t, std::string_view name, const std::string& text) {
  double encode_s = 1e9;
  double decode_s = 1e9;
  std::size_t tokens = 0;
  for (int i = 0; i < repetitions; ++i) {
    const double begin = seconds();
    const auto ids = t.encode(text, special_tokens::omit);
    const double encoded = seconds();
    if (!ids) {
      fmt::print(stderr, "{}: {}\n", name, ids.error().context);
      return false;
    }
    const std::string decoded = t.decode(*ids, special_tokens_output::keep);
    decode_s = std::min(decode_s, seconds() - encoded);
    encode_s = std::min(encode_s, encoded - begin);
    tokens = ids->size();
  }
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  fmt::print("{:<24} {:>9} tokens  encode {:7.1f} MB/s  decode {:7.1f} MB/s\n",
             name,
             tokens,
             megabytes / encode_s,
             megabytes / decode_s);
  return true;
}

std::string run_of(std::string_view unit) {
  constexpr std::size_t run_bytes = 1'000'000;
  std::string text;
  while (text.size() < run_bytes) {
    text += unit;
  }
  return text;
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: vdist_bench_text MODEL_FOLDER TEXT_FILE...\n");
    return 2;
  }
  const double begin = seconds();
  const auto loaded = tokenizer::load(argv[1]);
  if (!loaded) {
    fmt::print(stderr, "{}\n", loaded.error().context);
    return vdist::exit_code(loaded.error().code);
  }
  fmt::print("loaded in {:.2f} s\n", seconds() - begin);
  bool is_ok = true;
  for (int i = 2; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    is_ok = file.good() && measure(**loaded, argv[i], text.str()) && is_ok;
  }
  constexpr std::pair<const char*, const char*> runs[] = {{"run of a", "a"},
                                                          {"run of spaces", " "},
                                                          {"run of newlines", "\n"},
                                                          {"run of an emoji", "\xF0\x9F\x8E\x89"}};
  for (const auto& [name, unit] : runs) {
    is_ok = measure(**loaded, name, run_of(unit)) && is_ok;
  }
  return is_ok ? 0 : 1;
}
