#include "host/supervisor.hpp"

#include "transport/socket/shared_file.hpp"
#include "transport/vault/vault_server.hpp"

#include "runtime/base/log.hpp"
#include "runtime/ledger/shared_ledger.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace vdist::host {

namespace {

using namespace std::chrono_literals;
using protocol::process_role;

constexpr auto send_deadline = 5s;

bool is_readable(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return fd >= 0 && ::poll(&one, 1, 0) > 0;
}

std::int32_t pid_of(const child_process& child) {
  return static_cast<std::int32_t>(child.pid());
}

} // namespace

supervisor::supervisor(supervisor_config config) : config_(std::move(config)) {}

supervisor::~supervisor() {
  control_.end();
  workers_.clear();
  vault_.end();
}

result<void> supervisor::start(socket::unique_fd link) {
  VDIST_TRY(watch_signals());
  VDIST_TRY(start_vault());
  VDIST_TRY(make_ledger());
  if (link) {
    link_.emplace(std::move(link), time_);
  }
  if (config_.control_arguments) {
    VDIST_TRY(start_control());
  }
  return welcome_control();
}

/// Signals become a readable descriptor. Children start with a clean mask (start_child).
result<void> supervisor::watch_signals() {
  sigset_t watched;
  sigemptyset(&watched);
  for (const int signal : {SIGINT, SIGTERM}) {
    sigaddset(&watched, signal);
  }
  sigprocmask(SIG_BLOCK, &watched, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_ = socket::unique_fd(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  return signals_
             ? result<void>()
             : fail(errc::io_failed, fmt::format("supervisor: signalfd: {}", std::strerror(errno)));
}

result<void> supervisor::start_vault() {
  VDIST_ASSIGN(auto ends, socket::make_socket_pair());
  vault_control_.emplace(std::move(ends.first), time_);
  VDIST_ASSIGN(vault_,
               start_child({.program = config_.programs / "vdist-vault",
                            .arguments = {"--control-fd", "3"},
                            .descriptors = {ends.second.get()}}));
  return {};
}

/// H-7. Pages that nobody touches cost nothing.
result<void> supervisor::make_ledger() {
  const ledger::ledger_limits limits;
  ledger_bytes_ = ledger::ledger_bytes(limits);
  VDIST_ASSIGN(ledger_, socket::make_shared_file("vdist-ledger", ledger_bytes_));
  VDIST_ASSIGN(const auto mapped, socket::shared_mapping::map(ledger_, ledger_bytes_));
  return ledger::format_ledger(mapped.memory(), limits);
}

/// In the terminal's own process group: it reads and writes there.
result<void> supervisor::start_control() {
  VDIST_ASSIGN(auto ends, socket::make_socket_pair());
  link_.emplace(std::move(ends.first), time_);
  std::vector<std::string> arguments{"--host-link", "3"};
  arguments.insert(
      arguments.end(), config_.control_arguments->begin(), config_.control_arguments->end());
  VDIST_ASSIGN(control_,
               start_child({.program = config_.programs / "vdist-node",
                            .arguments = std::move(arguments),
                            .descriptors = {ends.second.get()},
                            .has_own_group = false}));
  return {};
}

result<void> supervisor::welcome_control() {
  VDIST_ASSIGN(const auto client, new_vault_client());
  protocol::encode(protocol::host_welcome{.supervisor_pid = static_cast<std::int32_t>(::getpid()),
                                          .vault_pid = pid_of(vault_),
                                          .ledger_bytes = ledger_bytes_},
                   encoded_);
  const std::vector<int> given{client.get(), ledger_.get()};
  return link_->send(encoded_, given, time_.now() + send_deadline);
}

result<socket::unique_fd> supervisor::new_vault_client() {
  return vault::open_vault_client(*vault_control_, time_.now() + send_deadline);
}

result<int> supervisor::run() {
  while (true) {
    std::vector<pollfd> watched;
    const auto watch = [&watched](int fd) {
      if (fd >= 0) {
        watched.push_back({.fd = fd, .events = POLLIN, .revents = 0});
      }
    };
    watch(signals_.get());
    watch(link_ ? link_->fd() : -1);
    watch(vault_.descriptor());
    watch(control_.descriptor());
    for (const auto& [key, worker] : workers_) {
      watch(worker.descriptor());
    }
    if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) {
      return fail(errc::io_failed, fmt::format("supervisor: poll: {}", std::strerror(errno)));
    }
    VDIST_ASSIGN(const auto ended, turn());
    if (ended) {
      return *ended;
    }
  }
}

/// What is there is done; an exit code when everything is over. Deaths come before the link: the
/// end of a worker is known before its control process asks for anything else.
result<std::optional<int>> supervisor::turn() {
  forward_signal();
  look_at_workers();
  VDIST_ASSIGN(const auto ended, look_at_fixed_children());
  return ended ? result<std::optional<int>>(ended) : look_at_link();
}

/// H-6.
result<std::optional<int>> supervisor::look_at_fixed_children() {
  if (is_readable(control_.descriptor())) {
    const auto how = control_.reap();
    if (how.signal != 0) {
      return fail(errc::closed, fmt::format("vdist-node: {}", how.text()));
    }
    return std::optional<int>(how.exit_code);
  }
  if (is_readable(vault_.descriptor())) {
    return fail(errc::closed, fmt::format("vdist-vault: {}", vault_.reap().text()));
  }
  return std::optional<int>();
}

void supervisor::look_at_workers() {
  for (auto entry = workers_.begin(); entry != workers_.end();) {
    auto& [key, worker] = *entry;
    if (!is_readable(worker.descriptor())) {
      ++entry;
      continue;
    }
    protocol::process_ended message{.key = key, .pid = pid_of(worker)};
    const auto how = worker.reap();
    message.signal = how.signal;
    message.exit_code = how.exit_code;
    message.text = how.text();
    entry = workers_.erase(entry);
    tell(message);
  }
}

/// A control process that is not our child has gone when its link closes.
result<std::optional<int>> supervisor::look_at_link() {
  while (link_ && is_readable(link_->fd())) {
    auto message = link_->receive(time_.now());
    if (!message && message.error().code == errc::closed) {
      link_.reset();
      return config_.control_arguments ? std::optional<int>() : std::optional<int>(0);
    }
    if (!message) {
      log::warn("supervisor: {}", message.error().context);
      break;
    }
    if (auto decoded = protocol::decode_host_message(message->bytes)) {
      obey(*decoded);
    } else {
      log::warn("supervisor: {}", decoded.error().context);
    }
  }
  return std::optional<int>();
}

/// A signal from the terminal has reached the control process already; one that was sent to us alone
/// is handed on.
void supervisor::forward_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_code != SI_KERNEL) {
      control_.send_signal(static_cast<int>(info.ssi_signo));
    }
  }
}

void supervisor::obey(const protocol::host_message& message) {
  if (const auto* wanted = std::get_if<protocol::spawn_worker>(&message)) {
    spawn(*wanted);
  } else if (const auto* unwanted = std::get_if<protocol::kill_process>(&message)) {
    if (const auto found = workers_.find(unwanted->key); found != workers_.end()) {
      found->second.send_signal(SIGKILL);
    } else if (unwanted->key.role == process_role::vault) {
      vault_.send_signal(SIGKILL);
    } else if (unwanted->key.role == process_role::control) {
      control_.send_signal(SIGKILL);
    }
  }
}

void supervisor::spawn(const protocol::spawn_worker& wanted) {
  auto started = start_worker(wanted);
  if (!started) {
    tell(protocol::process_ended{.key = wanted.key, .text = started.error().context});
    return;
  }
  const auto pid = pid_of(*started);
  workers_[wanted.key] = std::move(*started);
  tell(protocol::process_started{wanted.key, pid});
}

/// The order travels in a file without a name; rank and incarnation are arguments for those who read
/// a process list.
result<child_process> supervisor::start_worker(const protocol::spawn_worker& wanted) {
  VDIST_ASSIGN(const auto order, socket::make_shared_file("vdist-order", wanted.order.size()));
  if (::pwrite(order.get(), wanted.order.data(), wanted.order.size(), 0)
      != static_cast<ssize_t>(wanted.order.size())) {
    return fail(errc::io_failed, "supervisor: a worker's order cannot be written");
  }
  VDIST_ASSIGN(const auto client, new_vault_client());
  return start_child({.program = config_.programs / "vdist-worker",
                      .arguments = {"--order-fd",
                                    "3",
                                    "--vault-fd",
                                    "4",
                                    "--rank",
                                    std::to_string(wanted.key.rank),
                                    "--incarnation",
                                    std::to_string(wanted.key.incarnation)},
                      .descriptors = {order.get(), client.get()}});
}

void supervisor::tell(const protocol::host_message& message) {
  if (!link_) {
    return;
  }
  protocol::encode(message, encoded_);
  const auto sent = link_->send(encoded_, {}, time_.now() + send_deadline);
  if (!sent && sent.error().code != errc::closed) { // closed: its end is seen by the loop
    log::warn("supervisor: {}", sent.error().context);
  }
}

} // namespace vdist::host
