// Children as start_child() makes them; the programs are those of every system.
#include "host/child_process.hpp"

#include "tests/support/temporary_folder.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <poll.h>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace vdist;
using namespace vdist::host;

namespace {

struct child_fixture {
  testing::temporary_folder folder;

  /// A shell whose `script` writes into the file behind descriptor 3.
  std::string output_of(const std::string& script) {
    const auto path = folder.path() / "out";
    const socket::unique_fd file(
        ::open(path.c_str(), O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600));
    auto child = start_child(
        {.program = "/bin/sh", .arguments = {"-c", script}, .descriptors = {file.get()}});
    BOOST_REQUIRE_MESSAGE(child.has_value(), (child ? "" : child.error().context));
    BOOST_TEST(child->reap().exit_code == 0);
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
};

bool is_running(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), std::istreambuf_iterator<char>());
  const auto name_end = text.rfind(')');
  return name_end != std::string::npos && text[name_end + 2] != 'Z';
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(child_processes, child_fixture)

BOOST_AUTO_TEST_CASE(says_how_a_child_ended) {
  auto leaves = start_child({.program = "/bin/sh", .arguments = {"-c", "exit 7"}});
  BOOST_REQUIRE(leaves.has_value());
  BOOST_TEST(leaves->reap().text() == "exit code 7");
  auto stays = start_child({.program = "/bin/sleep", .arguments = {"1000"}});
  BOOST_REQUIRE(stays.has_value());
  stays->send_signal(SIGKILL);
  const auto how = stays->reap();
  BOOST_TEST(how.signal == SIGKILL);
  BOOST_TEST(how.text() == "killed by signal 9 (Killed)");
}

BOOST_AUTO_TEST_CASE(names_the_program_that_cannot_be_started) {
  const auto missing = start_child({.program = "/no/such/program"});
  BOOST_REQUIRE(!missing.has_value());
  BOOST_TEST((missing.error().code == errc::not_found));
  BOOST_TEST(missing.error().context.find("/no/such/program") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_child_writes_no_core_file) { // H-9
  BOOST_TEST(output_of("ulimit -c >&3") == "0\n");
  BOOST_TEST(output_of("ulimit -H -c >&3") == "0\n");
}

BOOST_AUTO_TEST_CASE(a_child_gets_its_descriptors_and_no_others) { // H-2
  const socket::unique_fd leaked(::open("/dev/null", O_RDONLY));   // not close-on-exec
  BOOST_TEST(output_of("ls /proc/self/fd | tr '\\n' ' ' >&3") == "0 1 2 3 4 ",
             "4 is what ls opened to look");
}

BOOST_AUTO_TEST_CASE(descriptors_keep_their_order_whatever_their_numbers_were) { // H-2
  int ends[2] = {-1, -1};
  BOOST_REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const socket::unique_fd reading(ends[0]);
  const socket::unique_fd writing(ends[1]);
  // The numbers of the two are each other's places, or close to it.
  auto child = start_child({.program = "/bin/sh",
                            .arguments = {"-c", "head -c 3 <&4 >/dev/null; echo end >&3"},
                            .descriptors = {writing.get(), reading.get()}});
  BOOST_REQUIRE(child.has_value());
  BOOST_REQUIRE(::write(writing.get(), "abc", 3) == 3);
  BOOST_TEST(child->reap().exit_code == 0);
  char text[4] = {};
  BOOST_REQUIRE(::read(reading.get(), text, 4) == 4);
  BOOST_TEST(std::string(text, 4) == "end\n");
}

BOOST_AUTO_TEST_CASE(destruction_ends_the_child) {
  pid_t pid = 0;
  {
    auto child = start_child({.program = "/bin/sleep", .arguments = {"1000"}});
    BOOST_REQUIRE(child.has_value());
    pid = child->pid();
    BOOST_TEST(is_running(pid));
  }
  BOOST_TEST(!is_running(pid));
}

BOOST_AUTO_TEST_CASE(a_child_ends_with_the_thread_that_started_it) { // H-1
  child_process child;
  std::thread starter([&child] {
    auto started = start_child({.program = "/bin/sleep", .arguments = {"1000"}});
    if (started) {
      child = std::move(*started);
    }
  });
  starter.join();
  BOOST_REQUIRE(child.pid() != 0);
  pollfd ended{.fd = child.descriptor(), .events = POLLIN, .revents = 0};
  BOOST_REQUIRE(::poll(&ended, 1, 10'000) == 1);
  BOOST_TEST(child.reap().signal == SIGKILL);
}

BOOST_AUTO_TEST_CASE(a_signal_after_the_end_reaches_nobody) { // H-3
  auto child = start_child({.program = "/bin/true"});
  BOOST_REQUIRE(child.has_value());
  BOOST_TEST(child->reap().exit_code == 0);
  child->send_signal(SIGKILL);
  child->end();
}

BOOST_AUTO_TEST_SUITE_END()
