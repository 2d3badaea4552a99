#include "runtime/ledger/shared_blocks.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace vdist::ledger {

std::uint32_t shared_blocks::take() {
  const bool is_fresh = free_ == no_block;
  const auto taken = is_fresh ? fresh_ : free_;
  VDIST_CHECK(region_.has_block(taken), "L-1: there is a block for everything that has room");
  if (is_fresh) {
    ++fresh_;
  } else {
    free_ = region_.link(taken).get();
  }
  return taken;
}

void shared_blocks::extend(block_chain& chain) {
  const auto block = take();
  if (chain.head == no_block) {
    chain.head = block;
  } else {
    region_.link(chain.tail).set(block);
  }
  chain.tail = block;
}

block_chain shared_blocks::write(std::span<const std::byte> bytes) {
  constexpr std::size_t word_bytes = sizeof(std::int32_t);
  VDIST_CHECK(bytes.size() % word_bytes == 0, "shared blocks: whole words are written");
  block_chain chain;
  while (!bytes.empty()) {
    extend(chain);
    const auto part = bytes.first(std::min(bytes.size(), block_words * word_bytes));
    auto* to = region_.words(chain.tail);
    for (std::size_t at = 0; at < part.size(); at += word_bytes) {
      std::int32_t word = 0;
      std::memcpy(&word, part.data() + at, word_bytes);
      (to++)->set(word);
    }
    bytes = bytes.subspan(part.size());
  }
  return chain;
}

void shared_blocks::release(const block_chain& chain) {
  if (chain.head != no_block) {
    region_.link(chain.tail).set(free_);
    free_ = chain.head;
  }
}

result<block_chain> shared_blocks::claim(std::uint32_t head, std::uint64_t words) {
  block_chain chain;
  auto block = head;
  for (auto left = blocks_of(words); left > 0; --left) {
    if (!region_.has_block(block) || (block < claimed_.size() && claimed_[block])) {
      return fail(
          errc::corrupt,
          fmt::format("ledger: a chain of blocks is damaged (head={} block={})", head, block));
    }
    if (block >= claimed_.size()) {
      claimed_.resize(std::size_t{block} + 1);
    }
    claimed_[block] = true;
    chain.head = chain.head == no_block ? block : chain.head;
    chain.tail = block;
    block = region_.link(block).get();
  }
  return chain;
}

void shared_blocks::free_unclaimed() {
  fresh_ = static_cast<std::uint32_t>(claimed_.size());
  for (auto block = fresh_; block > 0; --block) { // the first ones are used first
    if (!claimed_[block - 1]) {
      region_.link(block - 1).set(free_);
      free_ = block - 1;
    }
  }
  claimed_ = {};
}

} // namespace vdist::ledger
