#include "transport/http/connection.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <sys/socket.h>
#include <utility>

namespace vdist::http {

namespace {

using boost::system::error_code;

constexpr refusal too_late{408, "the request did not come in time"};
constexpr refusal ended_early{400, "the request ended early"};
constexpr refusal no_room{503, "too many requests are coming in at once"};
constexpr refusal too_many_connections{503, "too many connections"};
constexpr refusal foreign_origin{403, "this origin is not allowed"};

/// Exchanges, and reads while lingering, before a lane's other connections have their turn.
constexpr int turns_max = 16;

refused_by reason_of(int status) {
  switch (status) {
  case 413:
  case 414:
  case 431:
    return refused_by::too_large;
  case 501:
  case 505:
    return refused_by::unsupported;
  default:
    return refused_by::malformed;
  }
}

} // namespace

std::string text_of(const boost::asio::ip::tcp::endpoint& where) {
  const auto address = where.address().to_string();
  const bool is_v6 = where.address().is_v6();
  return fmt::format("{}{}{}:{}",
                     is_v6 ? "[" : "",
                     address,
                     is_v6 ? "]" : "",
                     static_cast<unsigned>(where.port()));
}

connection::connection(lane& home,
                       std::shared_ptr<service> shared,
                       const handler& serve,
                       socket accepted,
                       std::unique_ptr<tls_session> session)
    : lane_(&home),
      shared_(std::move(shared)),
      serve_(&serve),
      socket_(std::move(accepted)),
      tls_(std::move(session)),
      timer_(home.context()),
      since_(now()) {}

void connection::start() {
  if (!lane_->add(shared_from_this()) || shared_->is_draining.load()) {
    return close();
  }
  stage_ = tls_ ? stage::handshake : stage::serving;
  step();
}

void connection::turn_away() {
  if (!lane_->add(shared_from_this())) {
    return close();
  }
  refuse(too_many_connections, refused_by::connections);
  step();
}

void connection::woken() {
  if (core_) {
    core_->woken();
  }
  step();
}

void connection::drain() {
  const bool is_idle = stage_ == stage::serving && !core_ && !reader_ && !has_output();
  if (is_idle || stage_ == stage::handshake) {
    close();
  }
}

void connection::step() {
  try {
    go_on();
  } catch (const std::exception& cause) { // a lack of memory: this client's, not the server's end
    log::error("http connection: closed by an exception (what={})", cause.what());
    close();
  }
}

void connection::go_on() {
  if (stage_ == stage::handshake) {
    shake_hands();
  }
  if (stage_ == stage::lingering) {
    discard();
  }
  for (int turn = 0; stage_ == stage::serving; ++turn) {
    receive();
    if (!transmit()) {
      break;
    }
    if (turn >= turns_max) {
      lane_->make_ready(shared_from_this());
      break;
    }
  }
  wait();
}

void connection::shake_hands() {
  switch (tls_->handshake().what) {
  case io_outcome::kind::done:
    stage_ = stage::serving;
    since_ = now();
    break;
  case io_outcome::kind::want_read:
    break;
  case io_outcome::kind::want_write:
    wants_write_ = true;
    break;
  case io_outcome::kind::end:
  case io_outcome::kind::broken:
    shared_->counts.refuse(refused_by::handshake);
    close();
    break;
  }
}

// --- what comes in ---

bool connection::may_read() const noexcept {
  return stage_ == stage::serving && !has_ended_ && !closes_
         && (!core_ || ahead_.size() < config().bounds.read_ahead_bytes_max);
}

void connection::receive() {
  while (may_read()) {
    auto into = lane_->scratch();
    if (core_) {
      into =
          into.first(std::min(into.size(), config().bounds.read_ahead_bytes_max - ahead_.size()));
    }
    const auto got = tls_ ? tls_->receive(into) : plain_receive(socket_.native_handle(), into);
    switch (got.what) {
    case io_outcome::kind::done:
      counters::add(shared_->counts.bytes_in, got.bytes);
      take_in({into.data(), got.bytes});
      if (!tls_ && got.bytes < into.size()) {
        return; // the kernel has no more; if it has after all, the wait says so
      }
      break;
    case io_outcome::kind::want_read:
      return;
    case io_outcome::kind::want_write:
      wants_write_ = true;
      return;
    case io_outcome::kind::end:
      return client_ended();
    case io_outcome::kind::broken:
      return vanish();
    }
  }
}

void connection::take_in(std::string_view bytes) {
  while (!bytes.empty() && !core_ && !closes_) {
    if (!reader_) {
      reader_ = std::make_unique<request_reader>(config().bounds);
      has_continued_ = false;
      since_ = now();
    }
    const auto before = reader_->now();
    bytes.remove_prefix(reader_->feed(bytes));
    take_body_share();
    if (!reader_) {
      return; // refused for want of room
    }
    switch (reader_->now()) {
    case request_reader::state::head:
      break;
    case request_reader::state::body:
      since_ = before == request_reader::state::head ? now() : since_;
      say_continue();
      break;
    case request_reader::state::complete:
      begin_exchange();
      break;
    case request_reader::state::refused:
      refuse(reader_->cause(), reason_of(reader_->cause().status));
      break;
    }
  }
  if (!closes_) {
    ahead_.append(bytes);
  }
}

void connection::take_body_share() {
  const auto kept = reader_->bytes_kept();
  if (kept > body_share_) {
    const auto more = kept - std::exchange(body_share_, kept);
    if (shared_->bodies_bytes.fetch_add(more) + more > config().bounds.bodies_bytes_max) {
      refuse(no_room, refused_by::bodies);
    }
  }
}

void connection::give_body_share() noexcept {
  shared_->bodies_bytes.fetch_sub(std::exchange(body_share_, 0));
}

void connection::say_continue() {
  if (reader_->wants_continue() && !has_continued_) {
    has_continued_ = true;
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
  }
}

answer_context connection::context_of(request_head& head) const {
  const auto* origin = head.asked.find("origin");
  const std::string_view from = origin != nullptr ? std::string_view(*origin) : std::string_view();
  return {.is_http_1_0 = head.is_http_1_0,
          .is_head = head.asked.method == "HEAD",
          .keeps_alive = head.keeps_alive,
          .allowed_origin = std::string(allowed_for(from, config().allowed_origins)),
          .exposed_headers = config().exposed_headers};
}

void connection::begin_exchange() {
  auto& head = reader_->head();
  auto context = context_of(head);
  const bool is_for_leave = !config().allowed_origins.empty() && is_preflight(head.asked);
  if (is_for_leave && context.allowed_origin.empty()) {
    return refuse(foreign_origin, refused_by::origin);
  }
  error_code ignored;
  head.asked.peer = text_of(socket_.remote_endpoint(ignored));
  body_share_ = 0; // it is the exchange's from now on
  core_ = std::make_shared<exchange_core>(
      shared_, std::move(head.asked), std::move(context), [this] { // not after detach()
        lane_->make_ready(shared_from_this());
      });
  reader_.reset();
  if (is_for_leave) {
    core_->reply(preflight_answer(core_->request()));
  } else {
    serve();
  }
  core_->woken();
}

void connection::serve() {
  counters::add(shared_->counts.requests);
  try {
    (*serve_)(std::make_shared<exchange>(core_));
  } catch (const std::exception& cause) {
    log::error("http handler: exception (what={})", cause.what());
  } catch (...) {
    log::error("http handler: unknown exception");
  }
}

void connection::client_ended() {
  has_ended_ = true;
  if (core_) {
    core_->client_vanished();
  } else if (reader_) {
    refuse(ended_early, refused_by::malformed);
  } else {
    close();
  }
}

void connection::refuse(const refusal& cause, refused_by reason) {
  answer_context context;
  if (reader_) {
    context = context_of(reader_->head());
  }
  const auto answer = shared_->answer_to(cause, reason);
  shared_->counts.answer(answer.status);
  append_answer(out_, answer, context, false);
  closes_ = true; // C-5
  reader_.reset();
  give_body_share();
}

// --- what goes out ---

bool connection::transmit() {
  while (stage_ == stage::serving) {
    if (has_output()) {
      if (!send_some()) {
        return false;
      }
      continue;
    }
    out_.clear();
    out_at_ = 0;
    if (!core_) {
      out_ = {};
      if (closes_) {
        begin_linger();
      }
      return false;
    }
    const auto next = core_->take(out_);
    if (out_.empty()) {
      return next.has_ended && end_exchange(next);
    }
  }
  return false;
}

/// False when the rest must wait, or the client has gone.
bool connection::send_some() {
  if (is_blocked_) {
    return false;
  }
  const auto bytes = std::string_view(out_).substr(out_at_);
  const auto sent = tls_ ? tls_->send(bytes) : plain_send(socket_.native_handle(), bytes);
  switch (sent.what) {
  case io_outcome::kind::done:
    out_at_ += sent.bytes;
    has_progress_ = true;
    counters::add(shared_->counts.bytes_out, sent.bytes);
    if (core_) {
      core_->sent(sent.bytes);
    }
    return true;
  case io_outcome::kind::want_write:
  case io_outcome::kind::want_read: // the answer to a key update; reading goes on anyhow
    is_blocked_ = sent.what == io_outcome::kind::want_write;
    if (std::exchange(has_progress_, false)) {
      stalled_since_ = now();
    }
    return false;
  case io_outcome::kind::end:
  case io_outcome::kind::broken:
    vanish();
    return false;
  }
  return false;
}

bool connection::end_exchange(const exchange_core::taken& last) {
  core_->detach();
  core_.reset();
  out_ = {};
  since_ = now();
  if (last.is_cut && !last.is_chunked) {
    reset_on_close(); // nothing else tells the client that its answer is incomplete
    close();
    return false;
  }
  if (last.is_cut || !last.keeps_alive || shared_->is_draining.load()) {
    closes_ = true;
    begin_linger();
    return false;
  }
  take_in(std::exchange(ahead_, {}));
  if (has_ended_) {
    client_ended(); // of what was pipelined, too
  }
  return true;
}

void connection::vanish() {
  if (core_) {
    core_->client_vanished();
  }
  close();
}

void connection::begin_linger() {
  if (has_ended_) {
    return close();
  }
  if (tls_) {
    tls_->say_end();
  }
  ::shutdown(socket_.native_handle(), SHUT_WR);
  stage_ = stage::lingering;
  since_ = now();
  ahead_ = {};
}

void connection::discard() {
  for (int turn = 0; turn < turns_max; ++turn) {
    const auto got = plain_receive(socket_.native_handle(), lane_->scratch());
    if (got.what == io_outcome::kind::want_read) {
      return;
    }
    if (got.what != io_outcome::kind::done) {
      return close();
    }
  }
}

/// A close that drops what the kernel still has for the client, and tells it so.
void connection::reset_on_close() noexcept {
  error_code ignored;
  socket_.set_option(boost::asio::socket_base::linger(true, 0), ignored);
}

void connection::close() {
  if (stage_ == stage::closed) {
    return;
  }
  stage_ = stage::closed;
  const auto self = shared_from_this(); // the lane's copy may be the last one
  if (const auto core = std::exchange(core_, nullptr)) {
    core->detach();
  }
  reader_.reset();
  give_body_share();
  ahead_ = {};
  out_ = {};
  out_at_ = 0;
  timer_.cancel();
  tls_.reset();
  error_code ignored;
  socket_.close(ignored);
  lane_->remove(this);
  shared_->connection_closed();
}

// --- waiting ---

void connection::wait() {
  if (stage_ == stage::closed) {
    return;
  }
  const bool reads = may_read() || stage_ == stage::lingering || stage_ == stage::handshake;
  if (reads && !is_read_awaited_) {
    is_read_awaited_ = true;
    socket_.async_wait(socket::wait_read, [self = shared_from_this()](error_code failure) {
      self->is_read_awaited_ = false;
      if (!failure) {
        self->step();
      }
    });
  }
  if ((is_blocked_ || wants_write_) && !is_write_awaited_) {
    is_write_awaited_ = true;
    socket_.async_wait(socket::wait_write, [self = shared_from_this()](error_code failure) {
      self->is_write_awaited_ = false;
      self->is_blocked_ = false;
      self->wants_write_ = false;
      if (!failure) {
        self->step();
      }
    });
  }
  set_deadline(deadline());
}

/// C-4.
time_point connection::deadline() const {
  const auto& times = config().times;
  if (stage_ == stage::handshake) {
    return since_ + times.handshake;
  }
  if (stage_ == stage::lingering) {
    return since_ + times.linger;
  }
  if (has_output()) {
    return stalled_since_ + times.write;
  }
  if (core_) {
    return time_point::max();
  }
  if (!reader_) {
    return since_ + times.idle;
  }
  if (reader_->now() == request_reader::state::head) {
    return since_ + times.header;
  }
  const auto earned = std::chrono::milliseconds(reader_->body_bytes_received() * 1000
                                                / times.body_bytes_per_second_min);
  return since_ + times.body + earned;
}

/// Most deadlines move away before they pass, so the timer is left to fire early and set again.
void connection::set_deadline(time_point deadline) {
  deadline_ = deadline;
  if (deadline_ < timer_at_) {
    timer_at_ = deadline_;
    timer_.expires_at(deadline_);
    timer_.async_wait([self = shared_from_this()](error_code failure) {
      if (!failure) {
        self->timer_fired();
      }
    });
  }
}

void connection::timer_fired() {
  timer_at_ = time_point::max();
  if (stage_ == stage::closed) {
    return;
  }
  if (now() >= deadline_) {
    deadline_passed();
  } else {
    set_deadline(deadline_);
  }
}

void connection::deadline_passed() {
  if (stage_ == stage::handshake) {
    shared_->counts.refuse(refused_by::handshake);
    close();
  } else if (stage_ == stage::lingering) {
    close();
  } else if (has_output()) {
    shared_->counts.refuse(refused_by::reader);
    reset_on_close();
    vanish();
  } else if (reader_) {
    refuse(too_late, refused_by::late_request);
    step();
  } else {
    close();
  }
}

} // namespace vdist::http
