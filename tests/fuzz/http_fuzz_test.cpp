// Requests of HTTP clients: raw bytes, in pieces of any size. Boost.Beast's own parser is the oracle of what is accepted.
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/fuzz/text_material.hpp"

#include "transport/http/request_reader.hpp"

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/test/unit_test.hpp>

using namespace vdist;
using namespace vdist::testing::fuzz;
using http::request_reader;
using state = request_reader::state;

namespace {

/// A head, its headers and a body that was announced; growing strings hold old and new bytes for a while.
constexpr heap_bound bound{.fixed = std::size_t{20} << 10U, .times = 24};

http::limits small() {
  http::limits bounds;
  bounds.header_bytes_max = 1000;
  bounds.headers_max = 12;
  bounds.target_bytes_max = 200;
  bounds.body_bytes_max = 500;
  bounds.chunk_line_bytes_max = 64;
  bounds.trailer_bytes_max = 200;
  return bounds;
}

struct reading {
  state now = state::head;
  int status = 0;
  std::size_t used = 0;
  http::request asked;
};

/// In pieces whose sizes are a function of `seed`; whole when it is 0.
reading read(std::string_view input, std::uint64_t seed) {
  static const auto bounds = small();
  request_reader reader(bounds);
  numbers draw(seed);
  reading got;
  while (got.used < input.size() && reader.now() != state::complete
         && reader.now() != state::refused) {
    const auto piece = seed == 0 ? input.size() : 1 + draw.below(draw.one_in(3) ? 60 : 3);
    got.used += reader.feed(input.substr(got.used, piece));
  }
  got.now = reader.now();
  if (got.now == state::refused) {
    got.status = reader.cause().status;
  } else if (got.now == state::complete) {
    got.asked = std::move(reader.head().asked);
  }
  return got;
}

bool is_same(const reading& a, const reading& b) {
  const bool is_request =
      a.now != state::complete
      || (a.used == b.used && a.asked.method == b.asked.method && a.asked.path == b.asked.path
          && a.asked.query == b.asked.query && a.asked.headers == b.asked.headers
          && a.asked.body == b.asked.body);
  return a.now == b.now && a.status == b.status && is_request;
}

/// Empty when Beast reads the same request, of the same length, from the same bytes.
std::string against_beast(std::string_view input, const reading& ours) {
  namespace beast = boost::beast::http;
  auto bytes = input.substr(0, ours.used);
  if (bytes.starts_with("\r\n")) {
    bytes.remove_prefix(2); // which Beast does not know
  }
  beast::request_parser<beast::string_body> parser;
  parser.eager(true);
  boost::beast::error_code failure;
  const auto used = parser.put({bytes.data(), bytes.size()}, failure);
  if (failure || !parser.is_done() || used != bytes.size()) {
    return "Beast reads another end: " + failure.message();
  }
  const auto& theirs = parser.get();
  if (std::string(theirs.method_string()) != ours.asked.method
      || theirs.body() != ours.asked.body) {
    return "Beast reads another method or body";
  }
  const auto target = std::string(theirs.target());
  if (!target.ends_with(ours.asked.query)
      || (target.starts_with('/') && !target.starts_with(ours.asked.path))) {
    return "Beast reads another target";
  }
  for (const auto& [name, value] : ours.asked.headers) {
    const auto same = theirs.equal_range(name);
    if (std::none_of(same.first, same.second, [&value = value](const auto& one) {
          return std::string(one.value()) == value;
        })) {
      return "Beast does not read the header " + name;
    }
  }
  return {};
}

judgement judge(std::span<const std::byte> input) {
  const auto text = text_of(input);
  const auto before = heap_bytes();
  const auto whole = read(text, 0);
  const auto taken = heap_bytes() - before;
  if (taken > bound.of(input.size())) {
    return wrong("it asked the heap for " + std::to_string(taken) + " bytes");
  }
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    if (!is_same(whole, read(text, seed + input.size()))) {
      return wrong("in other pieces it is another request");
    }
  }
  constexpr std::array statuses{400, 413, 414, 417, 431, 501, 505};
  if (whole.now == state::refused) {
    return std::count(statuses.begin(), statuses.end(), whole.status) == 1
               ? refused()
               : wrong("status " + std::to_string(whole.status));
  }
  if (whole.now != state::complete) {
    return whole.used == input.size() ? refused() : wrong("it wants more, and leaves bytes");
  }
  const auto difference = against_beast(text, whole);
  return difference.empty() ? accepted() : wrong(difference);
}

constexpr std::string_view pieces[]{
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "0",
    "5",
    "ffffffffffffffff",
    "18446744073709551616",
    "chunked",
    "identity",
    "gzip, chunked",
    "0\r\n\r\n",
    "3\r\nabc\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: b\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "X: y\r\n z\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
    "HTTP/2.0",
    "http://h/p?q",
    "\x7f",
    "\xff",
    "GET / HTTP/1.1\r\n",
    "\"",
    "\\",
};

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_http)

BOOST_AUTO_TEST_CASE(requests_of_clients) {
  material from{.pieces = text_pieces(pieces)};
  from.pieces.push_back({std::byte{0}});
  for (const std::string_view request : std::initializer_list<std::string_view>{
           "GET /v1/models?a=b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
           "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
           "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: "
           "chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0b\r\n "
           "wonderful \r\n0\r\nx: y\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
           "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
           "GET http://h:1/p?q HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"}) {
    from.specimens.push_back(text_specimen(request));
  }
  run({.name = "http request", .from = std::move(from), .judge = judge});
}

BOOST_AUTO_TEST_SUITE_END()
