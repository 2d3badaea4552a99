#include "tests/fuzz/fuzz_run.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vdist::testing::fuzz {

namespace {

constexpr std::uint64_t inputs_short = 20'000;
constexpr std::uint64_t seed_usual = 1;
constexpr std::uint64_t stride = 256;  // inputs that share one patience
constexpr std::size_t tries_max = 600; // of shrinking; each is a process
constexpr std::size_t tries_of_hangs = 10;
constexpr std::chrono::milliseconds patience_of_hangs{200};
constexpr std::string_view hang = "it hangs";

std::uint64_t number_of(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// What a child says before it ends, in memory that it shares.
struct report {
  std::uint64_t seed = 0; // of the input under way
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;
  char complaint[1024]{};
};

class shared_report {
public:
  shared_report()
      : at_(mmap(
          nullptr, sizeof(report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    BOOST_REQUIRE(at_ != MAP_FAILED);
  }

  shared_report(const shared_report&) = delete;
  shared_report& operator=(const shared_report&) = delete;

  ~shared_report() { munmap(at_, sizeof(report)); }

  report& operator*() const { return *static_cast<report*>(at_); }

  report* operator->() const { return static_cast<report*>(at_); }

private:
  void* at_;
};

/// Notes the judgement. False: a complaint.
bool passes(const subject& one, std::span<const std::byte> input, report& into) {
  judgement found;
  try {
    found = one.judge(input);
  } catch (const std::exception& cause) {
    found = wrong(std::string("an exception left it: ") + cause.what());
  }
  std::strncpy(into.complaint, found.complaint.c_str(), sizeof(into.complaint) - 1);
  ++(found.is_accepted ? into.accepted : into.refused);
  return found.complaint.empty();
}

/// SIGALRM ends the process when so much time has passed; begins anew with every call.
void limit_time(std::chrono::milliseconds limit) {
  const auto whole_s = std::chrono::duration_cast<std::chrono::seconds>(limit);
  const auto rest = std::chrono::microseconds(limit - whole_s);
  const itimerval once{.it_interval = {},
                       .it_value = {.tv_sec = whole_s.count(), .tv_usec = rest.count()}};
  setitimer(ITIMER_REAL, &once, nullptr);
}

/// Runs `body` in a process of its own; "" when that returned true, else how it ended (F-1).
template <class Body>
std::string in_child(std::chrono::milliseconds patience, Body&& body) {
  const auto pid = fork();
  BOOST_REQUIRE(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM}) {
      std::signal(number, SIG_DFL); // the test's own handlers would go on with the next test
    }
    limit_time(patience);
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (!WIFSIGNALED(status)) {
    return WEXITSTATUS(status) == 0 ? "" : "exit code " + std::to_string(WEXITSTATUS(status));
  }
  const auto number = WTERMSIG(status);
  return number == SIGALRM ? std::string(hang) : std::string("it crashes: ") + strsignal(number);
}

std::string cause_of(const std::string& end, const report& said) {
  return said.complaint[0] != '\0' ? said.complaint : end;
}

/// How one input ends, in a child.
std::string end_of(const subject& one, const bytes& input, std::chrono::milliseconds patience) {
  const shared_report said;
  const auto end = in_child(patience, [&one, &input, &said] {
    dup2(open("/dev/null", O_WRONLY), STDERR_FILENO); // hundreds of these follow a finding
    return passes(one, input, *said);
  });
  return end.empty() ? end : cause_of(end, *said);
}

} // namespace

outcome search(const subject& one,
               std::uint64_t first,
               std::uint64_t inputs,
               std::chrono::milliseconds patience) {
  const shared_report said;
  const auto end = in_child(patience, [&one, &said, first, inputs, patience] {
    for (std::uint64_t i = 0; i < inputs; ++i) {
      said->seed = first + i;
      if (i % stride == 0) {
        limit_time(patience);
      }
      if (!passes(one, input_of(one.from, said->seed), *said)) {
        return false;
      }
    }
    return true;
  });
  outcome all{.accepted = said->accepted, .refused = said->refused, .found = {}};
  if (!end.empty()) {
    auto& found = all.found.emplace();
    found.seed = said->seed;
    found.cause = cause_of(end, *said);
    found.input = input_of(one.from, found.seed);
    const auto tries = end == hang ? tries_of_hangs : tries_max;
    const auto limit = end == hang ? patience_of_hangs : patience;
    found.shrunk = shrunk(found.input, tries, [&one, limit](const bytes& candidate) {
      return !end_of(one, candidate, limit).empty();
    });
    found.result = end_of(one, found.shrunk, limit);
  }
  return all;
}

void run(const subject& one) {
  if (one.takes_specimens) {
    for (const auto& good : one.from.specimens) {
      report said;
      BOOST_REQUIRE_MESSAGE(passes(one, whole(good), said) && said.accepted == 1,
                            one.name << ": a valid input is refused: " << hex(whole(good)) << " "
                                     << said.complaint);
    }
  }
  const auto wanted = number_of("VDIST_TEST_ROUNDS", inputs_short);
  const auto all =
      search(one, number_of("VDIST_TEST_SEED", seed_usual), std::max<std::uint64_t>(1, wanted));
  if (all.found) {
    BOOST_ERROR(one.name << ": " << all.found->cause
                         << "\n  replay: VDIST_TEST_SEED=" << all.found->seed
                         << " VDIST_TEST_ROUNDS=1\n  input: " << hex(all.found->input)
                         << "\n  shrunk: " << hex(all.found->shrunk)
                         << "\n  which says: " << all.found->result);
    return;
  }
  BOOST_TEST_MESSAGE(one.name << ": inputs=" << wanted << " accepted=" << all.accepted
                              << " refused=" << all.refused);
  if (wanted >= 1000) {
    BOOST_TEST(all.accepted > 0U, one.name << ": nothing was accepted");
    BOOST_TEST((all.refused > 0U || !one.takes_specimens), one.name << ": nothing was refused");
  }
}

} // namespace vdist::testing::fuzz
