#include "host/host_link.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
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
/// The same where a watch may begin at any time.
constexpr auto watched_slice = 250ms;
/// Looks at oneself within the time after which one is given up.
constexpr int looks_per_stall = 8;

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
  if (welcome == nullptr) {
    return fail(errc::corrupt, "host link: the supervisor's first message is no welcome");
  }
  VDIST_TRY(protocol::check_version("host link: vdist-run", welcome->version)); // P-6
  const bool has_store = welcome->store_bytes > 0;
  if (message.fds.size() != (has_store ? 4U : 3U)) {
    return fail(errc::corrupt, "host link: the supervisor's welcome lacks descriptors");
  }
  welcome_ = *welcome;
  vault_pid_ = welcome_.vault_pid;
  vault_ = std::move(message.fds[0]);
  ledger_ = std::move(message.fds[1]);
  store_ = has_store ? std::move(message.fds[3]) : socket::unique_fd();
  VDIST_ASSIGN(auto opened, board::open(std::move(message.fds[2])));
  board_ = std::make_shared<const host::board>(std::move(opened));
  for (const auto& stranger : welcome_.living) {
    workers_[stranger.key].pid = stranger.pid;
  }
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

void host_link::watch(std::function<bool()> gets_on, std::chrono::milliseconds stall) {
  if (!is_child()) {
    return;
  }
  const std::lock_guard lock(watch_mutex_);
  gets_on_ = std::move(gets_on);
  look_pause_ = std::max(stall / looks_per_stall, 1ms);
  next_look_ = time_.now();
  progress_ = progress_word(board_->life(welcome_.life).progress);
  progress_.enter(work_phase::computing, {.budget = stall});
}

void host_link::stop_watching() {
  const std::lock_guard lock(watch_mutex_);
  gets_on_ = nullptr;
  progress_.enter(work_phase::idle);
}

/// Returns when to do it again.
time_point host_link::look_after_self() {
  const std::lock_guard lock(watch_mutex_);
  const auto now = time_.now();
  if (!gets_on_) {
    return now + (is_child() ? watched_slice : duration(listen_slice));
  }
  if (now >= next_look_) {
    if (gets_on_()) {
      progress_.bump();
    }
    next_look_ = now + look_pause_;
  }
  return next_look_;
}

std::uint32_t host_link::last_incarnation(std::int32_t rank) const {
  const auto found = std::find_if(welcome_.last.begin(),
                                  welcome_.last.end(),
                                  [rank](const auto& one) { return one.rank == rank; });
  return found == welcome_.last.end() ? 0 : found->incarnation;
}

result<void> host_link::spawn(protocol::spawn_worker wanted, worker_callbacks callbacks) {
  const auto key = wanted.key;
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) {
      return fail(errc::closed, "host link: the supervisor has gone");
    }
    workers_[key] = {.callbacks = std::move(callbacks)};
  }
  auto sent = send(std::move(wanted));
  if (!sent) {
    const std::lock_guard lock(mutex_);
    workers_.erase(key);
  }
  return sent;
}

result<void> host_link::adopt(const protocol::process_key& key, worker_callbacks callbacks) {
  worker_callbacks told;
  bool is_dying = false;
  std::optional<protocol::process_ended> how;
  {
    const std::lock_guard lock(mutex_);
    const auto found = workers_.find(key);
    if (found == workers_.end() || found->second.callbacks.on_ended) {
      return fail(errc::not_found, "host link: no stranger: " + to_string(key));
    }
    told = callbacks;
    is_dying = found->second.is_dying;
    how = std::move(found->second.how);
    found->second.callbacks = std::move(callbacks);
    if (how) {
      workers_.erase(found);
    }
  }
  if (is_dying && told.on_dying) {
    told.on_dying();
  }
  if (how) {
    told.on_ended(*how);
  }
  return {};
}

void host_link::try_send(const char* operation, const protocol::host_message& message) {
  if (auto sent = send(message); !sent) {
    log::debug("host link: {}: {}", operation, sent.error().context);
  }
}

void host_link::prepare_spare(protocol::prepare_spare wanted,
                              std::function<void(const protocol::spare_ready&)> on_ready) {
  {
    const std::lock_guard lock(mutex_);
    spares_[wanted.rank] = std::move(on_ready);
  }
  try_send("prepare spare", std::move(wanted));
}

void host_link::kill(const protocol::process_key& key) {
  try_send("kill", protocol::kill_process{key});
}

void host_link::signal(const protocol::process_key& key, int number) {
  try_send("signal", protocol::signal_process{key, number});
}

result<void> host_link::write_output(protocol::output more) {
  constexpr std::size_t part_max = std::size_t{32} << 10U; // well below the longest message
  while (more.bytes.size() > part_max) {
    const auto middle = more.bytes.begin() + part_max;
    VDIST_TRY(send(protocol::output{.record = more.record,
                                    .offset = more.offset,
                                    .bytes = {more.bytes.begin(), middle},
                                    .is_stream = more.is_stream}));
    more.bytes.erase(more.bytes.begin(), middle);
    more.offset += part_max;
  }
  return send(std::move(more));
}

void host_link::configure(const protocol::host_settings& settings) {
  try_send("configure", settings);
}

std::vector<process_info> host_link::processes() const {
  using protocol::process_role;
  const std::lock_guard lock(mutex_);
  std::vector<process_info> all{
      {{.role = process_role::supervisor}, welcome_.supervisor_pid},
      {{.role = process_role::vault}, vault_pid_},
      {{.role = process_role::control}, static_cast<std::int32_t>(::getpid())}};
  for (const auto& [key, worker] : workers_) {
    all.push_back({key, worker.pid});
  }
  return all;
}

void host_link::listen() {
  while (!is_stopping_) {
    auto message = link_.receive(look_after_self());
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
    if (started->key.role == protocol::process_role::vault) {
      vault_pid_ = started->pid;
    } else if (const auto found = workers_.find(started->key); found != workers_.end()) {
      found->second.pid = started->pid;
    }
  } else if (const auto* dying = std::get_if<protocol::process_dying>(&message)) {
    note_dying(dying->key);
  } else if (const auto* how = std::get_if<protocol::process_ended>(&message)) {
    finish(*how);
  } else if (const auto* ready = std::get_if<protocol::spare_ready>(&message)) {
    note_ready(*ready);
  }
}

void host_link::note_ready(const protocol::spare_ready& ready) {
  std::function<void(const protocol::spare_ready&)> on_ready;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = spares_.find(ready.rank); found != spares_.end()) {
      on_ready = found->second;
    }
  }
  if (on_ready) {
    on_ready(ready);
  }
}

void host_link::note_dying(const protocol::process_key& key) {
  std::function<void()> on_dying;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = workers_.find(key); found != workers_.end()) {
      found->second.is_dying = true;
      on_dying = found->second.callbacks.on_dying;
    }
  }
  if (on_dying) {
    on_dying();
  }
}

void host_link::finish(const protocol::process_ended& how) {
  worker_callbacks callbacks;
  {
    const std::lock_guard lock(mutex_);
    const auto found = workers_.find(how.key);
    if (found == workers_.end()) {
      return;
    }
    if (!found->second.callbacks.on_ended) {
      found->second.how = how; // for whoever adopts it
      return;
    }
    callbacks = std::move(found->second.callbacks);
    workers_.erase(found);
  }
  callbacks.on_ended(how);
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
    if (worker.callbacks.on_ended) {
      worker.callbacks.on_ended({.key = key,
                                 .pid = worker.pid,
                                 .signal = SIGKILL,
                                 .text = "the host supervisor has gone"});
    }
  }
}

} // namespace vdist::host
