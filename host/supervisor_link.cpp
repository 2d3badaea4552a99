// What the control process says and is told, and what it asks for: workers and their spares.
#include "transport/socket/shared_file.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <unistd.h>

#include "host/standby.hpp"
#include "host/supervisor.hpp"

namespace vdist::host {

namespace {

/// A spare is replaced after this long, when whoever took the last one has had time to load.
constexpr std::chrono::milliseconds spare_rest{200};

} // namespace

/// Everything that the control process has said. A closed link is an exit code in embedding mode.
result<std::optional<int>> supervisor::look_at_link() {
  if (link_ && outbox_.has_waiting()) {
    (void)outbox_.flush(*link_); // its end is seen below
  }
  while (link_) {
    auto message = link_->receive(time_.now());
    if (!message && message.error().code == errc::closed) {
      link_.reset();
      outbox_.clear();
      return config_.control_arguments ? std::optional<int>() : std::optional<int>(0);
    }
    if (!message && message.error().code == errc::timed_out) {
      break; // all is read
    }
    if (!message) {
      log::warn("supervisor: {}", message.error().context);
      break;
    }
    if (auto decoded = protocol::decode_host_message(message->bytes)) {
      VDIST_TRY(obey(*decoded));
    } else {
      log::warn("supervisor: {}", decoded.error().context);
    }
  }
  return std::optional<int>();
}

/// What the control process wrote before it ended is written; what it asked for is not done any more.
result<void> supervisor::hear_last_words() {
  while (link_) {
    auto message = link_->receive(time_.now());
    if (!message) {
      break;
    }
    const auto decoded = protocol::decode_host_message(message->bytes);
    if (const auto* more = decoded ? std::get_if<protocol::output>(&*decoded) : nullptr) {
      VDIST_TRY(write_out(*more));
    }
  }
  link_.reset();
  outbox_.clear();
  return {};
}

result<void> supervisor::write_out(const protocol::output& more) {
  VDIST_TRY(output_.take(more));
  return output_.flush();
}

result<void> supervisor::obey(const protocol::host_message& message) {
  if (const auto* more = std::get_if<protocol::output>(&message)) {
    return write_out(*more);
  }
  if (const auto* wanted = std::get_if<protocol::spawn_worker>(&message)) {
    spawn(*wanted);
  } else if (const auto* unwanted = std::get_if<protocol::kill_process>(&message)) {
    children_->kill(unwanted->key, "it was asked for");
  } else if (const auto* signal = std::get_if<protocol::signal_process>(&message)) {
    children_->signal(signal->key, signal->signal);
  } else if (const auto* settings = std::get_if<protocol::host_settings>(&message)) {
    config_.settings = *settings;
    children_->set_detect(detect_of(*settings));
  }
  return {};
}

void supervisor::spawn(const protocol::spawn_worker& wanted) {
  auto pid = start_worker(wanted);
  if (!pid) {
    tell(protocol::process_ended{.key = wanted.key, .text = pid.error().context});
    return;
  }
  auto& last = last_incarnations_[wanted.key.rank];
  last = std::max(last, wanted.key.incarnation);
  children_->find(wanted.key)->order_hash = wanted.order_hash;
  tell(protocol::process_started{wanted.key, *pid});
}

/// The order travels in a file without a name; rank and incarnation are arguments for those who read
/// a process list.
result<std::int32_t> supervisor::start_worker(const protocol::spawn_worker& wanted) {
  if (is_spare(wanted.key) || children_->find(wanted.key) != nullptr) {
    return fail(errc::invalid_argument,
                fmt::format("supervisor: {} cannot be started", to_string(wanted.key)));
  }
  VDIST_ASSIGN(const auto order, socket::make_shared_file("vdist-order", wanted.order.size()));
  if (::pwrite(order.get(), wanted.order.data(), wanted.order.size(), 0)
      != static_cast<ssize_t>(wanted.order.size())) {
    return fail(errc::io_failed, "supervisor: a worker's order cannot be written");
  }
  VDIST_ASSIGN(const auto client, new_vault_client());
  VDIST_ASSIGN(const bool is_promoted, promote_spare(wanted, order, client));
  if (!is_promoted) {
    VDIST_TRY(children_->start(wanted.key,
                               {.program = config_.programs / "vdist-worker",
                                .arguments = {"--order-fd",
                                              "3",
                                              "--vault-fd",
                                              "4",
                                              "--rank",
                                              std::to_string(wanted.key.rank),
                                              "--incarnation",
                                              std::to_string(wanted.key.incarnation)},
                                .descriptors = {order.get(), client.get()}}));
  }
  return children_->find(wanted.key)->pid();
}

/// False: there is none that lives.
result<bool> supervisor::promote_spare(const protocol::spawn_worker& wanted,
                                       const socket::unique_fd& order,
                                       const socket::unique_fd& client) {
  while (!spares_.empty()) {
    const auto first = spares_.begin();
    const auto key = spare_key(first->first);
    const auto* child = children_->find(key);
    const bool is_usable = child != nullptr && !children_->has_died(*child) && !child->stopped_since
                           && first->second.program == stamp_of(config_.programs / "vdist-worker");
    const bool is_sent =
        is_usable
        && send_order(first->second.orders, order.get(), client.get(), time_.now()).has_value();
    forget_spare(first->first);
    if (is_sent) {
      children_->rename(key, wanted.key);
      return true;
    }
    children_->kill(key, "it does not take orders, or its program was replaced");
  }
  return false;
}

/// It has an order, or has ended.
void supervisor::forget_spare(std::uint32_t number) {
  spares_.erase(number);
  spare_due_ = time_.now() + spare_rest;
}

void supervisor::keep_spares(time_point now) {
  const auto wanted = static_cast<std::size_t>(std::max(config_.settings.standby, 0));
  if (pending_ || !link_ || now < spare_due_) {
    return;
  }
  while (spares_.size() < wanted) {
    if (auto started = start_spare(); !started) {
      log::warn("supervisor: a spare worker: {}", started.error().context);
      spare_due_ = now + spare_rest;
      return;
    }
  }
}

result<void> supervisor::start_spare() {
  VDIST_ASSIGN(auto ends, socket::make_socket_pair());
  const auto number = ++last_spare_;
  const auto program = stamp_of(config_.programs / "vdist-worker"); // before: older is safe
  VDIST_TRY(children_->start(spare_key(number),
                             {.program = config_.programs / "vdist-worker",
                              .arguments = {"--standby-fd", "3"},
                              .descriptors = {ends.second.get()}}));
  spares_.emplace(number, spare{socket::message_socket(std::move(ends.first), time_), program});
  return {};
}

/// H-11.
void supervisor::tell(const protocol::host_message& message) {
  if (!link_) {
    return;
  }
  protocol::encode(message, encoded_);
  const auto sent = outbox_.send(*link_, encoded_);
  if (!sent && sent.error().code != errc::closed) { // closed: its end is seen by the loop
    log::warn("supervisor: {}", sent.error().context);
    children_->kill(control_key, sent.error().context);
  }
}

} // namespace vdist::host
