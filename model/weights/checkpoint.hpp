// model/weights/checkpoint.hpp — the safetensors file(s) of a model folder. Opening reads and
// validates every header and keeps no file open; the reader of a tensor opens the file again and
// refuses one that is not the same any more (file_tensor_reader.hpp), so that a checkpoint of
// hundreds of files costs each loading thread one descriptor. Layouts: model.safetensors alone, or model.safetensors.index.json
// with the shard files that its weight_map names.
#pragma once

#include "model/weights/safetensors_header.hpp"
#include "model/weights/weight_file.hpp"
#include "model/weights/weight_source.hpp"

#include "runtime/base/result.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vdist::weights {

/// Files of one checkpoint; the largest published ones have a few hundred.
inline constexpr std::size_t max_shard_files = 4096;
/// Bytes of model.safetensors.index.json.
inline constexpr std::size_t max_index_bytes = std::size_t{64} << 20;

class checkpoint final : public weight_source {
public:
  /// errc::not_found: no safetensors file, or a shard that the index names is missing; corrupt: see
  /// safetensors_header.hpp, or the index names a file outside the folder or a tensor that its file
  /// does not have.
  [[nodiscard]] static result<checkpoint> open(const std::filesystem::path& folder);

  /// errc::corrupt: another shape than asked for; unsupported: neither F32, BF16 nor F16.
  [[nodiscard]] result<std::unique_ptr<tensor_reader>> open(const tensor_ref& tensor,
                                                            weight_role role) const override;

  struct stored_tensor {
    tensor_entry entry;
    std::size_t file = 0; // index in files
  };

  /// nullptr if absent.
  [[nodiscard]] const stored_tensor* find(std::string_view name) const;

  [[nodiscard]] std::size_t tensor_count() const { return tensors_.size(); }

  [[nodiscard]] std::size_t file_count() const { return files_.size(); }

private:
  struct shard_file {
    std::string name; // inside the folder
    file_identity identity;
    std::size_t data_offset = 0;
  };

  checkpoint() = default;
  result<void> add_file(const std::filesystem::path& folder, const std::string& name);
  result<void> add_index(const std::filesystem::path& index_path);

  std::filesystem::path folder_;
  std::vector<shard_file> files_;
  std::unordered_map<std::string, stored_tensor> tensors_;
};

} // namespace vdist::weights
