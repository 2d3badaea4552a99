#include "host/supervisor.hpp"

#include "transport/socket/descriptor_limit.hpp"
#include "transport/socket/shared_file.hpp"

#include "runtime/base/log.hpp"
#include "runtime/ledger/shared_ledger.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <utility>

#include "host/standby.hpp"

namespace vdist::host {

namespace {

using namespace std::chrono_literals;
using protocol::process_role;

constexpr auto send_deadline = 5s;
/// Longest sleep of the loop.
constexpr auto loop_slice = 60s;
constexpr std::chrono::milliseconds output_slice{60'000};
constexpr int exit_interrupted = 130;
/// H-13. Whoever has fewer workers than before each time has none left after as many as a host can hold.
constexpr std::size_t planned_restarts_max = life_entries_max;

} // namespace

supervisor::supervisor(supervisor_config config)
    : config_(std::move(config)), output_(STDOUT_FILENO), restarts_(config_.restarts) {}

supervisor::~supervisor() = default;

result<void> supervisor::start(socket::unique_fd link) {
  VDIST_TRY(watch_signals());
  socket::raise_descriptor_limit();
  VDIST_ASSIGN(auto made, board::make());
  board_.emplace(std::move(made));
  children_.emplace(*board_, detect_of(config_.settings));
  spares_.emplace(config_.programs / "vdist-worker",
                  spare_pool_links{.children = &*children_,
                                   .time = &time_,
                                   .new_vault_client = [this] { return new_vault_client(); },
                                   .on_ready = [this](const auto& ready) { tell(ready); },
                                   .give_store =
                                       [this](child_spec& to) {
                                         give_store(to);
                                       }});
  spares_->configure(config_.settings);
  VDIST_TRY(make_ledger());
  VDIST_TRY(make_store());
  if (link) {
    link_.emplace(std::move(link), time_);
    VDIST_TRY(start_empty_vault());
    return welcome_control();
  }
  return start_tree(restart_scope::all);
}

/// A child that ends before it could be spoken to is one that died, not a start that failed.
result<void> supervisor::start_tree(restart_scope scope) {
  result<void> started;
  if (scope == restart_scope::all) {
    started = start_empty_vault();
  }
  if (started) {
    started = start_control();
  }
  return started || started.error().code != errc::closed
             ? started
             : plan_restart(restart_scope::all, started.error().context);
}

/// Signals become a readable descriptor. Children start with a clean mask (start_child).
result<void> supervisor::watch_signals() {
  sigset_t watched;
  sigemptyset(&watched);
  for (const int signal : {SIGINT, SIGTERM, SIGCHLD}) {
    sigaddset(&watched, signal);
  }
  sigprocmask(SIG_BLOCK, &watched, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_ = socket::unique_fd(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  return signals_
             ? result<void>()
             : fail(errc::io_failed, fmt::format("supervisor: signalfd: {}", std::strerror(errno)));
}

result<void> supervisor::start_empty_vault() {
  kept_.forget();
  ++(*board_)->vault_starts;
  return start_vault();
}

result<void> supervisor::start_vault() {
  VDIST_ASSIGN(auto ends, socket::make_socket_pair());
  VDIST_TRY(children_->start(vault_key,
                             {.program = config_.programs / "vdist-vault",
                              .arguments = {"--control-fd",
                                            "3",
                                            "--stall-ms",
                                            std::to_string(config_.settings.control_stall_ms)},
                              .descriptors = {ends.second.get()}}));
  ends.second.reset();
  const auto given = kept_.hand_over(std::move(ends.first), time_.now() + send_deadline);
  if (!given) { // N-2
    children_->kill(vault_key, given.error().context);
  }
  return {};
}

/// H-7. Pages that nobody touches cost nothing.
result<void> supervisor::make_ledger() {
  const auto limits = ledger::limits_for(config_.accepted_max);
  ledger_bytes_ = ledger::ledger_bytes(limits);
  VDIST_ASSIGN(ledger_, socket::make_shared_file("vdist-ledger", ledger_bytes_));
  VDIST_ASSIGN(const auto mapped, socket::shared_mapping::map(ledger_, ledger_bytes_));
  return ledger::format_ledger(mapped.memory(), limits);
}

/// H-7. The same for the host store: it takes as much memory as blocks are copied there.
result<void> supervisor::make_store() {
  if (config_.store_bytes > 0) {
    VDIST_ASSIGN(store_, socket::make_shared_file("vdist-kv-store", config_.store_bytes));
  }
  return {};
}

/// Of a worker: behind the descriptors that it has already.
void supervisor::give_store(child_spec& to) const {
  constexpr std::size_t first_descriptor = 3;
  if (store_) {
    to.arguments.insert(to.arguments.end(),
                        {"--store-fd", std::to_string(first_descriptor + to.descriptors.size())});
    to.descriptors.push_back(store_.get());
  }
}

/// In the terminal's own process group: it reads and writes there.
result<void> supervisor::start_control() {
  VDIST_ASSIGN(auto ends, socket::make_socket_pair());
  outbox_.clear();
  output_.restart();
  link_.emplace(std::move(ends.first), time_);
  std::vector<std::string> arguments{"--host-link", "3"};
  arguments.insert(
      arguments.end(), config_.control_arguments->begin(), config_.control_arguments->end());
  VDIST_TRY(children_->start(control_key,
                             {.program = config_.programs / "vdist-node",
                              .arguments = std::move(arguments),
                              .descriptors = {ends.second.get()},
                              .has_own_group = false}));
  return welcome_control();
}

/// P-4. Workers that are about to end are among the living until they have ended, so that no successor comes too early.
result<void> supervisor::welcome_control() {
  VDIST_ASSIGN(const auto client, new_vault_client());
  const auto* control = children_->find(control_key);
  protocol::host_welcome welcome{.supervisor_pid = static_cast<std::int32_t>(::getpid()),
                                 .vault_pid = children_->pid_of(vault_key),
                                 .ledger_bytes = ledger_bytes_,
                                 .node_starts = ++(*board_)->node_starts,
                                 .store_bytes = config_.store_bytes};
  if (control != nullptr) {
    welcome.life = control->life;
  }
  std::vector<protocol::process_key> dying;
  for (const auto& [key, child] : children_->all()) {
    if (key.role != process_role::worker || is_spare(key)) {
      continue;
    }
    welcome.living.push_back({.key = key, .pid = child.pid(), .order_hash = child.order_hash});
    if (child.is_dying) {
      dying.push_back(key);
    }
  }
  for (const auto& [rank, incarnation] : last_incarnations_) {
    welcome.last.push_back({rank, incarnation});
  }
  protocol::encode(welcome, encoded_);
  std::vector<int> given{client.get(), ledger_.get(), board_->file().get()};
  if (store_) {
    given.push_back(store_.get());
  }
  const auto sent = link_->send(encoded_, given, time_.now() + send_deadline);
  if (!sent && sent.error().code != errc::closed) { // closed: its end is seen by the loop
    return sent;
  }
  for (const auto& key : dying) {
    tell(protocol::process_dying{key});
  }
  return {};
}

result<socket::unique_fd> supervisor::new_vault_client() {
  return kept_.new_client(time_.now() + send_deadline);
}

result<int> supervisor::run() {
  while (true) {
    wait_for_something();
    VDIST_ASSIGN(const auto ended, turn());
    if (ended) {
      return write_the_rest(*ended);
    }
  }
}

/// Of the output, as long as somebody may want to read it.
result<int> supervisor::write_the_rest(int exit_code) {
  while (output_.has_waiting() && !is_interrupted_) {
    VDIST_TRY(output_.flush());
    std::array watched{pollfd{.fd = output_.descriptor(), .events = POLLOUT, .revents = 0},
                       pollfd{.fd = signals_.get(), .events = POLLIN, .revents = 0}};
    ::poll(watched.data(), watched.size(), static_cast<int>(output_slice.count()));
    look_at_signals();
  }
  return exit_code;
}

void supervisor::wait_for_something() {
  std::vector<pollfd> watched;
  watched.push_back({.fd = signals_.get(), .events = POLLIN, .revents = 0});
  if (link_) {
    const auto wanted = static_cast<short>(outbox_.has_waiting() ? POLLIN | POLLOUT : POLLIN);
    watched.push_back({.fd = link_->fd(), .events = wanted, .revents = 0});
  }
  if (output_.has_waiting()) {
    watched.push_back({.fd = output_.descriptor(), .events = POLLOUT, .revents = 0});
  }
  if (kept_.fd() >= 0) {
    watched.push_back({.fd = kept_.fd(), .events = POLLIN, .revents = 0});
  }
  children_->add_descriptors(watched);
  spares_->add_descriptors(watched);
  const auto now = time_.now();
  auto until = std::min(now + loop_slice, children_->next_look().value_or(time_point::max()));
  if (pending_ && pending_->due > now) {
    until = std::min(until, pending_->due);
  }
  if (vault_due_) {
    until = std::min(until, *vault_due_);
  }
  if (const auto due = spares_->next_start(); due && may_keep_spares()) {
    until = std::min(until, *due);
  }
  const auto patience =
      std::chrono::ceil<std::chrono::milliseconds>(std::max(until - now, duration(0)));
  ::poll(watched.data(),
         watched.size(),
         static_cast<int>(patience.count())); // any failure: look at all
}

/// What is there is done; an exit code when everything is over. Deaths come before the link: the
/// end of a worker is known before its control process asks for anything else.
result<std::optional<int>> supervisor::turn() {
  look_at_signals();
  listen_to_vault();
  for (const auto& event : children_->look(time_.now())) {
    VDIST_ASSIGN(const auto ended, take_in(event));
    if (ended) {
      return ended;
    }
  }
  VDIST_ASSIGN(const auto ended, look_at_link());
  if (ended) {
    return ended;
  }
  VDIST_TRY(output_.flush());
  if (pending_ && is_interrupted_ && children_->find(control_key) == nullptr) {
    return std::optional<int>(exit_interrupted);
  }
  VDIST_TRY(restart_when_due());
  VDIST_TRY(replace_vault_when_due());
  spares_->look();
  if (may_keep_spares()) {
    spares_->keep();
  }
  return std::optional<int>();
}

/// A signal from the terminal has reached the control process already; one that was sent to us alone
/// is handed on.
void supervisor::look_at_signals() {
  signalfd_siginfo info{};
  bool has_child_changed = false;
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) {
      has_child_changed = true;
      continue;
    }
    is_interrupted_ = true;
    if (info.ssi_code != SI_KERNEL) {
      children_->signal(control_key, static_cast<int>(info.ssi_signo));
    }
  }
  if (has_child_changed) {
    children_->note_stops(time_.now());
  }
}

result<std::optional<int>> supervisor::take_in(const child_event& event) {
  const bool is_dying = event.what == child_event::kind::dying;
  switch (event.key.role) {
  case process_role::supervisor:
    break;
  case process_role::control:
    if (!is_dying) {
      return on_control_ended(event);
    }
    break;
  case process_role::vault:
    if (is_dying) {
      on_vault_dying();
    } else {
      VDIST_TRY(on_vault_ended(event));
    }
    break;
  case process_role::worker:
    if (is_spare(event.key)) {
      spares_->on_lost(event.key);
    } else if (is_dying) {
      tell(protocol::process_dying{event.key});
    } else {
      tell(protocol::process_ended{.key = event.key,
                                   .pid = event.pid,
                                   .signal = event.how.signal,
                                   .exit_code = event.how.exit_code,
                                   .text = event.text});
    }
    break;
  }
  return std::optional<int>();
}

/// H-6.
result<std::optional<int>> supervisor::on_control_ended(const child_event& event) {
  VDIST_TRY(hear_last_words());
  const bool has_succeeded = event.how.signal == 0 && event.how.exit_code == 0;
  if (pending_ && !has_succeeded) {
    return std::optional<int>(); // it had to end
  }
  if (is_interrupted_ && event.how.signal != 0) {
    return std::optional<int>(exit_interrupted);
  }
  const auto code = event.how.exit_code;
  if (event.how.signal == 0 && code != exit_restart && code != exit_escalated) {
    return std::optional<int>(code);
  }
  const bool wants_all = wants_other_vault();
  const bool is_ordered = event.how.signal == 0 && code == exit_restart;
  if (is_ordered && (!wants_all || planned_restarts_ < planned_restarts_max)) {
    planned_restarts_ += wants_all ? 1 : 0;
    restart_as_ordered(wants_all);
    return std::optional<int>();
  }
  VDIST_TRY(
      plan_restart(config_.keeps_workers && !wants_all ? restart_scope::node : restart_scope::all,
                   "vdist-node: " + event.text));
  return std::optional<int>();
}

void supervisor::restart_as_ordered(bool wants_all) {
  log::info("supervisor: vdist-node {}; starting again",
            wants_all ? "wants a new vault" : "has ended for that");
  if (wants_all || !config_.keeps_workers) {
    restart_all_at(time_.now());
  } else {
    pending_ = {.scope = restart_scope::node, .due = time_.now()};
  }
}

void supervisor::listen_to_vault() {
  if (const auto heard = kept_.listen(); !heard) {
    log::error("supervisor: vdist-vault: {}", heard.error().context);
  }
}

/// Without anything to go on with, nobody is given the time to fail for want of the vault, and to end the run with that.
void supervisor::on_vault_dying() {
  listen_to_vault();
  if (!kept_.can_go_on() && !is_restarting_all() && config_.control_arguments) {
    pending_ = {.scope = restart_scope::all,
                .due = time_point::max()}; // on_vault_ended() says when
    end_all();
  }
}

result<void> supervisor::on_vault_ended(const child_event& event) {
  if (is_restarting_all() && pending_->due != time_point::max()) {
    return {}; // it had to end
  }
  listen_to_vault();
  const auto why = "vdist-vault: " + event.text;
  if (kept_.can_go_on() && !is_restarting_all()) { // H-15
    VDIST_ASSIGN(const auto rest, rest_before_restart(why));
    vault_due_ = time_.now() + rest;
    return {};
  }
  if (!config_.control_arguments) {
    return fail(errc::closed, why);
  }
  return plan_restart(restart_scope::all, why);
}

bool supervisor::is_restarting_all() const {
  return pending_ && pending_->scope == restart_scope::all;
}

/// H-13.
bool supervisor::wants_other_vault() const {
  return (*board_)->vault_wanted > (*board_)->vault_starts;
}

/// H-6, H-13: no spare outlives the vault that it has mapped.
void supervisor::end_all() {
  spares_->forget_all();
  children_->kill_all("what it needs has ended");
}

void supervisor::restart_all_at(time_point due) {
  vault_due_.reset();
  end_all();
  pending_ = {.scope = restart_scope::all, .due = due};
}

/// What has to end is told so at once; the rest follows when it has.
result<void> supervisor::plan_restart(restart_scope scope, const std::string& why) {
  VDIST_ASSIGN(const auto rest, rest_before_restart(why));
  const auto due = time_.now() + rest;
  if (scope == restart_scope::all) {
    restart_all_at(due);
  } else {
    pending_ = {.scope = scope, .due = due};
  }
  return {};
}

/// H-6. Error: closed, when it was too often.
result<duration> supervisor::rest_before_restart(const std::string& why) {
  restarts_.take_back((*board_)->ends_explained.exchange(0)); // H-14
  const auto rest = restarts_.next(time_.now());
  if (!rest) {
    return fail(errc::closed,
                fmt::format("{}; after {} restarts it is given up", why, restarts_.recent()));
  }
  log::warn("supervisor: {}; starting again (restart={})", why, restarts_.recent());
  return *rest;
}

/// H-15.
result<void> supervisor::replace_vault_when_due() {
  if (!vault_due_ || time_.now() < *vault_due_) {
    return {};
  }
  vault_due_.reset();
  ++(*board_)->vault_takeovers;
  VDIST_TRY(start_vault());
  tell(protocol::process_started{vault_key, children_->pid_of(vault_key)});
  return {};
}

/// H-10.
result<void> supervisor::restart_when_due() {
  if (!pending_ || time_.now() < pending_->due) {
    return {};
  }
  const bool has_ended = pending_->scope == restart_scope::all
                             ? children_->all().empty()
                             : children_->find(control_key) == nullptr;
  if (!has_ended) {
    return {}; // a descriptor says when
  }
  const auto scope = std::exchange(pending_, std::nullopt)->scope;
  if (!config_.keeps_ledger) {
    VDIST_TRY(make_ledger());
  }
  return start_tree(scope);
}

} // namespace vdist::host
