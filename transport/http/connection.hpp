// transport/http/connection.hpp — one client's connection: reads requests, has them served one after the
// other, sends the answers, and ends when one side does or a deadline passes. Internal to transport/http.
//
//   handshake ──▶ serving ──────────────▶ lingering ──▶ closed
//   (TLS only)    idle → head → body        ours is said, the client's end is awaited
//                   ▲            ▼
//                   └── answer ◀─ exchange
//
// C-1 everything here runs on the lane's thread. C-2 a socket is read when it is readable, into the
// lane's memory: idle, a connection has no buffer. C-3 while an exchange is under way the client's end is
// still noticed, and no more than read_ahead_bytes_max (or what one read brought) is read ahead. C-4
// every state but a computing handler has a deadline. C-5 a refused request closes its connection, but
// lingers, so that a client that is still sending gets to read why.
#pragma once

#include "transport/http/exchange_core.hpp"
#include "transport/http/lane.hpp"
#include "transport/http/request_reader.hpp"
#include "transport/http/server.hpp"
#include "transport/http/service.hpp"
#include "transport/http/tls.hpp"

#include "runtime/base/clock.hpp"

#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <memory>
#include <string>

namespace vdist::http {

/// "127.0.0.1:8000" or "[::1]:8000".
[[nodiscard]] std::string text_of(const boost::asio::ip::tcp::endpoint& where);

class connection : public std::enable_shared_from_this<connection> {
public:
  using socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp,
                                                  boost::asio::io_context::executor_type>;

  /// `home` and `serve` outlive it, `session` is null without TLS. Counted in connections_open already.
  connection(lane& home,
             std::shared_ptr<service> shared,
             const handler& serve,
             socket accepted,
             std::unique_ptr<tls_session> session);

  void start();
  /// Instead of start(): says 503 and closes. Not with TLS.
  void turn_away();
  /// A producer has written, or wants to hear of what was sent.
  void woken();
  /// Ends it if no request is coming in or under way.
  void drain();
  void close();

private:
  enum class stage { handshake, serving, lingering, closed };

  using timer =
      boost::asio::basic_waitable_timer<std::chrono::steady_clock,
                                        boost::asio::wait_traits<std::chrono::steady_clock>,
                                        boost::asio::io_context::executor_type>;

  /// Goes on with everything that can go on, and waits for the rest.
  void step();
  void go_on();
  void shake_hands();
  void receive();
  [[nodiscard]] bool may_read() const noexcept;
  void take_in(std::string_view bytes);
  void take_body_share();
  void give_body_share() noexcept;
  void say_continue();
  void begin_exchange();
  void serve();
  /// True when an exchange has ended and the connection serves on.
  [[nodiscard]] bool transmit();
  [[nodiscard]] bool send_some();
  [[nodiscard]] bool end_exchange(const exchange_core::taken& last);
  void client_ended();
  void vanish();
  void refuse(const refusal& cause, refused_by reason);
  [[nodiscard]] answer_context context_of(request_head& head) const;
  void begin_linger();
  void discard();
  void reset_on_close() noexcept;

  void wait();
  [[nodiscard]] time_point deadline() const;
  void set_deadline(time_point deadline);
  void timer_fired();
  void deadline_passed();

  [[nodiscard]] bool has_output() const noexcept { return out_at_ < out_.size(); }

  [[nodiscard]] const server_config& config() const noexcept { return shared_->config; }

  [[nodiscard]] static time_point now() {
    return std::chrono::steady_clock::now();
  } // as the timers

  lane* lane_;
  std::shared_ptr<service> shared_;
  const handler* serve_;
  socket socket_;
  std::unique_ptr<tls_session> tls_;
  timer timer_;

  stage stage_ = stage::serving;
  std::unique_ptr<request_reader> reader_; // while a request comes in
  std::shared_ptr<exchange_core> core_;    // while it is under way; with its exchange
  std::size_t body_share_ = 0;             // of service::bodies_bytes, for reader_
  std::string ahead_;                      // read behind the request in work
  std::string out_;                        // on its way out, from out_at_ on
  std::size_t out_at_ = 0;

  time_point since_;                        // when this state began: idle, head, body, linger
  time_point stalled_since_;                // of has_output(): when a byte last left
  time_point deadline_ = time_point::max(); // of the present state
  time_point timer_at_ = time_point::max(); // when the timer fires; not later than deadline_

  bool closes_ = false;    // after what is in out_
  bool has_ended_ = false; // the client's side
  bool has_continued_ = false;
  bool has_progress_ = true; // since stalled_since_
  bool is_blocked_ = false;  // output waits for room in the kernel
  bool wants_write_ = false; // TLS must write before it can read
  bool is_read_awaited_ = false;
  bool is_write_awaited_ = false;
};

} // namespace vdist::http
