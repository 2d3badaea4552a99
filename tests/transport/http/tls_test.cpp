// TLS: certificates that are made here, versions, errors at the start, and that the rest is as without.
#include "tests/support/temporary_folder.hpp"
#include "tests/transport/http/http_fixture.hpp"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

using namespace vdist;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

struct freer {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }

  void operator()(X509* certificate) const { X509_free(certificate); }

  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }

  void operator()(SSL* session) const { SSL_free(session); }

  void operator()(BIO* bio) const { BIO_free(bio); }
};

template <class T>
using owned = std::unique_ptr<T, freer>;

template <class Write>
std::string pem_of(Write write) {
  const owned<BIO> memory(BIO_new(BIO_s_mem()));
  write(memory.get());
  char* bytes = nullptr;
  const auto count = BIO_get_mem_data(memory.get(), &bytes);
  return {bytes, static_cast<std::size_t>(count)};
}

struct identity {
  std::string certificate;
  std::string key;
};

identity make_identity() {
  const owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  const owned<X509> certificate(X509_new());
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key.get());
  auto* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(
      name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  return {pem_of([&certificate](BIO* to) { PEM_write_bio_X509(to, certificate.get()); }),
          pem_of([&key](BIO* to) {
            PEM_write_bio_PrivateKey(to, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

struct tls_folder {
  temporary_folder folder;
  identity one = make_identity();
  http::tls_files files{folder.write("chain.pem", one.certificate),
                        folder.write("key.pem", one.key)};

  [[nodiscard]] http::server_config config() const {
    auto made = loopback();
    made.tls = files;
    return made;
  }
};

/// Blocking, with the socket's own deadline.
class tls_client {
public:
  tls_client(std::uint16_t port, int version_max = TLS1_3_VERSION)
      : plain_(port), context_(SSL_CTX_new(TLS_client_method())) {
    const timeval wait{patience.count(), 0};
    ::setsockopt(plain_.fd(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    SSL_CTX_set_security_level(context_.get(), 0); // so that old versions are offered at all
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context_.get(), version_max);
    session_.reset(SSL_new(context_.get()));
    SSL_set_fd(session_.get(), plain_.fd());
  }

  /// Frees this side's memory; the connection stays.
  void forget() {
    session_.reset();
    context_.reset();
  }

  bool connect() { return SSL_connect(session_.get()) == 1; }

  /// As browsers do: names with their lengths in front.
  void offer(std::string_view protocols) {
    SSL_set_alpn_protos(session_.get(),
                        reinterpret_cast<const unsigned char*>(protocols.data()),
                        static_cast<unsigned>(protocols.size()));
  }

  /// Empty: none was agreed on.
  [[nodiscard]] std::string protocol() const {
    const unsigned char* name = nullptr;
    unsigned bytes = 0;
    SSL_get0_alpn_selected(session_.get(), &name, &bytes);
    return {reinterpret_cast<const char*>(name), bytes};
  }

  [[nodiscard]] std::string version() const { return SSL_get_version(session_.get()); }

  void send(std::string_view bytes) {
    BOOST_REQUIRE(SSL_write(session_.get(), bytes.data(), static_cast<int>(bytes.size()))
                  == static_cast<int>(bytes.size()));
  }

  std::string read_until(std::string_view mark) {
    while (got_.find(mark) == std::string::npos) {
      char bytes[4096];
      const int count = SSL_read(session_.get(), bytes, sizeof(bytes));
      if (count <= 0) {
        was_in_order_ = SSL_get_error(session_.get(), count) == SSL_ERROR_ZERO_RETURN;
        return std::exchange(got_, {});
      }
      got_.append(bytes, static_cast<std::size_t>(count));
    }
    const auto end = got_.find(mark) + mark.size();
    auto part = got_.substr(0, end);
    got_.erase(0, end);
    return part;
  }

  std::string read_to_end() { return read_until(std::string("no such mark\0", 13)); }

  [[nodiscard]] bool was_in_order() const { return was_in_order_; }

private:
  http_client plain_;
  owned<SSL_CTX> context_;
  owned<SSL> session_;
  std::string got_;
  bool was_in_order_ = false;
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(tls, tls_folder)

BOOST_AUTO_TEST_CASE(serves_TLS_1_2_and_1_3) { // T-1
  http_fixture fixture(config());
  for (const auto& [version, name] :
       {std::pair{TLS1_2_VERSION, "TLSv1.2"}, std::pair{TLS1_3_VERSION, "TLSv1.3"}}) {
    tls_client client(fixture.server().port(), version);
    BOOST_TEST_REQUIRE(client.connect());
    BOOST_TEST(client.version() == name);
    for (int i = 0; i < 2; ++i) {
      client.send("GET /echo?abc HTTP/1.1\r\nHost: h\r\n\r\n");
      BOOST_TEST(client.read_until("\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
      BOOST_TEST(client.read_until("abc") == "abc");
    }
    client.send("GET /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    client.read_to_end();
    BOOST_TEST(client.was_in_order()); // with a close_notify: nobody cut it
  }
}

BOOST_AUTO_TEST_CASE(clients_that_offer_protocols_get_http_1_1_or_none) {
  http_fixture fixture(config());
  for (const auto& [offered, expected] : {std::pair{"\x02h2\x08http/1.1", "http/1.1"},
                                          std::pair{"\x08http/1.1", "http/1.1"},
                                          std::pair{"\x02h2", ""}}) {
    tls_client client(fixture.server().port());
    client.offer(offered);
    BOOST_TEST_REQUIRE(client.connect());
    BOOST_TEST(client.protocol() == expected);
    client.send("GET /echo?abc HTTP/1.1\r\nHost: h\r\n\r\n");
    BOOST_TEST(client.read_until("abc").starts_with("HTTP/1.1 200 OK\r\n"));
  }
}

BOOST_AUTO_TEST_CASE(refuses_older_versions) { // T-1
  http_fixture fixture(config());
  tls_client client(fixture.server().port(), TLS1_1_VERSION);
  BOOST_TEST(!client.connect());
  BOOST_TEST(fixture.server().drain(std::chrono::steady_clock::now() + patience).has_value());
  BOOST_TEST(fixture.stats().refused_for(http::refused_by::handshake) == 1U);
}

BOOST_AUTO_TEST_CASE(carries_large_bodies_and_streams_to_slow_readers) {
  auto settings = config();
  settings.bounds.send_buffer_bytes = 16384;
  http_fixture fixture(std::move(settings));
  tls_client client(fixture.server().port());
  BOOST_TEST_REQUIRE(client.connect());
  std::string body;
  for (int i = 0; body.size() < 3'000'000; ++i) {
    body += std::to_string(i);
  }
  client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size())
              + "\r\n\r\n" + body);
  client.read_until("\r\n\r\n");
  BOOST_TEST((client.read_until(body) == body));
  client.send("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto one = fixture.next();
  one->start_stream(200, {});
  std::size_t written = 0;
  while (one->write(std::string(1000, 'a')) == http::write_outcome::accepted) {
    ++written;
  }
  one->finish();
  const auto got = client.read_until("0\r\n\r\n");
  BOOST_TEST(static_cast<std::size_t>(std::count(
                 got.begin() + static_cast<std::ptrdiff_t>(got.find("\r\n\r\n")), got.end(), 'a'))
             == written * 1000);
}

BOOST_AUTO_TEST_CASE(serves_what_was_pipelined_in_one_record) {
  auto settings = config();
  settings.bounds.read_ahead_bytes_max =
      16; // the rest stays inside of OpenSSL, where no socket tells
  http_fixture fixture(std::move(settings));
  tls_client client(fixture.server().port());
  BOOST_TEST_REQUIRE(client.connect());
  client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto one = fixture.next();
  std::string all;
  for (int i = 0; i < 20; ++i) {
    all += "GET /echo?" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n";
  }
  client.send(all);
  one->reply({.body = "first"});
  client.read_until("first");
  for (int i = 0; i < 20; ++i) {
    BOOST_TEST_REQUIRE(client.read_until("\r\n\r\n").starts_with("HTTP/1.1 200"));
    BOOST_TEST_REQUIRE(client.read_until(std::to_string(i)) == std::to_string(i));
  }
}

BOOST_AUTO_TEST_CASE(a_vanished_client_is_reported) { // E-2
  http_fixture fixture(config());
  tally gone;
  exchange_ptr one;
  {
    tls_client client(fixture.server().port());
    BOOST_TEST_REQUIRE(client.connect());
    client.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    one = fixture.next();
    one->on_gone([&gone] { gone.add(); });
  }
  BOOST_TEST(gone.reaches(1));
}

BOOST_AUTO_TEST_CASE(a_client_that_speaks_no_TLS_is_closed) {
  http_fixture fixture(config());
  auto client = fixture.connect();
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  client.read_to_end();
  tls_client other(fixture.server().port());
  BOOST_TEST(other.connect()); // T-3
}

BOOST_AUTO_TEST_CASE(a_handshake_that_does_not_come_is_given_up) { // H-4
  auto settings = config();
  settings.times.handshake = 20ms;
  http_fixture fixture(std::move(settings));
  auto client = fixture.connect();
  BOOST_TEST(client.is_closed());
  BOOST_TEST(fixture.stats().refused_for(http::refused_by::handshake) == 1U);
}

BOOST_AUTO_TEST_CASE(idle_connections_hold_no_buffers) { // C-2
  http_fixture fixture(config());
  std::vector<std::unique_ptr<tls_client>> clients;
  const auto connect = [&clients, &fixture] {
    clients.push_back(std::make_unique<tls_client>(fixture.server().port()));
    BOOST_TEST_REQUIRE(clients.back()->connect());
    clients.back()->send("GET /echo?abc HTTP/1.1\r\nHost: h\r\n\r\n");
    clients.back()->read_until("abc");
    clients.back()->forget();
  };
  connect();
  constexpr std::size_t count = 400;
  const auto before = resident_bytes();
  for (std::size_t i = 0; i < count; ++i) {
    connect();
  }
  const auto each = (resident_bytes() - before) / count;
  BOOST_TEST_MESSAGE(each << " bytes each");
  BOOST_TEST(each <= 32'768U * memory_factor);
}

BOOST_AUTO_TEST_CASE(errors_at_the_start_name_the_file_and_the_reason) {
  const auto error_of = [](http::tls_files files) {
    auto made = loopback();
    made.tls = std::move(files);
    const auto started = http::server::start(std::move(made), [](exchange_ptr) {});
    return started ? error{errc::ok, ""} : started.error();
  };
  const auto missing = error_of({(folder.path() / "none.pem").string(), files.private_key});
  BOOST_TEST((missing.code == errc::not_found));
  BOOST_TEST(missing.context.find("none.pem") != std::string::npos);

  const auto garbage = folder.write("garbage.pem", "garbage").string();
  const auto damaged = error_of({garbage, files.private_key});
  BOOST_TEST((damaged.code == errc::corrupt));
  BOOST_TEST(damaged.context.find(garbage) != std::string::npos);
  BOOST_TEST(damaged.context.find("no start line") != std::string::npos);

  const auto foreign = folder.write("other.pem", make_identity().key).string();
  const auto mismatch = error_of({files.certificate_chain, foreign});
  BOOST_TEST((mismatch.code == errc::corrupt));
  BOOST_TEST(mismatch.context.find("key values mismatch") != std::string::npos);

  const owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  char password[] = "secret";
  const auto locked =
      folder
          .write("locked.pem", pem_of([&key, &password](BIO* to) {
                   PEM_write_bio_PrivateKey(to,
                                            key.get(),
                                            EVP_aes_128_cbc(),
                                            reinterpret_cast<unsigned char*>(password),
                                            6,
                                            nullptr,
                                            nullptr);
                 }))
          .string();
  BOOST_TEST(
      (error_of({files.certificate_chain, locked}).code == errc::corrupt)); // nobody is asked
}

BOOST_AUTO_TEST_SUITE_END()
