// tests/transport/vault/vault_children.hpp — clients of a vault that are processes of their own, to be killed.
#pragma once

#include "tests/transport/vault/vault_fixture.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <cstring>
#include <sys/types.h>
#include <unistd.h>
#include <utility>

namespace vdist::testing {

/// What a child tells about a map().
struct report {
  std::uint64_t address = 0;
  std::uint64_t ready_hash = 0;
  std::uint32_t is_new = 0;
  std::uint32_t is_mapped = 0;
};

inline report report_of(const result<vault::region>& mapped) {
  if (!mapped) {
    return {};
  }
  return {reinterpret_cast<std::uintptr_t>(mapped->memory.data()),
          mapped->ready_hash.value_or(0),
          mapped->is_new ? 1U : 0U,
          1U};
}

/// A forked process with a vault_client and a link to the test. `work(client, link)` runs in it;
/// nothing in it may use the test framework. Made before the test maps anything itself: a fork
/// inherits mappings, and then their addresses are taken.
class child_process {
public:
  template <class Work>
  child_process(const vault_host& host, const Work& work, const vault::device_access& devices = {})
      : child_process(host.open_client(), socket::make_socket_pair().value(), work, devices) {}

  ~child_process() {
    if (pid_ > 0) {
      kill_now();
    }
  }

  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;

  void kill_now() {
    ::kill(pid_, SIGKILL);
    BOOST_TEST(wait_for(std::exchange(pid_, -1)) == -SIGKILL);
  }

  template <class Told = report>
  [[nodiscard]] Told read() const {
    const auto received = link_.receive(vault_patience());
    BOOST_REQUIRE(received);
    Told told;
    BOOST_REQUIRE(received->bytes.size() == sizeof told);
    std::memcpy(&told, received->bytes.data(), sizeof told);
    return told;
  }

  /// Lets the child go on behind wait_for_go().
  void go() const { BOOST_REQUIRE(link_.send(std::array{std::byte{1}}, {}, vault_patience())); }

private:
  template <class Work>
  child_process(socket::unique_fd vault_end,
                socket::socket_pair ends,
                const Work& work,
                const vault::device_access& devices)
      : link_(std::move(ends.first), vault_clock), pid_(fork()) {
    if (pid_ == 0) {
      const socket::message_socket parent(std::move(ends.second), vault_clock);
      vault::vault_client client(std::move(vault_end), vault_clock, {}, devices);
      work(client, parent);
      _exit(0);
    }
  }

  socket::message_socket link_;
  pid_t pid_;
};

inline void tell(const socket::message_socket& parent, const report& told) {
  static_cast<void>(parent.send(std::as_bytes(std::span(&told, 1)), {}, vault_patience()));
}

inline void wait_for_go(const socket::message_socket& parent) {
  static_cast<void>(parent.receive(vault_patience()));
}

} // namespace vdist::testing
