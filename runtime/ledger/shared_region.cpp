#include "runtime/ledger/shared_region.hpp"

#include "runtime/ledger/ledger_rules.hpp"
#include "runtime/protocol/request_codec.hpp"

#include <algorithm>
#include <bit>
#include <fmt/format.h>

namespace vdist::ledger {

namespace {

constexpr std::uint64_t page_bytes = 4096;
constexpr std::uint64_t block_bytes = block_words * sizeof(std::int32_t);

/// A million operations a second do not reach it in a hundred thousand years; beyond is damage.
constexpr std::uint64_t version_max = std::uint64_t{1} << 62U;

constexpr std::uint64_t message_blocks = message_bytes_max / block_bytes;
static_assert(message_bytes_max % block_bytes == 0);

/// Blocks beyond its room that a request has at most: for the chains of tokens and extras, which do
/// not end with a block, and the text of its end …
constexpr std::uint64_t blocks_beyond_words = 2 + message_blocks;
/// … and, until the end is published, the fixed part of its encoded form, of which the rest does not
/// end with a block either.
constexpr std::uint64_t blocks_beyond_room = 2 + blocks_beyond_words;
static_assert(protocol::request_fixed_bytes <= block_bytes);

constexpr std::uint64_t page_up(std::uint64_t bytes) {
  return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

/// Which of the two holds. A version that is not published does not exist: it counts as 0, the
/// version of what was never written.
std::uint32_t current_of(const auto& pair, std::uint64_t published) {
  const auto version_of = [&pair, published](std::size_t i) {
    const auto version = pair[i].version.get();
    return version <= published ? version : 0;
  };
  return version_of(1) > version_of(0) ? 1 : 0;
}

bool is_aligned(std::span<const std::byte> region) {
  return reinterpret_cast<std::uintptr_t>(region.data()) % alignof(shared_header) == 0;
}

} // namespace

std::optional<shared_layout> layout_of(const ledger_limits& limits) {
  if (limits.tokens_max / block_words >= no_block) {
    return std::nullopt;
  }
  shared_layout layout;
  layout.entries = std::uint64_t{limits.requests_max} + limits.finished_max;
  layout.blocks = blocks_of(limits.tokens_max) + blocks_beyond_room * limits.requests_max
                  + blocks_beyond_words * limits.finished_max;
  if (layout.entries >= no_block || layout.blocks >= no_block) {
    return std::nullopt;
  }
  layout.entries_at = page_up(sizeof(shared_header));
  layout.links_at = layout.entries_at + page_up(layout.entries * sizeof(shared_entry));
  layout.blocks_at = layout.links_at + page_up(layout.blocks * sizeof(std::uint32_t));
  layout.bytes = layout.blocks_at + page_up(layout.blocks * block_bytes);
  return layout;
}

std::size_t ledger_bytes(const ledger_limits& limits) {
  const auto layout = layout_of(limits);
  return layout ? layout->bytes : 0;
}

result<void> format_ledger(std::span<std::byte> region, const ledger_limits& limits) {
  const auto layout = layout_of(limits);
  if (!layout || region.size() < layout->bytes || !is_aligned(region)) {
    return fail(errc::invalid_argument,
                fmt::format("format ledger: the limits are too large, or the region is too small "
                            "or not aligned to {} bytes (bytes={} needed={} requests_max={} "
                            "tokens_max={} finished_max={})",
                            alignof(shared_header),
                            region.size(),
                            layout ? layout->bytes : 0,
                            limits.requests_max,
                            limits.tokens_max,
                            limits.finished_max));
  }
  auto& header = *reinterpret_cast<shared_header*>(region.data());
  header.magic.set(0); // whoever dies from here on leaves nothing that opens
  header.layout.set(shared_version);
  header.requests_max.set(limits.requests_max);
  header.tokens_max.set(limits.tokens_max);
  header.finished_max.set(limits.finished_max);
  header.entries_used.set(0);
  for (auto& totals : header.totals) {
    totals.version.set(0);
    totals.tokens_committed.set(0);
    totals.highest_id.set(0);
  }
  header.published.set(1);
  header.magic.set(shared_magic);
  return {};
}

result<shared_region> shared_region::open(std::span<std::byte> bytes) {
  if (!is_aligned(bytes)) {
    return fail(errc::invalid_argument,
                fmt::format("open ledger: not aligned (alignment={})", alignof(shared_header)));
  }
  if (bytes.size() < page_bytes) {
    return fail(errc::corrupt,
                fmt::format("open ledger: too small to be one (bytes={})", bytes.size()));
  }
  const auto& header = *reinterpret_cast<const shared_header*>(bytes.data());
  if (header.magic.get() != shared_magic) {
    return fail(errc::corrupt, "open ledger: these bytes are not a ledger");
  }
  if (header.layout.get() != shared_version) {
    return fail(errc::unsupported,
                fmt::format("open ledger: written in another layout (layout={} supported={})",
                            header.layout.get(),
                            shared_version));
  }
  const ledger_limits limits{.requests_max = header.requests_max.get(),
                             .tokens_max = header.tokens_max.get(),
                             .finished_max = header.finished_max.get()};
  const auto layout = layout_of(limits);
  const bool has_version = header.published.get() - 1 < version_max;
  if (!layout || layout->bytes > bytes.size() || !has_version
      || header.entries_used.get() > layout->entries) {
    return fail(errc::corrupt,
                fmt::format("open ledger: the header does not fit the region (bytes={} needed={})",
                            bytes.size(),
                            layout ? layout->bytes : 0));
  }
  return shared_region(bytes.data(), limits, *layout);
}

entry_copy copy_entry(const shared_entry& entry, std::uint64_t published) {
  entry_copy copy;
  copy.current = current_of(entry.states, published);
  const auto& state = entry.states[copy.current];
  copy.is_used = state.is_used.get() != 0 && state.version.get() <= published;
  if (!copy.is_used) {
    return copy;
  }
  copy.id = request_id(entry.id.get());
  copy.arrival = entry.arrival.get();
  copy.accepted_version = entry.accepted_version.get();
  copy.room = entry.room.get();
  copy.prompt_tokens = entry.prompt_tokens.get();
  copy.max_tokens = entry.max_tokens.get();
  copy.committed = state.committed.get();
  copy.reason = state.reason.get();
  copy.end_order = state.end_order.get();
  copy.request_bytes = entry.request_bytes.get();
  copy.request_head = entry.request_head.get();
  copy.tokens_head = entry.tokens_head.get();
  copy.extra_words = entry.extra_words.get();
  copy.extras_head = entry.extras_head.get();
  if (copy.reason != protocol::finish_reason::none) {
    copy.message_bytes = entry.message_bytes.get();
    copy.message_head = entry.message_head.get();
  }
  copy.client_key = entry.client_key.get();
  copy.body_hash = entry.body_hash.get();
  copy.strikes = state.strikes.get();
  copy.comes_with_token = state.comes_with_token.get() != 0;
  copy.accepted = entry.accepted.get();
  copy.finished = state.finished.get();
  return copy;
}

totals_copy copy_totals(const shared_header& header, std::uint64_t published) {
  const auto current = current_of(header.totals, published);
  const auto& totals = header.totals[current];
  return {current, totals.tokens_committed.get(), request_id(totals.highest_id.get())};
}

result<void> check_entry(const entry_copy& copy, const shared_region& region) {
  const auto& limits = region.limits();
  const auto max_tokens = static_cast<std::uint64_t>(std::max(copy.max_tokens, 0));
  const bool has_plain_numbers = copy.max_tokens >= 1 && copy.prompt_tokens >= 0
                                 && copy.committed >= 0 && copy.committed <= copy.max_tokens
                                 && copy.reason <= protocol::finish_reason::failed;
  const auto max_words = max_tokens * (1 + std::uint64_t{copy.extra_words}); // below 2^63
  const bool has_room = copy.room <= limits.tokens_max && max_words <= copy.room
                        && static_cast<std::uint64_t>(copy.prompt_tokens) <= copy.room - max_words
                        && copy.request_bytes <= protocol::request_fixed_bytes
                                                     + (copy.room - max_words) * sizeof(token_id);
  const bool has_extras = copy.extra_words % 2 == 0 && copy.message_bytes <= message_bytes_max;
  const bool has_blocks = (copy.committed == 0 || region.has_block(copy.tokens_head))
                          && (copy.extras() == 0 || region.has_block(copy.extras_head))
                          && (copy.message_bytes == 0 || region.has_block(copy.message_head))
                          && (copy.reason != protocol::finish_reason::none
                              || (copy.request_bytes > 0 && region.has_block(copy.request_head)));
  if (!has_plain_numbers || !has_room || !has_extras || !has_blocks) {
    return fail(errc::corrupt,
                fmt::format("ledger: an entry is damaged (request={})", copy.id.value));
  }
  return {};
}

ledger_entry to_ledger_entry(const entry_copy& copy) {
  return {.id = copy.id,
          .arrival = copy.arrival,
          .prompt_tokens = copy.prompt_tokens,
          .max_tokens = copy.max_tokens,
          .committed = copy.committed,
          .reason = copy.reason,
          .client_key = copy.client_key,
          .body_hash = copy.body_hash,
          .strikes = copy.strikes,
          .accepted = time_point(duration(copy.accepted)),
          .finished = time_point(duration(copy.finished))};
}

bool read_chain(const shared_region& region,
                std::uint32_t head,
                std::uint64_t first,
                std::span<std::int32_t> into) {
  auto block = head;
  for (auto skipped = first / block_words; skipped > 0; --skipped) {
    if (!region.has_block(block)) {
      return false;
    }
    block = region.link(block).get();
  }
  for (auto index = static_cast<std::size_t>(first % block_words); !into.empty(); index = 0) {
    if (!region.has_block(block)) {
      return false;
    }
    const auto* from = region.words(block) + index;
    const auto part = into.first(std::min(into.size(), block_words - index));
    for (auto& word : part) {
      word = (from++)->get();
    }
    into = into.subspan(part.size());
    block = region.link(block).get(); // means something only if there is more to read
  }
  return true;
}

namespace {

/// The words of a token into its event; a count that cannot be is cut (L-5).
void add_extras(std::span<const std::int32_t> words, protocol::token_event& event) {
  const auto real = [](std::int32_t bits) {
    return std::bit_cast<float>(bits);
  };
  event.logprob = real(words[0]);
  const auto room = (words.size() - 2) / 2;
  const auto count = std::min(room, static_cast<std::size_t>(std::max(words[1], 0)));
  event.top.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    event.top.push_back({.token = words[2 + 2 * i], .logprob = real(words[3 + 2 * i])});
  }
}

} // namespace

std::optional<std::vector<protocol::token_event>>
read_events(const shared_region& region, const entry_copy& copy, std::int32_t from) {
  // With the token before them: an end that comes alone may name it.
  const auto first = std::max(from - 1, 0);
  std::vector<token_id> tokens(static_cast<std::size_t>(copy.committed - first));
  std::vector<std::int32_t> extras(static_cast<std::size_t>(copy.committed - from)
                                   * copy.extra_words);
  std::vector<std::int32_t> text(words_of(copy.message_bytes));
  if (!read_chain(region, copy.tokens_head, static_cast<std::uint64_t>(first), tokens)
      || !read_chain(
          region, copy.extras_head, static_cast<std::uint64_t>(from) * copy.extra_words, extras)
      || !read_chain(region, copy.message_head, 0, text)) {
    return std::nullopt;
  }
  std::vector<protocol::token_event> events;
  events.reserve(static_cast<std::size_t>(copy.committed - from) + 1);
  for (auto position = from; position < copy.committed; ++position) {
    auto& event = events.emplace_back();
    event.id = copy.id;
    event.position = position;
    event.token = tokens[static_cast<std::size_t>(position - first)];
    if (copy.extra_words > 0) {
      const auto at = static_cast<std::size_t>(position - from) * copy.extra_words;
      add_extras(std::span(extras).subspan(at, copy.extra_words), event);
    }
  }
  close_replay(copy.id,
               {.reason = copy.reason,
                .comes_with_token = copy.comes_with_token,
                .message = {reinterpret_cast<const char*>(text.data()), copy.message_bytes},
                .committed = copy.committed,
                .last_token = tokens.empty() ? -1 : tokens.back()},
               events);
  return events;
}

} // namespace vdist::ledger
