#include "transport/socket/message_socket.hpp"

#include "tests/support/open_fds.hpp"

#include "transport/socket/shared_file.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <future>
#include <pthread.h>
#include <random>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>

using namespace vdist;
using namespace vdist::socket;
using namespace std::chrono_literals;

namespace {

const vdist::system_clock wall;

/// Only a defect ever waits that long.
time_point patience() {
  return wall.now() + 20s;
}

time_point soon() {
  return wall.now() + 5ms;
}

constexpr time_point past{};

struct ends {
  ends() : ends(make_socket_pair().value()) {}

  explicit ends(socket_pair pair)
      : left(std::move(pair.first), wall), right(std::move(pair.second), wall) {}

  message_socket left;
  message_socket right;
};

std::vector<std::byte> bytes_of(std::size_t count, unsigned seed) {
  std::minstd_rand draw(seed + 1);
  std::vector<std::byte> bytes(count);
  std::generate(bytes.begin(), bytes.end(), [&draw] { return std::byte(draw() & 0xffU); });
  return bytes;
}

const std::vector<std::byte> ping = bytes_of(4, 0);

/// The inode tells whether two descriptors are of one file.
ino_t inode(int fd) {
  struct stat status {};

  BOOST_REQUIRE(fstat(fd, &status) == 0);
  return status.st_ino;
}

/// Sends what message_socket refuses to send: `count` copies of `fd`, any number of bytes.
void send_raw(const message_socket& from, std::size_t byte_count, int fd, std::size_t count) {
  std::vector<std::byte> payload(byte_count);
  std::vector<int> fds(count, fd);
  std::vector<std::byte> control(CMSG_SPACE(count * sizeof(int)));
  iovec part{payload.data(), payload.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (count > 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::copy_n(fds.data(), count, reinterpret_cast<int*>(CMSG_DATA(rights)));
  }
  BOOST_REQUIRE(sendmsg(from.fd(), &header, MSG_NOSIGNAL) == ssize_t(byte_count));
}

} // namespace

BOOST_AUTO_TEST_SUITE(message_socket_suite)

BOOST_AUTO_TEST_CASE(messages_arrive_whole_once_and_in_order) { // M-1
  const ends link;
  std::thread sender([&link] { // what it fails to send is missed below
    for (unsigned i = 0; i < 500; ++i) {
      const auto sent = bytes_of(1 + i * 131 % message_bytes_max, i);
      static_cast<void>(link.left.send(sent, {}, patience()));
    }
  });
  for (unsigned i = 0; i < 500; ++i) {
    const auto received = link.right.receive(patience());
    BOOST_REQUIRE(received);
    BOOST_TEST((received->bytes == bytes_of(1 + i * 131 % message_bytes_max, i)));
    BOOST_TEST(received->fds.empty());
  }
  sender.join();
  BOOST_CHECK(link.right.receive(past).error().code == errc::timed_out);
}

BOOST_AUTO_TEST_CASE(carries_the_largest_message_and_refuses_what_is_none) {
  const ends link;
  const auto largest = bytes_of(message_bytes_max, 1);
  BOOST_REQUIRE(link.left.send(largest, {}, patience()));
  BOOST_TEST((link.right.receive(patience())->bytes == largest));
  const auto larger = bytes_of(message_bytes_max + 1, 1);
  const std::vector<int> many(message_fds_max + 1, link.left.fd());
  BOOST_CHECK(link.left.send(larger, {}, patience()).error().code == errc::invalid_argument);
  BOOST_CHECK(link.left.send({}, {}, patience()).error().code == errc::invalid_argument);
  BOOST_CHECK(link.left.send(ping, many, patience()).error().code == errc::invalid_argument);
}

BOOST_AUTO_TEST_CASE(descriptors_arrive_close_on_exec_and_with_an_owner) { // M-2
  const ends link;
  const auto file = make_shared_file("test", 4096).value();
  const auto before = testing::open_fds();
  {
    const std::vector<int> fds(message_fds_max, file.get());
    BOOST_REQUIRE(link.left.send(ping, fds, patience()));
    const auto received = link.right.receive(patience());
    BOOST_REQUIRE(received);
    BOOST_REQUIRE(received->fds.size() == message_fds_max);
    for (const auto& fd : received->fds) {
      BOOST_TEST(inode(fd.get()) == inode(file.get()));
      BOOST_TEST((fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
    }
  }
  BOOST_TEST(testing::open_fds() == before);
}

BOOST_AUTO_TEST_CASE(what_is_cut_off_is_an_error_and_leaks_nothing) { // M-1, M-2
  const ends link;
  const auto before = testing::open_fds();
  send_raw(link.left, 4, link.left.fd(), message_fds_max + 1);
  BOOST_CHECK(link.right.receive(patience()).error().code == errc::corrupt);
  send_raw(link.left, message_bytes_max + 1, link.left.fd(), 3);
  BOOST_CHECK(link.right.receive(patience()).error().code == errc::corrupt);
  BOOST_TEST(testing::open_fds() == before);
  BOOST_REQUIRE(link.left.send(ping, {}, patience())); // and the next message is whole again
  BOOST_TEST((link.right.receive(patience())->bytes == ping));
}

BOOST_AUTO_TEST_CASE(an_empty_message_is_an_end_and_its_descriptors_do_not_leak) { // M-2
  const ends link;
  const auto before = testing::open_fds();
  send_raw(link.left, 0, link.left.fd(), 2);
  BOOST_CHECK(link.right.receive(patience()).error().code == errc::closed);
  BOOST_TEST(testing::open_fds() == before);
}

BOOST_AUTO_TEST_CASE(says_when_this_process_has_no_descriptor_left) { // M-2
  const ends link;
  const std::vector<int> fds(4, link.left.fd());
  BOOST_REQUIRE(link.left.send(ping, fds, patience()));
  const auto before = testing::open_fds();
  rlimit limit{};
  BOOST_REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  // Numbers below the limit are what is left: fill the gaps, then leave two.
  const int highest = fcntl(link.left.fd(), F_DUPFD_CLOEXEC, 0);
  ::close(highest);
  const rlimit tight{.rlim_cur = static_cast<rlim_t>(highest) + 2, .rlim_max = limit.rlim_max};
  BOOST_REQUIRE(setrlimit(RLIMIT_NOFILE, &tight) == 0);
  const auto received = link.right.receive(patience());
  BOOST_REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  BOOST_REQUIRE(!received);
  BOOST_CHECK(received.error().code == errc::resource_exhausted);
  BOOST_TEST(testing::open_fds() == before);
}

BOOST_AUTO_TEST_CASE(waits_no_longer_than_the_deadline) {
  const ends link;
  const auto started = wall.now();
  BOOST_CHECK(link.right.receive(soon()).error().code == errc::timed_out);
  BOOST_CHECK(wall.now() - started >= 5ms);
  const auto large = bytes_of(message_bytes_max, 2);
  auto sent = link.left.send(large, {}, past);
  for (int i = 0; i < 100 && sent; ++i) { // until the peer's buffer is full
    sent = link.left.send(large, {}, past);
  }
  BOOST_REQUIRE(!sent);
  BOOST_CHECK(sent.error().code == errc::timed_out);
  BOOST_CHECK(link.left.send(large, {}, soon()).error().code == errc::timed_out);
  const auto room = std::async(std::launch::async, [&link] { // a quarter of the buffer must be free
    while (link.right.receive(past)) {
    }
  });
  BOOST_TEST(link.left.send(large, {}, patience()).has_value());
}

BOOST_AUTO_TEST_CASE(accepts_deadlines_without_end) {
  const ends link;
  auto sent = std::async(std::launch::async,
                         [&link] { return link.left.send(ping, {}, time_point::max()); });
  BOOST_TEST((link.right.receive(time_point::max())->bytes == ping));
  BOOST_TEST(sent.get().has_value());
  BOOST_CHECK(link.right.receive(time_point::min()).error().code == errc::timed_out);
}

BOOST_AUTO_TEST_CASE(a_message_wakes_a_sleeping_receiver) {
  const ends link;
  std::thread receiver([&link] {
    for (int i = 0; i < 100; ++i) {
      if (link.right.receive(patience())) {
        static_cast<void>(link.right.send(ping, {}, patience()));
      }
    }
  });
  for (int i = 0; i < 100; ++i) {
    BOOST_REQUIRE(link.left.send(ping, {}, patience()));
    BOOST_REQUIRE(link.left.receive(patience()));
  }
  receiver.join();
}

BOOST_AUTO_TEST_CASE(the_last_words_of_a_peer_are_received) { // M-3
  auto pair = make_socket_pair().value();
  const message_socket left(std::move(pair.first), wall);
  {
    const message_socket right(std::move(pair.second), wall);
    BOOST_REQUIRE(right.send(bytes_of(1, 1), {}, patience()));
    BOOST_REQUIRE(right.send(bytes_of(2, 2), {}, patience()));
    BOOST_REQUIRE(left.send(ping, {}, patience())); // never read: the kernel reports a reset
  }
  BOOST_TEST((left.receive(patience())->bytes == bytes_of(1, 1)));
  BOOST_TEST((left.receive(patience())->bytes == bytes_of(2, 2)));
  BOOST_CHECK(left.receive(patience()).error().code == errc::closed);
  BOOST_CHECK(left.receive(patience()).error().code == errc::closed);
}

BOOST_AUTO_TEST_CASE(a_killed_peer_is_closed_at_once_and_raises_no_signal) { // M-4
  auto pair = make_socket_pair().value();
  const message_socket left(std::move(pair.first), wall);
  const pid_t child = fork();
  BOOST_REQUIRE(child >= 0);
  if (child == 0) {
    const message_socket right(unique_fd(pair.second.get()), wall);
    static_cast<void>(right.send(ping, {}, patience()));
    static_cast<void>(right.receive(patience())); // until it is killed
    _exit(1);
  }
  pair.second.reset();
  BOOST_REQUIRE(left.receive(patience())); // the child is there
  BOOST_REQUIRE(kill(child, SIGKILL) == 0);
  BOOST_CHECK(left.receive(patience()).error().code == errc::closed);
  BOOST_CHECK(left.send(ping, {}, patience()).error().code == errc::closed);
  BOOST_REQUIRE(waitpid(child, nullptr, 0) == child);
}

BOOST_AUTO_TEST_CASE(signals_do_not_end_a_wait) { // M-4

  struct sigaction previous {};

  struct sigaction action {};

  action.sa_handler = [](int) {
  }; // without SA_RESTART: system calls return EINTR
  BOOST_REQUIRE(sigaction(SIGUSR1, &action, &previous) == 0);
  const ends link;
  std::atomic<bool> is_done{false};
  bool is_received = false;
  std::thread receiver([&link, &is_done, &is_received] {
    is_received = link.right.receive(patience()).has_value();
    is_done = true;
  });
  for (int i = 0; i < 1000; ++i) {
    pthread_kill(receiver.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  BOOST_TEST(!is_done.load());
  BOOST_REQUIRE(link.left.send(ping, {}, patience()));
  receiver.join();
  BOOST_TEST(is_received);
  BOOST_REQUIRE(sigaction(SIGUSR1, &previous, nullptr) == 0);
}

BOOST_AUTO_TEST_CASE(what_is_no_socket_is_an_error) {
  const message_socket file(make_shared_file("test", 4096).value(), wall);
  BOOST_CHECK(file.send(ping, {}, patience()).error().code == errc::io_failed);
  BOOST_CHECK(file.receive(patience()).error().code == errc::io_failed);
  const message_socket none(unique_fd{}, wall);
  BOOST_CHECK(none.receive(patience()).error().code == errc::io_failed);
}

BOOST_AUTO_TEST_SUITE_END()
