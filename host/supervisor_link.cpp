// What the control process says and is told, and what it asks for: workers and their spares.
#include "runtime/base/log.hpp"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>

#include "host/standby.hpp"
#include "host/supervisor.hpp"

namespace vdist::host {

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
    spares_->configure(*settings);
  } else if (const auto* spare = std::get_if<protocol::prepare_spare>(&message)) {
    spares_->prepare(*spare);
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
  VDIST_ASSIGN(const auto order, make_order_file(wanted.order));
  VDIST_ASSIGN(const bool is_promoted, spares_->promote(wanted, order));
  if (!is_promoted) {
    VDIST_ASSIGN(const auto client, new_vault_client());
    child_spec spec{.program = config_.programs / "vdist-worker",
                    .arguments = {"--order-fd",
                                  "3",
                                  "--vault-fd",
                                  "4",
                                  "--rank",
                                  std::to_string(wanted.key.rank),
                                  "--incarnation",
                                  std::to_string(wanted.key.incarnation)},
                    .descriptors = {order.get(), client.get()}};
    give_store(spec);
    VDIST_TRY(children_->start(wanted.key, std::move(spec)));
  }
  return children_->find(wanted.key)->pid();
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
