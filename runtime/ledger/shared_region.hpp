// runtime/ledger/shared_region.hpp — the bytes of a ledger in shared memory: header, table of
// entries, blocks of words. Internal to runtime/ledger; shared_ledger.hpp argues why a writer may
// die at any instruction and readers never see half of an operation.
//
//   header     limits, the published version, totals
//   entries    one of 192 bytes per request that may be held: what is fixed, and its state twice
//   links      one word per block: the next block of its chain
//   blocks     of 64 words: encoded requests, generated tokens, what tokens have beside them, texts
//
// The places follow from the limits alone, so the header holds no offset that could lie. Pages that
// nothing was written to cost nothing: format_ledger() touches the header only, entries and blocks
// are taken into use from the front.
#pragma once

#include "runtime/ledger/ledger.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <optional>

namespace vdist::ledger {

/// A word that one process writes while others read it. Acquire and release cost nothing on x86-64
/// and are what L-4 rests on: whoever reads a word sees everything that was published before it was
/// written.
template <class T>
class shared_word {
public:
  static_assert(std::atomic<T>::is_always_lock_free && sizeof(std::atomic<T>) == sizeof(T));

  [[nodiscard]] T get() const noexcept { return word_.load(std::memory_order_acquire); }

  void set(T value) noexcept { word_.store(value, std::memory_order_release); }

private:
  std::atomic<T> word_;
};

inline constexpr std::uint64_t shared_magic = 0x7265676465'4c4456; // "VDLedger"
inline constexpr std::uint32_t shared_version = 3; // of the layout; another one is refused
inline constexpr std::uint32_t no_block = 0xffffffff;
inline constexpr std::uint32_t block_words = 64; // of four bytes

struct shared_totals {
  shared_word<std::uint64_t> version;
  shared_word<std::uint64_t> tokens_committed;
  shared_word<std::uint64_t> highest_id; // ever accepted
};

struct alignas(64) shared_header {
  shared_word<std::uint64_t> magic; // written last
  shared_word<std::uint32_t> layout;
  shared_word<std::uint32_t> requests_max;
  shared_word<std::uint64_t> tokens_max;
  shared_word<std::uint32_t> finished_max;
  alignas(64) shared_word<std::uint64_t> published; // versions above it do not exist
  shared_word<std::uint32_t> entries_used;          // entries at and beyond it were never written
  std::array<shared_totals, 2> totals;
};

/// What changes while a request is held. Two of them: the one with the highest version that is
/// published holds, the other is where the next version is written.
struct shared_state {
  shared_word<std::uint64_t> version;
  shared_word<std::uint64_t> end_order; // rises with every end
  shared_word<std::int64_t> finished;   // ticks of time_point
  shared_word<std::int32_t> committed;
  shared_word<protocol::finish_reason> reason;
  shared_word<std::uint8_t> is_used; // 0: the entry is free
  shared_word<std::uint8_t> strikes;
  shared_word<std::uint8_t> comes_with_token; // the end
};

struct alignas(64) shared_entry {
  // Written before the entry is used, and left alone until it is free again.
  shared_word<std::uint64_t> id;
  shared_word<std::uint64_t> arrival;
  shared_word<std::uint64_t> accepted_version; // tells one use of the entry from the next
  shared_word<std::int64_t> accepted;          // ticks of time_point
  shared_word<std::uint64_t> room;             // room_of the request
  shared_word<std::int32_t> prompt_tokens;
  shared_word<std::int32_t> max_tokens;
  shared_word<std::uint32_t> request_bytes;
  shared_word<std::uint32_t> request_head; // first block of the encoded request
  shared_word<std::uint32_t> tokens_head;  // first block of the tokens; meaningless without tokens
  shared_word<std::uint32_t> extra_words;  // extra_words_of the request
  shared_word<std::uint64_t> client_key;
  // Of each token its log probability (bits), the number of alternatives that follow, and for each
  // of these id and log probability; extra_words in all, the rest of them 0. So the place of a token
  // follows from its position, and what is there from `committed`.
  shared_word<std::uint32_t> extras_head;   // meaningless without tokens or extra words
  shared_word<std::uint32_t> message_bytes; // of the end; this and the next: meaningless before it
  shared_word<std::uint32_t> message_head;  // first block of the text; meaningless without bytes
  shared_word<std::uint64_t> body_hash;     // kept_body_hash of the request

  alignas(64) std::array<shared_state, 2> states;
};

static_assert(sizeof(shared_state) == 32 && sizeof(shared_entry) == 192);
static_assert(sizeof(shared_header) == 128);

/// Where everything is, bytes from the front.
struct shared_layout {
  std::uint64_t entries = 0; // how many
  std::uint64_t blocks = 0;  // how many: enough for whatever the limits allow (L-1)
  std::uint64_t entries_at = 0;
  std::uint64_t links_at = 0;
  std::uint64_t blocks_at = 0;
  std::uint64_t bytes = 0;
};

/// Nothing if block numbers would not fit into 32 bits.
[[nodiscard]] std::optional<shared_layout> layout_of(const ledger_limits& limits);

/// Bytes that a ledger with these limits takes, most of them never touched; 0: the limits are beyond
/// what the layout can address (2^38 tokens and 2^32 blocks).
[[nodiscard]] std::size_t ledger_bytes(const ledger_limits& limits);

/// Makes an empty ledger of the region, whatever it holds. The region is aligned to 64 bytes and has
/// at least ledger_bytes(limits). Error: invalid_argument.
[[nodiscard]] result<void> format_ledger(std::span<std::byte> region, const ledger_limits& limits);

/// Access to a formatted region that somebody else owns and keeps mapped. Copies refer to the same
/// memory. Numbers of entries and blocks are for the caller to check.
class shared_region {
public:
  /// Checks everything that accesses rely on. Errors: corrupt (not a ledger, or damaged),
  /// unsupported (another layout), invalid_argument (alignment).
  [[nodiscard]] static result<shared_region> open(std::span<std::byte> bytes);

  [[nodiscard]] const ledger_limits& limits() const { return limits_; }

  [[nodiscard]] const shared_layout& layout() const { return layout_; }

  shared_header& header() { return *at<shared_header>(0); }

  [[nodiscard]] const shared_header& header() const { return *at<shared_header>(0); }

  shared_entry& entry(std::uint32_t slot) { return at<shared_entry>(layout_.entries_at)[slot]; }

  [[nodiscard]] const shared_entry& entry(std::uint32_t slot) const {
    return at<shared_entry>(layout_.entries_at)[slot];
  }

  shared_word<std::uint32_t>& link(std::uint32_t block) {
    return at<shared_word<std::uint32_t>>(layout_.links_at)[block];
  }

  [[nodiscard]] const shared_word<std::uint32_t>& link(std::uint32_t block) const {
    return at<shared_word<std::uint32_t>>(layout_.links_at)[block];
  }

  /// The block_words words of a block.
  shared_word<std::int32_t>* words(std::uint32_t block) {
    return at<shared_word<std::int32_t>>(layout_.blocks_at) + std::size_t{block} * block_words;
  }

  [[nodiscard]] const shared_word<std::int32_t>* words(std::uint32_t block) const {
    return at<shared_word<std::int32_t>>(layout_.blocks_at) + std::size_t{block} * block_words;
  }

  [[nodiscard]] bool has_block(std::uint32_t block) const { return block < layout_.blocks; }

private:
  shared_region(std::byte* base, const ledger_limits& limits, const shared_layout& layout)
      : base_(base), limits_(limits), layout_(layout) {}

  template <class T>
  [[nodiscard]] T* at(std::uint64_t offset) const {
    return reinterpret_cast<T*>(base_ + offset);
  }

  std::byte* base_;
  ledger_limits limits_;
  shared_layout layout_;
};

/// One entry as of one version.
struct entry_copy {
  std::uint32_t current = 0; // which of its states holds
  bool is_used = false;      // false: nothing else is filled in
  request_id id;
  std::uint64_t arrival = 0;
  std::uint64_t accepted_version = 0;
  std::uint64_t room = 0;
  std::int32_t prompt_tokens = 0;
  std::int32_t max_tokens = 0;
  std::int32_t committed = 0;
  protocol::finish_reason reason = protocol::finish_reason::none;
  std::uint64_t end_order = 0;
  std::uint32_t request_bytes = 0;
  std::uint32_t request_head = no_block;
  std::uint32_t tokens_head = no_block;
  std::uint32_t extra_words = 0;
  std::uint32_t extras_head = no_block;
  std::uint32_t message_bytes = 0; // 0 before the end
  std::uint32_t message_head = no_block;
  std::uint64_t client_key = 0;
  std::uint64_t body_hash = 0;
  std::uint8_t strikes = 0;
  bool comes_with_token = false;
  std::int64_t accepted = 0;
  std::int64_t finished = 0;

  /// Words of the chain of extras.
  [[nodiscard]] std::uint64_t extras() const {
    return static_cast<std::uint64_t>(committed) * extra_words;
  }

  /// What the committed tokens count.
  [[nodiscard]] std::uint64_t words() const {
    return static_cast<std::uint64_t>(committed) + extras();
  }
};

/// The entry as of version `published`; whole only if that is still the published version when this
/// returns.
[[nodiscard]] entry_copy copy_entry(const shared_entry& entry, std::uint64_t published);

/// The totals as of one version; as copy_entry.
struct totals_copy {
  std::uint32_t current = 0;
  std::uint64_t tokens_committed = 0;
  request_id highest_id;
};

[[nodiscard]] totals_copy copy_totals(const shared_header& header, std::uint64_t published);

/// Nothing in the copy leads out of the region or is of no meaning (L-5). Error: corrupt.
[[nodiscard]] result<void> check_entry(const entry_copy& copy, const shared_region& region);

/// What list() shows of it.
[[nodiscard]] ledger_entry to_ledger_entry(const entry_copy& copy);

/// Copies the words `first` … of the chain that starts at `head`; false: a link leads out of the
/// region (L-5).
[[nodiscard]] bool read_chain(const shared_region& region,
                              std::uint32_t head,
                              std::uint64_t first,
                              std::span<std::int32_t> into);

/// ledger::replay() of an entry that was checked, `from` too; nullopt: as read_chain.
[[nodiscard]] std::optional<std::vector<protocol::token_event>>
read_events(const shared_region& region, const entry_copy& copy, std::int32_t from);

/// Blocks that a chain of so many words has.
[[nodiscard]] constexpr std::uint64_t blocks_of(std::uint64_t words) {
  return (words + block_words - 1) / block_words;
}

/// Words that so many bytes take.
[[nodiscard]] constexpr std::uint64_t words_of(std::uint64_t bytes) {
  return (bytes + sizeof(std::int32_t) - 1) / sizeof(std::int32_t);
}

} // namespace vdist::ledger
