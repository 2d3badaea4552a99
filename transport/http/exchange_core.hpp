// transport/http/exchange_core.hpp — the meeting point of an exchange's producers (any thread) and its
// connection (one io thread). Internal to transport/http.
// X-1 `wake` is called under the lock and never after detach(): a connection and its io thread that have
// ended are not touched. X-2 no callback runs under the lock, but on_answer(), which only counts. X-3 a producer that finds a wake-up under
// way does not ask for another one: any number of writes costs one.
// Lock order: this one, then that of the io thread's queue.
#pragma once

#include "transport/http/exchange.hpp"
#include "transport/http/response_head.hpp"
#include "transport/http/service.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

namespace vdist::http {

class exchange_core {
public:
  /// What a connection has to send, and what comes behind it.
  struct taken {
    bool has_ended = false;  // and so has the answer, when these bytes are out
    bool is_cut = false;     // the stream ends here without its end …
    bool is_chunked = false; // … which its reader sees, or does not
    bool keeps_alive = false;
  };

  exchange_core(std::shared_ptr<service> shared,
                http::request asked,
                answer_context context,
                std::function<void()> wake);
  /// Gives the request's share of bodies_bytes back.
  ~exchange_core();
  exchange_core(const exchange_core&) = delete;
  exchange_core& operator=(const exchange_core&) = delete;

  // Producers: see exchange.
  [[nodiscard]] const http::request& request() const noexcept { return asked_; }

  bool reply(response answer);
  bool start_stream(int status, std::vector<header> headers);
  [[nodiscard]] write_outcome write(std::string_view piece);
  void finish();
  /// The last owner has gone (E-4).
  void abandon();
  [[nodiscard]] std::size_t backlog_bytes() const;
  void on_drained(std::function<void()> call);
  void on_answer(std::function<void(int status)> call);
  void on_gone(std::function<void()> call);
  [[nodiscard]] bool is_gone() const;

  // The connection's io thread.
  /// The wake-up has come; may call on_drained().
  void woken();
  /// Puts what waits into `out`, which is empty.
  [[nodiscard]] taken take(std::string& out);
  /// So many bytes have left; may call on_drained().
  void sent(std::size_t bytes);
  /// The client will not send any more, and most likely does not read (E-2).
  void client_vanished();
  /// Nobody will take() any more: the connection ends.
  void detach();

private:
  enum class stage { open, streaming, ended };

  /// Destroyed behind the lock: what a callback captured may call back.
  struct released {
    std::function<void()> drained;
    std::function<void()> gone;
  };

  void wake_locked();
  void count_locked(int status);
  [[nodiscard]] released end_locked();
  [[nodiscard]] std::function<void()> drained_locked();

  const std::shared_ptr<service> shared_;
  const http::request asked_;
  const answer_context context_;

  mutable std::mutex mutex_;
  std::function<void()> wake_; // empty when detached
  std::function<void()> on_drained_;
  std::function<void()> on_gone_;
  std::function<void(int)> on_answer_;
  std::string waiting_; // framed; not taken yet
  std::size_t backlog_ = 0;
  stage stage_ = stage::open;
  bool is_chunked_ = false;
  bool has_body_ = false;    // of a stream: not with HEAD
  bool keeps_alive_ = false; // what the head of the answer says
  bool is_cut_ = false;
  bool is_gone_ = false;
  bool is_detached_ = false;
  bool is_woken_ = true; // X-3; the connection calls woken() when the handler has returned
};

} // namespace vdist::http
