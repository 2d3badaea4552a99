#include "host/board.hpp"

#include <cerrno>
#include <climits>
#include <cstring>
#include <fmt/format.h>
#include <linux/futex.h>
#include <memory>
#include <new>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace vdist::host {

namespace {

constexpr std::uint32_t board_magic = 0x76'62'72'64; // "vbrd"
constexpr std::uint32_t board_layout = 5;            // raised with every change of board_words

/// The kernel reads and writes a plain word where the atomic is.
std::uint32_t* address(std::atomic<std::uint32_t>& word) {
  static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t));
  return reinterpret_cast<std::uint32_t*>(&word);
}

} // namespace

board::board(socket::unique_fd file, socket::shared_mapping memory)
    : file_(std::move(file)),
      memory_(std::move(memory)),
      words_(std::launder(reinterpret_cast<board_words*>(memory_.memory().data()))) {}

result<board> board::make() {
  VDIST_ASSIGN(auto file, socket::make_shared_file("vdist-board", sizeof(board_words)));
  VDIST_ASSIGN(auto memory, socket::shared_mapping::map(file, sizeof(board_words)));
  board made(std::move(file), std::move(memory));
  while (made->cluster == 0) {
    if (::getrandom(&made->cluster, sizeof made->cluster, 0) < 0 && errno != EINTR) {
      return fail(errc::io_failed, fmt::format("board: getrandom: {}", std::strerror(errno)));
    }
  }
  made->magic = board_magic;
  made->layout = board_layout;
  return made;
}

result<board> board::open(socket::unique_fd file) {
  VDIST_ASSIGN(auto memory, socket::shared_mapping::map(file, sizeof(board_words)));
  board opened(std::move(file), std::move(memory));
  if (opened->magic != board_magic || opened->layout != board_layout) {
    return fail(errc::corrupt,
                fmt::format("board: of another program (magic={:#x} layout={} expected={})",
                            opened->magic,
                            opened->layout,
                            board_layout));
  }
  return opened;
}

void write_identity(life_entry& entry, const protocol::process_key& key) {
  entry.owner.store(0);
  entry.progress.word.store(0);
  entry.progress.budget_ms.store(0);
  entry.progress.standstill_ms.store(0);
  entry.progress.loaded.store(0);
  entry.resume_ms.store(0);
  entry.role.store(static_cast<std::uint32_t>(key.role));
  entry.rank.store(key.rank);
  entry.incarnation.store(key.incarnation);
}

protocol::process_key identity_of(const life_entry& entry) {
  return {.role = static_cast<protocol::process_role>(entry.role.load()),
          .rank = entry.rank.load(),
          .incarnation = entry.incarnation.load()};
}

bool is_marked_dead(const life_entry& entry) {
  return (entry.owner.load() & FUTEX_OWNER_DIED) != 0;
}

std::int32_t holder_of(const life_entry& entry) {
  const auto word = entry.owner.load();
  return (word & FUTEX_OWNER_DIED) != 0 ? 0 : static_cast<std::int32_t>(word & FUTEX_TID_MASK);
}

void hold_life(life_entry& entry) noexcept {
  // The list is this process's own memory, the word is not: the kernel only wants to know how far apart they are.
  static struct robust_list link;
  static struct robust_list_head head;
  link.next = &head.list;
  head.list.next = &link;
  head.futex_offset = static_cast<long>(reinterpret_cast<std::intptr_t>(address(entry.owner))
                                        - reinterpret_cast<std::intptr_t>(&link));
  head.list_op_pending = nullptr;
  ::syscall(SYS_set_robust_list, &head, sizeof head);
  // Without the waiters bit the kernel would mark the word and wake nobody.
  entry.owner.store(static_cast<std::uint32_t>(::syscall(SYS_gettid)) | FUTEX_WAITERS);
  ::syscall(SYS_futex, address(entry.owner), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

result<held_life> hold_life_on(socket::unique_fd board_file, std::uint32_t index) {
  if (index >= life_entries_max) {
    return fail(errc::invalid_argument, fmt::format("board: no such entry (index={})", index));
  }
  VDIST_ASSIGN(auto opened, board::open(std::move(board_file)));
  // Never destroyed, and never forgotten: the kernel marks the word after everything else of this process is over.
  static const board* held = nullptr;
  held = new board(std::move(opened));
  auto& entry = held->life(index);
  hold_life(entry);
  return held_life{&**held, &entry};
}

} // namespace vdist::host
