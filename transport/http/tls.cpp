#include "transport/http/tls.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <fstream>
#include <limits>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

namespace vdist::http {

namespace {

struct freer {
  void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }

  void operator()(SSL* session) const noexcept { SSL_free(session); }

  void operator()(BIO_METHOD* method) const noexcept { BIO_meth_free(method); }
};

template <class T>
using owned = std::unique_ptr<T, freer>;

/// The first of this thread's queue, which is the cause of the others; the queue is empty afterwards.
std::string openssl_reason() {
  const auto code = ERR_peek_error();
  const char* reason = ERR_reason_error_string(code);
  ERR_clear_error();
  return reason == nullptr ? "unknown reason" : reason;
}

int fd_of(BIO* bio) noexcept {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
}

/// T-2.
int bio_write(BIO* bio, const char* bytes, int count) {
  BIO_clear_retry_flags(bio);
  const auto sent = plain_send(fd_of(bio), {bytes, static_cast<std::size_t>(count)});
  if (sent.what == io_outcome::kind::want_write) {
    BIO_set_retry_write(bio);
  }
  return sent.what == io_outcome::kind::done ? static_cast<int>(sent.bytes) : -1;
}

int bio_read(BIO* bio, char* into, int count) {
  BIO_clear_retry_flags(bio);
  const auto got = plain_receive(fd_of(bio), {into, static_cast<std::size_t>(count)});
  if (got.what == io_outcome::kind::want_read) {
    BIO_set_retry_read(bio);
  }
  if (got.what == io_outcome::kind::end) {
    BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return 0;
  }
  return got.what == io_outcome::kind::done ? static_cast<int>(got.bytes) : -1;
}

long bio_control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  if (command == BIO_CTRL_EOF) {
    return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  }
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

owned<BIO_METHOD> make_method() {
  owned<BIO_METHOD> method(
      BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "non-blocking socket"));
  if (method) {
    BIO_meth_set_write(method.get(), bio_write);
    BIO_meth_set_read(method.get(), bio_read);
    BIO_meth_set_ctrl(method.get(), bio_control);
  }
  return method;
}

/// Clients that offer protocols get http/1.1; others, and those that know none of ours, are served too.
int choose_protocol(SSL* /*session*/,
                    const unsigned char** chosen,
                    unsigned char* chosen_bytes,
                    const unsigned char* offered,
                    unsigned offered_bytes,
                    void* /*argument*/) {
  static constexpr unsigned char ours[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, chosen_bytes, ours, sizeof(ours), offered, offered_bytes)
      != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

/// Without it OpenSSL would ask at the terminal for the password of a key.
int no_password(char* /*into*/, int /*bytes*/, int /*is_writing*/, void* /*argument*/) {
  return -1;
}

result<void> check_readable(std::string_view what, const std::string& path) {
  if (!std::ifstream(path)) {
    return fail(errc::not_found, fmt::format("tls: cannot read the {} (file={})", what, path));
  }
  return {};
}

int clamped(std::size_t bytes) {
  return static_cast<int>(
      std::min<std::size_t>(bytes, static_cast<std::size_t>(std::numeric_limits<int>::max())));
}

} // namespace

io_outcome plain_receive(int fd, std::span<char> into) noexcept {
  for (;;) {
    const auto got = ::recv(fd, into.data(), into.size(), MSG_DONTWAIT);
    if (got > 0) {
      return {io_outcome::kind::done, static_cast<std::size_t>(got)};
    }
    if (got == 0) {
      return {io_outcome::kind::end};
    }
    if (errno != EINTR) {
      const bool is_empty = errno == EAGAIN || errno == EWOULDBLOCK;
      return {is_empty ? io_outcome::kind::want_read : io_outcome::kind::broken};
    }
  }
}

io_outcome plain_send(int fd, std::string_view bytes) noexcept {
  for (;;) {
    const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      return {io_outcome::kind::done, static_cast<std::size_t>(sent)};
    }
    if (errno != EINTR) {
      const bool is_full = errno == EAGAIN || errno == EWOULDBLOCK;
      return {is_full ? io_outcome::kind::want_write : io_outcome::kind::broken};
    }
  }
}

struct tls_context::handles {
  owned<BIO_METHOD> method;
  owned<SSL_CTX> context;
};

struct tls_session::handle {
  owned<SSL> session;

  [[nodiscard]] io_outcome outcome(int returned) const {
    if (returned > 0) {
      return {io_outcome::kind::done, static_cast<std::size_t>(returned)};
    }
    const int cause = SSL_get_error(session.get(), returned);
    ERR_clear_error();
    switch (cause) {
    case SSL_ERROR_WANT_READ:
      return {io_outcome::kind::want_read};
    case SSL_ERROR_WANT_WRITE:
      return {io_outcome::kind::want_write};
    case SSL_ERROR_ZERO_RETURN:
      return {io_outcome::kind::end};
    default:
      return {io_outcome::kind::broken};
    }
  }
};

tls_context::tls_context(std::unique_ptr<handles> all) noexcept : handles_(std::move(all)) {}

tls_context::~tls_context() = default;

result<std::unique_ptr<tls_context>> tls_context::load(const tls_files& files) {
  VDIST_TRY(check_readable("certificate chain", files.certificate_chain));
  VDIST_TRY(check_readable("private key", files.private_key));
  ERR_clear_error();
  auto all = std::make_unique<handles>();
  all->method = make_method();
  all->context.reset(SSL_CTX_new(TLS_server_method()));
  if (!all->method || !all->context) {
    return fail(errc::internal, "tls: OpenSSL gives no context: " + openssl_reason());
  }
  auto* context = all->context.get();
  SSL_CTX_set_default_passwd_cb(context, no_password);
  if (SSL_CTX_use_certificate_chain_file(context, files.certificate_chain.c_str()) != 1) {
    return fail(errc::corrupt,
                fmt::format("tls: not a certificate chain in PEM: {} (file={})",
                            openssl_reason(),
                            files.certificate_chain));
  }
  if (SSL_CTX_use_PrivateKey_file(context, files.private_key.c_str(), SSL_FILETYPE_PEM) != 1
      || SSL_CTX_check_private_key(context) != 1) {
    return fail(errc::corrupt,
                fmt::format("tls: not the private key of the certificate, in PEM and without a "
                            "password: {} (file={}, certificate={})",
                            openssl_reason(),
                            files.private_key,
                            files.certificate_chain));
  }
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION); // T-1
  SSL_CTX_set_options(context,
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION
                          | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Idle connections give their buffers back, about 34 KiB each.
  SSL_CTX_set_mode(context,
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE
                       | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); // tickets need no memory here
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  return std::unique_ptr<tls_context>(new tls_context(std::move(all)));
}

std::unique_ptr<tls_session> tls_context::open(int fd) const {
  ERR_clear_error();
  auto inside = std::make_unique<tls_session::handle>();
  inside->session.reset(SSL_new(handles_->context.get()));
  BIO* bio = inside->session ? BIO_new(handles_->method.get()) : nullptr;
  if (bio == nullptr) {
    return nullptr;
  }
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(inside->session.get(), bio, bio);
  SSL_set_accept_state(inside->session.get());
  return std::make_unique<tls_session>(std::move(inside));
}

tls_session::tls_session(std::unique_ptr<handle> inside) noexcept : handle_(std::move(inside)) {}

tls_session::~tls_session() = default;

io_outcome tls_session::handshake() {
  ERR_clear_error(); // T-3
  return handle_->outcome(SSL_do_handshake(handle_->session.get()));
}

io_outcome tls_session::receive(std::span<char> into) {
  ERR_clear_error();
  return handle_->outcome(SSL_read(handle_->session.get(), into.data(), clamped(into.size())));
}

io_outcome tls_session::send(std::string_view bytes) {
  ERR_clear_error();
  return handle_->outcome(SSL_write(handle_->session.get(), bytes.data(), clamped(bytes.size())));
}

void tls_session::say_end() {
  ERR_clear_error();
  SSL_shutdown(handle_->session.get());
  ERR_clear_error();
}

} // namespace vdist::http
