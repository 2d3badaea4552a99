// host/child_table.hpp — the children of the host supervisor: each with its place on the board, and looked after in every
// way in which a process can fail to go on. What is to be done about it is the supervisor's business.
//
//   ends          life word, within microseconds → `dying`; pidfd, when nothing of it runs any more → `ended`
//   is stopped    SIGCHLD; for longer than `detect` → killed. Continued before: nothing happened
//   is stuck      progress word (stall_watch.hpp) → killed
//
// C-1 A child is on the board before it is started (B-1) and stays there until it has been reaped.
// C-2 `ended` is told exactly once per child that start() started; `dying` at most once, and before it.
// C-3 A child that is dying is killed, too: whatever of it may still run ends (B-3).
// Not thread-safe. Cost: O(children) per look().
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"
#include "runtime/protocol/host.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <poll.h>
#include <string>
#include <vector>

#include "host/board.hpp"
#include "host/child_process.hpp"
#include "host/life_watch.hpp"
#include "host/stall_watch.hpp"

namespace vdist::host {

struct child_event {
  enum class kind : std::uint8_t { dying, ended };
  kind what = kind::ended;
  protocol::process_key key;
  std::int32_t pid = 0;
  child_end how;    // ended
  std::string text; // for people: how, and why if it was killed here
};

class child_table {
public:
  struct child {
    child_process process;
    std::uint32_t life = no_life;
    std::uint64_t order_hash = 0; // of workers
    bool is_dying = false;
    std::string why; // it was killed; empty: not by us
    std::optional<time_point> stopped_since;
    stall_watch stall;
    cpu_meter cpu;

    [[nodiscard]] std::int32_t pid() const { return static_cast<std::int32_t>(process.pid()); }
  };

  /// How an end is seen: by life words where the kernel can wait for them, or by pidfds alone, as where it cannot.
  enum class watch : std::uint8_t { life_words, pidfds_only };

  /// `on` outlives this. `detect` is the silence after which a child is given up.
  child_table(const board& on, duration detect, watch how = watch::life_words);
  ~child_table(); // kills and reaps all
  child_table(const child_table&) = delete;
  child_table& operator=(const child_table&) = delete;

  /// Affects what is started from now on, and stops that are noticed from now on.
  void set_detect(duration detect) { detect_ = detect; }

  /// The spec gets `--board-fd N --life K` as its first arguments and the board as its last descriptor. Errors: those of
  /// start_child(), resource_exhausted (the board is full), invalid_argument (the key is in use).
  [[nodiscard]] result<child*> start(const protocol::process_key& key, child_spec spec);

  /// A spare becomes somebody. `key` must exist and `now` must not.
  child& rename(const protocol::process_key& key, const protocol::process_key& now);

  /// SIGKILL; `ended` follows. Unknown keys are ignored.
  void kill(const protocol::process_key& key, std::string why);
  void kill_all(std::string_view why);
  void signal(const protocol::process_key& key, int number) const;

  [[nodiscard]] child* find(const protocol::process_key& key);

  /// 0: there is none.
  [[nodiscard]] std::int32_t pid_of(const protocol::process_key& key) {
    const auto* found = find(key);
    return found == nullptr ? 0 : found->pid();
  }

  /// Whether it is known to be dying, or its life word says so before look() has been told.
  [[nodiscard]] bool has_died(const child& one) const {
    return one.is_dying || is_marked_dead(board_.life(one.life));
  }

  [[nodiscard]] const std::map<protocol::process_key, child>& all() const { return children_; }

  /// For poll().
  void add_descriptors(std::vector<pollfd>& watched) const;

  /// Call when SIGCHLD came.
  void note_stops(time_point now);

  /// Everything that has happened to children by now.
  [[nodiscard]] std::vector<child_event> look(time_point now);

  /// When to look() again although no descriptor is readable; nullopt: no need.
  [[nodiscard]] std::optional<time_point> next_look() const;

private:
  using entry = std::map<protocol::process_key, child>::value_type;

  [[nodiscard]] result<std::uint32_t> take_life();
  void look_at_words(std::vector<child_event>& out);
  void look_at_stops(time_point now);
  void look_at_progress(time_point now);
  void weigh_doubts(const protocol::process_key& key, child& one);
  void look_at_ends(std::vector<child_event>& out);
  void kill(entry& one, std::string why);
  [[nodiscard]] bool has_progress(const child& one) const;
  /// Stalls are looked for this often.
  [[nodiscard]] duration look_interval() const;

  const board& board_;
  duration detect_;
  std::unique_ptr<life_watch> words_; // null: this kernel cannot, pidfds tell
  std::vector<std::uint32_t> free_lives_;
  std::map<protocol::process_key, child> children_;
  std::vector<child_event> killed_; // `dying` of those that we ended ourselves
  time_point look_due_{};           // at progress words
  std::map<std::pair<protocol::process_role, std::int32_t>, int>
      doubts_; // by role and rank: ends of the stuck without progress in between (V-5)
};

} // namespace vdist::host
