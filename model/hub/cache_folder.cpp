#include "model/hub/cache_folder.hpp"

#include "model/hub/repository.hpp"

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <system_error>
#include <unistd.h>

namespace vdist::hub {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t reference_bytes_max = 256; // a reference holds one commit hash

/// "models--org--name".
std::string folder_name(std::string_view id) {
  std::string name = "models--";
  for (const char letter : id) {
    if (letter == '/') {
      name += "--";
    } else {
      name.push_back(letter);
    }
  }
  return name;
}

result<void> create_folders(const fs::path& path) {
  std::error_code failure;
  fs::create_directories(path, failure);
  if (failure) {
    return system_failure("create", path, failure.value());
  }
  return {};
}

} // namespace

cache_folder::cache_folder(fs::path root, std::string_view id)
    : root_(std::move(root)), base_(root_ / folder_name(id)) {}

fs::path cache_folder::blob(std::string_view checksum) const {
  return base_ / "blobs" / checksum;
}

fs::path cache_folder::partial_blob(std::string_view checksum) const {
  return base_ / "blobs" / (std::string(checksum) + ".incomplete");
}

fs::path cache_folder::lock(std::string_view checksum) const {
  return root_ / ".locks" / base_.filename() / (std::string(checksum) + ".lock");
}

fs::path cache_folder::reference(std::string_view revision) const {
  return base_ / "refs" / revision;
}

fs::path cache_folder::snapshot(std::string_view commit) const {
  return base_ / "snapshots" / commit;
}

std::optional<std::string> cache_folder::commit_of(std::string_view revision) const {
  std::ifstream file(reference(revision), std::ios::binary);
  std::string text(reference_bytes_max, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.pop_back();
  }
  if (!is_plain_name(text)) {
    text = revision;
  }
  return is_plain_name(text) ? std::optional(text) : std::nullopt;
}

bool cache_folder::has_file(std::string_view commit, std::string_view file) const {
  std::error_code ignored;
  return fs::is_regular_file(snapshot(commit) / file, ignored);
}

result<void> cache_folder::create(std::string_view commit) const {
  VDIST_TRY(create_folders(base_ / "blobs"));
  VDIST_TRY(create_folders(base_ / "refs"));
  VDIST_TRY(create_folders(snapshot(commit)));
  return create_folders(root_ / ".locks" / base_.filename());
}

result<void> cache_folder::link(std::string_view commit,
                                const std::string& file,
                                std::string_view checksum) const {
  const fs::path target = fs::path("..") / ".." / "blobs" / checksum;
  const fs::path path = snapshot(commit) / file;
  std::error_code failure;
  fs::create_symlink(target, path, failure);
  if (failure == std::errc::file_exists && !has_file(commit, file)) { // it leads nowhere
    fs::remove(path, failure);
    fs::create_symlink(target, path, failure);
  }
  if (failure && !has_file(commit, file)) {
    return system_failure("link", path, failure.value());
  }
  return {};
}

result<void> cache_folder::write_reference(std::string_view revision,
                                           std::string_view commit) const {
  if (revision == commit) {
    return {};
  }
  const fs::path path = reference(revision);
  VDIST_TRY(create_folders(path.parent_path()));
  std::string temporary = path.string() + ".XXXXXX";
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) {
    return system_failure("create", temporary, errno);
  }
  const bool is_written =
      ::write(fd, commit.data(), commit.size()) == static_cast<ssize_t>(commit.size());
  const int write_code = errno;
  ::close(fd);
  std::error_code failure(is_written ? 0 : write_code, std::generic_category());
  if (is_written) {
    fs::permissions(temporary,
                    fs::perms::owner_read | fs::perms::owner_write | fs::perms::group_read
                        | fs::perms::others_read,
                    failure);
    fs::rename(temporary, path, failure);
  }
  if (failure) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    return system_failure("write", path, failure.value());
  }
  return {};
}

error system_failure(std::string_view call, const fs::path& path, int code) {
  const auto kind = code == ENOENT                     ? errc::not_found
                    : code == ENOSPC || code == EDQUOT ? errc::resource_exhausted
                                                       : errc::io_failed;
  return fail(kind,
              fmt::format("{} {}: {}", call, path.string(), std::generic_category().message(code)));
}

} // namespace vdist::hub
