// host/life_watch.hpp — tells within microseconds which processes of a board have come to their end, by sleeping on all
// their life words at once (futex_waitv).
// Why beside pidfds: a process can be waited for only when its memory has been given back, which takes milliseconds; its
// life word is marked before that. Why a thread: the kernel has no descriptor for a futex. The thread starts no process
// (H-1), it only turns a marked word into a readable descriptor.
//
// Every word is told at most once per watch(). A word that its process has not taken yet is watched like any other.
// Thread-safe. Cost: one sleeping thread per 127 entries that were ever watched; a wake-up per change.
#pragma once

#include "transport/socket/unique_fd.hpp"

#include "runtime/base/result.hpp"

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "host/board.hpp"

namespace vdist::host {

class life_watch {
public:
  /// Whether this kernel can wait for many words (Linux 5.16).
  [[nodiscard]] static bool is_possible();

  /// `words` outlives this. Errors: unsupported (is_possible() is false), resource_exhausted.
  [[nodiscard]] static result<std::unique_ptr<life_watch>> start(board_words& words);

  ~life_watch();
  life_watch(const life_watch&) = delete;
  life_watch& operator=(const life_watch&) = delete;

  void watch(std::uint32_t index);
  void forget(std::uint32_t index);

  /// Readable when take_dead() has something to give. Borrowed.
  [[nodiscard]] int descriptor() const { return event_.get(); }

  /// Entries whose holders have ended since the last call.
  [[nodiscard]] std::vector<std::uint32_t> take_dead();

private:
  /// futex_waitv takes 128 words; one of them is for changes of what is watched.
  static constexpr std::size_t words_per_thread = 127;
  static constexpr std::size_t groups = life_entries_max / words_per_thread;

  struct group {
    std::atomic<std::uint32_t> changes{0};
    std::bitset<words_per_thread> watched; // guarded by mutex_
    std::thread sleeper;                   // guarded by mutex_ until it is joined
  };

  life_watch(board_words& words, socket::unique_fd event);
  void change(group& of, std::size_t bit, bool is_watched);
  void run(std::size_t group_index);
  /// Takes marked words out; the rest is what to sleep on.
  [[nodiscard]] std::vector<std::uint32_t> look(std::size_t group_index);

  board_words& words_;
  socket::unique_fd event_;
  std::atomic<bool> is_stopping_{false};
  std::mutex mutex_;
  std::vector<std::uint32_t> dead_; // guarded by mutex_
  std::array<group, groups> groups_;
};

} // namespace vdist::host
