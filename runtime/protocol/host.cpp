#include "runtime/protocol/host.hpp"

#include "runtime/protocol/msgpack_fields.hpp"

#include <fmt/format.h>
#include <utility>

namespace vdist::protocol {

namespace {

/// The fields of each message, in the order of the wire. Append only.
template <class Message, class Visit>
void show(Message& m, Visit&& visit) {
  using type = std::remove_const_t<Message>;
  if constexpr (std::is_same_v<type, host_welcome>) {
    visit(m.supervisor_pid, m.vault_pid, m.ledger_bytes);
  } else if constexpr (std::is_same_v<type, spawn_worker>) {
    visit(m.key.role, m.key.rank, m.key.incarnation, m.order);
  } else if constexpr (std::is_same_v<type, kill_process>) {
    visit(m.key.role, m.key.rank, m.key.incarnation);
  } else if constexpr (std::is_same_v<type, process_started>) {
    visit(m.key.role, m.key.rank, m.key.incarnation, m.pid);
  } else {
    visit(m.key.role, m.key.rank, m.key.incarnation, m.pid, m.signal, m.exit_code, m.text);
  }
}

template <std::size_t Index>
result<host_message> decode_as(std::span<const std::byte> bytes) {
  std::variant_alternative_t<Index, host_message> message;
  VDIST_TRY(
      unpack_fields(bytes, "host message", [&message](auto&& visit) { show(message, visit); }));
  if constexpr (Index != 0) {
    if (message.key.role > process_role::worker) {
      return fail(errc::corrupt, "host message: unknown role");
    }
  }
  return host_message(std::move(message));
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
  std::visit([&out](const auto& m) { pack_fields(out, [&m](auto&& visit) { show(m, visit); }); },
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
