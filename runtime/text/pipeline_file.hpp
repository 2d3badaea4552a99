// runtime/text/pipeline_file.hpp — reads the parts of tokenizer.json around the model: normalizer,
// pre-tokenizer, post-processor, decoder. Sequences come out flattened. Unknown types are
// errc::unsupported and name the known ones.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/text/decoder.hpp"
#include "runtime/text/json_reader.hpp"
#include "runtime/text/normalizer.hpp"
#include "runtime/text/pre_tokenizer.hpp"

#include <vector>

namespace vdist::text {

/// Most steps of one flattened sequence.
inline constexpr std::size_t pipeline_steps_max = 64;

/// Special tokens around an encoded text.
struct special_frame {
  std::vector<token_id> before;
  std::vector<token_id> after;
};

/// Token ids end here, in any file: 4 Mi.
inline constexpr token_id token_id_end = 1 << 22;

[[nodiscard]] result<std::vector<normalizer_step>> read_normalizer(const json_view& view);
[[nodiscard]] result<std::vector<pre_tokenizer_step>> read_pre_tokenizer(const json_view& view);
[[nodiscard]] result<special_frame> read_post_processor(const json_view& view);
[[nodiscard]] result<std::vector<decoder_step>> read_decoder(const json_view& view);

} // namespace vdist::text
