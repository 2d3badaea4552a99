// What a load's client reads, in whatever pieces it comes.
#include "tests/bench/serve/http_wire.hpp"

#include "tests/bench/serve/answer_reader.hpp"
#include "tests/bench/serve/chunk_facts.hpp"

#include <boost/test/unit_test.hpp>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

using namespace vdist;
using namespace vdist::bench::serve;
using namespace std::chrono_literals;
using state = response_parser::state;

namespace {

struct parsed {
  state at_end = state::head;
  int status = 0;
  std::string body;
  std::size_t left = 0; // bytes that were not taken
  bool keeps_alive = false;
  bool is_event_stream = false;
};

parsed parse(std::string_view text, std::size_t piece_bytes, bool then_ends = false) {
  response_parser parser;
  parsed got;
  std::size_t taken = 0;
  while (taken < text.size()) {
    const auto piece = text.substr(taken, piece_bytes);
    const auto of_piece = parser.feed(piece, [&got](std::string_view part) { got.body += part; });
    taken += of_piece;
    if (of_piece < piece.size() || parser.now() == state::broken) {
      break;
    }
  }
  if (then_ends) {
    parser.end();
  }
  got.at_end = parser.now();
  got.status = parser.status();
  got.left = text.size() - std::min(taken, text.size());
  got.keeps_alive = parser.keeps_alive();
  got.is_event_stream = parser.is_event_stream();
  return got;
}

/// The same for every size of the pieces (R-1).
parsed parse_in_pieces(std::string_view text, bool then_ends = false) {
  const auto whole = parse(text, text.size(), then_ends);
  for (std::size_t bytes = 1; bytes <= std::min<std::size_t>(text.size(), 40); ++bytes) {
    const auto got = parse(text, bytes, then_ends);
    BOOST_TEST(got.body == whole.body);
    BOOST_TEST((got.at_end == whole.at_end), "pieces of " << bytes);
    BOOST_TEST(got.status == whole.status);
  }
  return whole;
}

std::vector<std::string> events_of(std::string_view text, std::size_t piece_bytes) {
  event_parser parser;
  std::vector<std::string> all;
  for (; !text.empty(); text.remove_prefix(std::min(piece_bytes, text.size()))) {
    BOOST_TEST(parser.feed(text.substr(0, piece_bytes),
                           [&all](std::string_view data) { all.emplace_back(data); }));
  }
  return all;
}

constexpr std::string_view stream_head =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";

answer_figures read(int status, bool is_stream, const std::vector<std::string>& parts) {
  answer_reader reader;
  reader.begin(status, is_stream);
  time_point now{};
  for (const auto& part : parts) {
    now += 10ms;
    reader.take(part, now);
  }
  return reader.finish();
}

std::string event(std::string_view data) {
  return "data: " + std::string(data) + "\n\n";
}

std::string chunk(std::string_view text, int tokens_so_far = 0) {
  auto made = R"({"choices":[{"index":0,"text":")" + std::string(text) + R"("}])";
  if (tokens_so_far > 0) {
    made +=
        R"(,"usage":{"prompt_tokens":3,"completion_tokens":)" + std::to_string(tokens_so_far) + "}";
  }
  return event(made + "}");
}

} // namespace

BOOST_AUTO_TEST_SUITE(http_wire)

BOOST_AUTO_TEST_CASE(a_body_ends_by_its_length) { // R-1, R-3
  const auto got =
      parse_in_pieces("HTTP/1.1 429 Too Many\r\nretry-after: 1\r\nContent-LENGTH:  5\r\n\r\nhello");
  BOOST_TEST((got.at_end == state::complete));
  BOOST_TEST(got.status == 429);
  BOOST_TEST(got.body == "hello");
  BOOST_TEST(got.keeps_alive);
  const auto more = parse("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhelloHTTP", 100);
  BOOST_TEST(more.body == "he");
  BOOST_TEST(more.left == 7U);
}

BOOST_AUTO_TEST_CASE(chunks_end_by_the_empty_one) { // R-1
  const auto text = std::string(stream_head)
                    + "4\r\nWiki\r\n6;name=value\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n"
                      "0\r\nX-Trailer: 1\r\n\r\n";
  const auto got = parse_in_pieces(text);
  BOOST_TEST((got.at_end == state::complete));
  BOOST_TEST(got.body == "Wikipedia in \r\n\r\nchunks.");
  BOOST_TEST(got.is_event_stream);
}

BOOST_AUTO_TEST_CASE(a_body_without_length_ends_with_the_connection) {
  const std::string_view text = "HTTP/1.0 200 OK\r\n\r\nall of it";
  BOOST_TEST((parse_in_pieces(text).at_end == state::body));
  const auto got = parse_in_pieces(text, true);
  BOOST_TEST((got.at_end == state::complete));
  BOOST_TEST(got.body == "all of it");
  BOOST_TEST(!got.keeps_alive);
}

BOOST_AUTO_TEST_CASE(an_end_before_the_end_is_broken) {
  for (const std::string_view text :
       {"",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nWiki\r\n"}) {
    BOOST_TEST((parse(text, 7, true).at_end == state::broken), text);
  }
}

BOOST_AUTO_TEST_CASE(interim_answers_are_skipped_and_garbage_is_broken) {
  const auto got = parse_in_pieces(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
  BOOST_TEST((got.at_end == state::complete));
  BOOST_TEST(got.status == 204);
  BOOST_TEST(!got.keeps_alive);
  for (const std::string_view text :
       {"SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n"}) {
    BOOST_TEST((parse_in_pieces(text).at_end == state::broken), text);
  }
}

BOOST_AUTO_TEST_CASE(nothing_grows_without_bound) { // R-2
  const auto endless_head = "HTTP/1.1 200 OK\r\nx: " + std::string(2 * head_bytes_max, 'a');
  BOOST_TEST((parse(endless_head, 4096).at_end == state::broken));
  const auto endless_line = std::string(stream_head) + std::string(2 * line_bytes_max, '1');
  BOOST_TEST((parse(endless_line, 100).at_end == state::broken));
  event_parser parser;
  const std::string part(std::size_t{1} << 20U, 'a');
  bool is_taken = parser.feed("data: ", [](std::string_view) {});
  for (int i = 0; i < 5 && is_taken; ++i) {
    is_taken = parser.feed(part, [](std::string_view) {});
  }
  BOOST_TEST(!is_taken);
}

BOOST_AUTO_TEST_CASE(events_come_out_whole_however_they_are_cut) { // R-1
  const std::string_view text =
      ": a comment\nid: 1\ndata: {\"a\":1}\n\ndata:two\r\ndata: lines\r\n\r\n"
      "event: ping\n\ndatabase: no\n\ndata\rdata: x\r\rdata: [DONE]\n\ndata: cut";
  const std::vector<std::string> expected{"{\"a\":1}", "two\nlines", "\nx", "[DONE]"};
  for (std::size_t bytes = 1; bytes <= text.size(); ++bytes) {
    BOOST_TEST(events_of(text, bytes) == expected, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(answers)

BOOST_AUTO_TEST_CASE(tokens_are_those_that_the_server_counts) { // A-2
  const auto got =
      read(200,
           true,
           {chunk("a", 1),
            chunk("b", 2),
            chunk("c", 4), // one was no whole character
            chunk("", 4),  // the end
            event(R"({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}})"),
            event("[DONE]")});
  BOOST_TEST((got.how == outcome::ok));
  BOOST_TEST(got.output_tokens == 4);
  BOOST_TEST(got.input_tokens == 3);
  BOOST_TEST(got.events == 3);
  BOOST_REQUIRE(got.gaps.size() == 2U);
  BOOST_TEST(got.gaps[0].ms == 10.0);
  BOOST_TEST(got.gaps[0].tokens == 1);
  BOOST_TEST(got.gaps[1].tokens == 2);
  BOOST_TEST((*got.first == time_point{} + 10ms));
  BOOST_TEST((*got.last == time_point{} + 30ms), "neither the end nor the usage brings a token");
}

BOOST_AUTO_TEST_CASE(without_usage_an_event_with_text_is_a_token) { // A-2
  const auto role =
      event(R"({"choices":[{"delta":{"role":"assistant","content":""}}],"usage":null})");
  const auto word = event(R"({"choices":[{"delta":{"content":"a"}}],"usage":null})");
  const auto got = read(200, true, {role, word, word + word, event("[DONE]")});
  BOOST_TEST((got.how == outcome::ok));
  BOOST_TEST(got.output_tokens == 3);
  BOOST_TEST((*got.first == time_point{} + 20ms), "a role is no token");
  BOOST_TEST(got.gaps.at(1).ms == 0.0);
}

BOOST_AUTO_TEST_CASE(a_stream_is_ok_only_with_its_end) { // A-1
  BOOST_TEST((read(200, true, {chunk("a")}).how == outcome::cut));
  BOOST_TEST((read(200, true, {event("[DONE]")}).how == outcome::ok));
  BOOST_TEST((read(200, true, {chunk("a"), event("{nonsense"), event("[DONE]")}).how
              == outcome::malformed));
  const auto failed =
      read(200, true, {chunk("a"), event(R"({"error":{"message":"no memory"}})"), event("[DONE]")});
  BOOST_TEST((failed.how == outcome::stream_error));
  BOOST_TEST(failed.error == "no memory");
}

BOOST_AUTO_TEST_CASE(a_chunk_is_read_where_its_values_stand) {
  const auto facts = read_chunk(
      R"({"id":"text","choices":[{"index":0,"delta":{"content":"","x":{"content":"no"}},"y":[{"text":"no"}]},)"
      R"({"text":"of another choice"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"d":{"completion_tokens":9}},)"
      R"("text":"no","error":null})");
  BOOST_REQUIRE(facts.has_value());
  BOOST_TEST(facts->has_choice);
  BOOST_TEST(!facts->has_text);
  BOOST_TEST(!facts->has_error);
  BOOST_TEST(facts->has_usage);
  BOOST_TEST(facts->prompt_tokens == 3);
  BOOST_TEST(facts->completion_tokens == 4);
  const auto text_in = [](std::string_view choice) {
    return read_chunk(R"({"choices":[)" + std::string(choice) + "]}")->has_text;
  };
  BOOST_TEST(text_in(R"({"text":"a"})"));
  BOOST_TEST(text_in(R"({"delta":{"content":"a"}})"));
  BOOST_TEST(text_in(R"({"delta":{"reasoning_content":"a"}})"));
  BOOST_TEST(text_in(R"({"delta":{"tool_calls":[{}]}})"));
  BOOST_TEST(!text_in(R"({"delta":{"tool_calls":[]}})"));
  BOOST_TEST(!text_in(R"({"text":null})"));
  BOOST_TEST(!read_chunk(R"({"choices":[]})")->has_choice);
  for (const auto* error : {"{}", "\"a\"", "1", "true", "[]", "1.5", "-1"}) {
    BOOST_TEST(read_chunk(R"({"error":)" + std::string(error) + "}")->has_error, error);
  }
  for (const auto& text : {std::string("[]"),
                           std::string("1"),
                           std::string("{"),
                           std::string(),
                           std::string(R"({"a":1}x)"),
                           R"({"a":)" + std::string(100, '[') + std::string(100, ']') + "}"}) {
    BOOST_TEST(!read_chunk(text).has_value(), text);
  }
}

BOOST_AUTO_TEST_CASE(whole_answers_and_refusals) {
  const auto whole = read(
      200,
      false,
      {R"({"choices":[{"text":"a b"}],"usage":{"prompt_tok)", R"(ens":2,"completion_tokens":7}})"});
  BOOST_TEST((whole.how == outcome::ok));
  BOOST_TEST(whole.output_tokens == 7);
  BOOST_TEST(!whole.first.has_value());
  BOOST_TEST((read(200, false, {"{}"}).how == outcome::malformed));
  BOOST_TEST((read(200, false, {"<html>"}).how == outcome::malformed));
  const auto refused = read(429, false, {R"({"error":{"message":"later"}})"});
  BOOST_TEST((refused.how == outcome::refused));
  BOOST_TEST(refused.error == "later");
  BOOST_TEST((read(500, false, {}).how == outcome::http_error));
}

BOOST_AUTO_TEST_SUITE_END()
