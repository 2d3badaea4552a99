#include "host/host_link.hpp"

#include "runtime/base/log.hpp"

#include <csignal>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace vdist::host {

namespace {

using namespace std::chrono_literals;

constexpr auto welcome_deadline = 10s;
constexpr auto send_deadline = 5s;
/// A supervisor that does not end by itself is killed, and its children with it (H-1).
constexpr auto supervisor_patience = 10s;
/// Longest single wait for a message; the end of the link ends it at once.
constexpr auto listen_slice = 60s;

} // namespace

host_link::host_link(socket::unique_fd link, child_process supervisor)
    : link_(std::move(link), time_), supervisor_(std::move(supervisor)) {}

result<std::unique_ptr<host_link>> host_link::open(socket::unique_fd link) {
  std::unique_ptr<host_link> opened(new host_link(std::move(link), {}));
  VDIST_TRY(opened->receive_welcome());
  return opened;
}

result<std::unique_ptr<host_link>> host_link::launch(const std::filesystem::path& programs) {
  VDIST_ASSIGN(auto ends, socket::make_socket_pair());
  // It ends by itself when the link closes. Not with the calling thread, which may end early.
  const child_spec spec{.program = programs / "vdist-run",
                        .arguments = {"--serve-link", "3"},
                        .descriptors = {ends.second.get()},
                        .dies_with_parent = false};
  VDIST_ASSIGN(auto supervisor, start_child(spec));
  std::unique_ptr<host_link> opened(new host_link(std::move(ends.first), std::move(supervisor)));
  VDIST_TRY(opened->receive_welcome());
  return opened;
}

host_link::~host_link() {
  is_stopping_ = true;
  ::shutdown(link_.fd(), SHUT_RDWR); // both sides see the end at once
  if (listener_.joinable()) {
    listener_.join();
  }
  supervisor_.end_within(supervisor_patience); // it kills its children, then ends
}

result<void> host_link::receive_welcome() {
  VDIST_ASSIGN(auto message, link_.receive(time_.now() + welcome_deadline));
  VDIST_ASSIGN(auto decoded, protocol::decode_host_message(message.bytes));
  const auto* welcome = std::get_if<protocol::host_welcome>(&decoded);
  if (welcome == nullptr || message.fds.size() != 2) {
    return fail(errc::corrupt, "host link: the supervisor's first message is no welcome");
  }
  welcome_ = *welcome;
  vault_ = std::move(message.fds[0]);
  ledger_ = std::move(message.fds[1]);
  listener_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "host-link");
    listen();
  });
  return {};
}

result<void> host_link::send(const protocol::host_message& message) {
  std::vector<std::byte> bytes;
  protocol::encode(message, bytes);
  const std::lock_guard lock(send_mutex_);
  return link_.send(bytes, {}, time_.now() + send_deadline);
}

result<void>
host_link::spawn(const protocol::process_key& key, std::vector<std::byte> order, ended on_ended) {
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) {
      return fail(errc::closed, "host link: the supervisor has gone");
    }
    workers_[key] = {.on_ended = std::move(on_ended)};
  }
  auto sent = send(protocol::spawn_worker{key, std::move(order)});
  if (!sent) {
    const std::lock_guard lock(mutex_);
    workers_.erase(key);
  }
  return sent;
}

void host_link::kill(const protocol::process_key& key) {
  if (auto sent = send(protocol::kill_process{key}); !sent) {
    log::debug("host link: kill: {}", sent.error().context);
  }
}

std::vector<process_info> host_link::processes() const {
  using protocol::process_role;
  std::vector<process_info> all{
      {{.role = process_role::supervisor}, welcome_.supervisor_pid},
      {{.role = process_role::vault}, welcome_.vault_pid},
      {{.role = process_role::control}, static_cast<std::int32_t>(::getpid())}};
  const std::lock_guard lock(mutex_);
  for (const auto& [key, worker] : workers_) {
    all.push_back({key, worker.pid});
  }
  return all;
}

void host_link::listen() {
  while (!is_stopping_) {
    auto message = link_.receive(time_.now() + listen_slice);
    if (!message && message.error().code == errc::timed_out) {
      continue;
    }
    if (!message) {
      break;
    }
    if (auto decoded = protocol::decode_host_message(message->bytes)) {
      obey(*decoded);
    } else {
      log::warn("host link: {}", decoded.error().context);
    }
  }
  abandon_all();
}

void host_link::obey(const protocol::host_message& message) {
  if (const auto* started = std::get_if<protocol::process_started>(&message)) {
    const std::lock_guard lock(mutex_);
    if (const auto found = workers_.find(started->key); found != workers_.end()) {
      found->second.pid = started->pid;
    }
  } else if (const auto* how = std::get_if<protocol::process_ended>(&message)) {
    finish(*how);
  }
}

void host_link::finish(const protocol::process_ended& how) {
  ended on_ended;
  {
    const std::lock_guard lock(mutex_);
    const auto found = workers_.find(how.key);
    if (found == workers_.end()) {
      return;
    }
    on_ended = std::move(found->second.on_ended);
    workers_.erase(found);
  }
  on_ended(how);
}

/// H-4: without its supervisor no worker lives on.
void host_link::abandon_all() {
  std::map<protocol::process_key, worker> left;
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    left.swap(workers_);
  }
  for (auto& [key, worker] : left) {
    worker.on_ended(
        {.key = key, .pid = worker.pid, .signal = SIGKILL, .text = "the host supervisor has gone"});
  }
}

} // namespace vdist::host
