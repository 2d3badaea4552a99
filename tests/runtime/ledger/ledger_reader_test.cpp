// Readers beside a writer that never rests, in threads and in another process.
#include "runtime/ledger/ledger_reader.hpp"

#include "tests/runtime/ledger/child_process.hpp"
#include "tests/runtime/ledger/ledger_forms.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <thread>

using namespace vdist;
using namespace vdist::testing;
using protocol::finish_reason;

BOOST_AUTO_TEST_SUITE(ledger_reader_suite)

namespace {

constexpr std::uint64_t wave_requests = 8;
constexpr std::int32_t wave_tokens = 70; // more than a block
constexpr ledger::ledger_limits limits{.requests_max = 16, .tokens_max = 12000, .finished_max = 16};

token_id token_at(std::uint64_t id, std::int32_t position) {
  return static_cast<token_id>(id * 1000 % 1000003) + position;
}

/// Accepts a wave of requests one by one; then every batch gives one token to each of them, and the
/// last batch ends them all. The id is wave * wave_requests + place.
bool write_wave(ledger::ledger& journal, std::uint64_t wave) {
  bool is_good = true;
  const auto id_of = [wave](std::uint64_t place) {
    return request_id(wave * wave_requests + place);
  };
  for (std::uint64_t place = 0; place < wave_requests; ++place) {
    auto request = make_request(id_of(place).value, wave_tokens);
    request.sampling.logprobs = 1;
    is_good = journal.accept(request).has_value() && is_good;
  }
  ledger::commit_batch batch;
  std::vector<protocol::token_logprob> alternatives;
  for (std::int32_t p = 0; p < wave_tokens; ++p) {
    batch.clear();
    alternatives.clear();
    alternatives.reserve(wave_requests);
    for (std::uint64_t place = 0; place < wave_requests; ++place) {
      const auto token = token_at(id_of(place).value, p);
      const auto& top = alternatives.emplace_back(protocol::token_logprob{token + 1, -0.5F});
      batch.tokens.push_back(
          {id_of(place), p, token, static_cast<float>(token), std::span(&top, 1)});
      if (p + 1 == wave_tokens) {
        batch.finished.push_back({id_of(place), finish_reason::length});
      }
    }
    is_good = journal.commit(batch).has_value() && is_good;
  }
  return is_good;
}

/// Whether what a reader sees can have been the state at some moment.
bool is_whole(const std::vector<ledger::ledger_entry>& entries) {
  std::map<std::uint64_t, std::vector<ledger::ledger_entry>> waves;
  for (const auto& entry : entries) {
    waves[entry.id.value / wave_requests].push_back(entry);
  }
  for (const auto& [wave, members] : waves) {
    const auto& first = members.front();
    const bool is_running = first.committed > 0 && first.reason == finish_reason::none;
    if (is_running && members.size() != wave_requests) {
      return false;
    }
    for (const auto& member : members) {
      const bool has_ended = member.reason != finish_reason::none;
      if (member.committed != first.committed || member.reason != first.reason
          || has_ended != (member.committed == wave_tokens) || member.prompt_tokens != 3
          || member.max_tokens != wave_tokens) {
        return false;
      }
    }
  }
  return true;
}

struct observations {
  int whole = 0;
  int torn = 0;
  int refused = 0; // an error other than those that are allowed beside a quick writer
  int tokens = 0;
};

/// One look at everything.
void look(const ledger::ledger_reader& reader, observations& seen) {
  const auto entries = reader.list(1000);
  if (!entries) {
    seen.refused += entries.error().code == errc::timed_out ? 0 : 1;
    return;
  }
  ++(is_whole(*entries) ? seen.whole : seen.torn);
  if (const auto stats = reader.stats()) {
    seen.torn += stats->tokens_committed % wave_requests == 0 ? 0 : 1;
  } else {
    seen.refused += stats.error().code == errc::timed_out ? 0 : 1;
  }
  for (const auto& entry : *entries) {
    const auto tokens = reader.tokens(entry.id);
    if (!tokens) {
      seen.refused += tokens.error().code == errc::not_found ? 0 : 1; // forgotten meanwhile
      continue;
    }
    bool is_right = tokens->size() >= static_cast<std::size_t>(entry.committed);
    for (std::size_t p = 0; p < tokens->size(); ++p) {
      is_right = is_right && (*tokens)[p] == token_at(entry.id.value, static_cast<std::int32_t>(p));
    }
    if (const auto events = reader.replay(entry.id)) {
      for (const auto& event : *events) {
        const bool is_bare_end = event.token < 0;
        is_right = is_right
                   && (is_bare_end
                       || (event.logprob == static_cast<float>(event.token) && event.top.size() == 1
                           && event.top[0].token == event.token + 1));
      }
    } else {
      seen.refused += events.error().code == errc::not_found ? 0 : 1;
    }
    ++(is_right ? seen.tokens : seen.torn);
  }
}

} // namespace

BOOST_AUTO_TEST_CASE(threads_that_read_see_only_whole_states) { // L-3, L-4
  shared_form journal(limits);
  const auto reader = ledger::ledger_reader::open(journal.memory().read_only());
  BOOST_REQUIRE(reader.has_value());
  std::atomic<bool> is_over{false};
  std::atomic<std::size_t> satisfied{0};
  std::array<observations, 2> seen;
  std::array<std::thread, 2> threads;
  for (std::size_t i = 0; i < threads.size(); ++i) {
    threads[i] = std::thread([&is_over, &satisfied, &reader, mine = &seen[i]] {
      for (bool was_enough = false; !is_over.load();) {
        look(*reader, *mine);
        const bool is_enough = mine->whole >= 200 && mine->tokens >= 200;
        satisfied += is_enough && !was_enough ? 1 : 0;
        was_enough = is_enough;
      }
    });
  }
  bool is_good = true;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (std::uint64_t wave = 0;
       satisfied < threads.size() && std::chrono::steady_clock::now() < deadline;
       ++wave) {
    is_good = write_wave(*journal, wave) && is_good;
    is_good = journal->list(1000).size() <= 24 && is_good; // the writer's own reads go on too
  }
  is_over.store(true);
  for (auto& thread : threads) {
    thread.join();
  }
  BOOST_TEST(is_good);
  for (const auto& each : seen) {
    BOOST_TEST(each.torn == 0);
    BOOST_TEST(each.refused == 0);
    BOOST_TEST(each.whole >= 200);
    BOOST_TEST(each.tokens >= 200);
  }
}

BOOST_AUTO_TEST_CASE(a_reader_outlives_the_writing_process) { // L-3
  const shared_memory memory(ledger::ledger_bytes(limits));
  BOOST_REQUIRE(ledger::format_ledger(memory.span(), limits).has_value());
  forked_child writer([&memory] {
    auto journal = ledger::open_ledger(memory.span());
    for (std::uint64_t wave = 0; journal && write_wave(**journal, wave); ++wave) {
    }
  });
  const auto reader = ledger::ledger_reader::open(memory.read_only());
  BOOST_REQUIRE(reader.has_value());
  observations seen;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while ((seen.whole < 200 || seen.tokens < 200) && seen.torn + seen.refused == 0
         && std::chrono::steady_clock::now() < deadline) {
    look(*reader, seen);
  }
  BOOST_TEST(writer.kill()); // it never ran into an error
  BOOST_TEST(seen.tokens >= 200);
  const auto before = seen.whole;
  look(*reader, seen);
  BOOST_TEST(seen.whole == before + 1);
  BOOST_TEST(seen.torn == 0);
  BOOST_TEST(seen.refused == 0);
}

namespace {

/// Runs `read` in a child again and again; each time `write` happens after another of the
/// instructions between its marks. `read` says whether what it saw was right.
void check_interrupted(const std::function<bool(const traced_child::mark&)>& read,
                       const std::function<void()>& write) {
  const auto act = [&read](const traced_child::mark& mark) {
    if (!read(mark)) {
      _exit(1);
    }
  };
  constexpr int places = 16; // spread over the call
  int instructions = 0;
  {
    traced_child child(act);
    if (!child.is_traced()) {
      BOOST_TEST_MESSAGE("skipped: no child can be traced here");
      return;
    }
    while (child.step()) {
      ++instructions;
    }
    child.finish();
    BOOST_TEST(child.exit_code() == 0);
  }
  for (int place = 0; place < places; ++place) {
    traced_child child(act);
    for (int i = instructions * place / places; i > 0 && child.is_traced(); --i) {
      child.step();
    }
    BOOST_REQUIRE(child.is_traced());
    write();
    child.finish();
    BOOST_TEST(child.exit_code() == 0);
  }
}

} // namespace

BOOST_AUTO_TEST_CASE(a_list_that_a_commit_interrupts_is_taken_again) { // L-3
  shared_form journal(limits);
  for (std::uint64_t place = 0; place < wave_requests; ++place) {
    BOOST_REQUIRE(code_of(journal->accept(make_request(place, wave_tokens))) == errc::ok);
  }
  std::int32_t position = 0;
  check_interrupted(
      [&journal](const traced_child::mark& mark) {
        const auto reader = ledger::ledger_reader::open(journal.memory().read_only());
        mark();
        const auto entries = reader->list(1000);
        mark();
        const auto stats = reader->stats();
        return entries && stats && is_whole(*entries)
               && stats->tokens_committed % wave_requests == 0;
      },
      [&journal, &position] {
        // Twice: the first one leaves the states alone that the reader is looking at.
        for (int commits = 0; commits < 2; ++commits, ++position) {
          std::vector<ledger::committed_token> batch;
          for (std::uint64_t place = 0; place < wave_requests; ++place) {
            batch.push_back({request_id(place), position, token_at(place, position)});
          }
          BOOST_TEST(commit(*journal, batch) == errc::ok);
        }
      });
}

BOOST_AUTO_TEST_CASE(tokens_whose_room_is_taken_meanwhile_are_not_believed) { // L-4
  shared_form journal({.requests_max = 1, .tokens_max = 300, .finished_max = 1});
  std::uint64_t id = 0;
  const auto run_to_end = [&journal, &id] {
    ++id;
    BOOST_REQUIRE(code_of(journal->accept(make_request(id, 200))) == errc::ok);
    for (std::int32_t p = 0; p < 200; ++p) {
      BOOST_REQUIRE(commit(*journal, {{request_id(id), p, token_at(id, p)}}) == errc::ok);
    }
    BOOST_REQUIRE(code_of(journal->finish(request_id(id), finish_reason::length)) == errc::ok);
  };
  run_to_end();
  check_interrupted(
      [&journal, &id](const traced_child::mark& mark) {
        const auto reader = ledger::ledger_reader::open(journal.memory().read_only());
        mark();
        const auto tokens = reader->tokens(request_id(id));
        mark();
        if (!tokens) {
          return tokens.error().code == errc::not_found;
        }
        for (std::int32_t p = 0; p < 200; ++p) {
          if (tokens->at(static_cast<std::size_t>(p)) != token_at(id, p)) {
            return false;
          }
        }
        return true;
      },
      run_to_end); // the next one takes the blocks of the last
}

BOOST_AUTO_TEST_CASE(what_a_reader_is_asked_in_vain_has_a_name) {
  shared_form journal(limits);
  const auto reader = ledger::ledger_reader::open(journal.memory().read_only());
  BOOST_REQUIRE(reader.has_value());
  BOOST_TEST(reader->list(10)->empty());
  BOOST_TEST(reader->tokens(request_id(1)).error().code == errc::not_found);
  BOOST_TEST(code_of(journal->accept(make_request(1))) == errc::ok);
  BOOST_TEST(reader->tokens(request_id(1))->empty());
  BOOST_TEST(reader->tokens(request_id(1), 1).error().code == errc::invalid_argument);
  BOOST_TEST(reader->tokens(request_id(1), -1).error().code == errc::invalid_argument);
  BOOST_TEST(reader->list(10)->size() == 1U);
  BOOST_TEST(reader->list(0)->empty());
}

BOOST_AUTO_TEST_SUITE_END()
