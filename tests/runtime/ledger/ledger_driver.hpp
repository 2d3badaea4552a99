// tests/runtime/ledger/ledger_driver.hpp — thousands of operations that follow from a seed, legal and
// illegal ones, and the whole content of a ledger as text. A driver depends only on its seed and on
// what the ledger answered: over two forms of the ledger it does the same.
#pragma once

#include "runtime/ledger/ledger.hpp"

#include <random>
#include <string>

namespace vdist::testing {

/// All fields of each, bit for bit.
[[nodiscard]] std::string dump(const std::vector<protocol::token_event>& events);

/// Everything that can be asked: stats, list, tokens, events, keys, strikes, unfinished requests with
/// all fields.
[[nodiscard]] std::string dump(const ledger::ledger& journal);

class ledger_driver {
public:
  ledger_driver(std::uint64_t seed, ledger::ledger& target) : random_(seed), target_(&target) {}

  /// From now on the operations go to this one, which holds the same.
  void retarget(ledger::ledger& target) { target_ = &target; }

  /// One call of the ledger; returns what it was and what came of it.
  std::string step();

  /// Commits every request to its last token, as L-1 promises; false: something was refused.
  bool drain();

  /// accept() calls that were refused for want of room.
  [[nodiscard]] int refusals() const { return refusals_; }

private:
  struct open_request {
    request_id id;
    std::int32_t committed = 0;
    std::int32_t max_tokens = 0;
    std::uint64_t client_key = 0;
  };

  std::size_t below(std::size_t bound) { return random_() % bound; }

  std::string accept();
  std::string commit();
  std::string finish();
  std::string strike();
  void spoil(ledger::commit_batch& batch);
  std::string apply(const ledger::commit_batch& batch);

  std::mt19937_64 random_;
  ledger::ledger* target_;
  std::uint64_t last_id_ = 0;
  std::vector<open_request> open_;
  int refusals_ = 0;
};

/// A request with every field drawn at random.
[[nodiscard]] protocol::request random_request(std::mt19937_64& random, std::size_t tokens_max);

} // namespace vdist::testing
