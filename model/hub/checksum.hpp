// model/hub/checksum.hpp — what a host states about a file's contents, and whether they are it.
// Large files have a SHA-256, small ones the id that git gives them: the SHA-1 of "blob <size>\0"
// and the contents. The digests are OpenSSL's, which libcurl brings anyway: kept up by others, and
// they use the processor's instructions (about 2 GB/s, where portable code reaches a fifth).
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace vdist::hub {

enum class checksum_kind : std::uint8_t { sha256, git_sha1 };

struct checksum {
  checksum_kind kind = checksum_kind::sha256;
  std::string hex; // lower case; names the blob in the cache

  bool operator==(const checksum&) const = default;
};

/// From an ETag header: `"<hex>"`, with or without quotes and W/. nullopt: neither kind.
[[nodiscard]] std::optional<checksum> parse_checksum(std::string_view etag);

/// Digest of one file, fed front to back. Move-only.
class running_digest {
public:
  /// `bytes`: of the whole file. errc::unsupported: this system's OpenSSL refuses the digest.
  [[nodiscard]] static result<running_digest> start(checksum_kind kind, std::uint64_t bytes);

  running_digest(running_digest&&) noexcept;
  running_digest& operator=(running_digest&&) noexcept;
  ~running_digest();

  void add(std::span<const std::byte> part);

  /// Ends it: lower-case hexadecimal.
  [[nodiscard]] std::string finish();

private:
  struct context; // keeps OpenSSL out of the header
  explicit running_digest(std::unique_ptr<context> started);

  std::unique_ptr<context> context_;
};

} // namespace vdist::hub
