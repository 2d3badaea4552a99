// What the ledger costs: accepts by length of prompt, commits by size of step, opening by content.
// Both forms beside each other; microseconds.
#include "runtime/ledger/memory_ledger.hpp"
#include "runtime/ledger/shared_ledger.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <functional>
#include <sys/mman.h>

namespace vdist::bench {

namespace {

constexpr ledger::ledger_limits limits{.requests_max = 4096};
constexpr std::int32_t tokens = 1024; // of each request

double quantile(std::vector<double>& values, double q) {
  const auto place = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + place, values.end());
  return values[static_cast<std::size_t>(place)];
}

double timed_us(const clock& time, const std::function<void()>& work) {
  const auto start = time.now();
  work();
  return std::chrono::duration<double, std::micro>(time.now() - start).count();
}

void report(const char* form, const char* what, std::size_t size, std::vector<double>& times_us) {
  fmt::print("{:>8} {:>8} {:>8} {:>10.2f} {:>10.2f}\n",
             form,
             what,
             size,
             quantile(times_us, 0.5),
             quantile(times_us, 0.99));
}

protocol::request
make_request(std::uint64_t id, std::size_t prompt, std::int32_t alternatives = -1) {
  protocol::request request;
  request.id = request_id(id);
  request.arrival = id;
  request.prompt.assign(prompt, 7);
  request.max_tokens = tokens;
  request.sampling.logprobs = alternatives;
  return request;
}

void must(const result<void>& outcome) {
  VDIST_CHECK(outcome.has_value(), "bench: every operation is legal");
}

/// Ids go on rising, so that each part finds the ledger as the last one left it.
class ledger_bench {
public:
  ledger_bench(const char* form, ledger::ledger& journal) : form_(form), journal_(journal) {}

  void accepts(std::size_t prompt) {
    std::vector<double> times;
    for (int i = 0; i < 2000; ++i) {
      const auto request = make_request(++id_, prompt);
      times.push_back(timed_us(time_, [&] { must(journal_.accept(request)); }));
      must(journal_.finish(request.id, protocol::finish_reason::cancelled));
    }
    report(form_, "accept", prompt, times);
  }

  /// `alternatives` of each token, with their log probabilities; -1: tokens only.
  void commits(const char* what, std::size_t requests, std::int32_t alternatives = -1) {
    const std::vector<protocol::token_logprob> top(
        static_cast<std::size_t>(std::max(alternatives, 0)));
    ledger::commit_batch batch;
    for (std::size_t i = 0; i < requests; ++i) {
      must(journal_.accept(make_request(++id_, 512, alternatives)));
      batch.tokens.push_back({request_id(id_), 0, 7, -0.5F, top});
    }
    std::vector<double> times;
    for (std::int32_t p = 0; p < tokens; ++p) {
      for (auto& token : batch.tokens) {
        token.position = p;
      }
      times.push_back(
          timed_us(time_, [&] { must(journal_.commit(batch.tokens, batch.finished)); }));
    }
    report(form_, what, requests, times);
    for (const auto& token : batch.tokens) {
      must(journal_.finish(token.id, protocol::finish_reason::length));
    }
  }

  void strikes(std::size_t requests) {
    std::vector<request_id> ids;
    for (std::size_t i = 0; i < requests; ++i) {
      must(journal_.accept(make_request(++id_, 512)));
      ids.emplace_back(id_);
    }
    std::vector<double> times;
    for (int i = 0; i < 1000; ++i) {
      times.push_back(timed_us(time_, [&] { journal_.strike(ids); }));
    }
    report(form_, "strike", requests, times);
    for (const auto id : ids) {
      must(journal_.finish(id, protocol::finish_reason::failed));
    }
  }

  void all() {
    for (const std::size_t prompt : {16, 512, 8192}) {
      accepts(prompt);
    }
    for (const std::size_t requests : {1, 256, 1024}) {
      commits("commit", requests);
    }
    commits("top5", 256, 5);
    strikes(256);
  }

private:
  const char* form_;
  ledger::ledger& journal_;
  const system_clock time_;
  std::uint64_t id_ = 0;
};

void openings(std::span<std::byte> region, std::size_t requests) {
  {
    auto journal = ledger::open_ledger(region);
    VDIST_CHECK(journal.has_value(), "bench: it was formatted");
    for (std::size_t i = 0; i < requests; ++i) {
      must((*journal)->accept(make_request((std::uint64_t{1} << 40U) + i, 2048)));
    }
  }
  const system_clock time;
  std::vector<double> times;
  for (int i = 0; i < 20; ++i) {
    times.push_back(timed_us(time, [&] {
      const auto journal = ledger::open_ledger(region);
      VDIST_CHECK(journal.has_value(), "bench: what was written opens");
    }));
  }
  report("shared", "open", requests, times);
}

void measure_ledgers() {
  const auto bytes = ledger::ledger_bytes(limits);
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  VDIST_CHECK(base != MAP_FAILED, "bench: there is address space");
  const std::span region(static_cast<std::byte*>(base), bytes);
  must(ledger::format_ledger(region, limits));
  fmt::print("{:>8} {:>8} {:>8} {:>10} {:>10}\n", "form", "what", "size", "p50_us", "p99_us");
  ledger::memory_ledger memory(limits);
  ledger_bench("memory", memory).all();
  {
    auto shared = ledger::open_ledger(region);
    VDIST_CHECK(shared.has_value(), "bench: it was formatted");
    ledger_bench("shared", **shared).all();
  }
  openings(region, 1000);
}

} // namespace

} // namespace vdist::bench

int main() {
  vdist::bench::measure_ledgers();
  return 0;
}
