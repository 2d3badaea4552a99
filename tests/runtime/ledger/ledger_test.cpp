// What every form of the ledger promises.
#include "tests/runtime/ledger/ledger_forms.hpp"

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

BOOST_AUTO_TEST_CASE(events_become_a_batch) {
  ledger::commit_batch batch;
  batch.append({.id = request_id(1), .position = 2, .token = 7});
  batch.append({.id = request_id(2), .position = 3, .token = 8, .reason = finish_reason::stop});
  batch.append({.id = request_id(3), .position = 4, .reason = finish_reason::cancelled});
  BOOST_TEST(batch.tokens.size() == 2U);
  BOOST_TEST(batch.finished.size() == 2U);
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
