#include "actors/front_door/text_stream.hpp"

#include <boost/test/unit_test.hpp>

#include <thread>

using namespace vdist;
using namespace vdist::actors;
using namespace std::chrono_literals;
using protocol::finish_reason;

namespace {

std::shared_ptr<const text::tokenizer> demo_tokenizer() {
  static const auto loaded = *text::tokenizer::load(VDIST_SOURCE_DIR "/examples/models/tiny-tales");
  return loaded;
}

std::vector<token_id> ids_of(std::string_view text) {
  return *demo_tokenizer()->encode(text, text::special_tokens::omit);
}

std::shared_ptr<text_stream> stream_of(text_stream_config config) {
  config.tokenizer = demo_tokenizer();
  auto made = text_stream::make(config);
  BOOST_REQUIRE(made.has_value());
  return *made;
}

void push_all(text_stream& stream,
              const std::vector<token_id>& ids,
              finish_reason reason = finish_reason::none) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const bool is_last = i + 1 == ids.size();
    stream.push({.id = request_id(1),
                 .position = static_cast<std::int32_t>(i),
                 .token = ids[i],
                 .reason = is_last ? reason : finish_reason::none});
  }
}

/// Everything up to the end, read one event at a time where `pushed` has been called so.
text_chunk read_all(text_stream& stream) {
  text_chunk all;
  while (all.reason == finish_reason::none) {
    auto chunk = stream.next(0s);
    BOOST_REQUIRE(chunk.has_value());
    BOOST_REQUIRE(chunk->has_value());
    all.text += (*chunk)->text;
    all.token_ids.insert(
        all.token_ids.end(), (*chunk)->token_ids.begin(), (*chunk)->token_ids.end());
    all.logprobs.insert(all.logprobs.end(), (*chunk)->logprobs.begin(), (*chunk)->logprobs.end());
    all.reason = (*chunk)->reason;
    all.message = (*chunk)->message;
  }
  return all;
}

bool is_whole_utf8(const std::string& text) {
  return text.empty() || demo_tokenizer()->encode(text, text::special_tokens::omit).has_value();
}

} // namespace

BOOST_AUTO_TEST_SUITE(text_stream_rules)

BOOST_AUTO_TEST_CASE(gives_all_tokens_in_order_and_the_end_once) { // D-1
  const auto stream = stream_of({});
  const auto ids = ids_of(" there was a little old woman.");
  push_all(*stream, ids, finish_reason::length);
  const auto all = read_all(*stream);
  BOOST_TEST(all.token_ids == ids, boost::test_tools::per_element());
  BOOST_TEST(all.text == " there was a little old woman.");
  BOOST_TEST((all.reason == finish_reason::length));
  BOOST_TEST((stream->next(0s).error().code == errc::closed));
  BOOST_TEST(stream->times().first.has_value());
}

BOOST_AUTO_TEST_CASE(text_never_ends_inside_a_character) { // D-1
  const auto stream = stream_of({});
  const std::string text = " caf\u00e9 \u4e2d\u6587 \U0001F600!";
  const auto ids = ids_of(text);
  std::string joined;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    stream->push({.position = static_cast<std::int32_t>(i),
                  .token = ids[i],
                  .reason = i + 1 == ids.size() ? finish_reason::length : finish_reason::none});
    const auto chunk = stream->next(0s);
    BOOST_REQUIRE((chunk.has_value() && chunk->has_value()));
    BOOST_TEST(is_whole_utf8((*chunk)->text));
    joined += (*chunk)->text;
  }
  BOOST_TEST(joined == text);
}

BOOST_AUTO_TEST_CASE(a_stop_string_ends_it_cancels_the_rest_and_drops_what_still_comes) { // D-2
  for (const bool is_included : {false, true}) {
    const auto stream = stream_of({.stop = {"old wo"}, .include_stop = is_included});
    int cancels = 0;
    stream->on_cancel([&cancels] { ++cancels; });
    push_all(*stream, ids_of(" a little old woman went out"));
    const auto all = read_all(*stream);
    BOOST_TEST(all.text == (is_included ? " a little old wo" : " a little "));
    BOOST_TEST((all.reason == finish_reason::stop));
    BOOST_TEST(cancels == 1);
    stream->push({.position = 50, .token = 5});
    stream->push({.reason = finish_reason::cancelled});
    BOOST_TEST((stream->next(0s).error().code == errc::closed));
  }
}

BOOST_AUTO_TEST_CASE(a_stop_string_at_the_very_end_wins_over_the_length) {
  const auto stream = stream_of({.stop = {"."}});
  push_all(*stream, ids_of(" The end."), finish_reason::length);
  const auto all = read_all(*stream);
  BOOST_TEST(all.text == " The end");
  BOOST_TEST((all.reason == finish_reason::stop));
}

BOOST_AUTO_TEST_CASE(what_could_become_a_stop_string_comes_out_with_the_end) {
  const auto stream = stream_of({.stop = {"woman and"}});
  push_all(*stream, ids_of(" a little old woman"), finish_reason::length);
  BOOST_TEST(read_all(*stream).text == " a little old woman");
}

BOOST_AUTO_TEST_CASE(a_token_that_ends_by_its_id_is_reported_and_is_no_text) {
  const auto stream = stream_of({});
  const auto ids = ids_of(" yes");
  push_all(*stream, ids);
  stream->push({.position = static_cast<std::int32_t>(ids.size()),
                .token = 13,
                .reason = finish_reason::stop,
                .stop_token = 13});
  const auto all = read_all(*stream);
  BOOST_TEST(all.text == " yes");
  BOOST_TEST(all.token_ids.back() == 13);
}

BOOST_AUTO_TEST_CASE(log_probabilities_come_with_their_tokens_when_asked_for) {
  const auto stream = stream_of({.wants_logprobs = true});
  stream->push({.token = 264, .logprob = -0.5F, .top = {{264, -0.5F}, {308, -1.5F}}});
  stream->push({.position = 1, .token = 308, .reason = finish_reason::length, .logprob = -2.0F});
  const auto all = read_all(*stream);
  BOOST_REQUIRE(all.logprobs.size() == 2U);
  BOOST_TEST(all.logprobs[0].chosen.id == 264);
  BOOST_TEST(all.logprobs[0].chosen.logprob == -0.5F);
  BOOST_TEST(all.logprobs[0].chosen.text == demo_tokenizer()->token_text(264));
  BOOST_REQUIRE(all.logprobs[0].top.size() == 2U);
  BOOST_TEST(all.logprobs[0].top[1].id == 308);
  BOOST_TEST(all.logprobs[1].top.empty());
}

BOOST_AUTO_TEST_CASE(a_failure_brings_its_reason) {
  const auto stream = stream_of({});
  stream->push({.reason = finish_reason::failed, .message = "no replica is alive"});
  const auto all = read_all(*stream);
  BOOST_TEST((all.reason == finish_reason::failed));
  BOOST_TEST(all.message == "no replica is alive");
  BOOST_TEST(!stream->times().first.has_value());
}

BOOST_AUTO_TEST_CASE(waits_for_tokens_and_gives_up_at_its_deadline) {
  const auto stream = stream_of({});
  const auto nothing = stream->next(1ms);
  BOOST_TEST((nothing.has_value() && !nothing->has_value()));
  std::thread router([&stream] { stream->push({.token = 264, .reason = finish_reason::length}); });
  const auto chunk = stream->next(30s);
  router.join();
  BOOST_TEST((chunk.has_value() && chunk->has_value()));
}

BOOST_AUTO_TEST_CASE(a_cancel_is_known_before_it_is_sent) { // O-7
  const auto stream = stream_of({});
  bool was_known = false;
  stream->on_cancel([&] { was_known = stream->is_cancelled(); });
  BOOST_TEST(!stream->is_cancelled());
  stream->cancel();
  BOOST_TEST(was_known);
  BOOST_TEST(stream->is_cancelled());
}

BOOST_AUTO_TEST_CASE(gives_the_same_however_many_tokens_are_taken_at_a_time) { // D-5
  const auto ids = ids_of(" caf\u00e9 \u4e2d\u6587 a little old woman went");
  std::vector<std::string> after(ids.size() + 1); // text that k tokens have given
  for (std::size_t most = 1; most <= ids.size(); ++most) {
    const auto stream = stream_of({.stop = {"woman sat"}});
    push_all(*stream, ids, finish_reason::length);
    std::size_t tokens = 0;
    std::string text;
    while (tokens < ids.size()) {
      const auto chunk = stream->take(most);
      BOOST_REQUIRE((chunk.has_value() && chunk->has_value()));
      tokens += (*chunk)->token_ids.size();
      text += (*chunk)->text;
      BOOST_TEST((*chunk)->token_ids.size() <= most);
      after[tokens] = most == 1 ? text : after[tokens];
      BOOST_TEST(text == after[tokens]);
    }
    BOOST_TEST((stream->take(1).error().code == errc::closed));
  }
}

BOOST_AUTO_TEST_CASE(a_watcher_hears_of_what_comes_and_of_what_was_there) { // D-4

  struct counter final : stream_watcher {
    void on_stream_ready() override { ++calls; }

    int calls = 0;
  };

  const auto stream = stream_of({});
  const auto watcher = std::make_shared<counter>();
  stream->push({.token = 264});
  stream->watch(watcher);
  BOOST_TEST(watcher->calls == 1);
  stream->push({.position = 1, .token = 264});
  BOOST_TEST(watcher->calls == 1, "it has not taken the first one");
  BOOST_REQUIRE((*stream->take(1)).has_value());
  BOOST_REQUIRE((*stream->take(8)).has_value());
  BOOST_TEST(!(*stream->take(8)).has_value());
  stream->push({.position = 2, .token = 264});
  BOOST_TEST(watcher->calls == 2);
  std::weak_ptr<stream_watcher> gone = std::make_shared<counter>();
  stream->watch(gone);
  stream->push({.position = 3, .token = 264});
}

BOOST_AUTO_TEST_CASE(an_end_names_what_stopped_it) {
  const auto by_text = stream_of({.stop = {"x", "old"}});
  push_all(*by_text, ids_of(" a little old woman"));
  BOOST_TEST((*by_text->take(100))->stop_string == "old");
  const auto by_token = stream_of({});
  by_token->push({.token = 13, .reason = finish_reason::stop, .stop_token = 13});
  const auto end = *by_token->take(1);
  BOOST_TEST(end->stop_token == 13);
  BOOST_TEST(end->stop_string.empty());
}

BOOST_AUTO_TEST_CASE(refuses_an_empty_stop_string) {
  const auto made = text_stream::make({.stop = {""}});
  BOOST_REQUIRE(!made.has_value());
  BOOST_TEST((made.error().code == errc::invalid_argument));
}

BOOST_AUTO_TEST_SUITE_END()
