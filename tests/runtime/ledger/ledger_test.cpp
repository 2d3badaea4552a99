// What every form of the ledger promises.
#include "tests/runtime/ledger/ledger_driver.hpp"
#include "tests/runtime/ledger/ledger_forms.hpp"

#include "runtime/protocol/request_codec.hpp"

#include <thread>

using namespace vdist;
using namespace vdist::testing;
using protocol::finish_reason;

BOOST_AUTO_TEST_SUITE(ledger_suite)

BOOST_AUTO_TEST_CASE_TEMPLATE(commits_are_contiguous_and_each_happens_once,
                              form,
                              ledger_forms) { // I3
  form journal;
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}}) == errc::not_found); // I1
  BOOST_TEST(code_of(journal->accept(make_request(1, 3))) == errc::ok);
  BOOST_TEST(code_of(journal->accept(make_request(1, 3))) == errc::invalid_argument);
  BOOST_TEST(commit(*journal, {{request_id(1), 1, 5}}) == errc::corrupt);
  BOOST_TEST(commit(*journal, {{request_id(1), -1, 5}}) == errc::corrupt);
  BOOST_TEST(commit(*journal, {{request_id(1), 0, -1}}) == errc::corrupt);
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}}) == errc::ok);
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}}) == errc::stale);
  BOOST_TEST(commit(*journal, {{request_id(1), 1, 6}, {request_id(1), 2, 7}}) == errc::ok);
  BOOST_TEST(commit(*journal, {{request_id(1), 3, 8}}) == errc::corrupt); // beyond max_tokens
  BOOST_TEST((*journal->tokens(request_id(1)) == std::vector<token_id>{5, 6, 7}));
  BOOST_TEST((*journal->tokens(request_id(1), 2) == std::vector<token_id>{7}));
  BOOST_TEST(journal->tokens(request_id(1), 4).error().code == errc::invalid_argument);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_batch_is_committed_whole_or_not_at_all, form, ledger_forms) { // L-2
  form journal;
  BOOST_TEST(code_of(journal->accept(make_request(1))) == errc::ok);
  BOOST_TEST(code_of(journal->accept(make_request(2))) == errc::ok);
  const std::vector<ledger::finished_request> end{{request_id(1), finish_reason::stop}};
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}, {request_id(2), 1, 5}}, end)
             == errc::corrupt);
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}}, {{request_id(9), finish_reason::stop}})
             == errc::not_found);
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}}, {end[0], end[0]}) == errc::corrupt);
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}}, {{request_id(1), finish_reason::none}})
             == errc::corrupt);
  BOOST_TEST(journal->state(request_id(1))->committed == 0);
  BOOST_TEST(journal->stats().tokens_committed == 0U);
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}, {request_id(2), 0, 5}}, end) == errc::ok);
  BOOST_TEST(journal->state(request_id(1))->reason == finish_reason::stop);
  BOOST_TEST(commit(*journal, {{request_id(1), 1, 5}}) == errc::stale);
  BOOST_TEST(code_of(journal->finish(request_id(1), finish_reason::length)) == errc::stale);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(what_is_unfinished_comes_back_with_its_tokens_in_order_of_arrival,
                              form,
                              ledger_forms) {
  form journal;
  for (const std::uint64_t id : {3, 1, 2}) {
    auto request = make_request(id);
    request.sampling.seed = id * 7;
    request.logit_bias = {{1, 0.5F}};
    BOOST_TEST(code_of(journal->accept(request)) == errc::ok);
  }
  BOOST_TEST(commit(*journal, {{request_id(3), 0, 9}}) == errc::ok);
  BOOST_TEST(code_of(journal->finish(request_id(1), finish_reason::cancelled)) == errc::ok);
  const auto open = journal->unfinished();
  BOOST_TEST(open.size() == 2U);
  BOOST_TEST(open.at(0).id.value == 2U);
  BOOST_TEST(open.at(1).id.value == 3U);
  BOOST_TEST((open.at(1).generated == std::vector<token_id>{9}));
  BOOST_TEST((open.at(1).prompt == std::vector<token_id>{1, 2, 3}));
  BOOST_TEST(open.at(1).sampling.seed == 21U);
  BOOST_TEST(open.at(1).logit_bias.size() == 1U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(an_accepted_request_can_be_committed_to_its_end,
                              form,
                              ledger_forms) { // L-1
  form journal({.requests_max = 2, .tokens_max = 22, .finished_max = 1});
  BOOST_TEST(code_of(journal->accept(make_request(1))) == errc::ok); // 3 + 8
  BOOST_TEST(code_of(journal->accept(make_request(2))) == errc::ok);
  BOOST_TEST(code_of(journal->accept(make_request(3))) == errc::resource_exhausted);
  for (std::int32_t p = 0; p < 8; ++p) {
    BOOST_TEST(commit(*journal, {{request_id(1), p, p}, {request_id(2), p, p}}) == errc::ok);
  }
  BOOST_TEST(code_of(journal->finish(request_id(1), finish_reason::length)) == errc::ok);
  BOOST_TEST(journal->tokens(request_id(1)).has_value()); // kept for a client that comes back
  // A finished request gives way when a new one needs its room.
  BOOST_TEST(code_of(journal->accept(make_request(3))) == errc::ok);
  BOOST_TEST(journal->tokens(request_id(1)).error().code == errc::not_found);
  BOOST_TEST(journal->stats().tokens_reserved == 22U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(finished_requests_are_forgotten_beyond_the_bound_oldest_first,
                              form,
                              ledger_forms) {
  form journal({.finished_max = 2});
  for (std::uint64_t id = 1; id <= 4; ++id) {
    BOOST_TEST(code_of(journal->accept(make_request(id))) == errc::ok);
    BOOST_TEST(code_of(journal->finish(request_id(id), finish_reason::stop)) == errc::ok);
  }
  BOOST_TEST(!journal->state(request_id(2)).has_value());
  BOOST_TEST(journal->state(request_id(3)).has_value());
  BOOST_TEST(journal->stats().finished == 2U);
  BOOST_TEST(journal->stats().unfinished == 0U);
  BOOST_TEST(journal->stats().tokens_reserved == 0U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_request_that_is_not_fresh_is_not_accepted, form, ledger_forms) {
  form journal;
  auto request = make_request(1);
  request.generated = {4};
  BOOST_TEST(code_of(journal->accept(request)) == errc::invalid_argument);
  BOOST_TEST(code_of(journal->accept(make_request(1, 0))) == errc::invalid_argument);
}

namespace {

protocol::token_event event_of(std::uint64_t id, std::int32_t position, token_id token) {
  return {.id = request_id(id), .position = position, .token = token};
}

/// Commits the events, each in a batch of its own or all in one.
void commit_events(ledger::ledger& journal,
                   const std::vector<protocol::token_event>& events,
                   bool is_one_batch) {
  ledger::commit_batch batch;
  for (const auto& event : events) {
    batch.append(event);
    if (!is_one_batch) {
      BOOST_REQUIRE(code_of(journal.commit(batch)) == errc::ok);
      batch.clear();
    }
  }
  BOOST_REQUIRE(code_of(journal.commit(batch)) == errc::ok);
}

} // namespace

BOOST_AUTO_TEST_CASE_TEMPLATE(a_replay_is_what_was_sent, form, ledger_forms) { // L-7
  const auto sent_for = [](std::uint64_t id, bool asked, const protocol::token_event& end) {
    std::vector<protocol::token_event> events;
    for (std::int32_t p = 0; p < 70; ++p) {
      auto& event = events.emplace_back(event_of(id, p, 500 - p));
      if (asked) {
        event.logprob = -static_cast<float>(p) / 3;
        event.top = {{500 - p, event.logprob}, {p, -static_cast<float>(p)}};
        event.top.resize(p % 3 == 2 ? 1 : 2);
      }
    }
    if (end.token >= 0) {
      events.back().reason = end.reason;
      events.back().stop_token = end.reason == finish_reason::stop ? events.back().token : -1;
    } else {
      events.push_back(end);
    }
    return events;
  };
  const auto with = [](std::uint64_t id, token_id token, finish_reason reason, std::string text) {
    auto end = event_of(id, 70, token);
    end.reason = reason;
    end.message = std::move(text);
    return end;
  };
  const std::vector<std::vector<protocol::token_event>> sent{
      sent_for(1, true, with(1, 0, finish_reason::length, "")),
      sent_for(2, true, with(2, 0, finish_reason::stop, "")),
      sent_for(3, false, with(3, 0, finish_reason::stop, "")),
      sent_for(4, true, with(4, -1, finish_reason::cancelled, "")),
      sent_for(5, false, with(5, -1, finish_reason::failed, "no replica is alive")),
      sent_for(6, true, with(6, -1, finish_reason::failed, std::string(300, 'x'))),
      {event_of(7, 0, -1)}};
  form journal;
  for (const auto& events : sent) {
    auto request = make_request(events[0].id.value, 70);
    request.sampling.logprobs = request.id.value % 3 == 0 ? 3 : 2;
    if (events[0].top.empty()) {
      request.sampling.logprobs = -1;
    }
    BOOST_REQUIRE(code_of(journal->accept(request)) == errc::ok);
    commit_events(*journal, events, request.id.value % 2 == 0);
    const auto id = events[0].id;
    for (std::int32_t from = 0; events[0].token >= 0 && from <= 70; ++from) {
      const auto begin = events.begin() + std::min<std::ptrdiff_t>(from, std::ssize(events) - 1);
      std::vector<protocol::token_event> rest(begin, events.end());
      if (from == 70 && rest[0].token >= 0) { // the end that was with the token before
        rest[0] = with(id.value, -1, rest[0].reason, "");
        rest[0].stop_token = rest[0].reason == finish_reason::stop ? events.back().token : -1;
      }
      BOOST_REQUIRE_EQUAL(dump(*journal->replay(id, from)), dump(rest));
    }
    BOOST_TEST(journal->replay(id, 71).error().code == errc::invalid_argument);
    BOOST_TEST(journal->replay(id, -1).error().code == errc::invalid_argument);
  }
  BOOST_TEST(journal->replay(request_id(7))->empty());
  BOOST_TEST(journal->replay(request_id(8)).error().code == errc::not_found);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(keeps_as_many_alternatives_as_were_asked_for, form, ledger_forms) {
  form journal;
  auto none = make_request(1);
  auto one = make_request(2);
  one.sampling.logprobs = 1;
  BOOST_REQUIRE(code_of(journal->accept(none)) == errc::ok);
  BOOST_REQUIRE(code_of(journal->accept(one)) == errc::ok);
  BOOST_TEST(ledger::room_of(none) == 3U + 8U);
  BOOST_TEST(ledger::room_of(one) == 3U + 8U * (1 + 2 + 2));
  const std::vector<protocol::token_logprob> top{{5, -0.5F}, {6, -1.5F}};
  BOOST_TEST(
      commit(*journal, {{request_id(1), 0, 5, -0.5F, top}, {request_id(2), 0, 5, -0.5F, top}})
      == errc::ok);
  BOOST_TEST(journal->replay(request_id(1))->at(0).logprob == 0);
  BOOST_TEST(journal->replay(request_id(1))->at(0).top.empty());
  BOOST_TEST(journal->replay(request_id(2))->at(0).logprob == -0.5F);
  BOOST_TEST(journal->replay(request_id(2))->at(0).top.size() == 1U);
  BOOST_TEST(journal->replay(request_id(2))->at(0).top.at(0).token == 5);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_long_text_is_cut_between_characters, form, ledger_forms) {
  form journal;
  BOOST_REQUIRE(code_of(journal->accept(make_request(1))) == errc::ok);
  std::string text(ledger::message_bytes_max - 1, 'a');
  text += "\xc3\xa9"; // one character of two bytes, the second one too many
  BOOST_REQUIRE(code_of(journal->finish(request_id(1), finish_reason::failed, text)) == errc::ok);
  BOOST_TEST(journal->replay(request_id(1))->at(0).message
             == std::string(ledger::message_bytes_max - 1, 'a'));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_client_key_finds_its_request_as_long_as_it_is_held,
                              form,
                              ledger_forms) {
  form journal({.finished_max = 1});
  const auto with_key = [](std::uint64_t id, std::uint64_t key) {
    auto request = make_request(id);
    request.client_key = key;
    return request;
  };
  BOOST_TEST(!journal->find(0).has_value());
  BOOST_TEST(code_of(journal->accept(with_key(1, 70))) == errc::ok);
  BOOST_TEST(code_of(journal->accept(with_key(2, 0))) == errc::ok);
  BOOST_TEST(code_of(journal->accept(with_key(3, 0))) == errc::ok); // no key is no name
  BOOST_TEST(code_of(journal->accept(with_key(4, 70))) == errc::invalid_argument);
  BOOST_TEST(journal->find(70)->value == 1U);
  BOOST_TEST(!journal->find(0).has_value());
  BOOST_TEST(!journal->find(71).has_value());
  BOOST_TEST(journal->unfinished().at(0).client_key == 70U);
  BOOST_TEST(code_of(journal->finish(request_id(1), finish_reason::stop)) == errc::ok);
  BOOST_TEST(journal->find(70)->value == 1U);
  BOOST_TEST(code_of(journal->finish(request_id(2), finish_reason::stop)) == errc::ok);
  BOOST_TEST(!journal->find(70).has_value()); // forgotten
  BOOST_TEST(code_of(journal->accept(with_key(4, 70))) == errc::ok);
  BOOST_TEST(journal->find(70)->value == 4U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_key_stands_for_a_body_also_when_the_request_has_ended,
                              form,
                              ledger_forms) {
  form journal({.finished_max = 4});
  auto request = make_request(1);
  request.client_key = 70;
  const auto body = protocol::body_hash(request);
  BOOST_TEST(code_of(journal->accept(request)) == errc::ok);
  BOOST_TEST(journal->state(request_id(1))->body_hash == body);
  BOOST_TEST(code_of(journal->accept(make_request(2))) == errc::ok);
  BOOST_TEST(journal->state(request_id(2))->body_hash == 0U, "nobody can ask for it by a key");
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}}) == errc::ok);
  BOOST_TEST(code_of(journal->finish(request_id(1), finish_reason::stop)) == errc::ok);
  BOOST_TEST(journal->state(request_id(1))->body_hash == body);
  BOOST_TEST(journal->list(1).at(0).body_hash == body);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(the_highest_id_outlives_its_request, form, ledger_forms) {
  form journal({.finished_max = 0});
  BOOST_TEST(journal->highest_id().value == 0U);
  BOOST_TEST(code_of(journal->accept(make_request(9))) == errc::ok);
  BOOST_TEST(code_of(journal->accept(make_request(4))) == errc::ok);
  BOOST_TEST(code_of(journal->finish(request_id(9), finish_reason::stop)) == errc::ok);
  BOOST_TEST(journal->list(10).size() == 1U);
  BOOST_TEST(journal->highest_id().value == 9U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(strikes_add_up_until_a_token_is_committed, form, ledger_forms) {
  form journal;
  for (const std::uint64_t id : {1, 2, 3}) {
    BOOST_REQUIRE(code_of(journal->accept(make_request(id))) == errc::ok);
  }
  BOOST_REQUIRE(code_of(journal->finish(request_id(3), finish_reason::stop)) == errc::ok);
  const std::vector<request_id> all{request_id(1), request_id(2), request_id(3), request_id(9)};
  journal->strike(all);
  const std::vector<request_id> twice{request_id(1), request_id(2), request_id(1)};
  journal->strike(twice);
  BOOST_TEST(journal->strikes(request_id(1)) == 2);
  BOOST_TEST(journal->strikes(request_id(2)) == 2);
  BOOST_TEST(journal->strikes(request_id(3)) == 0); // has ended
  BOOST_TEST(journal->strikes(request_id(9)) == 0); // is not held
  BOOST_TEST(journal->list(10).at(0).strikes == 2);
  // A batch that is refused takes none away (L-2).
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}, {request_id(2), 1, 5}}) == errc::corrupt);
  BOOST_TEST(journal->strikes(request_id(1)) == 2);
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}}) == errc::ok);
  BOOST_TEST(journal->strikes(request_id(1)) == 0);
  BOOST_TEST(journal->strikes(request_id(2)) == 2);
  journal->strike(std::span(all).first(1));
  BOOST_TEST(journal->strikes(request_id(1)) == 1);
  for (int i = 0; i < 300; ++i) {
    journal->strike(all);
  }
  BOOST_TEST(journal->strikes(request_id(1)) == 255);
}

BOOST_AUTO_TEST_CASE(limits_keep_as_many_ends_as_may_be_under_way) { // L-8
  BOOST_TEST(ledger::limits_for(10).finished_max == ledger::ledger_limits{}.finished_max);
  BOOST_TEST(ledger::limits_for(10).requests_max == ledger::ledger_limits{}.requests_max);
  BOOST_TEST(ledger::limits_for(100000).finished_max == 100000U);
  BOOST_TEST(ledger::limits_for(100000).requests_max == 100000U);
  BOOST_TEST(ledger::ledger_bytes(ledger::limits_for(1U << 20U)) > 0U);
  shared_form journal({.requests_max = 5, .tokens_max = 900, .finished_max = 7});
  BOOST_TEST(journal->limits().finished_max == 7U);
  BOOST_TEST(journal->limits().requests_max == 5U);
}

BOOST_AUTO_TEST_CASE(events_become_a_batch) {
  ledger::commit_batch batch;
  batch.append({.id = request_id(1), .position = 2, .token = 7});
  batch.append({.id = request_id(2), .position = 3, .token = 8, .reason = finish_reason::stop});
  batch.append({.id = request_id(3), .position = 4, .reason = finish_reason::cancelled});
  BOOST_TEST(batch.tokens.size() == 2U);
  BOOST_TEST(batch.finished.size() == 2U);
  BOOST_TEST(batch.finished.at(0).comes_with_token);
  BOOST_TEST(!batch.finished.at(1).comes_with_token);
  BOOST_TEST(batch.tokens.at(1).position == 3);
  BOOST_TEST(batch.finished.at(1).id.value == 3U);
  batch.clear();
  BOOST_TEST(batch.tokens.empty());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(router_and_step_threads_work_at_once, form, ledger_forms) {
  constexpr std::uint64_t requests = 200;
  constexpr std::int32_t tokens = 20;
  form journal({.finished_max = 2 * requests});
  const auto serve = [&journal](std::uint64_t first) {
    // Every thread accepts and serves its own requests; all share the lock.
    bool is_good = true;
    for (std::uint64_t id = first; id < first + requests; ++id) {
      is_good = is_good && journal->accept(make_request(id, tokens)).has_value();
      for (std::int32_t p = 0; p < tokens; ++p) {
        is_good = is_good && commit(*journal, {{request_id(id), p, p}}) == errc::ok;
      }
      is_good = is_good && journal->finish(request_id(id), finish_reason::length).has_value();
    }
    return is_good;
  };
  bool is_first_good = false;
  std::thread other([&serve, &is_first_good] { is_first_good = serve(1); });
  const bool is_second_good = serve(requests + 1);
  const auto seen = journal->unfinished();
  other.join();
  BOOST_TEST(is_first_good);
  BOOST_TEST(is_second_good);
  BOOST_TEST(seen.size() <= 1U);
  BOOST_TEST(journal->stats().tokens_committed == 2U * requests * tokens);
  BOOST_TEST(journal->unfinished().empty());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(a_refused_accept_forgets_nothing, form, ledger_forms) {
  form journal({.requests_max = 4, .tokens_max = 22, .finished_max = 4});
  BOOST_TEST(code_of(journal->accept(make_request(1))) == errc::ok);
  BOOST_TEST(commit(*journal, {{request_id(1), 0, 5}}, {{request_id(1), finish_reason::stop}})
             == errc::ok);
  BOOST_TEST(code_of(journal->accept(make_request(2, 12))) == errc::ok);
  BOOST_TEST(code_of(journal->accept(make_request(3, 5))) == errc::resource_exhausted);
  BOOST_TEST(journal->tokens(request_id(1)).has_value());
  BOOST_TEST(code_of(journal->accept(make_request(3, 4))) == errc::ok);
  BOOST_TEST(!journal->tokens(request_id(1)).has_value());
}

BOOST_AUTO_TEST_CASE_TEMPLATE(lists_of_ids_and_biases_take_room_too, form, ledger_forms) { // L-1
  form journal({.requests_max = 4, .tokens_max = 20, .finished_max = 4});
  auto request = make_request(1); // 3 + 8
  request.eos_ids = {1, 2};
  request.stop_token_ids = {3};
  request.logit_bias = {{1, 1.0F}, {2, 1.0F}, {3, 1.0F}};
  BOOST_TEST(ledger::room_of(request) == 20U);
  BOOST_TEST(code_of(journal->accept(request)) == errc::ok);
  BOOST_TEST(journal->stats().tokens_reserved == 20U);
}

BOOST_AUTO_TEST_CASE_TEMPLATE(lists_what_it_holds_in_order_of_arrival, form, ledger_forms) {
  manual_clock time;
  form journal({.finished_max = 1}, &time);
  for (const std::uint64_t id : {3, 1, 2}) {
    time.advance(std::chrono::seconds(1));
    BOOST_TEST(code_of(journal->accept(make_request(id))) == errc::ok);
  }
  const auto before = time.now();
  time.advance(std::chrono::seconds(1));
  const std::vector<ledger::finished_request> end{{request_id(3), finish_reason::stop}};
  BOOST_TEST(commit(*journal, {{request_id(2), 0, 5}}, end) == errc::ok);
  const auto all = journal->list(100);
  BOOST_REQUIRE(all.size() == 3U);
  BOOST_TEST(all[0].id.value == 1U);
  BOOST_TEST(all[1].committed == 1);
  BOOST_TEST(all[1].prompt_tokens == 3);
  BOOST_TEST(all[1].max_tokens == 8);
  BOOST_TEST((all[1].accepted == before));
  BOOST_TEST((all[1].finished == time_point{}));
  BOOST_TEST(all[2].reason == finish_reason::stop);
  BOOST_TEST((all[2].finished == time.now()));
  BOOST_TEST(journal->list(2).size() == 2U);
}

BOOST_AUTO_TEST_SUITE_END()
