// The socket, over the kernel: who is heard, what hostile peers can do, and what stays.
#include "actors/control/control_server.hpp"

#include "tests/actors/control/fake_cluster.hpp"

#include "actors/control/abstract_address.hpp"
#include "actors/control/control_client.hpp"
#include "actors/control/protocol.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <poll.h>
#include <random>
#include <sys/wait.h>
#include <unistd.h>

using namespace vdist;
using namespace vdist::control;
using namespace vdist::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto patience = 10s;
const std::string status_request = encode(control_request{});

struct server_fixture {
  server_fixture() { start({}); }

  void start(const control_server_settings& settings) {
    server.reset();
    auto started = control_server::start(socket_name(address.name, address.pid), cluster, settings);
    BOOST_REQUIRE(started.has_value());
    server = std::move(*started);
  }

  [[nodiscard]] result<std::string> ask_status() const {
    return ask(address, status_request, patience);
  }

  /// A connection that does as it likes.
  [[nodiscard]] socket::unique_fd connect() const {
    const auto where = make_abstract_address(socket_name(address.name, address.pid));
    socket::unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    BOOST_REQUIRE(::connect(fd.get(), where->get(), where->length) == 0);
    return fd;
  }

  fake_cluster cluster;
  cluster_address address{.name = "test_control", .pid = ::getpid()};
  std::unique_ptr<control_server> server;
};

/// The peer closes within the test's patience; what it says before is dropped.
bool is_closed_in_time(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (std::chrono::steady_clock::now() < deadline) {
    char byte = 0;
    if (::poll(&one, 1, 1000) > 0 && ::recv(fd, &byte, 1, 0) <= 0) {
      return true;
    }
  }
  return false;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(control_socket, server_fixture)

BOOST_AUTO_TEST_CASE(answers_and_is_found) {
  const auto reply = ask_status();
  BOOST_REQUIRE(reply.has_value());
  const auto status = decode_status(*reply);
  BOOST_TEST((status && *status == cluster.status));
  const auto found = find_clusters();
  BOOST_TEST((std::count(found.begin(), found.end(), address) == 1));
}

BOOST_AUTO_TEST_CASE(nothing_stays_when_it_ends) {
  const auto connected = connect();
  server.reset();
  BOOST_TEST(is_closed_in_time(connected.get()));
  const auto found = find_clusters();
  BOOST_TEST((std::count(found.begin(), found.end(), address) == 0));
  start({}); // the name is free again
  BOOST_TEST(ask_status().has_value());
}

BOOST_AUTO_TEST_CASE(a_name_that_is_taken_is_an_error) {
  const auto second = control_server::start(socket_name(address.name, address.pid), cluster);
  BOOST_REQUIRE(!second.has_value());
  BOOST_TEST((second.error().code == errc::io_failed));
}

BOOST_AUTO_TEST_CASE(one_connection_may_ask_again_and_again) {
  const system_clock time;
  const socket::message_socket peer(connect(), time);
  for (int i = 0; i < 100; ++i) {
    BOOST_REQUIRE(peer.send(std::as_bytes(std::span(status_request)), {}, time.now() + patience));
    BOOST_REQUIRE(peer.receive(time.now() + patience).has_value());
  }
}

BOOST_AUTO_TEST_CASE(hostile_messages_get_an_answer_or_the_door) { // S-2
  std::mt19937 random(5);
  for (const std::size_t bytes : {1, 7, 1000, 60000, 65536, 65537, 100000}) {
    const auto fd = connect();
    std::string noise(bytes, '\0');
    std::generate(noise.begin(), noise.end(), [&random] { return static_cast<char>(random()); });
    BOOST_REQUIRE(::send(fd.get(), noise.data(), noise.size(), MSG_NOSIGNAL)
                  == static_cast<ssize_t>(bytes));
    std::string reply(reply_bytes_max, '\0');
    const auto got = ::recv(fd.get(), reply.data(), reply.size(), 0);
    BOOST_REQUIRE_MESSAGE(got > 0, bytes << " bytes");
    const auto status =
        decode_status(std::string_view(reply.data(), static_cast<std::size_t>(got)));
    BOOST_TEST(!status.has_value());
  }
  BOOST_TEST(ask_status().has_value());
}

BOOST_AUTO_TEST_CASE(who_asks_and_never_reads_is_disconnected) { // S-2
  const auto fd = connect();
  cluster.page.lines.assign(ledger_lines_max, {1, 2, 3, 4, "none", 5});
  const auto request = encode(control_request{.what = control_request::kind::ledger, .target = {}});
  bool is_refused = false;
  for (int i = 0; i < 100000 && !is_refused; ++i) {
    is_refused = ::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0;
  }
  BOOST_TEST(is_refused);
  BOOST_TEST(ask_status().has_value());
}

BOOST_AUTO_TEST_CASE(who_is_silent_makes_room_for_others) { // S-2
  start({.connections_max = 2, .silence_max = 50ms});
  std::vector<socket::unique_fd> silent;
  for (int i = 0; i < 6; ++i) {
    silent.push_back(connect());
  }
  BOOST_TEST(ask_status().has_value());
  for (const auto& fd : silent) {
    BOOST_TEST(is_closed_in_time(fd.get()));
  }
}

BOOST_AUTO_TEST_CASE(another_user_is_not_heard, // S-1
                     *boost::unit_test::precondition([](boost::unit_test::test_unit_id) {
                       return boost::test_tools::assertion_result(::geteuid() == 0);
                     })) {
  constexpr uid_t nobody = 65534;
  const auto child = ::fork();
  BOOST_REQUIRE(child >= 0);
  if (child == 0) { // the server's thread was not copied, and is not asked for anything here
    const bool is_nobody = ::setuid(nobody) == 0;
    const auto found = find_clusters();
    const auto reply =
        ask(address, encode(control_request{control_request::kind::drain, {}}), patience);
    const bool is_hidden = std::count(found.begin(), found.end(), address) == 0;
    const bool is_stopped_by_client = !reply && reply.error().code == errc::unsupported; // C-1
    const socket::unique_fd fd(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
    const auto where = make_abstract_address(socket_name(address.name, address.pid));
    const bool is_connected = ::connect(fd.get(), where->get(), where->length) == 0;
    std::string words(512, '\0');
    const auto got = ::recv(fd.get(), words.data(), words.size(), 0);
    const bool is_refused = got > 0 && words.find("\"unsupported\"") != std::string::npos
                            && ::recv(fd.get(), words.data(), words.size(), 0) == 0;
    ::_exit(is_nobody && is_hidden && is_stopped_by_client && is_connected && is_refused ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  BOOST_TEST(status == 0);
  BOOST_TEST(cluster.drains == 0);
}

BOOST_AUTO_TEST_SUITE_END()
