// runtime/text/tokenizer_file.hpp — reads a model folder's tokenizer files into plain parts;
// tokenizer.hpp assembles them. tokenizer.json, or vocab.json + merges.txt where it is missing
// (GPT-2 style; the class named by tokenizer_config.json says how text is split).
// tokenizer_config.json and special_tokens_map.json are optional. Rules shared with Hugging Face's
// transformers: add_bos_token / add_eos_token, where written, replace the file's own
// post-processor; added tokens that only tokenizer_config.json lists are added.
#pragma once

#include "runtime/text/added_tokens.hpp"
#include "runtime/text/bpe.hpp"
#include "runtime/text/pipeline_file.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace vdist::text {

inline constexpr std::size_t merges_max = 1UL << 23;
inline constexpr std::size_t added_tokens_max = 1UL << 16;
inline constexpr std::size_t added_token_bytes_max = 4096;
/// Ids may leave this many holes beyond the number of tokens.
inline constexpr std::size_t id_holes_max = 1UL << 16;

struct tokenizer_parts {
  std::string file; // named in errors about the parts
  bpe_spec model;
  std::vector<added_token> added; // contents and ids are each unique, and agree with the vocabulary
  std::vector<normalizer_step> normalizer;
  std::vector<pre_tokenizer_step> pre_tokenizer;
  std::vector<decoder_step> decoder;
  special_frame frame;
  std::optional<token_id> bos;
  std::optional<token_id> eos;
};

[[nodiscard]] result<tokenizer_parts>
read_tokenizer_parts(const std::filesystem::path& model_folder);

} // namespace vdist::text
