// model/hub/cache_folder.hpp — one repository in a local Hugging Face cache, as all tools of that
// family lay it out:
//   <root>/models--org--name/blobs/<checksum>               contents
//   <root>/models--org--name/blobs/<checksum>.incomplete    contents on their way
//   <root>/models--org--name/snapshots/<commit>/<file>      links into blobs
//   <root>/models--org--name/refs/<revision>                the commit that a branch or tag means
//   <root>/.locks/models--org--name/<checksum>.lock         held by whoever writes the blob
// H-1 what has its final name is whole: contents are verified and on disk before they are renamed,
// links are made after their blob, and config.json is the last link of a snapshot.
#pragma once

#include "runtime/base/result.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace vdist::hub {

class cache_folder {
public:
  /// `root`: …/hub; `id`: of a repository that parse_repository() let pass.
  cache_folder(std::filesystem::path root, std::string_view id);

  [[nodiscard]] const std::filesystem::path& base() const { return base_; }

  [[nodiscard]] std::filesystem::path blob(std::string_view checksum) const;
  [[nodiscard]] std::filesystem::path partial_blob(std::string_view checksum) const;
  [[nodiscard]] std::filesystem::path lock(std::string_view checksum) const;
  [[nodiscard]] std::filesystem::path reference(std::string_view revision) const;
  [[nodiscard]] std::filesystem::path snapshot(std::string_view commit) const;

  /// The commit that a revision means here: what its reference says, else the revision itself.
  /// nullopt: neither is a plain name.
  [[nodiscard]] std::optional<std::string> commit_of(std::string_view revision) const;

  /// Whether the snapshot has this file, whole.
  [[nodiscard]] bool has_file(std::string_view commit, std::string_view file) const;

  /// Makes the folders that writing needs. errc::io_failed or resource_exhausted, naming the path.
  [[nodiscard]] result<void> create(std::string_view commit) const;

  /// snapshots/<commit>/<file> → blobs/<checksum>. Whoever else makes the same link does no harm.
  [[nodiscard]] result<void>
  link(std::string_view commit, const std::string& file, std::string_view checksum) const;

  /// refs/<revision>, in one step. Nothing where the revision is the commit itself.
  [[nodiscard]] result<void> write_reference(std::string_view revision,
                                             std::string_view commit) const;

private:
  std::filesystem::path root_;
  std::filesystem::path base_;
};

/// The error of a system call on a path: not_found, resource_exhausted (no space) or io_failed.
[[nodiscard]] error
system_failure(std::string_view call, const std::filesystem::path& path, int code);

} // namespace vdist::hub
