#include "transport/http/message.hpp"

#include <algorithm>

namespace vdist::http {

const std::string* request::find(std::string_view name) const noexcept {
  const auto found = std::find_if(
      headers.begin(), headers.end(), [name](const header& one) { return one.name == name; });
  return found == headers.end() ? nullptr : &found->value;
}

void append_sse_event(std::string& out, std::uint64_t id, std::string_view data) {
  out += "id: ";
  out += std::to_string(id);
  out += '\n';
  // CR, LF and CRLF end a line of the event stream, so none of them may stay inside a field.
  for (;;) {
    const auto end = data.find_first_of("\r\n");
    out += "data: ";
    out += data.substr(0, end);
    out += '\n';
    if (end == std::string_view::npos) {
      break;
    }
    data.remove_prefix(end + (data.substr(end).starts_with("\r\n") ? 2 : 1));
  }
  out += '\n';
}

std::string sse_event(std::uint64_t id, std::string_view data) {
  std::string out;
  append_sse_event(out, id, data);
  return out;
}

bool is_same_secret(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) {
    return false;
  }
  volatile unsigned char differences = 0; // volatile: no comparison may end the loop early
  for (std::size_t i = 0; i < a.size(); ++i) {
    differences = static_cast<unsigned char>(differences | (a[i] ^ b[i]));
  }
  return differences == 0;
}

} // namespace vdist::http
