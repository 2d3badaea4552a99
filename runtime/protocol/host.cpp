#include "runtime/protocol/host.hpp"

#include "runtime/protocol/msgpack_fields.hpp"

#include <fmt/format.h>
#include <utility>

namespace vdist::protocol {

namespace {

/// host_welcome as it travels: lists of records are lists of their numbers.
struct welcome_wire {
  std::int32_t supervisor_pid = 0;
  std::int32_t vault_pid = 0;
  std::uint64_t ledger_bytes = 0;
  std::uint32_t node_starts = 1;
  std::uint32_t life = host_welcome{}.life;
  std::vector<std::uint64_t> living; // rank, incarnation, pid, order_hash of each
  std::vector<std::uint64_t> last;   // rank, incarnation of each
  std::uint32_t version = 0;         // of those who do not say
  std::uint64_t store_bytes = 0;
};

constexpr std::size_t living_numbers = 4;
constexpr std::size_t last_numbers = 2;

welcome_wire to_wire(const host_welcome& m) {
  welcome_wire wire{m.supervisor_pid,
                    m.vault_pid,
                    m.ledger_bytes,
                    m.node_starts,
                    m.life,
                    {},
                    {},
                    m.version,
                    m.store_bytes};
  for (const auto& worker : m.living) {
    for (const auto number : {static_cast<std::uint64_t>(worker.key.rank),
                              std::uint64_t{worker.key.incarnation},
                              static_cast<std::uint64_t>(worker.pid),
                              worker.order_hash}) {
      wire.living.push_back(number);
    }
  }
  for (const auto& one : m.last) {
    wire.last.push_back(static_cast<std::uint64_t>(one.rank));
    wire.last.push_back(one.incarnation);
  }
  return wire;
}

/// A number as `Number` holds it; false: it does not fit.
template <class Number>
bool take(std::uint64_t wire, Number& number) {
  number = static_cast<Number>(wire);
  return std::in_range<Number>(wire);
}

result<host_welcome> from_wire(const welcome_wire& wire) {
  if (wire.living.size() % living_numbers != 0 || wire.last.size() % last_numbers != 0) {
    return fail(errc::corrupt, "host message: a list of workers ends in the middle of one");
  }
  host_welcome m{wire.supervisor_pid,
                 wire.vault_pid,
                 wire.ledger_bytes,
                 wire.node_starts,
                 wire.life,
                 {},
                 {},
                 wire.version,
                 wire.store_bytes};
  for (std::size_t i = 0; i < wire.living.size(); i += living_numbers) {
    const auto* numbers = &wire.living[i];
    living_worker worker{.order_hash = numbers[3]};
    if (!take(numbers[0], worker.key.rank) || !take(numbers[1], worker.key.incarnation)
        || !take(numbers[2], worker.pid)) {
      return fail(errc::corrupt, "host message: a number of a living worker is out of range");
    }
    m.living.push_back(worker);
  }
  for (std::size_t i = 0; i < wire.last.size(); i += last_numbers) {
    last_incarnation last;
    if (!take(wire.last[i], last.rank) || !take(wire.last[i + 1], last.incarnation)) {
      return fail(errc::corrupt, "host message: a number of a last incarnation is out of range");
    }
    m.last.push_back(last);
  }
  return m;
}

/// The fields of each message, in the order of the wire. Append only.
template <class Message, class Visit>
void show(Message& m, Visit&& visit) {
  using type = std::remove_const_t<Message>;
  if constexpr (std::is_same_v<type, welcome_wire>) {
    visit(m.supervisor_pid,
          m.vault_pid,
          m.ledger_bytes,
          m.node_starts,
          m.life,
          m.living,
          m.last,
          m.version,
          m.store_bytes);
  } else if constexpr (std::is_same_v<type, host_settings>) {
    visit(m.detect_ms, m.standby, m.control_stall_ms, m.prepares_spares);
  } else if constexpr (std::is_same_v<type, output>) {
    visit(m.record, m.offset, m.bytes, m.is_stream, m.is_end);
  } else if constexpr (std::is_same_v<type, spawn_worker>) {
    visit(m.key.role, m.key.rank, m.key.incarnation, m.order, m.order_hash, m.spare_hash);
  } else if constexpr (std::is_same_v<type, prepare_spare>) {
    visit(m.rank, m.order, m.order_hash);
  } else if constexpr (std::is_same_v<type, spare_ready>) {
    visit(m.rank, m.pid, m.at_ns);
  } else if constexpr (std::is_same_v<type, signal_process>) {
    visit(m.key.role, m.key.rank, m.key.incarnation, m.signal);
  } else if constexpr (std::is_same_v<type, kill_process> || std::is_same_v<type, process_dying>) {
    visit(m.key.role, m.key.rank, m.key.incarnation);
  } else if constexpr (std::is_same_v<type, process_started>) {
    visit(m.key.role, m.key.rank, m.key.incarnation, m.pid);
  } else {
    visit(m.key.role, m.key.rank, m.key.incarnation, m.pid, m.signal, m.exit_code, m.text);
  }
}

template <class Message>
result<void> read(std::span<const std::byte> bytes, Message& message) {
  return unpack_fields(bytes, "host message", [&message](auto&& visit) { show(message, visit); });
}

template <std::size_t Index>
result<host_message> decode_as(std::span<const std::byte> bytes) {
  using type = std::variant_alternative_t<Index, host_message>;
  if constexpr (std::is_same_v<type, host_welcome>) {
    welcome_wire wire;
    VDIST_TRY(read(bytes, wire));
    VDIST_ASSIGN(auto welcome, from_wire(wire));
    return host_message(std::move(welcome));
  } else {
    type message;
    VDIST_TRY(read(bytes, message));
    if constexpr (requires { message.key; }) {
      if (message.key.role > process_role::worker) {
        return fail(errc::corrupt, "host message: unknown role");
      }
    }
    return host_message(std::move(message));
  }
}

template <std::size_t... Index>
result<host_message>
decode_any(std::size_t kind, std::span<const std::byte> bytes, std::index_sequence<Index...>) {
  result<host_message> decoded = fail(errc::corrupt, "host message: unknown kind");
  ((kind == Index ? void(decoded = decode_as<Index>(bytes)) : void()), ...);
  return decoded;
}

} // namespace

std::string_view to_string(process_role role) noexcept {
  switch (role) {
  case process_role::supervisor:
    return "run";
  case process_role::vault:
    return "vault";
  case process_role::control:
    return "node";
  case process_role::worker:
    return "worker";
  }
  return "unknown";
}

std::string to_string(const process_key& key) {
  return key.role == process_role::worker
             ? fmt::format("worker rank={} incarnation={}", key.rank, key.incarnation)
             : std::string(to_string(key.role));
}

void encode(const host_message& message, std::vector<std::byte>& out) {
  out.assign(1, static_cast<std::byte>(message.index()));
  const auto write = [&out](const auto& m) {
    pack_fields(out, [&m](auto&& visit) { show(m, visit); });
  };
  std::visit(
      [&write](const auto& m) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(m)>, host_welcome>) {
          write(to_wire(m));
        } else {
          write(m);
        }
      },
      message);
}

result<host_message> decode_host_message(std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    return fail(errc::corrupt, "host message: empty");
  }
  constexpr auto kinds = std::make_index_sequence<std::variant_size_v<host_message>>();
  return decode_any(static_cast<std::size_t>(bytes.front()), bytes.subspan(1), kinds);
}

} // namespace vdist::protocol
