#include "tests/bench/serve/load_run.hpp"

#include "tests/bench/serve/socket_address.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <fmt/format.h>
#include <memory>
#include <poll.h>
#include <sys/epoll.h>
#include <utility>

namespace vdist::bench::serve {

namespace {

using steady = std::chrono::steady_clock;
using namespace std::chrono_literals;

/// Between two reports of progress, and the longest that a stop is not looked at.
constexpr auto progress_interval = 1s;
constexpr auto look_up_interval = 100ms;
/// Descriptors that are not connections.
constexpr std::size_t descriptors_spare = 64;
constexpr std::size_t read_bytes = std::size_t{64} << 10U;
constexpr int events_at_once = 256;

/// A connection, and the request on it.
struct client {
  enum class stage : std::uint8_t { free, connecting, sending, reading, idle };

  stage now = stage::free;
  socket::unique_fd fd;
  std::uint32_t connection =
      0;                  // rises with every connection here: events of an older one mean nothing
  std::uint32_t turn = 0; // rises with every request here and with its end, likewise for deadlines
  std::uint32_t awaited = 0; // of epoll
  std::size_t request = 0;   // index in the workload
  std::string out;
  std::size_t out_at = 0;
  response_parser parser;
  answer_reader reader;
  bool has_head = false;
  time_point due;
  time_point begun;
};

class load_driver {
public:
  load_driver(const workload& load, const load_options& options, const socket_address& to)
      : load_(load), options_(options), to_(to), scratch_(read_bytes) {}

  result<load_record> run();

private:
  struct deadline {
    time_point at;
    std::uint32_t slot;
    std::uint32_t turn;
  };

  [[nodiscard]] std::size_t in_flight() const { return begun_ - record_.requests.size(); }

  [[nodiscard]] bool is_over() const {
    return record_.requests.size() == load_.requests.size()
           && steady::now() >= record_.started + options_.hold;
  }

  [[nodiscard]] bool may_begin() const {
    return begun_ < load_.requests.size() && in_flight() < options_.in_flight_max;
  }

  result<void> open_idle();
  void count_lost_idle();
  void begin_due();
  void begin(std::size_t request, time_point due);
  [[nodiscard]] std::uint32_t free_slot();
  [[nodiscard]] bool connect(client& one, std::uint32_t slot);
  void wait_and_serve();
  [[nodiscard]] time_point next_turn() const;
  void serve(std::uint32_t slot, std::uint32_t events);
  void send(client& one, std::uint32_t slot);
  void receive(client& one, std::uint32_t slot);
  void take(client& one, std::string_view bytes, time_point now);
  void complete(client& one, std::uint32_t slot);
  void fail_request(client& one, std::uint32_t slot, outcome why);
  void record(client& one, answer_figures answer);
  void close(client& one, std::uint32_t slot);
  void await(client& one, std::uint32_t slot, std::uint32_t events) const;
  void expire();
  void interrupt();
  void tell_progress();

  const workload& load_;
  const load_options& options_;
  const socket_address& to_;
  std::vector<char> scratch_;
  socket::unique_fd epoll_;
  std::vector<std::unique_ptr<client>> clients_;
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> idle_; // the last one that was used is taken first
  std::deque<deadline> deadlines_;  // in order: all requests have the same time
  std::vector<socket::unique_fd> held_idle_;
  std::size_t begun_ = 0;
  std::size_t ok_ = 0;
  time_point told_at_;
  load_record record_;
};

result<load_record> load_driver::run() {
  epoll_ = socket::unique_fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) {
    return fail(errc::io_failed, fmt::format("load: no epoll (cause={})", std::strerror(errno)));
  }
  VDIST_TRY(open_idle());
  record_.requests.reserve(load_.requests.size());
  record_.started = steady::now();
  told_at_ = record_.started;
  while (!is_over()) {
    if (options_.stop != nullptr && options_.stop->load()) {
      interrupt();
      break;
    }
    begin_due();
    wait_and_serve();
    expire();
    tell_progress();
  }
  record_.ended = steady::now();
  if (options_.before_close) {
    options_.before_close();
  }
  count_lost_idle();
  return std::move(record_);
}

result<void> load_driver::open_idle() {
  for (std::size_t i = 0; i < options_.idle_connections; ++i) {
    VDIST_ASSIGN(auto fd, begin_connect(to_));
    pollfd writable{.fd = fd.get(), .events = POLLOUT, .revents = 0};
    const auto wait_ms = static_cast<int>(std::min(options_.timeout, 60'000ms).count());
    if (::poll(&writable, 1, wait_ms) != 1 || !has_connected(fd.get())) {
      return fail(errc::io_failed,
                  fmt::format("load: an idle connection was refused (opened={} wanted={})",
                              i,
                              options_.idle_connections));
    }
    held_idle_.push_back(std::move(fd));
  }
  record_.idle_opened = held_idle_.size();
  return {};
}

void load_driver::count_lost_idle() {
  for (const auto& one : held_idle_) {
    char byte = 0;
    const auto got = ::recv(one.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    const bool is_open = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    record_.idle_lost += is_open ? 0 : 1;
  }
}

void load_driver::begin_due() {
  while (may_begin()) {
    const auto now = steady::now();
    const auto due = options_.is_open_loop ? record_.started + load_.requests[begun_].at : now;
    if (due > now) {
      return;
    }
    begin(begun_++, due); // L-2
  }
}

std::uint32_t load_driver::free_slot() {
  if (free_.empty()) {
    clients_.push_back(std::make_unique<client>());
    return static_cast<std::uint32_t>(clients_.size() - 1);
  }
  const auto slot = free_.back();
  free_.pop_back();
  return slot;
}

void load_driver::begin(std::size_t request, time_point due) {
  const bool is_reused = !idle_.empty();
  const auto slot = is_reused ? idle_.back() : free_slot();
  auto& one = *clients_[slot];
  if (is_reused) {
    idle_.pop_back();
  }
  ++one.turn;
  one.request = request;
  one.out = request_of(load_.requests[request], request, options_.form);
  one.out_at = 0;
  one.parser.reset();
  one.reader = {};
  one.has_head = false;
  one.due = due;
  one.begun = steady::now();
  deadlines_.push_back({one.begun + options_.timeout, slot, one.turn});
  record_.in_flight_peak = std::max(record_.in_flight_peak, in_flight());
  if (is_reused) {
    one.now = client::stage::sending;
    send(one, slot);
  } else if (!connect(one, slot)) {
    fail_request(one, slot, outcome::not_connected);
  }
}

bool load_driver::connect(client& one, std::uint32_t slot) {
  auto begun = begin_connect(to_);
  if (!begun) {
    return false;
  }
  one.fd = std::move(*begun);
  one.now = client::stage::connecting;
  one.awaited = 0;
  await(one, slot, EPOLLOUT);
  return true;
}

void load_driver::await(client& one, std::uint32_t slot, std::uint32_t events) const {
  if (one.awaited == events) {
    return;
  }
  epoll_event wanted{};
  wanted.events = events;
  wanted.data.u64 = (std::uint64_t{one.connection} << 32U) | slot;
  const int operation = one.awaited == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  one.awaited = events;
  ::epoll_ctl(epoll_.get(), operation, one.fd.get(), &wanted);
}

time_point load_driver::next_turn() const {
  auto turn = std::min(steady::now() + look_up_interval, told_at_ + progress_interval);
  if (options_.is_open_loop && may_begin()) {
    turn = std::min(turn, record_.started + load_.requests[begun_].at);
  }
  return deadlines_.empty() ? turn : std::min(turn, deadlines_.front().at);
}

/// epoll_pwait2(), because epoll_wait() counts milliseconds, in which a fast load has several arrivals.
void load_driver::wait_and_serve() {
  const auto time = timespec_of(next_turn() - steady::now());
  std::array<epoll_event, events_at_once> ready{};
  const int count = ::epoll_pwait2(epoll_.get(), ready.data(), events_at_once, &time, nullptr);
  for (int i = 0; i < count; ++i) {
    const auto which = ready.at(static_cast<std::size_t>(i));
    const auto slot = static_cast<std::uint32_t>(which.data.u64);
    if (clients_[slot]->connection == which.data.u64 >> 32U) {
      serve(slot, which.events);
    }
  }
}

void load_driver::serve(std::uint32_t slot, std::uint32_t events) {
  auto& one = *clients_[slot];
  switch (one.now) {
  case client::stage::free:
    return;
  case client::stage::connecting:
    if (!has_connected(one.fd.get())) {
      return fail_request(one, slot, outcome::not_connected);
    }
    one.now = client::stage::sending;
    return send(one, slot);
  case client::stage::sending:
    if ((events & EPOLLIN) != 0) { // an answer before the request is sent whole: a refusal
      receive(one, slot);
    }
    if (one.now == client::stage::sending) {
      send(one, slot);
    }
    return;
  case client::stage::reading:
    return receive(one, slot);
  case client::stage::idle: // its end; bytes that nobody asked for end it too
    return close(one, slot);
  }
}

void load_driver::send(client& one, std::uint32_t slot) {
  while (one.out_at < one.out.size()) {
    const auto sent = ::send(one.fd.get(),
                             one.out.data() + one.out_at,
                             one.out.size() - one.out_at,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return await(one, slot, EPOLLIN | EPOLLOUT);
      }
      // The server may have said why before it closed.
      one.now = client::stage::reading;
      return receive(one, slot);
    }
    one.out_at += static_cast<std::size_t>(sent);
  }
  one.now = client::stage::reading;
  one.out = {};
  await(one, slot, EPOLLIN);
}

void load_driver::receive(client& one, std::uint32_t slot) {
  for (;;) {
    const auto got = ::recv(one.fd.get(), scratch_.data(), scratch_.size(), MSG_DONTWAIT);
    const auto now = steady::now();
    if (got < 0) {
      const bool is_all = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
      return is_all ? void() : fail_request(one, slot, outcome::cut);
    }
    const std::string_view bytes(scratch_.data(), static_cast<std::size_t>(got));
    if (bytes.empty()) {
      one.parser.end();
    } else {
      take(one, bytes, now);
    }
    switch (one.parser.now()) {
    case response_parser::state::complete:
      return complete(one, slot);
    case response_parser::state::broken:
      return fail_request(one, slot, bytes.empty() ? outcome::cut : outcome::malformed);
    case response_parser::state::head:
    case response_parser::state::body:
      break;
    }
    if (bytes.size() < scratch_.size()) {
      return; // the kernel had no more
    }
  }
}

void load_driver::take(client& one, std::string_view bytes, time_point now) {
  const auto taken = one.parser.feed(bytes, [&one, now](std::string_view part) {
    if (!std::exchange(one.has_head, true)) {
      one.reader.begin(one.parser.status(), one.parser.is_event_stream());
    }
    one.reader.take(part, now);
  });
  if (taken < bytes.size() && one.parser.now() == response_parser::state::complete) {
    one.parser.end(); // bytes behind an answer: the connection cannot be trusted
  }
}

void load_driver::complete(client& one, std::uint32_t slot) {
  if (!one.has_head) { // without a body
    one.reader.begin(one.parser.status(), one.parser.is_event_stream());
  }
  const bool is_kept = one.parser.keeps_alive() && one.out_at >= one.out.size();
  record(one, one.reader.finish());
  if (!is_kept) {
    return close(one, slot);
  }
  one.now = client::stage::idle;
  idle_.push_back(slot);
}

void load_driver::fail_request(client& one, std::uint32_t slot, outcome why) {
  record(one, one.reader.give_up(why));
  close(one, slot);
}

void load_driver::record(client& one, answer_figures answer) {
  ok_ += answer.how == outcome::ok ? 1 : 0;
  record_.requests.push_back({.answer = std::move(answer),
                              .due = one.due,
                              .begun = one.begun,
                              .ended = steady::now(),
                              .input_tokens = load_.requests[one.request].input_tokens});
  ++one.turn; // its deadline means nothing any more
}

void load_driver::close(client& one, std::uint32_t slot) {
  if (one.now == client::stage::idle) {
    std::erase(idle_, slot); // rare, and a few thousand at most
  }
  ++one.connection;
  one.fd.reset(); // leaves the epoll set too
  one.out = {};
  one.now = client::stage::free;
  free_.push_back(slot);
}

void load_driver::expire() {
  const auto now = steady::now();
  while (!deadlines_.empty() && deadlines_.front().at <= now) {
    const auto first = deadlines_.front();
    deadlines_.pop_front();
    auto& one = *clients_[first.slot];
    if (one.turn == first.turn) {
      fail_request(one, first.slot, outcome::timed_out);
    }
  }
}

void load_driver::interrupt() {
  for (std::uint32_t slot = 0; slot < clients_.size(); ++slot) {
    auto& one = *clients_[slot];
    if (one.now != client::stage::free && one.now != client::stage::idle) {
      fail_request(one, slot, outcome::interrupted);
    }
  }
}

void load_driver::tell_progress() {
  const auto now = steady::now();
  if (!options_.on_progress || now < told_at_ + progress_interval) {
    return;
  }
  told_at_ = now;
  options_.on_progress({.seconds = std::chrono::duration<double>(now - record_.started).count(),
                        .requests = load_.requests.size(),
                        .begun = begun_,
                        .ok = ok_,
                        .not_ok = record_.requests.size() - ok_});
}

} // namespace

result<load_record> run_load(const workload& load, const load_options& options) {
  VDIST_ASSIGN(const auto to, resolve(options.form.to));
  const auto limit = raise_descriptor_limit();
  const auto at_once = std::min(options.in_flight_max, load.requests.size());
  const auto needed = at_once + options.idle_connections + descriptors_spare;
  if (needed > limit) {
    return fail(
        errc::resource_exhausted,
        fmt::format("load: too few descriptors for so many connections (needed={} limit={})",
                    needed,
                    limit));
  }
  return load_driver(load, options, to).run();
}

} // namespace vdist::bench::serve
