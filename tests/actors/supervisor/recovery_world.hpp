// tests/actors/supervisor/recovery_world.hpp — everything around a recovery machine, as plain data that can be copied and
// compared: workers that obey commands late or never, and their tidings on the way. A world knows the moves that are
// possible in it; an exploration makes all of them.
//
// Every order is possible: tidings of different kinds overtake each other, a worker obeys its commands in order, but when
// it likes. Time stands still but for passed deadlines, which happen for free only when nothing else can, or when a back-off
// ends.
// After every move the world compares what the machine wants with what is true, and says what is wrong (R-1 … R-13).
#pragma once

#include "actors/supervisor/recovery.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace vdist::testing {

inline constexpr std::int32_t world_slots = 3;

/// One thing that can happen next.
struct move {
  enum class kind : std::uint8_t {
    // The protocol goes on.
    hear,       // the machine hears tiding `index`
    obey,       // the worker of slot `index` does its next command
    fall,       // the kill of slot `index` reaches its worker
    halt,       // the dead worker of slot `index` begins nothing any more: it is a late writer
    end_thread, // the thread of the dead worker of slot `index` ends
    wake,       // the stuck worker of slot `index` goes on as if nothing had been
    time_out,   // the step that a stuck worker holds up is given up by the executor
    pass,       // the machine's next deadline passes
    // Faults.
    die,        // the worker of slot `index` dies
    lose,       // the spawn of slot `index` is lost: its stage had just ended
    stick,      // the worker of slot `index` obeys no more until it wakes or is killed
    repeat,     // the machine hears tiding `index`, and will hear it again
    resist,     // the kill of slot `index` gets lost: nothing ends its worker
    seize,      // the same, and its thread does not end
    cling,      // the same, and it never goes
    end_stage,  // the stage of slots 0 and 1 ends
    fail_step,  // a step fails although everybody lives
    be_late,    // a worker waited in vain for a peer
    end_lane,   // the executor dies
    refuse,     // the next epoch finds no memory for its channels
    pass_early, // a deadline passes although everybody works, only slowly
    // No faults, but as unexpected.
    replace,     // the worker of slot `index` is to be replaced
    replace_all, // every worker is
    blame,       // the lane finds the culprit of the last two deaths over steps, at most
    acquit,      // all whom it suspects have got tokens
    dismiss,     // all whom it suspects have got tokens or have been cancelled
  };
  kind what = kind::hear;
  std::int32_t index = 0;

  [[nodiscard]] bool is_fault() const { return what >= kind::die; }
};

[[nodiscard]] std::string to_string(const move& made);

/// On its way to the machine.
struct tiding {
  enum class kind : std::uint8_t {
    loaded,
    quiesced,
    died,
    halted,
    gone,
    step_failed,
    peer_late,
    lane_died
  };
  kind what = kind::loaded;
  std::int32_t slot = -1;
  std::uint32_t number = 0; // of the incarnation
  std::uint32_t now = 0;    // epoch
  bool is_echo = false;     // it was heard before

  auto operator<=>(const tiding&) const = default;
};

/// On its way to a worker.
struct command {
  enum class kind : std::uint8_t { load, prepare, begin, end };
  kind what = kind::load;
  std::uint32_t now = 0; // epoch
};

/// Somebody who halted, and of whom it was not heard that it has gone.
struct late_one {
  std::uint32_t number = 0;
  std::uint32_t acted_in = 0; // epoch; 0: none
  bool never_goes = false;
  bool is_suspect = false; // as of a place
};

/// A slot as it really is.
struct place {
  enum class kind : std::uint8_t {
    empty,  // nobody was here or the last one's thread has ended, or it has halted
    acting, // the actor lives
    ending, // the actor is dead, its thread still acts
  };
  kind what = kind::empty;
  std::uint32_t number = 0;    // of the incarnation
  std::uint32_t acting_in = 0; // epoch; 0: none
  bool is_loaded = false;
  bool is_stuck = false;
  bool never_ends = false;
  bool is_immortal = false;   // not even its actor ends
  bool is_adopted = false;    // not spawned by this machine
  bool is_killed = false;     // the kill is on its way
  bool is_suspect = false;    // it may be killed: something of it was late when a deadline passed
  bool is_unwanted = false;   // its replacement is planned
  bool is_ordered = false;    // it was told to end by order
  std::uint32_t dead = 0;     // the newest incarnation whose death was heard
  std::uint32_t ended = 0;    // … of which it was heard that it halted, or has gone
  std::vector<late_one> late; // the oldest first
  std::vector<std::uint32_t>
      known_late; // those of which the machine heard that they halted, not that they went
  std::vector<std::uint32_t>
      deaths;         // that were heard and not taken out: their rounds, 0: over no step
  time_point died_at; // the last of them
  std::vector<command> inbox;
};

/// Moves that touch different slots, while the order in which the machine hears of them stays open,
/// lead to one world in any order. `one_of_each` makes them in one order only where no fault can come
/// between: after the last one, and once the replica is given up.
enum class orders : std::uint8_t { one_of_each, all };

/// What may be injected.
enum class injections : std::uint8_t { all, deaths, deaths_and_blames, deaths_and_judgements };

/// What the lane has said of a round.
enum class judgement : std::uint8_t { none, innocent, unproven, culprit };

/// What workers are: threads are gone when they end; processes halt first, and are late writers until they have gone.
enum class homes : std::uint8_t { threads, processes };

struct exploration_scope {
  orders wanted = orders::one_of_each;
  injections injected = injections::all;
  homes kept_in = homes::threads;
};

class world {
public:
  /// `faults`: how many may still be injected.
  world(const supervisor::recovery_config& config,
        const supervisor::group_state& from,
        std::int32_t faults,
        exploration_scope scope = {});

  /// The moves of which all must be made.
  [[nodiscard]] std::vector<move> moves() const;
  void make(const move& made);

  /// What broke a rule; empty while all is well.
  [[nodiscard]] const std::string& complaint() const { return complaint_; }

  /// To be asked when only faults are left to happen: why this is no good end.
  [[nodiscard]] std::string end_complaint() const;

  [[nodiscard]] const supervisor::recovery& machine() const { return machine_; }

  /// Equal ones have equal futures, but for the names of the slots.
  [[nodiscard]] std::string fingerprint() const;

private:
  [[nodiscard]] std::string fingerprint(std::int32_t slot) const;
  void append_rounds(std::string& bytes, const std::vector<std::uint32_t>& rounds) const;
  using place_at = std::array<place, world_slots>;

  void add_protocol_moves(std::vector<move>& out) const;
  void add_faults(std::vector<move>& out) const;
  [[nodiscard]] bool is_somebody_resting() const;
  [[nodiscard]] std::vector<move>::const_iterator
  find_undisturbed(const std::vector<move>& possible) const;
  [[nodiscard]] bool is_held_up() const;
  [[nodiscard]] bool is_stale(const tiding& heard) const;
  void tell(tiding::kind what, std::int32_t slot);
  void put(const tiding& sent);
  void hear(std::size_t index, bool is_last);
  void count_death(const tiding& heard);
  [[nodiscard]] std::uint32_t note_step_death();
  void blame();
  void judge(judgement what);
  [[nodiscard]] bool has_open_round() const;
  [[nodiscard]] judgement judgement_of(std::uint32_t round) const;
  [[nodiscard]] bool is_beyond(const std::vector<std::uint32_t>& faults) const;
  void obey(place& who, std::int32_t slot);
  void die(std::int32_t slot);
  void pass();
  void absorb();
  void carry_out(const supervisor::action& todo);
  void spawn(const supervisor::action& todo);
  void begin(const supervisor::action& todo);
  void retire(const supervisor::action& todo);
  void halt(std::int32_t slot, bool never_goes);
  void note_end(const tiding& heard);
  void lift(const supervisor::action& todo);
  [[nodiscard]] bool has_known_late() const;
  void replace(std::int32_t first, std::int32_t last);
  [[nodiscard]] std::string running_end_complaint(std::int32_t slot) const;
  [[nodiscard]] std::string lost_end_complaint(std::int32_t slot) const;
  [[nodiscard]] bool is_hopeless() const;
  void check_bounds();
  void expect(bool is_true, const std::string& rule);

  [[nodiscard]] place& at(std::int32_t slot) { return places_[static_cast<std::size_t>(slot)]; }

  [[nodiscard]] const place& at(std::int32_t slot) const {
    return places_[static_cast<std::size_t>(slot)];
  }

  supervisor::recovery_config config_;
  supervisor::recovery machine_;
  time_point now_{std::chrono::seconds(1)};
  place_at places_;
  std::vector<tiding> tidings_; // sorted
  std::uint32_t fence_ = 0;
  std::uint32_t begun_ = 0;       // the epoch that began last
  std::uint32_t given_up_in_ = 0; // by the executor: the epoch whose step timed out
  std::array<std::uint32_t, world_slots> wired_{}; // the incarnations of that epoch
  std::int32_t faults_;
  exploration_scope scope_;
  std::vector<std::uint32_t> control_faults_; // that were heard and count: as the deaths of a place
  std::vector<judgement> rounds_;             // that were told, by number, from 1
  bool is_beyond_ = false;                    // a bound, with the last death or fault of its kind
  bool is_struck_ = false;
  std::int32_t culprits_ = 0; // in a row
  bool was_blamed_ = false;   // and deaths were taken out of the count
  bool is_told_late_ = false; // by the last begin, and nothing took it back
  bool is_refusing_ = false;  // the next wiring
  bool was_refused_ = false;
  bool is_given_up_ = false;
  std::string complaint_;
};

} // namespace vdist::testing
