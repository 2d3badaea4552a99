// One request out of raw bytes: framing, bounds and what may not be smuggled (Q-1 to Q-4, R-1 to R-3).
#include "transport/http/request_reader.hpp"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

using namespace vdist::http;
namespace data = boost::unit_test::data;

namespace {

using state = request_reader::state;

limits small() {
  limits bounds;
  bounds.header_bytes_max = 400;
  bounds.headers_max = 6;
  bounds.target_bytes_max = 100;
  bounds.body_bytes_max = 64;
  bounds.chunk_line_bytes_max = 32;
  bounds.trailer_bytes_max = 48;
  return bounds;
}

struct outcome {
  state now = state::head;
  int status = 0;   // of a refusal
  std::string text; // method, path, query, headers, body
  std::size_t used = 0;

  friend bool operator==(const outcome&, const outcome&) = default;
};

outcome read(std::string_view bytes, std::size_t piece, const limits& bounds) {
  request_reader reader(bounds);
  outcome got;
  while (got.used < bytes.size() && reader.now() != state::complete
         && reader.now() != state::refused) {
    got.used += reader.feed(bytes.substr(got.used, piece));
  }
  got.now = reader.now();
  if (got.now == state::refused) {
    got.status = reader.cause().status;
    got.used = 0; // whatever it was
  } else if (got.now == state::complete) {
    const auto& asked = reader.head().asked;
    got.text = asked.method + ' ' + asked.path + '?' + asked.query;
    for (const auto& one : asked.headers) {
      got.text += '|' + one.name + '=' + one.value;
    }
    got.text += '#' + asked.body;
  }
  return got;
}

outcome read(std::string_view bytes) {
  static const auto bounds = small();
  const auto whole = read(bytes, bytes.size(), bounds);
  for (const std::size_t piece : {1U, 2U, 3U, 7U}) { // Q-1
    const auto again = read(bytes, piece, bounds);
    BOOST_TEST((again == whole),
               "in pieces of " << piece << ": " << again.status << again.text << " is not "
                               << whole.status << whole.text);
  }
  return whole;
}

const std::string get = "GET / HTTP/1.1\r\nHost: a\r\n";
const std::string post = "POST / HTTP/1.1\r\nHost: a\r\n";
const std::string chunked = post + "Transfer-Encoding: chunked\r\n\r\n";

struct refused_bytes {
  std::string what;
  std::string bytes;
  int status = 400;

  friend std::ostream& operator<<(std::ostream& out, const refused_bytes& one) {
    return out << one.what;
  }
};

const std::vector<refused_bytes> refusals{
    // The end of the request in two readings (R-1).
    {"length and coding", post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"coding and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"},
    {"two lengths", post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n"},
    {"the same length twice", post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
    {"a list of lengths", post + "Content-Length: 3, 3\r\n\r\nabc"},
    {"a signed length", post + "Content-Length: +3\r\n\r\nabc"},
    {"a negative length", post + "Content-Length: -3\r\n\r\nabc"},
    {"a hexadecimal length", post + "Content-Length: 0x3\r\n\r\nabc"},
    {"no length", post + "Content-Length: \r\n\r\n"},
    {"a length beyond 64 bits", post + "Content-Length: 18446744073709551619\r\n\r\nabc"},
    {"two codings", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"coding hidden behind another",
     post + "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
     501},
    {"chunked not alone", post + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"chunked twice in one", post + "Transfer-Encoding: chunked, chunked\r\n\r\n", 501},
    {"unknown coding", post + "Transfer-Encoding: xchunked\r\n\r\n", 501},
    {"no coding", post + "Transfer-Encoding:\r\n\r\n", 501},
    {"coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {"a vertical tab before chunked",
     post
         + "Transfer-Encoding: \x0b"
           "chunked\r\n\r\n"},
    // Lines (Q-2).
    {"bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"},
    {"bare LF behind a header", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"},
    {"bare LF as the empty line", get + "\n"},
    {"bare CR in a value", get + "X: a\rb\r\n\r\n"},
    {"CR CR LF", get + "X: a\r\r\n\r\n"},
    {"folded header", get + "X: a\r\n b\r\n\r\n"},
    {"folded by a tab", get + "X: a\r\n\tb\r\n\r\n"},
    {"folded first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
    {"space before the colon", get + "Content-Length : 3\r\n\r\nabc"},
    {"tab before the colon", get + "X\t: 3\r\n\r\n"},
    {"no colon", get + "X\r\n\r\n"},
    {"no name", get + ": a\r\n\r\n"},
    {"a name that is no token", get + "X{}: a\r\n\r\n"},
    {"NUL in a value", get + std::string("X: a\0b\r\n\r\n", 10)},
    {"control character in a value", get + "X: a\x01\r\n\r\n"},
    {"two empty lines before", "\r\n\r\n" + get + "\r\n"},
    // Request lines (R-3).
    {"no method", " / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"method that is no token", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"target beyond ASCII", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"fragment", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"target without slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"no authority", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"tunnel", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
    {"HTTP/0.9", "GET /\r\n\r\n"},
    {"no version", "GET / \r\nHost: a\r\n\r\n"},
    {"version that is none", "GET / HTTP/x\r\nHost: a\r\n\r\n"},
    {"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n"},
    {"version of two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n"},
    {"HTTP/2.0", "PRI * HTTP/2.0\r\n\r\n", 505},
    {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
    {"HTTP/2.0 for a path", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
    {"TLS", std::string("\x16\x03\x01\x02\x00\x01", 6)},
    // Hosts (R-2).
    {"no host", "GET / HTTP/1.1\r\n\r\n"},
    {"two hosts", get + "Host: b\r\n\r\n"},
    {"unknown expectation", post + "Expect: 200-ok\r\n\r\n", 417},
    // Bounds (Q-3).
    {"long target", "GET /" + std::string(120, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
    {"target without end", "GET /" + std::string(1000, 'a'), 414},
    {"method without end", std::string(1000, 'A'), 414},
    {"long head", get + "X: " + std::string(400, 'a') + "\r\n\r\n", 431},
    {"head without end", get + "X: " + std::string(4000, 'a'), 431},
    {"many headers", get + "A:1\r\nB:1\r\nC:1\r\nD:1\r\nE:1\r\nF:1\r\n\r\n", 431},
    {"long body", post + "Content-Length: 65\r\n\r\n", 413},
    {"enormous body", post + "Content-Length: 18446744073709551615\r\n\r\n", 413},
    // Chunks.
    {"long chunk", chunked + "41\r\n", 413},
    {"long chunks", chunked + "3f\r\n" + std::string(63, 'a') + "\r\n2\r\n", 413},
    {"enormous chunk", chunked + "fffffffffffffff\r\n", 413},
    {"chunk beyond 60 bits", chunked + "1000000000000000\r\n"},
    {"chunk beyond 64 bits", chunked + "10000000000000005\r\nabcde\r\n0\r\n\r\n"},
    {"many zeros", chunked + "0000000000000003\r\nabc\r\n0\r\n\r\n"},
    {"no size", chunked + "\r\nabc\r\n0\r\n\r\n"},
    {"size of letters", chunked + "xyz\r\n"},
    {"signed size", chunked + "+3\r\nabc\r\n0\r\n\r\n"},
    {"prefixed size", chunked + "0x3\r\nabc\r\n0\r\n\r\n"},
    {"space before the size", chunked + " 3\r\nabc\r\n0\r\n\r\n"},
    {"space behind the size", chunked + "3 \r\nabc\r\n0\r\n\r\n"},
    {"bare LF behind the size", chunked + "3\nabc\r\n0\r\n\r\n"},
    {"bare LF behind the data", chunked + "3\r\nabc\n0\r\n\r\n"},
    {"data longer than its size", chunked + "3\r\nabcd\r\n0\r\n\r\n"},
    {"data shorter than its size", chunked + "4\r\nabc\r\n0\r\n\r\n"},
    {"bare LF in an extension", chunked + "3;a=\"\n\"\r\nabc\r\n0\r\n\r\n"},
    {"bare CR in an extension", chunked + "3;a\rb\r\nabc\r\n0\r\n\r\n"},
    {"control character in an extension", chunked + "3;a=\x01\r\nabc\r\n0\r\n\r\n"},
    {"an extension without a name", chunked + "3;\r\nabc\r\n0\r\n\r\n"},
    {"an extension without a value", chunked + "3;a=\r\nabc\r\n0\r\n\r\n"},
    {"an extension that is not closed", chunked + "3;a=\"b\\\"\r\nabc\r\n0\r\n\r\n"},
    {"no semicolon", chunked + "3,a\r\nabc\r\n0\r\n\r\n"},
    {"a length in a trailer", chunked + "0\r\nContent-Length: 7\r\n\r\n"},
    {"a host in a trailer", chunked + "0\r\nHOST: b\r\n\r\n"},
    {"long extension", chunked + "3;" + std::string(100, 'a')},
    {"long extension of the last chunk", chunked + "0;" + std::string(100, 'a')},
    {"trailer without colon", chunked + "0\r\nabc\r\n\r\n"},
    {"folded trailer", chunked + "0\r\nX: a\r\n b: c\r\n\r\n"},
    {"control character in a trailer", chunked + "0\r\nX: \x01\r\n\r\n"},
    {"bare LF behind a trailer", chunked + "0\r\nX: a\n\r\n"},
    {"bare LF as the last line", chunked + "0\r\n\n"},
    {"long trailer", chunked + "0\r\nX: " + std::string(100, 'a'), 431},
    {"many trailers",
     chunked + "0\r\nX: aaaaaaaaaaaaaaaaaaaa\r\nY: aaaaaaaaaaaaaaaaaaaaaa\r\nZ:\r\n\r\n",
     431},
};

} // namespace

BOOST_AUTO_TEST_SUITE(request_readers)

BOOST_DATA_TEST_CASE(refuses_with_its_status, data::make(refusals), one) { // Q-2, Q-3, R-1 to R-3
  const auto got = read(one.bytes);
  BOOST_TEST((got.now == state::refused));
  BOOST_TEST(got.status == one.status);
}

BOOST_AUTO_TEST_CASE(reads_a_request_without_a_body) {
  const auto got =
      read("GET /v1/models?a=b&c HTTP/1.1\r\nHost:a \r\nX-Y:\t b c \t\r\nEmpty:\r\n\r\n");
  BOOST_TEST(got.text == "GET /v1/models?a=b&c|host=a|x-y=b c|empty=#");
}

BOOST_AUTO_TEST_CASE(leaves_what_is_behind_the_request) { // Q-4
  const auto head = post + "Content-Length: 3\r\n\r\n";
  BOOST_TEST(read(head + "abcGET /").used == head.size() + 3);
  BOOST_TEST(read(head + "abcGET /").text == "POST /?|host=a|content-length=3#abc");
  BOOST_TEST(read(get + "\r\nGET /").used == get.size() + 2);
  const auto body = chunked + "3\r\nabc\r\n0\r\n\r\n";
  BOOST_TEST(read(body + "GET /").used == body.size());
}

BOOST_AUTO_TEST_CASE(joins_chunks_and_drops_their_extensions_and_trailers) {
  BOOST_TEST(
      read(chunked
           + "3;a=\"b;\\\"\";c=d;e\r\nab\n\r\n00A;x\r\n0123456789\r\n000\r\nX: y\r\nSum: 7\r\n\r\n")
          .text
      == "POST /?|host=a|transfer-encoding=chunked#ab\n0123456789");
  BOOST_TEST(read(chunked + "0\r\n\r\n").text == "POST /?|host=a|transfer-encoding=chunked#");
}

BOOST_AUTO_TEST_CASE(takes_a_last_chunk_in_pieces_of_any_size) { // aborts Beast's own parser
  const auto bounds = small();
  request_reader reader(bounds);
  for (const auto& piece : {chunked, std::string("0\r\n"), std::string("\r"), std::string("\n")}) {
    BOOST_TEST(reader.feed(piece) == piece.size());
  }
  BOOST_TEST((reader.now() == state::complete));
}

BOOST_AUTO_TEST_CASE(takes_the_largest_that_is_allowed) { // Q-3
  const auto target = "/" + std::string(99, 'a');
  BOOST_TEST((read("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n").now == state::complete));
  BOOST_TEST(read("GET " + target + "a HTTP/1.1\r\nHost: a\r\n\r\n").status == 414);
  const auto rest = 400 - get.size() - 7; // "X: " and two line ends
  BOOST_TEST((read(get + "X: " + std::string(rest, 'a') + "\r\n\r\n").now == state::complete));
  BOOST_TEST(read(get + "X: " + std::string(rest + 1, 'a') + "\r\n\r\n").status == 431);
  BOOST_TEST((read(get + "A:1\r\nB:1\r\nC:1\r\nD:1\r\nE:1\r\n\r\n").now == state::complete));
  BOOST_TEST(
      (read(chunked + "40\r\n" + std::string(64, 'a') + "\r\n0\r\n\r\n").now == state::complete));
  BOOST_TEST((read(chunked + "3;" + std::string(30, 'a') + "\r\nabc\r\n0\r\n\r\n").now
              == state::complete));
  BOOST_TEST(read(chunked + "3;" + std::string(31, 'a') + "\r\nabc\r\n0\r\n\r\n").status == 400);
}

BOOST_AUTO_TEST_CASE(takes_one_empty_line_before_the_request) {
  BOOST_TEST(read("\r\n" + get + "\r\n").text == "GET /?|host=a#");
}

BOOST_AUTO_TEST_CASE(takes_targets_of_all_forms) {
  BOOST_TEST(read("GET http://h:1/p?q HTTP/1.1\r\nHost: a\r\n\r\n").text == "GET /p?q|host=a#");
  BOOST_TEST(read("GET HTTPS://h HTTP/1.1\r\nHost: a\r\n\r\n").text == "GET /?|host=a#");
  BOOST_TEST(read("GET http://h?q HTTP/1.1\r\nHost: a\r\n\r\n").text == "GET /?q|host=a#");
  BOOST_TEST(read("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").text == "OPTIONS *?|host=a#");
  BOOST_TEST(read("GET /? HTTP/1.0\r\n\r\n").text == "GET /?#");
}

BOOST_AUTO_TEST_CASE(knows_who_keeps_the_connection_alive) {
  const auto keeps = [](std::string_view bytes) {
    static const auto bounds = small();
    request_reader reader(bounds);
    reader.feed(bytes);
    BOOST_REQUIRE((reader.now() == state::complete));
    return reader.head().keeps_alive;
  };
  BOOST_TEST(keeps(get + "\r\n"));
  BOOST_TEST(!keeps(get + "Connection: Close\r\n\r\n"));
  BOOST_TEST(!keeps(get + "Connection: keep-alive, close\r\n\r\n"));
  BOOST_TEST(!keeps("GET / HTTP/1.0\r\n\r\n"));
  BOOST_TEST(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
}

BOOST_AUTO_TEST_CASE(keeps_no_memory_for_what_was_only_announced) { // Q-3
  limits bounds;
  bounds.body_bytes_max = std::size_t{1} << 40U;
  request_reader reader(bounds);
  reader.feed(post + "Content-Length: 1000000000000\r\n\r\nabc");
  BOOST_TEST(reader.head().asked.body.capacity() <= 300'000U);
}

BOOST_AUTO_TEST_SUITE_END()
