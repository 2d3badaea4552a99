// A ledger whose memory was damaged (L-5): readers refuse or show something that can be, and a successor that takes it over
// can work with it to the end of every request.
#include "tests/fuzz/damage.hpp"
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/runtime/ledger/ledger_forms.hpp"

#include "runtime/ledger/ledger_reader.hpp"

using namespace vdist;
using namespace vdist::testing;
using namespace vdist::testing::fuzz;
using fuzz::guarded_memory;
using ledger::ledger_entry;
using protocol::finish_reason;

namespace {

constexpr ledger::ledger_limits limits{.requests_max = 3, .tokens_max = 1000, .finished_max = 3};
/// Of all that is asked of one ledger: at most every word of it as an event, for every entry.
constexpr std::size_t heap_bytes_max = std::size_t{2} << 20U;
constexpr std::size_t lines_max = 100;

protocol::request request_of(std::uint64_t id, std::int32_t max_tokens, std::int32_t logprobs) {
  auto made = make_request(id, max_tokens);
  made.sampling.logprobs = logprobs;
  made.client_key = id * 100;
  return made;
}

void commit_some(ledger::ledger& journal, std::uint64_t id, std::int32_t tokens) {
  const protocol::token_logprob top{7, -0.5F};
  for (std::int32_t position = 0; position < tokens; ++position) {
    BOOST_REQUIRE(
        commit(journal, {{request_id(id), position, position + 1, -1, std::span(&top, 1)}})
        == errc::ok);
  }
}

/// Two requests under way, one with log probabilities and one with a strike; two that have ended.
bytes image() {
  const guarded_memory memory(ledger::ledger_bytes(limits));
  BOOST_REQUIRE(ledger::format_ledger(memory.span(), limits).has_value());
  const auto journal = opened(memory.span());
  const std::array<protocol::request, 4> requests{
      request_of(1, 4, -1), request_of(2, 3, 1), request_of(3, 100, -1), request_of(4, 40, 1)};
  for (const std::uint64_t id : {1U, 2U}) {
    BOOST_REQUIRE(journal->accept(requests[id - 1]).has_value());
    commit_some(*journal, id, 2);
  }
  BOOST_REQUIRE(journal->finish(request_id(1), finish_reason::failed, "no device").has_value());
  BOOST_REQUIRE(journal->finish(request_id(2), finish_reason::stop).has_value());
  for (const std::uint64_t id : {3U, 4U}) {
    BOOST_REQUIRE(journal->accept(requests[id - 1]).has_value());
    commit_some(*journal, id, id == 3 ? 70 : 20); // more than a block each
  }
  const request_id struck(3);
  journal->strike(std::span(&struck, 1));
  return {memory.span().begin(), memory.span().end()};
}

/// Words that anything depends on: the header, entries, links, and the beginning of every block.
std::vector<std::uint32_t> targets() {
  const auto layout = *ledger::layout_of(limits);
  std::vector<std::uint32_t> all;
  const auto add = [&all](std::uint64_t from, std::uint64_t bytes) {
    for (std::uint64_t at = from; at < from + bytes; at += 8) {
      all.push_back(static_cast<std::uint32_t>(at));
    }
  };
  add(0, sizeof(ledger::shared_header));
  for (int twice = 0; twice < 2; ++twice) { // oftener
    add(layout.entries_at, layout.entries * sizeof(ledger::shared_entry));
  }
  add(layout.links_at, layout.blocks * sizeof(std::uint32_t) / 8 * 8);
  for (std::uint64_t block = 0; block < std::min<std::uint64_t>(layout.blocks, 16); ++block) {
    add(layout.blocks_at + block * ledger::block_words * sizeof(std::int32_t), 64);
  }
  return all;
}

bool same_line(const ledger_entry& a, const ledger_entry& b) {
  return a.id == b.id && a.arrival == b.arrival && a.prompt_tokens == b.prompt_tokens
         && a.max_tokens == b.max_tokens && a.committed == b.committed && a.reason == b.reason
         && a.client_key == b.client_key && a.body_hash == b.body_hash && a.strikes == b.strikes
         && a.accepted == b.accepted && a.finished == b.finished;
}

bool same_list(const std::vector<ledger_entry>& a, const std::vector<ledger_entry>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_line);
}

/// Whether the events are these tokens and this end.
bool agrees(const std::vector<protocol::token_event>& events,
            const std::vector<token_id>& tokens,
            const ledger_entry& entry) {
  const auto bare_end = events.size() - tokens.size();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i >= events.size() || events[i].token != tokens[i] || events[i].id != entry.id) {
      return false;
    }
  }
  const bool has_ended = entry.reason != finish_reason::none;
  return bare_end <= (has_ended ? 1U : 0U)
         && (events.empty() ? !has_ended : events.back().reason == entry.reason);
}

/// One look at everything; `Ledger` is a reader or a writer.
template <class Ledger>
std::string look(const Ledger& at, const std::vector<ledger_entry>& lines) {
  if (lines.size() > limits.requests_max + limits.finished_max) {
    return "more entries than there is room for";
  }
  for (const auto& line : lines) {
    const auto twins = std::count_if(
        lines.begin(), lines.end(), [&line](const auto& other) { return other.id == line.id; });
    const auto tokens = at.tokens(line.id);
    const auto events = at.replay(line.id);
    for (const auto* const cause :
         {tokens ? nullptr : &tokens.error(), events ? nullptr : &events.error()}) {
      if (cause != nullptr && !judge_error(*cause, errc::corrupt).complaint.empty()) {
        return "an error that is not corrupt: " + cause->context;
      }
    }
    if (tokens && twins == 1 && tokens->size() != static_cast<std::size_t>(line.committed)) {
      return "another number of tokens than it says";
    }
    if (tokens && events && twins == 1 && !agrees(*events, *tokens, line)) {
      return "tokens and events differ";
    }
    if (line.committed > 0
        && at.tokens(line.id, line.committed - 1).has_value() != tokens.has_value() && twins == 1
        && tokens) {
      return "the last token alone cannot be read";
    }
  }
  return "";
}

judgement judge_reader(std::span<const std::byte> region) {
  const auto reader = ledger::ledger_reader::open(region);
  if (!reader) {
    const auto code = reader.error().code;
    return judge_error(reader.error(), code == errc::unsupported ? code : errc::corrupt);
  }
  const auto lines = reader->list(lines_max);
  const auto sums = reader->stats();
  if (lines.has_value() != sums.has_value()) {
    return wrong("list() and stats() do not agree on whether it is damaged");
  }
  if (!lines) {
    return judge_error(lines.error(), errc::corrupt);
  }
  if (sums->finished + sums->unfinished != lines->size()) {
    return wrong("stats() counts other entries than list() shows");
  }
  auto complaint = look(*reader, *lines);
  return complaint.empty() ? accepted() : wrong(std::move(complaint));
}

/// Every request goes on to its end, and new ones take the room of the old ones.
std::string work(ledger::ledger& journal) {
  for (const auto& request : journal.unfinished()) {
    const auto next = static_cast<std::int32_t>(request.generated.size());
    if (next < request.max_tokens && commit(journal, {{request.id, next, 9, 0, {}}}) != errc::ok) {
      return "an unfinished request takes no token";
    }
    if (code_of(journal.finish(request.id, finish_reason::cancelled, "over")) != errc::ok) {
      return "an unfinished request takes no end";
    }
  }
  if (journal.highest_id().value > ~std::uint64_t{0} - 4) {
    return ""; // no id is left
  }
  for (std::uint64_t n = 0; n < 4; ++n) {
    const auto id = journal.highest_id().value + 1;
    auto fresh = request_of(id, 150, 1);
    fresh.client_key = 0;
    if (ledger::room_of(fresh) > journal.limits().tokens_max) {
      return ""; // as its header says now
    }
    if (const auto taken = journal.accept(fresh); !taken) {
      return "a request is refused although all others have ended: " + taken.error().context;
    }
    commit_some(journal, id, 150);
    if (code_of(journal.finish(request_id(id), finish_reason::length)) != errc::ok) {
      return "a new request takes no end";
    }
  }
  return "";
}

judgement judge_writer(std::span<std::byte> region) {
  auto journal = ledger::open_ledger(region);
  if (!journal) {
    const auto code = journal.error().code;
    return judge_error(journal.error(), code == errc::unsupported ? code : errc::corrupt);
  }
  const auto lines = (*journal)->list(lines_max);
  const auto reader = ledger::ledger_reader::open(region);
  const auto seen = reader ? reader->list(lines_max) : reader.error();
  if (!seen || !same_list(*seen, lines)) {
    return wrong("reader and successor do not see the same");
  }
  if (auto complaint = look(**journal, lines); !complaint.empty()) {
    return wrong(std::move(complaint));
  }
  if (auto complaint = work(**journal); !complaint.empty()) {
    return wrong(std::move(complaint));
  }
  const auto left = (*journal)->list(lines_max);
  journal = ledger::open_ledger(region);
  return journal && same_list((*journal)->list(lines_max), left)
             ? accepted()
             : wrong("its successor does not find what it left");
}

judgement judge(std::span<const std::byte> input,
                const guarded_memory& memory,
                judgement (*look_at)(std::span<std::byte>)) {
  static const auto good = image();
  static const auto words = targets();
  memory.set(good);
  for (const auto& one : script_of(input)) {
    poke(memory.span(), words, one);
  }
  const auto before = heap_bytes();
  auto judged = look_at(memory.span());
  const auto taken = heap_bytes() - before;
  return taken <= heap_bytes_max
             ? judged
             : wrong("it asked the heap for " + std::to_string(taken) + " bytes");
}

void run_scripts(const char* name, judgement (*look_at)(std::span<std::byte>)) {
  const auto memory = std::make_shared<guarded_memory>(ledger::ledger_bytes(limits));
  run({.name = name,
       .from = scripts(1, 2),
       .judge = [memory, look_at](
                    std::span<const std::byte> input) { return judge(input, *memory, look_at); },
       .takes_specimens = false});
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_ledgers)

BOOST_AUTO_TEST_CASE(readers_of_damaged_memory) { // L-5
  run_scripts("ledger reader", [](std::span<std::byte> region) { return judge_reader(region); });
}

BOOST_AUTO_TEST_CASE(successors_on_damaged_memory) { // L-5, L-1
  run_scripts("ledger successor", judge_writer);
}

BOOST_AUTO_TEST_SUITE_END()
