// What only the form in shared memory can do wrong: formats, foreign bytes, pages, allocations.
#include "tests/runtime/ledger/ledger_driver.hpp"
#include "tests/runtime/ledger/ledger_forms.hpp"
#include "tests/support/counted_allocations.hpp"

#include "runtime/ledger/ledger_reader.hpp"

#include <algorithm>
#include <array>

using namespace vdist;
using namespace vdist::testing;
using protocol::finish_reason;

BOOST_AUTO_TEST_SUITE(shared_ledger_suite)

namespace {

constexpr ledger::ledger_limits small{.requests_max = 4, .tokens_max = 800, .finished_max = 2};

errc open_code(std::span<std::byte> region) {
  const auto journal = ledger::open_ledger(region);
  return journal ? errc::ok : journal.error().code;
}

/// A copy of a region that can be damaged.
class damaged_copy {
public:
  explicit damaged_copy(std::span<const std::byte> region) : memory_(region.size()) {
    std::copy(region.begin(), region.end(), memory_.span().begin());
  }

  [[nodiscard]] std::span<std::byte> span() const { return memory_.span(); }

  ledger::shared_header& header() {
    return *reinterpret_cast<ledger::shared_header*>(memory_.span().data());
  }

  ledger::shared_entry& entry(std::uint32_t slot) {
    const auto at = ledger::layout_of(small)->entries_at;
    return reinterpret_cast<ledger::shared_entry*>(memory_.span().data() + at)[slot];
  }

private:
  shared_memory memory_;
};

/// Two open requests with tokens in two blocks each, and a finished one. Request 1 asked for log
/// probabilities; all have a client key.
void fill(shared_form& journal) {
  for (const std::uint64_t id : {1, 2, 3}) {
    auto request = make_request(id, 100);
    request.client_key = 1000 + id;
    request.sampling.logprobs = id == 1 ? 0 : -1;
    BOOST_REQUIRE(code_of(journal->accept(request)) == errc::ok);
    for (std::int32_t p = 0; p < 70; ++p) {
      BOOST_REQUIRE(commit(*journal, {{request_id(id), p, p, -0.5F}}) == errc::ok);
    }
  }
  BOOST_REQUIRE(code_of(journal->finish(request_id(3), finish_reason::failed, "a text"))
                == errc::ok);
}

} // namespace

BOOST_AUTO_TEST_CASE(limits_decide_the_size_and_too_large_ones_have_none) {
  BOOST_TEST(ledger::ledger_bytes({}) > (std::size_t{512} << 20U));
  BOOST_TEST(ledger::ledger_bytes({}) < (std::size_t{1} << 30U));
  BOOST_TEST(ledger::ledger_bytes({.tokens_max = ~std::uint64_t{0}}) == 0U);
  BOOST_TEST(ledger::ledger_bytes({.requests_max = 0xffffffff, .finished_max = 0xffffffff}) == 0U);
  const shared_memory memory(ledger::ledger_bytes(small));
  BOOST_TEST(code_of(ledger::format_ledger(memory.span(), {})) == errc::invalid_argument);
  BOOST_TEST(code_of(ledger::format_ledger(memory.span().subspan(8), small))
             == errc::invalid_argument);
  BOOST_TEST(code_of(ledger::format_ledger({}, small)) == errc::invalid_argument);
}

BOOST_AUTO_TEST_CASE(a_default_ledger_costs_the_pages_that_it_uses) {
  shared_form journal;
  for (std::uint64_t id = 1; id <= 1000; ++id) {
    BOOST_REQUIRE(code_of(journal->accept(make_request(id, 1000))) == errc::ok);
    BOOST_REQUIRE(commit(*journal, {{request_id(id), 0, 1}}) == errc::ok);
  }
  BOOST_TEST(journal.memory().touched() < (std::size_t{1} << 20U));
  // Months in short: room is used again, not more and more of it.
  for (std::uint64_t id = 1; id <= 20000; ++id) {
    if (id > 1000) {
      BOOST_REQUIRE(code_of(journal->accept(make_request(id, 1000))) == errc::ok);
      BOOST_REQUIRE(commit(*journal, {{request_id(id), 0, 1}}) == errc::ok);
    }
    BOOST_REQUIRE(code_of(journal->finish(request_id(id), finish_reason::stop)) == errc::ok);
  }
  BOOST_TEST(journal.memory().touched() < (std::size_t{4} << 20U));
}

BOOST_AUTO_TEST_CASE(formatting_forgets_everything_that_was_there) {
  shared_form journal(small);
  fill(journal);
  BOOST_TEST(code_of(ledger::format_ledger(journal.memory().span(), small)) == errc::ok);
  journal.reopen();
  BOOST_TEST(journal->list(100).empty());
  BOOST_TEST(journal->stats().tokens_committed == 0U);
  fill(journal); // on dirty memory
  BOOST_TEST(journal->list(100).size() == 3U);
}

BOOST_AUTO_TEST_CASE(a_successor_keeps_the_order_of_ends_and_the_dates) {
  manual_clock time;
  shared_form journal({.requests_max = 4, .tokens_max = 600, .finished_max = 2}, &time);
  for (const std::uint64_t id : {1, 2, 3}) {
    BOOST_TEST(code_of(journal->accept(make_request(id))) == errc::ok);
  }
  time.advance(std::chrono::seconds(5));
  BOOST_TEST(code_of(journal->finish(request_id(2), finish_reason::stop)) == errc::ok);
  BOOST_TEST(code_of(journal->finish(request_id(1), finish_reason::stop)) == errc::ok);
  journal.reopen();
  BOOST_TEST((journal->list(1).at(0).finished == time.now()));
  BOOST_TEST(code_of(journal->finish(request_id(3), finish_reason::stop)) == errc::ok);
  BOOST_TEST(!journal->state(request_id(2)).has_value()); // the oldest end, not the oldest request
  BOOST_TEST(journal->state(request_id(1)).has_value());
}

BOOST_AUTO_TEST_CASE(a_commit_allocates_nothing) {
  constexpr std::uint64_t requests = 64;
  constexpr std::int32_t tokens = 200;
  shared_form journal({.requests_max = 64, .tokens_max = 60000, .finished_max = 8});
  for (std::uint64_t id = 1; id <= requests; ++id) {
    auto request = make_request(id, tokens);
    request.client_key = id;
    request.sampling.logprobs = id % 2 == 0 ? 1 : -1;
    BOOST_REQUIRE(code_of(journal->accept(request)) == errc::ok);
  }
  constexpr std::array<protocol::token_logprob, 1> top{{{7, -0.5F}}};
  ledger::commit_batch batch;
  batch.tokens.resize(requests);
  batch.finished.reserve(requests);
  std::size_t made = 0;
  bool is_good = true;
  for (std::int32_t p = 0; p < tokens; ++p) {
    for (std::uint64_t i = 0; i < requests; ++i) {
      batch.tokens[i] = {request_id(i + 1), p, p, -1.5F, top};
      if (p + 1 == tokens) { // more than are kept
        batch.finished.push_back({request_id(i + 1), finish_reason::length});
      }
    }
    const auto before = allocations();
    is_good = journal->commit(batch.tokens, batch.finished).has_value() && is_good;
    made += allocations() - before;
  }
  BOOST_TEST(is_good);
  BOOST_TEST(made == 0U);
  BOOST_TEST(journal->stats().finished == 8U);
}

BOOST_AUTO_TEST_CASE(foreign_and_damaged_headers_do_not_open) { // L-5
  shared_form journal(small);
  fill(journal);
  const auto region = journal.memory().span();
  BOOST_TEST(open_code({}) == errc::corrupt);
  BOOST_TEST(open_code(region.first(64)) == errc::corrupt);
  BOOST_TEST(open_code(region.first(region.size() - 1)) == errc::corrupt);
  BOOST_TEST(open_code(region.subspan(4)) == errc::invalid_argument);
  BOOST_TEST(open_code(shared_memory(1U << 16U).span()) == errc::corrupt);
  const auto with = [region](auto&& damage) {
    damaged_copy copy(region);
    damage(copy.header());
    return open_code(copy.span());
  };
  BOOST_TEST(with([](auto&) {}) == errc::ok);
  BOOST_TEST(with([](auto& h) { h.magic.set(1); }) == errc::corrupt);
  BOOST_TEST(with([](auto& h) { h.layout.set(ledger::shared_version + 1); }) == errc::unsupported);
  BOOST_TEST(with([](auto& h) { h.requests_max.set(0xffffffff); }) == errc::corrupt);
  BOOST_TEST(with([](auto& h) { h.requests_max.set(1); }) == errc::corrupt);
  BOOST_TEST(with([](auto& h) { h.tokens_max.set(1U << 20U); }) == errc::corrupt);
  BOOST_TEST(with([](auto& h) { h.tokens_max.set(~std::uint64_t{0}); }) == errc::corrupt);
  BOOST_TEST(with([](auto& h) { h.published.set(0); }) == errc::corrupt);
  BOOST_TEST(with([](auto& h) { h.published.set(~std::uint64_t{0}); }) == errc::corrupt);
  BOOST_TEST(with([](auto& h) { h.entries_used.set(7); }) == errc::corrupt);
}

BOOST_AUTO_TEST_CASE(damaged_entries_do_not_open_and_lead_no_reader_astray) { // L-5
  shared_form journal(small);
  fill(journal);
  std::uint32_t slot = 0;
  const auto with = [&journal, &slot](auto&& damage) {
    damaged_copy copy(journal.memory().span());
    damage(copy.entry(slot));
    // The reader sees the same; request 1 is the damaged one.
    const auto reader = ledger::ledger_reader::open(copy.span());
    BOOST_REQUIRE(reader.has_value());
    const auto listed = reader->list(100);
    static_cast<void>(reader->tokens(request_id(1)));
    static_cast<void>(reader->replay(request_id(1)));
    static_cast<void>(reader->stats());
    const auto code = open_code(copy.span());
    return listed || listed.error().code == errc::corrupt ? code : errc::internal;
  };
  const auto others = damaged_copy(journal.memory().span()).entry(1).tokens_head.get();
  const auto each_state = [](auto& entry, auto&& change) {
    for (auto& state : entry.states) {
      change(state);
    }
  };
  BOOST_TEST(with([](auto&) {}) == errc::ok);
  BOOST_TEST(with([](auto& e) { e.id.set(2); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.arrival.set(77); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.room.set(302); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.client_key.set(77); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.client_key.set(1002); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.body_hash.set(77); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.extra_words.set(0); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.extra_words.set(1); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.extra_words.set(0xfffffffe); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.extras_head.set(ledger::no_block); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.extras_head.set(e.tokens_head.get()); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.room.set(~std::uint64_t{0}); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.max_tokens.set(69); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.max_tokens.set(-1); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.prompt_tokens.set(-1); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.request_bytes.set(0); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.request_bytes.set(0xffffffff); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.request_bytes.set(e.request_bytes.get() - 1); })
             == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.request_head.set(0xfffffff0); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.request_head.set(e.tokens_head.get()); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.tokens_head.set(ledger::no_block); }) == errc::corrupt);
  BOOST_TEST(with([others](auto& e) { e.tokens_head.set(others); }) == errc::corrupt);
  slot = 2;
  BOOST_TEST(with([](auto& e) { e.id.set(1U << 20U); }) == errc::corrupt); // beyond the highest
  BOOST_TEST(with([](auto& e) { e.message_bytes.set(0xffffffff); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.message_head.set(ledger::no_block); }) == errc::corrupt);
  BOOST_TEST(with([](auto& e) { e.message_head.set(e.tokens_head.get()); }) == errc::corrupt);
  slot = 0;
  BOOST_TEST(with([&](auto& e) { each_state(e, [](auto& s) { s.committed.set(-1); }); })
             == errc::corrupt);
  BOOST_TEST(with([&](auto& e) { each_state(e, [](auto& s) { s.committed.set(101); }); })
             == errc::corrupt);
  BOOST_TEST(with([&](auto& e) {
               each_state(e, [](auto& s) { s.reason.set(static_cast<finish_reason>(9)); });
             })
             == errc::corrupt);
}

BOOST_AUTO_TEST_CASE(whatever_the_bytes_are_nobody_leaves_the_region) { // L-5
  shared_form journal(small);
  fill(journal);
  std::mt19937_64 random(11);
  const auto size = journal.memory().span().size();
  int opened_count = 0;
  for (int round = 0; round < 3000; ++round) {
    damaged_copy copy(journal.memory().span());
    // The first page is mostly unused, so half of the hits go to the entries and links.
    for (auto hits = 1 + random() % 4; hits > 0; --hits) {
      const auto at = random() % 2 == 0 ? 4096 + random() % 8192 : random() % size;
      copy.span()[at] = static_cast<std::byte>(random() % 4 == 0 ? 0xff : random());
    }
    if (const auto reader = ledger::ledger_reader::open(copy.span())) {
      static_cast<void>(reader->list(10));
      static_cast<void>(reader->stats());
      for (const std::uint64_t id : {1, 2, 3}) {
        static_cast<void>(reader->tokens(request_id(id)));
        static_cast<void>(reader->replay(request_id(id)));
      }
    }
    if (auto successor = ledger::open_ledger(copy.span())) {
      ++opened_count;
      static_cast<void>(dump(**successor));
      for (std::uint64_t id = 100; (*successor)->accept(make_request(id, 50)); ++id) {
      }
    }
  }
  BOOST_TEST(opened_count > 100);
  BOOST_TEST(opened_count < 3000);
}

BOOST_AUTO_TEST_SUITE_END()
