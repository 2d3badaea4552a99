// transport/http/statistics.hpp — plain counters of a server since its start, for metrics.
// Each is exact on its own; together they are no snapshot of one moment.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vdist::http {

/// Why something was refused or given up.
enum class refused_by : std::uint8_t {
  malformed,        // 400, 417
  too_large,        // 413, 414, 431
  unsupported,      // 501, 505
  late_request,     // 408: header or body did not come in time
  origin,           // 403: a preflight of an origin that is not allowed
  bodies,           // 503: bodies_bytes_max
  connections,      // 503, or closed at once: connections_max
  descriptors,      // accept failed for want of descriptors or memory; tried again
  handshake,        // TLS
  reader,           // took nothing of its answer in time
  count_of_reasons, // not a reason
};

inline constexpr auto refusal_reasons = static_cast<std::size_t>(refused_by::count_of_reasons);

/// Lower-case name, for labels.
[[nodiscard]] constexpr std::string_view to_string(refused_by reason) noexcept {
  constexpr std::array<std::string_view, refusal_reasons> names{"malformed",
                                                                "too_large",
                                                                "unsupported",
                                                                "late_request",
                                                                "origin",
                                                                "bodies",
                                                                "connections",
                                                                "descriptors",
                                                                "handshake",
                                                                "reader"};
  const auto index = static_cast<std::size_t>(reason);
  return index < names.size() ? names[index] : "unknown";
}

struct statistics {
  std::uint64_t connections_open = 0;
  std::uint64_t connections_accepted = 0;
  std::uint64_t requests = 0;             // that reached the handler
  std::array<std::uint64_t, 6> answers{}; // by the first digit of the status, also of refusals
  std::uint64_t vanished = 0;             // clients that left before their answer was complete
  std::uint64_t bytes_in = 0;             // of HTTP; without TLS's own
  std::uint64_t bytes_out = 0;
  std::array<std::uint64_t, refusal_reasons> refused{}; // by refused_by

  [[nodiscard]] std::uint64_t refused_for(refused_by reason) const noexcept {
    return refused[static_cast<std::size_t>(reason)];
  }

  /// Of several servers.
  statistics& operator+=(const statistics& other) noexcept {
    connections_open += other.connections_open;
    connections_accepted += other.connections_accepted;
    requests += other.requests;
    vanished += other.vanished;
    bytes_in += other.bytes_in;
    bytes_out += other.bytes_out;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      answers[i] += other.answers[i];
    }
    for (std::size_t i = 0; i < refused.size(); ++i) {
      refused[i] += other.refused[i];
    }
    return *this;
  }
};

/// The counters themselves. Any thread.
class counters {
public:
  std::atomic<std::uint64_t> connections_open{0};
  std::atomic<std::uint64_t> connections_accepted{0};
  std::atomic<std::uint64_t> requests{0};
  std::array<std::atomic<std::uint64_t>, 6> answers{};
  std::atomic<std::uint64_t> vanished{0};
  std::atomic<std::uint64_t> bytes_in{0};
  std::atomic<std::uint64_t> bytes_out{0};
  std::array<std::atomic<std::uint64_t>, refusal_reasons> refused{};

  static void add(std::atomic<std::uint64_t>& counter, std::uint64_t amount = 1) noexcept {
    counter.fetch_add(amount, std::memory_order_relaxed);
  }

  void refuse(refused_by reason) noexcept { add(refused[static_cast<std::size_t>(reason)]); }

  void answer(int status) noexcept {
    const auto digit = static_cast<std::size_t>(status / 100);
    add(answers[digit < answers.size() ? digit : 0]);
  }

  [[nodiscard]] statistics read() const noexcept {
    statistics now;
    now.connections_open = connections_open.load(std::memory_order_relaxed);
    now.connections_accepted = connections_accepted.load(std::memory_order_relaxed);
    now.requests = requests.load(std::memory_order_relaxed);
    now.vanished = vanished.load(std::memory_order_relaxed);
    now.bytes_in = bytes_in.load(std::memory_order_relaxed);
    now.bytes_out = bytes_out.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      now.answers[i] = answers[i].load(std::memory_order_relaxed);
    }
    for (std::size_t i = 0; i < refused.size(); ++i) {
      now.refused[i] = refused[i].load(std::memory_order_relaxed);
    }
    return now;
  }
};

} // namespace vdist::http
