#include "model/hub/checksum.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <openssl/evp.h>

namespace vdist::hub {

namespace {

constexpr std::size_t sha256_digits = 64;
constexpr std::size_t sha1_digits = 40;

struct context_delete {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

} // namespace

struct running_digest::context {
  std::unique_ptr<EVP_MD_CTX, context_delete> evp{EVP_MD_CTX_new()};
};

std::optional<checksum> parse_checksum(std::string_view etag) {
  if (etag.starts_with("W/")) {
    etag.remove_prefix(2);
  }
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  if (etag.size() != sha256_digits && etag.size() != sha1_digits) {
    return std::nullopt;
  }
  checksum stated{.kind = etag.size() == sha256_digits ? checksum_kind::sha256
                                                       : checksum_kind::git_sha1};
  for (const char letter : etag) {
    if (std::isxdigit(static_cast<unsigned char>(letter)) == 0) {
      return std::nullopt;
    }
    stated.hex.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(letter))));
  }
  return stated;
}

running_digest::running_digest(std::unique_ptr<context> started) : context_(std::move(started)) {}

running_digest::running_digest(running_digest&&) noexcept = default;
running_digest& running_digest::operator=(running_digest&&) noexcept = default;
running_digest::~running_digest() = default;

result<running_digest> running_digest::start(checksum_kind kind, std::uint64_t bytes) {
  auto started = std::make_unique<context>();
  const EVP_MD* type = kind == checksum_kind::sha256 ? EVP_sha256() : EVP_sha1();
  if (started->evp == nullptr || EVP_DigestInit_ex(started->evp.get(), type, nullptr) != 1) {
    return fail(errc::unsupported,
                fmt::format("checksum: OpenSSL refuses the digest (digest={})",
                            kind == checksum_kind::sha256 ? "SHA-256" : "SHA-1"));
  }
  running_digest digest(std::move(started));
  if (kind == checksum_kind::git_sha1) {
    const std::string head = fmt::format("blob {}", bytes);
    digest.add(std::as_bytes(std::span(head.c_str(), head.size() + 1))); // with its zero
  }
  return digest;
}

void running_digest::add(std::span<const std::byte> part) {
  VDIST_CHECK(EVP_DigestUpdate(context_->evp.get(), part.data(), part.size()) == 1,
              "checksum: a started digest takes any bytes");
}

std::string running_digest::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  VDIST_CHECK(EVP_DigestFinal_ex(context_->evp.get(), digest.data(), &size) == 1,
              "checksum: a digest is finished once");
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    hex += fmt::format("{:02x}", digest[i]);
  }
  return hex;
}

} // namespace vdist::hub
