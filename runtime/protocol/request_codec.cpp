#include "runtime/protocol/request_codec.hpp"

#include "runtime/protocol/msgpack_bytes.hpp"

#include <algorithm>
#include <bit>
#include <fmt/format.h>
#include <limits>
#include <type_traits>
#include <xxhash.h>

namespace vdist::protocol {

namespace {

static_assert(std::endian::native == std::endian::little, "lists are little-endian memory");

constexpr std::uint32_t fields = 13;     // that this build knows
constexpr std::uint32_t fields_max = 64; // that a later build may have appended to
constexpr std::uint32_t depth_max = 8;   // of an unknown field

template <class T>
void put_list(msgpack_writer& to, const std::vector<T>& list) {
  const std::size_t bytes = list.size() * sizeof(T);
  VDIST_CHECK(bytes <= std::numeric_limits<std::uint32_t>::max(),
              "C-3: a list is shorter than 4 GiB");
  to.put_bin(list.data(), static_cast<std::uint32_t>(bytes));
}

/// Reads the fields that are there; the others keep their defaults.
class field_reader {
public:
  explicit field_reader(std::span<const std::byte> bytes) : from_(bytes) {
    left_ = from_.take_array();
    if (left_ > fields_max) {
      cause_ = "too many fields";
    }
  }

  template <class T>
  void
  number(T& value, T low = std::numeric_limits<T>::min(), T high = std::numeric_limits<T>::max()) {
    if (!take_field()) {
      return;
    }
    if constexpr (std::is_signed_v<T>) {
      value = static_cast<T>(from_.take_signed(low, high));
    } else {
      value = static_cast<T>(from_.take_unsigned(high));
    }
  }

  template <class T>
  void list(std::vector<T>& into) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!take_field()) {
      return;
    }
    const auto bytes = from_.take_bin();
    if (bytes.size() % sizeof(T) != 0) {
      cause_ = "list is not a whole number of elements";
      return;
    }
    into.resize(bytes.size() / sizeof(T));
    if (!bytes.empty()) {
      std::memcpy(into.data(), bytes.data(), bytes.size()); // the payload is not aligned
    }
  }

  /// C-1: a shorter record keeps its defaults behind, of a longer one the known part is taken.
  void record(sampling_record& into) {
    static_assert(std::is_trivially_copyable_v<sampling_record>);
    if (take_field()) {
      const auto bytes = from_.take_bin();
      std::copy_n(
          bytes.data(), std::min(bytes.size(), sizeof(into)), reinterpret_cast<std::byte*>(&into));
    }
  }

  /// nullptr: everything was read and nothing is left.
  const char* finish() {
    for (; cause_ == nullptr && left_ > 0 && !from_.has_failed(); --left_) {
      from_.skip(depth_max);
    }
    if (cause_ != nullptr) {
      return cause_;
    }
    if (from_.has_failed()) {
      return from_.cause();
    }
    return from_.bytes_left() == 0 ? nullptr : "bytes behind the request";
  }

private:
  bool take_field() {
    if (left_ == 0 || cause_ != nullptr || from_.has_failed()) {
      return false;
    }
    --left_;
    return true;
  }

  msgpack_reader from_;
  std::uint32_t left_ = 0;
  const char* cause_ = nullptr;
};

const char* read_request(std::span<const std::byte> bytes, request& out) {
  std::uint8_t ignore_eos = 0;
  std::vector<token_id> bias_ids;
  std::vector<float> bias_values;
  field_reader from(bytes);
  from.number(out.id.value);
  from.number(out.priority);
  from.number(out.arrival);
  from.list(out.prompt);
  from.list(out.generated);
  from.number(out.max_tokens);
  from.number(ignore_eos, std::uint8_t{0}, std::uint8_t{1});
  from.list(out.eos_ids);
  from.list(out.stop_token_ids);
  from.record(out.sampling);
  from.list(bias_ids);
  from.list(bias_values);
  from.number(out.client_key);
  if (const char* cause = from.finish(); cause != nullptr) {
    return cause;
  }
  if (bias_ids.size() != bias_values.size()) {
    return "biases and their ids differ in number";
  }
  out.ignore_eos = ignore_eos != 0;
  out.logit_bias.reserve(bias_ids.size());
  for (std::size_t i = 0; i < bias_ids.size(); ++i) {
    out.logit_bias.emplace_back(bias_ids[i], bias_values[i]);
  }
  return nullptr;
}

} // namespace

void encode(const request& value, std::vector<std::byte>& out) {
  std::vector<token_id> bias_ids;
  std::vector<float> bias_values;
  for (const auto& [id, bias] : value.logit_bias) {
    bias_ids.push_back(id);
    bias_values.push_back(bias);
  }
  const std::size_t ids = value.prompt.size() + value.generated.size() + value.eos_ids.size()
                          + value.stop_token_ids.size() + bias_ids.size();
  out.resize(request_fixed_bytes + ids * sizeof(token_id) + bias_values.size() * sizeof(float));
  msgpack_writer to(out.data());
  to.put_array(fields);
  to.put_unsigned(value.id.value);
  to.put_signed(value.priority);
  to.put_unsigned(value.arrival);
  put_list(to, value.prompt);
  put_list(to, value.generated);
  to.put_signed(value.max_tokens);
  to.put_unsigned(value.ignore_eos ? 1 : 0);
  put_list(to, value.eos_ids);
  put_list(to, value.stop_token_ids);
  to.put_bin(&value.sampling, sizeof(value.sampling));
  put_list(to, bias_ids);
  put_list(to, bias_values);
  to.put_unsigned(value.client_key);
  const auto used = static_cast<std::size_t>(to.position() - out.data());
  VDIST_CHECK(used <= out.size(), "C-3: the length of a request is bounded by its lists");
  out.resize(used);
}

result<request> decode_request(std::span<const std::byte> bytes) {
  request decoded;
  if (const char* cause = read_request(bytes, decoded); cause != nullptr) {
    return fail(errc::corrupt, fmt::format("request: {} (bytes={})", cause, bytes.size()));
  }
  return decoded;
}

std::uint64_t body_hash(const request& value) {
  request body = value;
  body.id = {};
  body.arrival = 0;
  body.generated.clear();
  body.client_key = 0;
  std::vector<std::byte> bytes;
  encode(body, bytes);
  return XXH3_64bits(bytes.data(), bytes.size());
}

} // namespace vdist::protocol
