#include "runtime/protocol/step_codec.hpp"

#include "runtime/protocol/msgpack_bytes.hpp"

#include <algorithm>
#include <bit>
#include <concepts>
#include <fmt/format.h>
#include <limits>
#include <type_traits>

namespace vdist::protocol {

namespace {

static_assert(std::endian::native == std::endian::little, "columns are little-endian memory");

/// Longest head or number of msgpack_writer.
constexpr std::size_t field_bytes_max = 9;

// The order of these two lists is the wire format: append only (S-1).

template <class Plan, class Visitor>
void visit_plan(Plan& plan, Visitor&& visit) {
  visit(plan.step);
  visit(plan.epoch);
  visit(plan.slots);
  visit(plan.request_ids);
  visit(plan.flags);
  visit(plan.first_position);
  visit(plan.token_counts);
  visit(plan.block_counts);
  visit(plan.new_blocks);
  visit(plan.tokens);
  visit(plan.retired_slots);
  visit(plan.sampling);
  visit(plan.bias_ids);
  visit(plan.bias_values);
  visit(plan.suppressed_ids);
  visit(plan.saves);
  visit(plan.loads);
}

template <class Result, class Visitor>
void visit_result(Result& result, Visitor&& visit) {
  visit(result.step);
  visit(result.epoch);
  visit(result.rank);
  visit(result.status);
  visit(result.digest);
  visit(result.compute_us);
  visit(result.slots);
  visit(result.tokens);
  visit(result.logprobs);
  visit(result.top_counts);
  visit(result.top_ids);
  visit(result.top_logprobs);
  visit(result.message);
  visit(result.saved_step);
}

template <class Visitor>
void visit_fields(const step_plan& plan, Visitor&& visit) {
  visit_plan(plan, visit);
}

template <class Visitor>
void visit_fields(step_plan& plan, Visitor&& visit) {
  visit_plan(plan, visit);
}

template <class Visitor>
void visit_fields(const step_result& result, Visitor&& visit) {
  visit_result(result, visit);
}

template <class Visitor>
void visit_fields(step_result& result, Visitor&& visit) {
  visit_result(result, visit);
}

std::uint32_t text_bytes(const std::string& text) {
  return static_cast<std::uint32_t>(
      std::min<std::size_t>(text.size(), step_codec_limits{}.text_bytes_max));
}

/// First pass: how many fields there are, and an upper bound of their bytes.
struct measure {
  std::uint32_t fields = 0;
  std::size_t bytes = field_bytes_max;

  void operator()(std::integral auto) { add(0); }

  void operator()(const std::string& text) { add(text_bytes(text)); }

  template <class T>
  void operator()(const std::vector<T>& column) {
    const std::size_t contents = column.size() * sizeof(T);
    VDIST_CHECK(contents <= std::numeric_limits<std::uint32_t>::max(),
                "S-2: a column is shorter than 4 GiB");
    add(contents);
  }

private:
  void add(std::size_t contents) {
    ++fields;
    bytes += field_bytes_max + contents;
  }
};

/// Second pass.
struct field_writer {
  msgpack_writer to;

  void operator()(std::unsigned_integral auto value) { to.put_unsigned(value); }

  void operator()(std::signed_integral auto value) { to.put_signed(value); }

  void operator()(const std::string& text) { to.put_text(text.data(), text_bytes(text)); }

  template <class T>
  void operator()(const std::vector<T>& column) {
    to.put_bin(column.data(), static_cast<std::uint32_t>(column.size() * sizeof(T)));
  }
};

template <class Message>
void encode_fields(const Message& message, std::vector<std::byte>& out) {
  measure size;
  visit_fields(message, size);
  // Shrinks at the end: resize() clears only what is new, so a used buffer is not touched twice.
  if (out.size() < size.bytes) {
    out.resize(size.bytes);
  }
  field_writer writer{msgpack_writer(out.data())};
  writer.to.put_array(size.fields);
  visit_fields(message, writer);
  out.resize(static_cast<std::size_t>(writer.to.position() - out.data()));
}

/// Reads the fields that are there; the others keep what clear() gave them.
struct field_reader {
  msgpack_reader from;
  std::uint32_t fields_left;
  const step_codec_limits& limits;
  const char* cause = nullptr;

  template <std::unsigned_integral T>
  void operator()(T& value) {
    if (take_field()) {
      value = static_cast<T>(from.take_unsigned(std::numeric_limits<T>::max()));
    }
  }

  template <std::signed_integral T>
  void operator()(T& value) {
    if (take_field()) {
      value = static_cast<T>(
          from.take_signed(std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
    }
  }

  void operator()(std::string& text) {
    if (!take_field()) {
      return;
    }
    const auto bytes = from.take_text();
    if (bytes.size() > limits.text_bytes_max) {
      cause = "text is too long";
      return;
    }
    text.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  template <class T>
  void operator()(std::vector<T>& column) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!take_field()) {
      return;
    }
    const auto bytes = from.take_bin();
    if (bytes.size() % sizeof(T) != 0) {
      cause = "column is not a whole number of elements";
      return;
    }
    column.resize(bytes.size() / sizeof(T));
    if (!bytes.empty()) {
      std::memcpy(column.data(), bytes.data(), bytes.size()); // the payload is not aligned
    }
  }

private:
  bool take_field() {
    if (fields_left == 0 || cause != nullptr || from.has_failed()) {
      return false;
    }
    --fields_left;
    return true;
  }
};

const char*
read_fields(std::span<const std::byte> bytes, auto& out, const step_codec_limits& limits) {
  if (bytes.size() > limits.message_bytes_max) {
    return "message is too long";
  }
  msgpack_reader head(bytes);
  const auto fields = head.take_array();
  if (fields > limits.fields_max) {
    return "too many fields";
  }
  field_reader reader{head, fields, limits};
  visit_fields(out, reader);
  if (reader.cause != nullptr) {
    return reader.cause;
  }
  for (; reader.fields_left > 0 && !reader.from.has_failed(); --reader.fields_left) {
    reader.from.skip(step_codec_depth_max);
  }
  if (reader.from.has_failed()) {
    return reader.from.cause();
  }
  return reader.from.bytes_left() == 0 ? nullptr : "bytes behind the message";
}

result<void> decode_fields(std::span<const std::byte> bytes,
                           auto& out,
                           const step_codec_limits& limits,
                           const char* what) {
  out.clear();
  if (const char* cause = read_fields(bytes, out, limits); cause != nullptr) {
    out.clear();
    return fail(errc::corrupt, fmt::format("{}: {} (bytes={})", what, cause, bytes.size()));
  }
  return {};
}

} // namespace

void encode(const step_plan& plan, std::vector<std::byte>& out) {
  encode_fields(plan, out);
}

void encode(const step_result& result, std::vector<std::byte>& out) {
  encode_fields(result, out);
}

result<void>
decode(std::span<const std::byte> bytes, step_plan& out, const step_codec_limits& limits) {
  return decode_fields(bytes, out, limits, "step plan");
}

result<void>
decode(std::span<const std::byte> bytes, step_result& out, const step_codec_limits& limits) {
  return decode_fields(bytes, out, limits, "step result");
}

} // namespace vdist::protocol
