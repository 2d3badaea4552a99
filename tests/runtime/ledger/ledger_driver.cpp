#include "tests/runtime/ledger/ledger_driver.hpp"

#include "runtime/protocol/request_codec.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace vdist::testing {

namespace {

std::string text_of(const char* what, const result<void>& outcome) {
  return outcome ? fmt::format("{}: ok", what)
                 : fmt::format(
                     "{}: {} {}", what, to_string(outcome.error().code), outcome.error().context);
}

/// More than is kept.
constexpr std::size_t message_length_max = ledger::message_bytes_max + 100;

/// The same token at the same place, whoever commits it.
token_id token_at(request_id id, std::int32_t position) {
  return static_cast<token_id>((id.value * 31 + static_cast<std::uint64_t>(position) * 7) % 100000);
}

/// What goes with the token; the spans refer to memory that lives as long as the program.
ledger::committed_token committed_at(request_id id, std::int32_t position) {
  static const auto alternatives = [] {
    std::array<protocol::token_logprob, 64> list;
    for (std::size_t i = 0; i < list.size(); ++i) {
      list[i] = {static_cast<token_id>(i * 31), -static_cast<float>(i) / 7};
    }
    return list;
  }();
  const auto token = token_at(id, position);
  const auto place = static_cast<std::size_t>(token);
  return {.id = id,
          .position = position,
          .token = token,
          .logprob = -static_cast<float>(token) / 3,
          .top = std::span(alternatives).subspan(place % 60, place % 5)};
}

std::string text_of(const protocol::token_event& event) {
  const auto bits = [](float value) {
    return std::bit_cast<std::uint32_t>(value);
  };
  auto text = fmt::format("{}:{}:{}:{}:{}:{:x}:{}",
                          event.id.value,
                          event.position,
                          event.token,
                          to_string(event.reason),
                          event.stop_token,
                          bits(event.logprob),
                          event.message);
  for (const auto& each : event.top) {
    text += fmt::format("/{}={:x}", each.token, bits(each.logprob));
  }
  return text;
}

} // namespace

std::string dump(const std::vector<protocol::token_event>& events) {
  std::string text;
  for (const auto& event : events) {
    text += text_of(event) + ' ';
  }
  return text;
}

std::string dump(const ledger::ledger& journal) {
  const auto stats = journal.stats();
  std::string text = fmt::format("unfinished={} finished={} reserved={} committed={} highest={}\n",
                                 stats.unfinished,
                                 stats.finished,
                                 stats.tokens_reserved,
                                 stats.tokens_committed,
                                 journal.highest_id().value);
  for (const auto& entry : journal.list(1U << 20U)) {
    const auto tokens = journal.tokens(entry.id);
    const auto state = journal.state(entry.id);
    text += fmt::format("{} arrival={} prompt={} max={} committed={}={} reason={}={} [{}]\n",
                        entry.id.value,
                        entry.arrival,
                        entry.prompt_tokens,
                        entry.max_tokens,
                        entry.committed,
                        state ? state->committed : -1,
                        to_string(entry.reason),
                        state ? to_string(state->reason) : "unknown",
                        tokens ? fmt::format("{}", fmt::join(*tokens, " ")) : "unknown");
    const auto all = journal.replay(entry.id);
    const auto half = journal.replay(entry.id, (entry.committed + 1) / 2);
    const auto end = journal.replay(entry.id, entry.committed);
    const auto found = journal.find(entry.client_key);
    text += fmt::format("  key={}={} body={:x}={:x} strikes={}={} all [{}] half [{}] end [{}]\n",
                        entry.client_key,
                        found ? found->value : 0,
                        entry.body_hash,
                        state ? state->body_hash : 0,
                        entry.strikes,
                        state ? state->strikes : 0,
                        all ? dump(*all) : "unknown",
                        half ? dump(*half) : "unknown",
                        end ? dump(*end) : "unknown");
  }
  std::vector<std::byte> bytes;
  for (const auto& request : journal.unfinished()) {
    protocol::encode(request, bytes);
    text += fmt::format("{}:", request.id.value);
    for (const auto each : bytes) {
      text += fmt::format("{:02x}", std::to_integer<unsigned>(each));
    }
    text += '\n';
  }
  return text;
}

protocol::request random_request(std::mt19937_64& random, std::size_t tokens_max) {
  const auto below = [&random](std::size_t bound) {
    return random() % bound;
  };
  const auto ids = [&](std::size_t max) {
    std::vector<token_id> list(below(max + 1));
    std::generate(list.begin(), list.end(), [&] { return static_cast<token_id>(random() >> 34U); });
    return list;
  };
  const auto real = [&random] {
    return std::uniform_real_distribution<float>(-100, 100)(random);
  };
  protocol::request request;
  request.id = request_id(random());
  request.priority = static_cast<std::int32_t>(random());
  request.arrival = random();
  request.prompt = ids(tokens_max);
  request.max_tokens = static_cast<std::int32_t>(1 + below(tokens_max));
  request.ignore_eos = below(2) == 1;
  request.eos_ids = ids(3);
  request.stop_token_ids = ids(3);
  request.sampling = {.seed = random(),
                      .temperature = real(),
                      .top_p = real(),
                      .min_p = real(),
                      .repetition_penalty = real(),
                      .presence_penalty = real(),
                      .frequency_penalty = real(),
                      .top_k = static_cast<std::int32_t>(random()),
                      .min_tokens = static_cast<std::int32_t>(random()),
                      .logprobs = static_cast<std::int32_t>(below(8)) - 4,
                      .prompt_tokens = static_cast<std::int32_t>(random()),
                      .bias_count = static_cast<std::int32_t>(random()),
                      .suppressed_count = static_cast<std::int32_t>(random())};
  for (const auto id : ids(4)) {
    request.logit_bias.emplace_back(id, real());
  }
  request.client_key = below(2) == 0 ? 0 : random();
  return request;
}

std::string ledger_driver::accept() {
  auto request = random_request(random_, below(8) == 0 ? 400 : 40);
  const bool is_known = !open_.empty() && below(16) == 0;
  request.id = is_known ? open_[below(open_.size())].id : request_id(++last_id_);
  if (below(32) == 0) {
    request.max_tokens = 0;
  }
  if (!open_.empty() && below(16) == 0) {
    request.client_key = open_[below(open_.size())].client_key; // known, or 0
  }
  const auto outcome = target_->accept(request);
  if (outcome) {
    open_.push_back({request.id, 0, request.max_tokens, request.client_key});
  } else if (outcome.error().code == errc::resource_exhausted) {
    ++refusals_;
  }
  return text_of("accept", outcome);
}

std::string ledger_driver::apply(const ledger::commit_batch& batch) {
  const auto outcome = target_->commit(batch);
  if (outcome) {
    for (const auto& token : batch.tokens) {
      ++std::find_if(open_.begin(), open_.end(), [&token](const auto& request) {
          return request.id == token.id;
        })->committed;
    }
    for (const auto& end : batch.finished) {
      std::erase_if(open_, [&end](const auto& request) { return request.id == end.id; });
    }
  }
  return text_of("commit", outcome);
}

void ledger_driver::spoil(ledger::commit_batch& batch) {
  if (!batch.tokens.empty()) {
    auto& token = batch.tokens[below(batch.tokens.size())];
    switch (below(5)) {
    case 0:
      token.position += 1;
      break;
    case 1:
      token.position -= 1;
      break;
    case 2:
      token.token = -1;
      break;
    case 3:
      token.id = request_id(below(last_id_ + 2));
      break;
    default:
      batch.tokens.push_back(token);
      break;
    }
  }
  if (!batch.finished.empty()) {
    auto& end = batch.finished[below(batch.finished.size())];
    switch (below(3)) {
    case 0:
      end.reason = protocol::finish_reason::none;
      break;
    case 1:
      end.id = request_id(below(last_id_ + 2));
      break;
    default:
      batch.finished.push_back(end);
      break;
    }
  }
}

std::string ledger_driver::commit() {
  ledger::commit_batch batch;
  for (const auto& request : open_) {
    if (below(4) == 0) {
      continue;
    }
    const auto tokens = std::min<std::int32_t>(static_cast<std::int32_t>(below(4) == 0 ? 40 : 2),
                                               request.max_tokens - request.committed);
    for (std::int32_t i = 0; i < tokens; ++i) {
      batch.tokens.push_back(committed_at(request.id, request.committed + i));
    }
    if (request.committed + tokens == request.max_tokens || below(24) == 0) {
      const auto reason =
          below(3) == 0 ? protocol::finish_reason::stop : protocol::finish_reason::length;
      batch.finished.push_back({request.id, reason, tokens > 0 && below(3) != 0});
    }
  }
  // Tokens of different requests come in any order, those of one request in theirs.
  std::sort(batch.tokens.begin(), batch.tokens.end(), [](const auto& a, const auto& b) {
    return a.position != b.position ? a.position < b.position : a.id < b.id;
  });
  if (below(8) == 0) {
    auto spoilt = batch;
    spoil(spoilt);
    return apply(spoilt);
  }
  return apply(batch);
}

std::string ledger_driver::finish() {
  const bool is_open = !open_.empty() && below(4) != 0;
  const auto id = is_open ? open_[below(open_.size())].id : request_id(below(last_id_ + 2));
  static const std::string message(message_length_max, 'm');
  const auto text = std::string_view(message).substr(0, below(3) == 0 ? below(message.size()) : 0);
  const auto reason =
      text.empty() ? protocol::finish_reason::cancelled : protocol::finish_reason::failed;
  const auto outcome = target_->finish(id, reason, text);
  if (outcome) {
    std::erase_if(open_, [id](const auto& request) { return request.id == id; });
  }
  return text_of("finish", outcome);
}

std::string ledger_driver::strike() {
  std::vector<request_id> ids{request_id(below(last_id_ + 2))}; // perhaps not held
  for (const auto& request : open_) {
    if (below(2) == 0) {
      ids.push_back(request.id);
    }
  }
  target_->strike(ids);
  return fmt::format("strike: {}", ids.size());
}

std::string ledger_driver::step() {
  const auto which = below(17);
  if (which < 9) {
    return accept();
  }
  if (which == 16) {
    return strike();
  }
  return which < 15 ? commit() : finish();
}

bool ledger_driver::drain() {
  while (!open_.empty()) {
    ledger::commit_batch batch;
    for (const auto& request : open_) {
      if (request.committed < request.max_tokens) {
        batch.tokens.push_back(committed_at(request.id, request.committed));
      }
      if (request.committed + 1 >= request.max_tokens) {
        batch.finished.push_back({request.id, protocol::finish_reason::length});
      }
    }
    if (!apply(batch).ends_with("ok")) {
      return false;
    }
  }
  return true;
}

} // namespace vdist::testing
