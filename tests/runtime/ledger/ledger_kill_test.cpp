// The writer dies: at random instants by SIGKILL, and after every single instruction of an
// operation. A successor must find what was acknowledged, or one whole operation more.
#include "tests/runtime/ledger/child_process.hpp"
#include "tests/runtime/ledger/ledger_driver.hpp"
#include "tests/runtime/ledger/ledger_forms.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <thread>

using namespace vdist;
using namespace vdist::testing;
using protocol::finish_reason;

BOOST_AUTO_TEST_SUITE(ledger_kill_suite)

namespace {

/// Operations that the writer knows to be done. In memory that both map, not in a pipe: most kills
/// would strike in its system call.
struct acknowledgements {
  std::atomic<std::uint64_t> count;
};

/// What the child does until it is killed.
void write_for_ever(const shared_memory& memory, ledger_driver& driver, acknowledgements& done) {
  const auto journal = ledger::open_ledger(memory.span());
  if (!journal) {
    return;
  }
  driver.retarget(**journal);
  for (;;) {
    driver.step();
    done.count.fetch_add(1);
  }
}

/// Waits for so many acknowledgements, then a little more.
void wait_for(const acknowledgements& done, std::uint64_t count, std::uint64_t spins) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (done.count.load() < count) {
    BOOST_REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::yield();
  }
  for (std::uint64_t i = 0; i < spins; ++i) {
    static_cast<void>(done.count.load());
  }
}

/// What a death between the two publications of an accept leaves (L-4): nothing but finished
/// requests is missing.
bool lacks_finished_only(const ledger::ledger& found, const ledger::ledger& expected) {
  const auto all = expected.list(1000);
  const auto finished = [](const auto& e) {
    return e.reason != finish_reason::none;
  };
  const auto left = found.list(1000);
  const auto count_unfinished = [&finished](const auto& list) {
    return list.size()
           - static_cast<std::size_t>(std::count_if(list.begin(), list.end(), finished));
  };
  return left.size() < all.size() && count_unfinished(left) == count_unfinished(all)
         && found.stats().tokens_committed == expected.stats().tokens_committed;
}

int rounds() {
  return std::getenv("VDIST_TEST_LONG") != nullptr ? 1000 : 50;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_successor_finds_what_was_acknowledged_or_one_operation_more) { // L-1 to L-4
  constexpr ledger::ledger_limits tight{.requests_max = 12, .tokens_max = 1500, .finished_max = 6};
  const shared_memory memory(ledger::ledger_bytes(tight));
  const shared_memory page(4096);
  auto& done = *new (page.span().data()) acknowledgements;
  std::mt19937_64 random(5);
  int more = 0;
  int between = 0;
  int round = 0;
  while (round < rounds()) {
    // A region and its oracle, which the writers and their successors go on with.
    const auto seed = random();
    memory_form oracle(tight);
    ledger_driver driver(seed, *oracle);
    BOOST_REQUIRE(ledger::format_ledger(memory.span(), tight).has_value());
    for (bool is_same = true; is_same && round < rounds(); ++round) {
      BOOST_TEST_CONTEXT("round " << round << " seed " << seed) {
        done.count.store(0);
        forked_child writer([&] { write_for_ever(memory, driver, done); });
        wait_for(done, random() % 300, random() % 4000);
        BOOST_REQUIRE(writer.kill()); // else it could not open the ledger
        const auto acknowledged = done.count.load();
        for (std::uint64_t i = 0; i < acknowledged; ++i) {
          driver.step();
        }
        const auto successor = opened(memory.span());
        const auto found = dump(*successor);
        is_same = found == dump(*oracle);
        if (!is_same && !lacks_finished_only(*successor, *oracle)) {
          driver.step();
          ++more;
          is_same = true;
          BOOST_REQUIRE_EQUAL(found, dump(*oracle));
        }
        between += is_same ? 0 : 1;
      }
    }
  }
  BOOST_TEST_MESSAGE(round << " kills: " << more << " after the store that publishes, " << between
                           << " between the two of an accept");
}

namespace {

/// Calls `look` with a copy of the region after every instruction of a child that changed it.
class region_watch {
public:
  region_watch(const shared_memory& memory, std::function<void(std::span<std::byte>)> look)
      : memory_(memory),
        first_(memory.span().begin(), memory.span().end()),
        last_(first_),
        look_(std::move(look)) {}

  /// Leaves the region as it was before. False: no child can be traced here.
  bool run(const std::function<void(const traced_child::mark&)>& act) {
    traced_child child(act);
    if (!child.is_traced()) {
      return false;
    }
    take_if_changed(); // what the child did before it began
    while (child.step()) {
      take_if_changed();
    }
    BOOST_TEST(child.exit_code() == 0);
    std::copy(first_.begin(), first_.end(), memory_.span().begin());
    return true;
  }

private:
  void take_if_changed() {
    const auto now = memory_.span();
    if (std::equal(now.begin(), now.end(), last_.begin())) {
      return;
    }
    last_.assign(now.begin(), now.end());
    const shared_memory copy(last_.size());
    std::copy(last_.begin(), last_.end(), copy.span().begin());
    look_(copy.span());
  }

  const shared_memory& memory_;
  const std::vector<std::byte> first_;
  std::vector<std::byte> last_;
  std::function<void(std::span<std::byte>)> look_;
};

constexpr ledger::ledger_limits few{.requests_max = 3, .tokens_max = 1000, .finished_max = 2};

constexpr std::array<protocol::token_logprob, 1> alternative{{{77, -0.25F}}};

/// Requests 1 and 2 are open, with 63 and 64 tokens: one is about to fill a block, the other to
/// begin one. Requests 3 and 4 have finished. All have a client key. 1 and 4 asked for log
/// probabilities with one alternative, four words per token: what token 63 has ends a block, too.
/// 1 and 2 were struck, each by another number of deaths.
void set_up(ledger::ledger& journal) {
  for (const std::uint64_t id : {3, 4, 1, 2}) {
    auto request = make_request(id, 80);
    request.client_key = 1000 + id;
    request.sampling.logprobs = id == 1 || id == 4 ? 1 : -1;
    BOOST_REQUIRE(code_of(journal.accept(request)) == errc::ok);
    for (std::int32_t p = 0; p < 62 + static_cast<std::int32_t>(id); ++p) {
      BOOST_REQUIRE(commit(journal, {{request_id(id), p, p, -static_cast<float>(p), alternative}})
                    == errc::ok);
    }
    if (id > 2) {
      BOOST_REQUIRE(
          code_of(journal.finish(request_id(id), finish_reason::failed, "a text of some length"))
          == errc::ok);
    }
  }
  const std::array<request_id, 2> struck{request_id(1), request_id(2)};
  journal.strike(struck);
  journal.strike(std::span(struck).last(1));
}

using operation = std::function<void(ledger::ledger&)>;

/// Stops `act` after every instruction. Between the states before and after it there may be
/// `between`: states of which only finished requests are missing.
void check_every_instruction(const operation& act, bool may_be_between) {
  const shared_memory memory(ledger::ledger_bytes(few));
  BOOST_REQUIRE(ledger::format_ledger(memory.span(), few).has_value());
  set_up(*opened(memory.span()));
  memory_form oracle(few);
  set_up(*oracle);
  const auto before = dump(*oracle);
  memory_form later(few);
  set_up(*later);
  act(*later);
  const auto after = dump(*later);
  int seen_before = 0;
  int seen_between = 0;
  int seen_after = 0;
  region_watch steps(memory, [&](std::span<std::byte> region) {
    const auto successor = opened(region);
    const auto found = dump(*successor);
    if (found == after) {
      ++seen_after;
    } else if (found == before) {
      ++seen_before;
      BOOST_TEST(seen_after == 0);
      act(*successor); // the successor repeats what its predecessor did not finish
      BOOST_REQUIRE_EQUAL(dump(*successor), after);
      BOOST_REQUIRE_EQUAL(dump(*opened(region)), after);
    } else {
      ++seen_between;
      BOOST_TEST(lacks_finished_only(*successor, *oracle));
      BOOST_TEST(seen_after == 0);
    }
  });
  const bool has_run = steps.run([&](const traced_child::mark& begin) {
    const auto journal = std::move(ledger::open_ledger(memory.span())).value();
    begin();
    act(*journal);
  });
  if (!has_run) {
    BOOST_TEST_MESSAGE("skipped: no child can be traced here");
    return;
  }
  BOOST_TEST(seen_before > 3);
  BOOST_TEST(seen_after > 0);
  BOOST_TEST((seen_between > 0) == may_be_between);
}

} // namespace

BOOST_AUTO_TEST_CASE(every_instruction_of_a_commit_may_be_the_last) { // L-2, L-3
  check_every_instruction(
      [](ledger::ledger& journal) {
        static_cast<void>(commit(journal,
                                 {{request_id(1), 63, 7, -0.5F, alternative},
                                  {request_id(2), 64, 7},
                                  {request_id(1), 64, 8, -1.5F, alternative},
                                  {request_id(2), 65, 8}},
                                 {{request_id(2), finish_reason::stop, true}}));
      },
      false);
}

BOOST_AUTO_TEST_CASE(every_instruction_of_a_failure_with_a_text_may_be_the_last) { // L-2, L-7
  check_every_instruction(
      [](ledger::ledger& journal) {
        const std::string text(300, 't'); // more than a block
        static_cast<void>(commit(journal,
                                 {{request_id(1), 63, 7, -0.5F}}, // an alternative less than asked
                                 {{request_id(1), finish_reason::failed, false, text}}));
      },
      false);
}

BOOST_AUTO_TEST_CASE(every_instruction_of_a_strike_may_be_the_last) { // L-3
  check_every_instruction(
      [](ledger::ledger& journal) {
        const std::array<request_id, 3> ids{request_id(2), request_id(3), request_id(1)};
        journal.strike(ids);
      },
      false);
}

BOOST_AUTO_TEST_CASE(every_instruction_of_an_accept_may_be_the_last) { // I1, L-3
  check_every_instruction(
      [](ledger::ledger& journal) {
        auto request = make_request(9, 20);
        request.logit_bias = {{1, 0.5F}};
        request.client_key = 1009;
        request.sampling.logprobs = 0;
        static_cast<void>(journal.accept(request));
      },
      false);
}

BOOST_AUTO_TEST_CASE(an_accept_that_needs_room_takes_it_from_finished_requests_first) { // L-4
  check_every_instruction(
      [](ledger::ledger& journal) { static_cast<void>(journal.accept(make_request(9, 200))); },
      true);
}

BOOST_AUTO_TEST_CASE(every_instruction_of_a_finish_may_be_the_last) { // L-3
  check_every_instruction(
      [](ledger::ledger& journal) {
        static_cast<void>(journal.finish(request_id(1), finish_reason::cancelled));
      },
      false);
}

BOOST_AUTO_TEST_CASE(every_instruction_of_a_recovery_may_be_the_last) { // L-3
  const shared_memory memory(ledger::ledger_bytes(few));
  BOOST_REQUIRE(ledger::format_ledger(memory.span(), few).has_value());
  set_up(*opened(memory.span()));
  const auto before = dump(*opened(memory.span()));
  // Stop a commit right before it publishes: the last region that still looks as before.
  std::vector<std::byte> torn;
  region_watch writer(memory, [&](std::span<std::byte> region) {
    std::vector<std::byte> copy(region.begin(), region.end());
    if (dump(*opened(region)) == before) {
      torn = std::move(copy);
    }
  });
  const bool has_run = writer.run([&memory](const traced_child::mark& begin) {
    const auto journal = std::move(ledger::open_ledger(memory.span())).value();
    begin();
    static_cast<void>(commit(*journal,
                             {{request_id(1), 63, 7, -0.5F, alternative}, {request_id(2), 64, 7}},
                             {{request_id(2), finish_reason::stop, false, "text"}}));
  });
  if (!has_run) {
    BOOST_TEST_MESSAGE("skipped: no child can be traced here");
    return;
  }
  BOOST_REQUIRE(!torn.empty());
  std::copy(torn.begin(), torn.end(), memory.span().begin());
  int seen = 0;
  region_watch recovery(memory, [&](std::span<std::byte> region) {
    ++seen;
    BOOST_REQUIRE_EQUAL(dump(*opened(region)), before);
  });
  BOOST_TEST(recovery.run([&memory](const traced_child::mark& begin) {
    begin();
    static_cast<void>(ledger::open_ledger(memory.span()));
  }));
  BOOST_TEST(seen > 2);
}

BOOST_AUTO_TEST_SUITE_END()
