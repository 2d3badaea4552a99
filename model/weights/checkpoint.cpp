#include "model/weights/checkpoint.hpp"

#include "model/weights/file_tensor_reader.hpp"
#include "model/weights/json_object.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>
#include <nlohmann/json.hpp>

namespace vdist::weights {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view single_file = "model.safetensors";
constexpr std::string_view index_file = "model.safetensors.index.json";

/// The shape that the checkpoint must state for this reference.
std::vector<std::int64_t> stored_shape(const tensor_ref& tensor) {
  if (tensor.shape.is_vector()) {
    return {tensor.shape.rows};
  }
  return tensor.stored == storage::transposed
             ? std::vector{tensor.shape.columns, tensor.shape.rows}
             : std::vector{tensor.shape.rows, tensor.shape.columns};
}

result<safetensors_header> read_header(const weight_file& file, const std::string& path) {
  const std::uint64_t file_bytes = file.identity().bytes;
  std::vector<std::byte> head(
      static_cast<std::size_t>(std::min<std::uint64_t>(header_length_bytes, file_bytes)));
  VDIST_TRY(file.read(0, head, "header"));
  VDIST_ASSIGN(const auto head_bytes, safetensors_head_bytes(head, file_bytes, path));
  head.resize(head_bytes);
  VDIST_TRY(file.read(0, head, "header"));
  return parse_safetensors_header(head, file_bytes, path);
}

/// A shard must lie in the model's own folder. Its entry there may be a link: that is how caches
/// keep their files.
bool is_plain_file_name(std::string_view name) {
  constexpr std::size_t max_file_name = 255; // bytes, of every file system that matters
  return !name.empty() && name.size() <= max_file_name && name.front() != '.'
         && std::all_of(name.begin(), name.end(), [](char letter) {
              return letter > ' ' && letter <= '~' && letter != '/' && letter != '\\';
            });
}

} // namespace

result<checkpoint> checkpoint::open(const fs::path& folder) {
  checkpoint opened;
  opened.folder_ = folder;
  std::error_code status;
  if (fs::exists(folder / single_file, status)) {
    VDIST_TRY(opened.add_file(folder, std::string(single_file)));
  } else if (fs::exists(folder / index_file, status)) {
    VDIST_TRY(opened.add_index(folder / index_file));
  } else {
    return fail(errc::not_found,
                fmt::format("open checkpoint {}: no weights (searched={}, {})",
                            folder.string(),
                            single_file,
                            index_file));
  }
  return opened;
}

result<void> checkpoint::add_file(const fs::path& folder, const std::string& name) {
  const fs::path path = folder / name;
  VDIST_ASSIGN(const auto opened, weight_file::open(path));
  VDIST_ASSIGN(auto header, read_header(opened, path.string()));
  const std::size_t file = files_.size();
  for (tensor_entry& entry : header.tensors) {
    std::string tensor_name = entry.name;
    const auto [at, is_new] =
        tensors_.try_emplace(std::move(tensor_name), stored_tensor{std::move(entry), file});
    if (!is_new) {
      return fail(errc::corrupt,
                  fmt::format("open {}: tensor is in two files (tensor={}, other={})",
                              path.string(),
                              shown(at->first),
                              files_[at->second.file].name));
    }
  }
  files_.push_back({name, opened.identity(), header.data_offset});
  return {};
}

result<void> checkpoint::add_index(const fs::path& index_path) {
  const std::string origin = index_path.string();
  VDIST_ASSIGN(const auto text, read_text_file(index_path, max_index_bytes));
  VDIST_ASSIGN(const auto parsed, parse_json_object(text, origin));
  const auto map = parsed.find("weight_map");
  if (map == parsed.end() || !map->is_object()) {
    return fail(errc::corrupt, fmt::format("read {}: weight_map is not an object", origin));
  }
  std::map<std::string, std::size_t> number_by_file; // in order of names, so that errors are stable
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string() || !is_plain_file_name(file.get_ref<const std::string&>())) {
      return fail(errc::corrupt,
                  fmt::format("read {}: not a file of this folder (tensor={}, value={})",
                              origin,
                              shown(tensor),
                              shown(file.dump(-1, ' ', true))));
    }
    number_by_file.emplace(file.get<std::string>(), 0);
  }
  if (number_by_file.size() > max_shard_files) {
    return fail(errc::corrupt,
                fmt::format("read {}: too many files (files={}, files_max={})",
                            origin,
                            number_by_file.size(),
                            max_shard_files));
  }
  for (auto& [name, number] : number_by_file) {
    number = files_.size();
    VDIST_TRY(add_file(index_path.parent_path(), name));
  }
  for (const auto& [tensor, file] : map->items()) {
    const stored_tensor* stored = find(tensor);
    if (stored == nullptr || stored->file != number_by_file.at(file.get<std::string>())) {
      return fail(errc::corrupt,
                  fmt::format("read {}: the file does not have the tensor (tensor={}, file={})",
                              origin,
                              shown(tensor),
                              file.get<std::string>()));
    }
  }
  return {};
}

const checkpoint::stored_tensor* checkpoint::find(std::string_view name) const {
  const auto found = tensors_.find(std::string(name));
  return found == tensors_.end() ? nullptr : &found->second;
}

result<std::unique_ptr<tensor_reader>> checkpoint::open(const tensor_ref& tensor,
                                                        weight_role /*role*/) const {
  const stored_tensor* stored = nullptr;
  for (const std::string& name : tensor.names) {
    stored = stored == nullptr ? find(name) : stored;
  }
  if (stored == nullptr) {
    return fail(errc::not_found,
                fmt::format("open checkpoint {}: no such tensor (names={})",
                            folder_.string(),
                            fmt::join(tensor.names, ", ")));
  }
  const shard_file& file = files_[stored->file];
  const tensor_entry& entry = stored->entry;
  if (!entry.type) {
    return fail(
        errc::unsupported,
        fmt::format("open {}: unsupported element type (tensor={}, dtype={}, legal=F32 BF16 F16)",
                    (folder_ / file.name).string(),
                    entry.name,
                    entry.type_name));
  }
  const std::vector<std::int64_t> expected = stored_shape(tensor);
  if (entry.shape != expected) {
    return fail(
        errc::corrupt,
        fmt::format(
            "open {}: shape differs from config.json (tensor={}, shape=[{}], expected=[{}])",
            (folder_ / file.name).string(),
            entry.name,
            fmt::join(entry.shape, ", "),
            fmt::join(expected, ", ")));
  }
  return std::unique_ptr<tensor_reader>(
      std::make_unique<file_tensor_reader>(tensor_place{.path = folder_ / file.name,
                                                        .identity = file.identity,
                                                        .name = entry.name,
                                                        .first = file.data_offset + entry.begin,
                                                        .bytes = entry.end - entry.begin,
                                                        .type = *entry.type}));
}

} // namespace vdist::weights
