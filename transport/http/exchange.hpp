// transport/http/exchange.hpp — one request and its answer, in the hands of whoever computes it.
//
//   reply(response)                                     the whole answer at once, or
//   start_stream(status, headers), write(…)…, finish()  piece by piece, for server-sent events too
//
// Pull model: a producer writes until `full`, then waits for on_drained(). Nobody ever waits inside
// these functions: they copy bytes and wake the connection's io thread. A slow reader costs its
// client's own time and a bounded number of bytes (E-3).
//
// Any thread, also several at once, for every function here; the order of two writes is the order in
// which they were called. Callbacks run on an io thread, without a lock, and must not block; they are
// released (with what they captured) when the answer has ended or the client has gone, so they may
// keep the exchange alive.
//
// E-1 An exchange has one answer: the first of reply() and start_stream() wins, the other is told so.
// E-2 on_gone() is called exactly once if the client vanished (its end of file, a reset, a write
// time-out, the server's stop) before the answer had ended, and never otherwise.
// E-3 no more than output_high_bytes and one write wait in memory for a stream's reader.
// E-4 the last owner's release ends an exchange: without an answer the client gets a 500; a stream
// that was not finished is cut, so that its reader sees that it is incomplete.
#pragma once

#include "transport/http/message.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

namespace vdist::http {

class exchange_core;

enum class write_outcome {
  accepted,
  full,  // output_high_bytes wait already: nothing was taken, wait for on_drained()
  gone,  // nobody reads it any more
  ended, // no stream has been started, or it is finished
};

class exchange {
public:
  /// Made by the server only.
  explicit exchange(std::shared_ptr<exchange_core> core) noexcept;
  exchange(const exchange&) = delete;
  exchange& operator=(const exchange&) = delete;
  ~exchange();

  [[nodiscard]] const http::request& request() const noexcept;

  /// Answers. False if there is an answer already. A client that has gone is no error: whoever
  /// half-closed its connection still gets it.
  bool reply(response answer);

  /// Begins an answer whose length nobody knows: chunked, or until the end of the connection for
  /// HTTP/1.0. False if there is an answer already.
  bool start_stream(int status, std::vector<header> headers);

  /// Sends a piece of the stream. An empty one sends nothing.
  [[nodiscard]] write_outcome write(std::string_view piece);

  /// The stream is complete. Without a stream, or a second time: nothing.
  void finish();

  /// Bytes accepted and not yet in the kernel's hands, with their framing.
  [[nodiscard]] std::size_t backlog_bytes() const;

  /// Calls once when no more than output_low_bytes wait, also if that is so already. A later callback
  /// replaces one that was not called.
  void on_drained(std::function<void()> call);

  /// Calls once with the status when the answer begins, before anybody can have read it; not for an answer that there is
  /// already. Under a lock: it may count, and call nothing of this exchange. Set it once, and first.
  void on_answer(std::function<void(int status)> call);

  /// E-2. If the client has gone already, calls at once, on this thread. Set it once.
  void on_gone(std::function<void()> call);

  [[nodiscard]] bool is_gone() const;

private:
  std::shared_ptr<exchange_core> core_; // with its connection
};

} // namespace vdist::http
