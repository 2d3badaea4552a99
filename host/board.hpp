// host/board.hpp — one small piece of memory that every process of a host maps: who is there, whether it lives and gets
// on, and words that have to outlive control process and vault. It belongs to the host supervisor.
//
// A *life word* is a futex that a process holds from its first instruction to its last: the kernel marks it when the
// holder's main thread ends, however it ends (robust list), long before the process can be waited for, because its
// memory is given back in between. Raw instead of a pthread mutex, so that one watcher can wait for all of them.
//
// B-1 An entry is written (role, rank, incarnation, words cleared) before its process is started, so a process is known
//     before it could say anything itself. It is used again only after its process has been reaped.
// B-2 A word is set by its holder alone: the number of its main thread and the waiters bit. Only the kernel adds
//     FUTEX_OWNER_DIED.
// B-3 A marked word means that the main thread is over; other threads of the process may run some microseconds longer.
//     That the process is over, only its pidfd says.
// B-4 The areas are bytes to this folder: who uses them lays them out, zeros are their beginning, and they keep their
//     contents when control process and vault are restarted.
// Nothing here is believed to be consistent by anybody whose safety depends on it: any process of the host may write.
#pragma once

#include "transport/socket/shared_file.hpp"

#include "runtime/base/progress_word.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/host.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace vdist::host {

/// Processes that can be on a board at a time; two threads can wait for all of them.
inline constexpr std::size_t life_entries_max = 254;
inline constexpr std::uint32_t no_life = 0xffffffff;

/// One process. 128 bytes, so that the words of two processes share no pair of cache lines.
struct alignas(128) life_entry {
  std::atomic<std::uint32_t> owner{0}; // the life word (B-2)
  std::atomic<std::uint32_t> role{0};
  std::atomic<std::int32_t> rank{0};
  std::atomic<std::uint32_t> incarnation{0};
  progress_cell progress;
  std::atomic<std::uint32_t> resume_ms{
      0}; // the process stopped itself and wants SIGCONT after this long
};

static_assert(sizeof(life_entry) == 128);

inline constexpr std::size_t failpoint_area_bytes = std::size_t{256} << 10U;
inline constexpr std::size_t run_area_bytes = std::size_t{256} << 10U;
inline constexpr std::size_t trace_area_bytes = std::size_t{4} << 20U;

/// The memory. Pages that nobody touches cost nothing.
struct board_words {
  std::uint32_t magic = 0;
  std::uint32_t layout = 0;
  std::uint64_t cluster = 0; // id of the cluster, drawn once; never 0
  std::atomic<std::uint32_t> node_starts{
      0}; // control processes started so far, the present one included
  std::atomic<std::uint32_t> vault_starts{
      0}; // a control process that finds another number finds other memory
  std::atomic<std::uint32_t> vault_takeovers{
      0}; // vaults that went on with the memory of the one before (H-15)
  /// The next control process needs a vault whose number is at least this, and no worker of now: set by one
  /// that is about to end (H-13).
  std::atomic<std::uint32_t> vault_wanted{0};
  /// Ends of control processes that a request was found to be the cause of; the supervisor takes them (H-14).
  std::atomic<std::uint32_t> ends_explained{0};
  alignas(64) std::array<life_entry, life_entries_max> lives;
  alignas(64) std::array<std::byte, run_area_bytes> run;              // of the control process
  alignas(64) std::array<std::byte, failpoint_area_bytes> failpoints; // armed rules
  alignas(64) std::array<std::byte, trace_area_bytes> trace;          // of faults and recoveries
};

/// A mapped board. Move-only; unmapped with this object.
class board {
public:
  /// A new one, with a cluster id of its own. Errors: resource_exhausted, io_failed.
  [[nodiscard]] static result<board> make();

  /// One that was made by make(), maybe in another process. Errors: corrupt (of another layout), invalid_argument,
  /// resource_exhausted.
  [[nodiscard]] static result<board> open(socket::unique_fd file);

  /// To hand on. Borrowed.
  [[nodiscard]] const socket::unique_fd& file() const { return file_; }

  board_words& operator*() const { return *words_; }

  board_words* operator->() const { return words_; }

  [[nodiscard]] life_entry& life(std::uint32_t index) const { return words_->lives.at(index); }

private:
  board(socket::unique_fd file, socket::shared_mapping memory);

  socket::unique_fd file_;
  socket::shared_mapping memory_;
  board_words* words_;
};

/// B-1.
void write_identity(life_entry& entry, const protocol::process_key& key);

[[nodiscard]] protocol::process_key identity_of(const life_entry& entry);

/// Whether the kernel has marked the word of an ended holder (B-3).
[[nodiscard]] bool is_marked_dead(const life_entry& entry);

/// The process that holds the entry's word (B-2), 0: nobody does, or its holder has ended.
[[nodiscard]] std::int32_t holder_of(const life_entry& entry);

/// Holds the entry's word for the calling thread until that ends: call once per process, on the main thread. The entry's
/// memory must stay mapped for ever. From now on this thread may hold no other robust lock.
void hold_life(life_entry& entry) noexcept;

/// A board that is mapped for ever, and the entry on it that this process holds.
struct held_life {
  board_words* words = nullptr;
  life_entry* entry = nullptr;
};

/// For the beginning of main(): maps the board behind the descriptor, for ever, and holds its entry `index`.
/// Errors: as board::open(), and invalid_argument (no such entry).
[[nodiscard]] result<held_life> hold_life_on(socket::unique_fd board_file, std::uint32_t index);

} // namespace vdist::host
