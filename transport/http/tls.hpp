// transport/http/tls.hpp — TLS of a server over non-blocking sockets: OpenSSL without its buffers while
// nothing is to be read, and without SIGPIPE. Internal to transport/http.
// T-1 TLS 1.2 or 1.3, no renegotiation, no compression. T-2 writes never raise SIGPIPE (a BIO of our
// own that sends with MSG_NOSIGNAL). T-3 the error queue of OpenSSL, which belongs to the thread, is
// empty before each call, so that one connection's failure is not taken for another's.
// A context may be used by any thread, a session by one at a time.
#pragma once

#include "transport/http/server_config.hpp"

#include "runtime/base/result.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace vdist::http {

/// What a call on a non-blocking connection came to.
struct io_outcome {
  enum class kind {
    done,       // `bytes` moved, at least one
    want_read,  // again when the socket is readable
    want_write, // again when it is writable
    end,        // the peer has ended its side in order
    broken,     // reset, or not TLS
  };

  kind what = kind::broken;
  std::size_t bytes = 0;
};

/// As recv() and send() on a plain socket; never block, no SIGPIPE.
[[nodiscard]] io_outcome plain_receive(int fd, std::span<char> into) noexcept;
[[nodiscard]] io_outcome plain_send(int fd, std::string_view bytes) noexcept;

class tls_session;

class tls_context {
public:
  /// Reads both files. Errors, with file and reason: not_found, corrupt (no certificate, no key, or not
  /// of each other), internal.
  [[nodiscard]] static result<std::unique_ptr<tls_context>> load(const tls_files& files);

  tls_context(const tls_context&) = delete;
  tls_context& operator=(const tls_context&) = delete;
  ~tls_context();

  /// The server's side of one connection, on a socket that must outlive it. Null: out of memory.
  [[nodiscard]] std::unique_ptr<tls_session> open(int fd) const;

private:
  struct handles;
  explicit tls_context(std::unique_ptr<handles> all) noexcept;

  std::unique_ptr<handles> handles_;
};

class tls_session {
public:
  struct handle;

  explicit tls_session(std::unique_ptr<handle> inside) noexcept;
  tls_session(const tls_session&) = delete;
  tls_session& operator=(const tls_session&) = delete;
  ~tls_session();

  /// `done` when both sides know each other.
  [[nodiscard]] io_outcome handshake();
  [[nodiscard]] io_outcome receive(std::span<char> into);
  /// May send a part of `bytes`. After want_*: call again with the same bytes and maybe more.
  [[nodiscard]] io_outcome send(std::string_view bytes);
  /// Says that we send nothing any more; best effort.
  void say_end();

private:
  std::unique_ptr<handle> handle_;
};

} // namespace vdist::http
