// model/hub/listing.hpp — what a repository holds, and which of it a model needs. Pure: texts in,
// names out. Nothing in a text is trusted: a name that could lead out of a folder refuses the whole
// answer.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::hub {

inline constexpr std::size_t listing_bytes_max = std::size_t{16} << 20;
inline constexpr std::size_t listing_files_max = 20'000;
inline constexpr std::size_t index_bytes_max = std::size_t{64} << 20;
inline constexpr std::size_t weight_files_max = 4096;

inline constexpr std::string_view single_weight_file = "model.safetensors";
inline constexpr std::string_view weight_index_file = "model.safetensors.index.json";
inline constexpr std::string_view config_file = "config.json";

/// The host's answer about one revision.
struct listing {
  std::string commit;             // 40 or 64 hexadecimal digits
  std::vector<std::string> files; // of the top folder; what lies deeper is not ours
};

/// `text`: {"sha": …, "siblings": [{"rfilename": …}, …]}. errc::corrupt: not that, a file name with
/// "..", an empty part, a backslash or a control character, or more than listing_files_max files.
[[nodiscard]] result<listing> parse_listing(std::string_view text);

/// The files that a weight index names, each once, in order. errc::corrupt: it is no index, names a
/// file outside its folder, or more than weight_files_max.
[[nodiscard]] result<std::vector<std::string>> parse_weight_index(std::string_view text);

/// What is fetched: all that serving needs, or all but weights, for "random:" models.
enum class content : std::uint8_t { everything, without_weights };

/// The files to fetch at first: configuration, tokenizer, chat template, and the weights or the
/// index that names them. errc::not_found: the repository has no config.json or no safetensors
/// weights.
[[nodiscard]] result<std::vector<std::string>> choose_files(const listing& listed, content wanted);

} // namespace vdist::hub
