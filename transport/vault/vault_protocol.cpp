#include "transport/vault/vault_protocol.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace vdist::vault {

namespace {

error malformed(const char* what, std::size_t bytes) {
  return fail(errc::corrupt, fmt::format("vault: malformed {} (bytes={})", what, bytes));
}

bool is_place(std::int32_t device) {
  return device >= host_memory.device && device <= device_max;
}

bool is_consistent(const request_message& request) {
  return request.magic == request_magic && request.version == protocol_version
         && request.wanted >= operation::map && request.wanted <= operation::zeroed
         && request.kind <= region_kind_last && request.reserved == decltype(request.reserved){}
         && is_place(request.device) && request.reserved_end == 0;
}

bool is_consistent(const record_message& record) {
  return record.magic == record_magic && record.version == protocol_version
         && record.what >= record_kind::begin && record.what <= record_kind::client_gone
         && record.kind <= region_kind_last && record.flag <= 1
         && record.reserved == decltype(record.reserved){} && is_place(record.device);
}

bool is_consistent(const reply_message& reply, std::size_t message_bytes) {
  const bool is_error = reply.code != errc::ok;
  return reply.magic == reply_magic && reply.version == protocol_version
         && (reply.flags & ~reply_flags_all) == 0 && reply.text_bytes <= error_text_bytes_max
         && message_bytes == sizeof reply + reply.text_bytes && is_error == (reply.text_bytes > 0)
         && is_place(reply.device) && reply.reserved_end == 0;
}

template <class Message>
result<Message> parse_whole(std::span<const std::byte> bytes, const char* what) {
  Message message;
  if (bytes.size() != sizeof message) {
    return malformed(what, bytes.size());
  }
  std::memcpy(&message, bytes.data(), sizeof message);
  if (!is_consistent(message)) {
    return malformed(what, bytes.size());
  }
  return message;
}

} // namespace

region_key key_of(const request_message& request) {
  return {.rank = rank_id(request.rank), .kind = request.kind, .index = request.index};
}

memory_place place_of(const request_message& request) {
  return {request.device};
}

memory_place place_of(const reply_message& reply) {
  return {reply.device};
}

region_key key_of(const record_message& record) {
  return {.rank = rank_id(record.rank), .kind = record.kind, .index = record.index};
}

memory_place place_of(const record_message& record) {
  return {record.device};
}

result<request_message> parse_request(std::span<const std::byte> bytes) {
  return parse_whole<request_message>(bytes, "request");
}

result<record_message> parse_record(std::span<const std::byte> bytes) {
  return parse_whole<record_message>(bytes, "record");
}

std::vector<std::byte> encode_reply(reply_message reply, std::string_view text) {
  text = text.substr(0, error_text_bytes_max);
  reply.text_bytes = static_cast<std::uint32_t>(text.size());
  std::vector<std::byte> bytes(sizeof reply + text.size());
  std::memcpy(bytes.data(), &reply, sizeof reply);
  std::transform(text.begin(), text.end(), bytes.begin() + sizeof reply, [](char c) {
    return static_cast<std::byte>(c);
  });
  return bytes;
}

result<parsed_reply> parse_reply(std::span<const std::byte> bytes) {
  parsed_reply reply;
  if (bytes.size() < sizeof reply.head) {
    return malformed("reply", bytes.size());
  }
  std::memcpy(&reply.head, bytes.data(), sizeof reply.head);
  if (!is_consistent(reply.head, bytes.size())) {
    return malformed("reply", bytes.size());
  }
  const auto text = bytes.subspan(sizeof reply.head);
  reply.text.assign(reinterpret_cast<const char*>(text.data()), text.size());
  return reply;
}

} // namespace vdist::vault
