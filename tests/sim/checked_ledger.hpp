// tests/sim/checked_ledger.hpp — a ledger as one replica's step lane sees it: everything goes to the real one, and what is
// committed is looked at on the way.
#pragma once

#include "runtime/ledger/ledger.hpp"

#include <functional>

namespace vdist::testing {

class checked_ledger final : public ledger::ledger {
public:
  using look = std::function<void(std::span<const vdist::ledger::committed_token>)>;

  checked_ledger(vdist::ledger::ledger& real, look before_commit)
      : real_(real), before_commit_(std::move(before_commit)) {}

  [[nodiscard]] result<void> accept(const protocol::request& request) override {
    return real_.accept(request);
  }

  [[nodiscard]] result<void>
  commit(std::span<const vdist::ledger::committed_token> tokens,
         std::span<const vdist::ledger::finished_request> finished) override {
    before_commit_(tokens);
    return real_.commit(tokens, finished);
  }

  [[nodiscard]] result<void>
  finish(request_id id, protocol::finish_reason reason, std::string_view message) override {
    return real_.finish(id, reason, message);
  }

  void strike(std::span<const request_id> ids) override { real_.strike(ids); }

  [[nodiscard]] std::vector<protocol::request> unfinished() const override {
    return real_.unfinished();
  }

  [[nodiscard]] result<std::vector<token_id>> tokens(request_id id,
                                                     std::int32_t from) const override {
    return real_.tokens(id, from);
  }

  [[nodiscard]] result<std::vector<protocol::token_event>>
  replay(request_id id, std::int32_t from) const override {
    return real_.replay(id, from);
  }

  [[nodiscard]] std::optional<request_id> find(std::uint64_t client_key) const override {
    return real_.find(client_key);
  }

  [[nodiscard]] request_id highest_id() const override { return real_.highest_id(); }

  [[nodiscard]] result<vdist::ledger::request_state> state(request_id id) const override {
    return real_.state(id);
  }

  [[nodiscard]] vdist::ledger::ledger_stats stats() const override { return real_.stats(); }

  [[nodiscard]] const vdist::ledger::ledger_limits& limits() const override {
    return real_.limits();
  }

  [[nodiscard]] std::vector<vdist::ledger::ledger_entry> list(std::size_t max) const override {
    return real_.list(max);
  }

private:
  vdist::ledger::ledger& real_;
  look before_commit_;
};

} // namespace vdist::testing
