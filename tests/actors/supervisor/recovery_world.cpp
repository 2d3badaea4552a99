#include "tests/actors/supervisor/recovery_world.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::testing {

namespace {

using supervisor::action;
using supervisor::recovery_state;
using supervisor::slot_start;
using supervisor::slot_state;

template <class... Ts>
void append(std::string& bytes, const Ts&... values) {
  (bytes.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
}

incarnation worker_of(const tiding& heard) {
  return incarnation(heard.number);
}

std::int32_t next_to(std::int32_t slot) {
  return (slot + 1) % world_slots;
}

bool is_between_epochs(const place& who) {
  return who.acting_in == 0;
}

} // namespace

std::string to_string(const move& made) {
  static constexpr const char* names[] = {
      "hear",    "obey",        "fall",      "halt",    "end_thread", "wake",   "time_out",
      "pass",    "die",         "lose",      "stick",   "repeat",     "resist", "seize",
      "cling",   "end_stage",   "fail_step", "be_late", "end_lane",   "refuse", "pass_early",
      "replace", "replace_all", "blame",     "acquit",  "dismiss"};
  return fmt::format("{} {}", names[static_cast<std::size_t>(made.what)], made.index);
}

world::world(const supervisor::recovery_config& config,
             const supervisor::group_state& from,
             std::int32_t faults,
             exploration_scope scope)
    : config_(config), machine_(config), faults_(faults), scope_(scope) {
  fence_ = from.first.value - 1;
  for (std::int32_t slot = 0; slot < world_slots && !from.slots.empty(); ++slot) {
    const auto& found = from.slots[static_cast<std::size_t>(slot)];
    auto& who = at(slot);
    who.number = found.worker.value;
    who.ended = found.what == slot_start::kind::absent ? who.number : 0;
    for (const auto late : found.late) {
      who.late.push_back({.number = late.value, .acted_in = 1}); // long ago
      who.known_late.push_back(late.value);
    }
    who.is_loaded = found.what == slot_start::kind::living;
    who.acting_in = found.what == slot_start::kind::living ? fence_ : 0;
    if (found.what == slot_start::kind::dying) {
      who.what = place::kind::ending;
    } else if (found.what != slot_start::kind::absent) {
      who.what = place::kind::acting;
    }
    if (found.what == slot_start::kind::loading) {
      who.inbox.push_back({command::kind::load});
    }
  }
  machine_.start(now_, from);
  absorb();
}

std::vector<move> world::moves() const {
  std::vector<move> possible;
  if (!complaint_.empty()) {
    return possible;
  }
  add_protocol_moves(possible);
  if (is_given_up_ && scope_.wanted == orders::one_of_each) {
    possible.resize(std::min<std::size_t>(possible.size(), 1));
    return possible;
  }
  const bool has_deadline = machine_.next_deadline().has_value();
  const bool is_free =
      is_somebody_resting() || std::all_of(possible.begin(), possible.end(), [](const move& each) {
        return each.what == move::kind::wake; // the stuck may sleep longer than anybody waits
      });
  if (faults_ > 0 && !is_given_up_) {
    add_faults(possible);
    if (has_deadline && !is_free && scope_.injected == injections::all) {
      possible.push_back({move::kind::pass_early});
    }
  } else if (const auto found = find_undisturbed(possible); found != possible.end()) {
    return {*found};
  }
  if (has_deadline && is_free) {
    possible.push_back({move::kind::pass});
  }
  return possible;
}

/// Nothing can hit a worker any more but kills, which overtake its commands: what it does, how it ends, and
/// what the machine must ignore goes with everything else that could come first.
std::vector<move>::const_iterator world::find_undisturbed(const std::vector<move>& possible) const {
  if (scope_.wanted == orders::all) {
    return possible.end();
  }
  return std::find_if(possible.begin(), possible.end(), [this](const move& each) {
    switch (each.what) {
    case move::kind::hear:
      return is_stale(tidings_[static_cast<std::size_t>(each.index)]);
    case move::kind::obey:
      return !at(each.index).is_killed;
    case move::kind::fall:
    case move::kind::halt:
    case move::kind::end_thread:
      return true;
    default:
      return false;
    }
  });
}

/// it changes nothing, now and later.
bool world::is_stale(const tiding& heard) const {
  const bool is_of_the_group = heard.slot < 0;
  if (heard.what == tiding::kind::lane_died) {
    return is_given_up_;
  }
  if (is_of_the_group) {
    return is_given_up_ || heard.now < machine_.current_epoch().value;
  }
  const bool is_old = heard.number < machine_.worker(heard.slot).value;
  if (heard.what == tiding::kind::gone || heard.what == tiding::kind::halted) {
    const auto& known = at(heard.slot).known_late;
    const bool is_late = std::find(known.begin(), known.end(), heard.number) != known.end();
    return heard.what == tiding::kind::gone && is_late
               ? false
               : is_old || machine_.slot(heard.slot) == slot_state::resting;
  }
  const bool is_answer_of_old_epoch =
      heard.what == tiding::kind::quiesced && heard.now < machine_.current_epoch().value;
  return is_old || is_answer_of_old_epoch || !machine_.is_alive(heard.slot, worker_of(heard));
}

void world::add_protocol_moves(std::vector<move>& out) const {
  for (std::size_t index = 0; index < tidings_.size(); ++index) {
    if (index == 0 || tidings_[index] != tidings_[index - 1]) {
      out.push_back({move::kind::hear, static_cast<std::int32_t>(index)});
    }
  }
  for (std::int32_t slot = 0; slot < world_slots; ++slot) {
    const auto& who = at(slot);
    const bool is_acting = who.what == place::kind::acting;
    if (is_acting && !who.is_stuck && !who.inbox.empty()) {
      out.push_back({move::kind::obey, slot});
    }
    if (is_acting && who.is_killed) {
      out.push_back({move::kind::fall, slot});
    }
    if (who.what == place::kind::ending && !who.never_ends) {
      out.push_back(
          {scope_.kept_in == homes::threads ? move::kind::end_thread : move::kind::halt, slot});
    }
    if (is_acting && who.is_stuck && !who.never_ends) {
      out.push_back({move::kind::wake, slot});
    }
  }
  if (is_held_up()) {
    out.push_back({move::kind::time_out});
  }
}

void world::add_faults(std::vector<move>& out) const {
  if (!rounds_.empty()) {
    out.push_back({move::kind::blame});
  }
  if (scope_.injected == injections::deaths_and_judgements && has_open_round()) {
    out.push_back({move::kind::acquit});
    out.push_back({move::kind::dismiss});
  }
  for (std::int32_t slot = 0; slot < world_slots; ++slot) {
    const auto& who = at(slot);
    if (who.what == place::kind::ending && scope_.kept_in == homes::processes
        && scope_.injected == injections::all) {
      out.push_back({move::kind::cling, slot});
    }
    if (who.what != place::kind::acting) {
      continue;
    }
    out.push_back({move::kind::die, slot});
    if (scope_.injected != injections::all) {
      continue;
    }
    if (at(next_to(slot)).what == place::kind::acting) {
      out.push_back({move::kind::end_stage, slot});
    }
    if (!who.is_loaded && !who.inbox.empty() && who.inbox.front().what == command::kind::load) {
      out.push_back({move::kind::lose, slot});
    }
    if (who.is_killed) {
      out.push_back({move::kind::resist, slot});
    }
    if (!who.is_stuck) {
      out.push_back({move::kind::stick, slot});
      out.push_back({move::kind::seize, slot});
    }
  }
  if (scope_.injected != injections::all) {
    return;
  }
  if (begun_ > 0) {
    out.push_back({move::kind::fail_step});
    out.push_back({move::kind::be_late});
    out.push_back({move::kind::end_lane});
  }
  for (std::size_t index = 0; index < tidings_.size(); ++index) {
    if (!tidings_[index].is_echo) {
      out.push_back({move::kind::repeat, static_cast<std::int32_t>(index)});
    }
  }
  if (!is_refusing_) {
    out.push_back({move::kind::refuse});
  }
  if (machine_.state() == recovery_state::running) {
    for (std::int32_t slot = 0; slot < world_slots; ++slot) {
      out.push_back({move::kind::replace, slot});
    }
    out.push_back({move::kind::replace_all});
  }
}

bool world::is_somebody_resting() const {
  for (std::int32_t slot = 0; slot < world_slots; ++slot) {
    if (machine_.slot(slot) == slot_state::resting) {
      return true;
    }
  }
  return false;
}

/// The executor gives a step up when its deadline passes, once in an epoch.
bool world::is_held_up() const {
  const bool somebody_is_stuck =
      std::any_of(places_.begin(), places_.end(), [](const place& who) { return who.is_stuck; });
  return somebody_is_stuck && begun_ > 0 && begun_ >= fence_ && given_up_in_ != begun_
         && machine_.state() == recovery_state::running;
}

void world::make(const move& made) {
  faults_ -= made.is_fault() ? 1 : 0;
  const bool is_heard = made.what == move::kind::hear || made.what == move::kind::repeat;
  auto& who = at(is_heard ? 0 : made.index);
  switch (made.what) {
  case move::kind::hear:
  case move::kind::repeat:
    hear(static_cast<std::size_t>(made.index), made.what == move::kind::hear);
    break;
  case move::kind::obey:
    obey(who, made.index);
    break;
  case move::kind::fall:
  case move::kind::die:
    die(made.index);
    break;
  case move::kind::halt:
  case move::kind::cling:
    halt(made.index, made.what == move::kind::cling);
    break;
  case move::kind::end_thread:
    who.what = place::kind::empty;
    who.acting_in = 0;
    tell(tiding::kind::gone, made.index);
    break;
  case move::kind::wake:
    who.is_stuck = false;
    break;
  case move::kind::time_out:
    given_up_in_ = begun_;
    tell(tiding::kind::step_failed, -1);
    break;
  case move::kind::pass:
  case move::kind::pass_early:
    pass();
    break;
  case move::kind::lose:
    who.what = place::kind::empty;
    who.inbox.clear();
    tell(tiding::kind::gone, made.index);
    break;
  case move::kind::resist:
    who.is_killed = false;
    who.is_stuck = true;
    who.never_ends = true;
    who.is_immortal = true;
    break;
  case move::kind::stick:
  case move::kind::seize:
    who.is_stuck = true;
    who.is_suspect = true;
    who.never_ends = made.what == move::kind::seize;
    break;
  case move::kind::end_stage:
    die(made.index);
    die(next_to(made.index));
    break;
  case move::kind::fail_step:
    tell(tiding::kind::step_failed, -1);
    break;
  case move::kind::be_late:
    tell(tiding::kind::peer_late, -1);
    break;
  case move::kind::end_lane:
    tell(tiding::kind::lane_died, -1);
    break;
  case move::kind::refuse:
    is_refusing_ = true;
    break;
  case move::kind::replace:
    replace(made.index, made.index);
    break;
  case move::kind::replace_all:
    replace(0, world_slots - 1);
    break;
  case move::kind::blame:
    blame();
    break;
  case move::kind::acquit:
    judge(judgement::innocent);
    break;
  case move::kind::dismiss:
    judge(judgement::unproven);
    break;
  }
  check_bounds();
}

/// When it goes is all the same; when that is heard is not.
void world::halt(std::int32_t slot, bool never_goes) {
  auto& who = at(slot);
  who.what = place::kind::empty;
  who.late.push_back({.number = who.number,
                      .acted_in = std::exchange(who.acting_in, 0),
                      .never_goes = never_goes});
  tell(tiding::kind::halted, slot);
  if (!never_goes) {
    tell(tiding::kind::gone, slot);
  }
}

void world::replace(std::int32_t first, std::int32_t last) {
  std::vector<incarnation> wanted(world_slots);
  for (auto slot = first; slot <= last; ++slot) {
    wanted[static_cast<std::size_t>(slot)] = machine_.worker(slot);
    at(slot).is_unwanted = at(slot).number == machine_.worker(slot).value;
  }
  expect(machine_.replace(wanted, now_), "R-10: a group that runs can be replaced");
  expect(!machine_.replace(wanted, now_), "R-10: but not while it is");
  absorb();
}

void world::tell(tiding::kind what, std::int32_t slot) {
  const tiding sent{.what = what,
                    .slot = slot,
                    .number = slot < 0 ? 0 : at(slot).number,
                    .now = what == tiding::kind::quiesced ? at(slot).inbox.front().now
                           : slot < 0                     ? begun_
                                                          : 0};
  put(sent);
}

void world::put(const tiding& sent) {
  tidings_.insert(std::upper_bound(tidings_.begin(), tidings_.end(), sent), sent);
}

void world::hear(std::size_t index, bool is_last) {
  const auto heard = tidings_[index];
  tidings_.erase(tidings_.begin() + static_cast<std::ptrdiff_t>(index));
  if (!is_last) {
    put({heard.what, heard.slot, heard.number, heard.now, true});
  }
  const bool is_running = machine_.state() == recovery_state::running;
  const bool must_be_ignored = is_stale(heard);
  const auto before = must_be_ignored ? fingerprint() : std::string();
  switch (heard.what) {
  case tiding::kind::loaded:
    machine_.loaded(heard.slot, worker_of(heard), now_);
    break;
  case tiding::kind::quiesced:
    machine_.quiesced(heard.slot, worker_of(heard), epoch(heard.now), now_);
    break;
  case tiding::kind::died:
    count_death(heard);
    machine_.died(heard.slot, worker_of(heard), now_);
    break;
  case tiding::kind::halted:
    count_death(heard);
    note_end(heard);
    machine_.halted(heard.slot, worker_of(heard), now_);
    break;
  case tiding::kind::gone:
    count_death(heard);
    note_end(heard);
    machine_.gone(heard.slot, worker_of(heard), now_);
    break;
  case tiding::kind::step_failed:
    if (is_running && heard.now == begun_) {
      control_faults_.push_back(0);
      is_beyond_ = is_beyond_ || is_beyond(control_faults_);
    }
    machine_.step_failed(epoch(heard.now), now_);
    break;
  case tiding::kind::peer_late:
    machine_.peer_late(epoch(heard.now), now_);
    break;
  case tiding::kind::lane_died:
    if (!is_given_up_) {
      control_faults_.push_back(is_running ? note_step_death() : 0);
      is_beyond_ = is_beyond_ || is_beyond(control_faults_);
    }
    machine_.executor_died(now_);
    break;
  }
  absorb();
  expect(!must_be_ignored || before == fingerprint(), "R-5: the past changes nothing");
}

/// What the machine knows of late writers from now on.
void world::note_end(const tiding& heard) {
  auto& who = at(heard.slot);
  if (heard.what == tiding::kind::gone) {
    std::erase(who.known_late, heard.number);
    std::erase_if(who.late, [&heard](const late_one& each) { return each.number == heard.number; });
  } else if (heard.number > who.ended && !is_given_up_) {
    who.known_late.push_back(heard.number);
  }
  who.ended = std::max(who.ended, heard.number);
}

bool world::has_known_late() const {
  return std::any_of(
      places_.begin(), places_.end(), [](const place& who) { return !who.known_late.empty(); });
}

/// Of the incarnation that the machine believes in, once; one that was told to end is none.
void world::count_death(const tiding& heard) {
  auto& who = at(heard.slot);
  const bool was_found_dying = machine_.slot(heard.slot) == slot_state::dying;
  const bool is_of_now = machine_.worker(heard.slot) == worker_of(heard);
  if (is_of_now && who.is_ordered && heard.number == who.number) {
    return;
  }
  if (!is_given_up_ && is_of_now && who.dead != heard.number && !was_found_dying) {
    const auto state = machine_.slot(heard.slot);
    const bool is_over_step = state == slot_state::running || state == slot_state::quiescing;
    who.dead = heard.number;
    who.deaths.push_back(is_over_step ? note_step_death() : 0);
    who.died_at = now_;
    is_beyond_ = is_beyond_ || is_beyond(who.deaths);
  }
}

std::uint32_t world::note_step_death() {
  is_struck_ = true;
  return static_cast<std::uint32_t>(rounds_.size()) + 1;
}

/// The lane has committed nothing since the last one.
void world::blame() {
  constexpr std::int32_t strikes = 2;
  if (!is_given_up_ && ++culprits_ <= config_.culprits_in_a_row_max) {
    was_blamed_ = true;
    auto left = strikes;
    for (auto round = rounds_.rbegin(); round != rounds_.rend() && left > 0; ++round) {
      if (*round == judgement::none) {
        *round = judgement::culprit;
        --left;
      }
    }
    const auto is_its = [this](std::uint32_t round) {
      return judgement_of(round) == judgement::culprit;
    };
    std::erase_if(control_faults_, is_its);
    for (auto& who : places_) {
      std::erase_if(who.deaths, is_its);
    }
  }
  is_beyond_ = is_beyond_ || culprits_ > config_.culprits_in_a_row_max;
  machine_.culprit_found(strikes, false, now_);
  absorb();
}

/// The lane has heard of all begins.
void world::judge(judgement what) {
  std::replace(rounds_.begin(), rounds_.end(), judgement::none, what);
  machine_.suspicion_over(epoch(begun_), what == judgement::innocent);
  absorb();
}

bool world::has_open_round() const {
  return std::find(rounds_.begin(), rounds_.end(), judgement::none) != rounds_.end();
}

/// The one that was not told yet is not judged either.
judgement world::judgement_of(std::uint32_t round) const {
  return round == 0 || round > rounds_.size() ? judgement::none : rounds_[round - 1];
}

void world::obey(place& who, std::int32_t slot) {
  const auto todo = who.inbox.front();
  switch (todo.what) {
  case command::kind::load:
    who.is_loaded = true;
    tell(tiding::kind::loaded, slot);
    break;
  case command::kind::prepare:
    who.acting_in = 0;
    tell(tiding::kind::quiesced, slot);
    break;
  case command::kind::begin:
    expect(who.is_loaded, "R-3: only who has loaded takes part");
    expect(todo.now != begun_ || wired_[static_cast<std::size_t>(slot)] == who.number,
           "R-2: only the incarnation that was wired takes part");
    who.acting_in = todo.now;
    break;
  case command::kind::end:
    who.what = place::kind::empty;
    tell(tiding::kind::gone, slot);
    break;
  }
  who.inbox.erase(who.inbox.begin());
}

void world::die(std::int32_t slot) {
  auto& who = at(slot);
  who.what = place::kind::ending;
  who.inbox.clear();
  who.is_killed = false;
  who.is_stuck = false;
  tell(tiding::kind::died, slot);
}

/// Whoever did all that it was asked for, and was heard, is beyond suspicion.
void world::pass() {
  now_ = *machine_.next_deadline();
  for (std::int32_t slot = 0; slot < world_slots; ++slot) {
    auto& who = at(slot);
    const bool is_unheard = std::any_of(
        tidings_.begin(), tidings_.end(), [slot](const tiding& sent) { return sent.slot == slot; });
    who.is_suspect = who.is_suspect || is_unheard || who.is_stuck || !who.inbox.empty()
                     || who.what == place::kind::ending;
    for (auto& each : who.late) {
      each.is_suspect = true;
    }
  }
  machine_.tick(now_);
  absorb();
}

/// Actions are carried out at once, in order, as the supervisor does.
void world::absorb() {
  const auto todo = machine_.take_actions();
  const auto fence = std::find_if(todo.begin(), todo.end(), [](const action& each) {
    return each.what == action::kind::raise_fence;
  });
  expect(fence == todo.end() || fence == todo.begin(), "R-1: the fence before anything else");
  for (const auto& each : todo) {
    carry_out(each);
    machine_.done(each, now_);
  }
}

void world::carry_out(const action& todo) {
  switch (todo.what) {
  case action::kind::spawn:
    spawn(todo);
    break;
  case action::kind::adopt:
    expect(at(todo.slot).number == todo.worker.value, "R-9: who is there is adopted");
    expect(todo.now.value == fence_, "R-9: after the fence");
    at(todo.slot).is_adopted = true;
    break;
  case action::kind::kill: {
    auto& who = at(todo.slot);
    expect(who.number == todo.worker.value, "R-5: a kill names who is there");
    expect(who.is_suspect || is_given_up_, "R-4: nobody is killed who answers in time");
    who.is_killed = who.what == place::kind::acting;
    break;
  }
  case action::kind::raise_fence:
    expect(todo.now.value > fence_, "R-1: the fence rises");
    fence_ = todo.now.value;
    is_told_late_ = false;
    break;
  case action::kind::prepare:
    expect(todo.now.value == fence_, "R-1: nobody is asked to leave before the fence is up");
    if (at(todo.slot).what == place::kind::acting) {
      at(todo.slot).inbox.push_back({command::kind::prepare, todo.now.value});
    }
    break;
  case action::kind::begin:
    begin(todo);
    break;
  case action::kind::writers_gone:
    lift(todo);
    break;
  case action::kind::retire:
    retire(todo);
    break;
  case action::kind::give_up:
    expect(!is_given_up_ && !todo.reason.empty(), "R-7: given up once, with a reason");
    expect(is_beyond_ || is_hopeless(), "R-6: who can live is not given up");
    is_given_up_ = true;
    break;
  }
}

void world::spawn(const action& todo) {
  auto& who = at(todo.slot);
  expect(who.what == place::kind::empty && who.ended == who.number,
         "R-2: the one before has halted, or ended, and that was heard");
  expect(todo.worker.value == who.number + 1, "R-5: incarnations rise by one");
  expect(!is_given_up_, "R-7: nobody is spawned for a lost replica");
  if (who.deaths.size() > 1 && !who.is_ordered) {
    const auto pause = config_.restart_backoff * (1 << (who.deaths.size() - 2));
    expect(now_ >= who.died_at + pause, "R-8: a pause before the next one");
  }
  who = place{.what = place::kind::acting,
              .number = todo.worker.value,
              .dead = who.dead,
              .ended = who.ended,
              .late = who.late,
              .known_late = who.known_late,
              .deaths = who.deaths,
              .died_at = who.died_at,
              .inbox = {{command::kind::load}}};
}

void world::retire(const action& todo) {
  auto& who = at(todo.slot);
  expect(who.number == todo.worker.value && who.is_unwanted, "R-10: only who is unwanted");
  expect(is_between_epochs(who), "R-10: nobody is told to end who still works");
  expect(!who.is_ordered && !is_given_up_, "R-10: once");
  who.is_ordered = true;
  if (who.what == place::kind::acting) {
    who.inbox.push_back({command::kind::end});
  }
}

///
void world::lift(const action& todo) {
  expect(is_told_late_ && todo.now.value == begun_ && begun_ >= fence_,
         "R-12: only of the epoch that was told of late writers, and once");
  for (std::size_t slot = 0; slot < places_.size(); ++slot) {
    const auto& late = places_[slot].late;
    const auto is_of_the_past = [this, slot](const late_one& each) {
      return each.number < wired_[slot];
    };
    expect(std::none_of(late.begin(), late.end(), is_of_the_past),
           "R-12: nobody who was told of writes any more");
  }
  is_told_late_ = false;
}

void world::begin(const action& todo) {
  expect(todo.now.value > begun_, "R-3: an epoch begins once, above all before");
  expect(begun_ == 0 || todo.now.value == fence_, "R-3: the epoch that was fenced for begins");
  expect(todo.struck_by.has_value() == is_struck_, "R-11: a death over steps is told once");
  if (std::exchange(is_struck_, false)) {
    rounds_.push_back(judgement::none);
  }
  expect(todo.has_late_writers == has_known_late(), "R-12: late writers are told of");
  is_told_late_ = todo.has_late_writers;
  for (std::int32_t slot = 0; slot < world_slots; ++slot) {
    const auto& who = at(slot);
    const auto is_on_its_way = [this, slot, &who](tiding::kind what, std::uint32_t now) {
      const tiding wanted{.what = what, .slot = slot, .number = who.number, .now = now};
      return std::find(tidings_.begin(), tidings_.end(), wanted) != tidings_.end();
    };
    const bool is_unheard =
        is_on_its_way(tiding::kind::died, 0) || is_on_its_way(tiding::kind::gone, 0);
    expect(!is_on_its_way(tiding::kind::quiesced, todo.now.value)
               && (who.is_adopted || !is_on_its_way(tiding::kind::loaded, 0)),
           "R-3: everybody's answer was heard");
    expect(who.what == place::kind::acting || is_unheard,
           "R-3: everybody lives, as far as anybody can know");
    expect(is_between_epochs(who), "R-3: everybody left the epochs before");
    expect(who.is_loaded, "R-3: everybody has loaded");
    expect(!who.is_killed, "R-5: nobody takes part who was told to end");
    expect(!who.is_unwanted, "R-10: nobody takes part who was to be replaced");
    expect(machine_.worker(slot).value == who.number, "R-2: the newest incarnation takes part");
    for (const auto& each : who.late) {
      expect(todo.has_late_writers || each.number == who.number,
             "R-12: who writes late is told of");
      expect(each.acted_in == 0 || todo.now.value <= each.acted_in + config_.late_epochs_max,
             "R-12: no epoch begins where a late writer may still write");
    }
  }
  if (is_refusing_) {
    is_refusing_ = false;
    was_refused_ = true;
    machine_.abandon("no memory for channels", now_);
    absorb();
    return;
  }
  begun_ = todo.now.value;
  for (std::size_t slot = 0; slot < places_.size(); ++slot) {
    wired_[slot] = places_[slot].number;
    if (places_[slot].what == place::kind::acting) {
      places_[slot].inbox.push_back({command::kind::begin, begun_});
    }
  }
}

///
bool world::is_beyond(const std::vector<std::uint32_t>& faults) const {
  const auto open = std::count_if(faults.begin(), faults.end(), [this](std::uint32_t round) {
    return round != 0 && judgement_of(round) != judgement::innocent;
  });
  const bool may_be_open = config_.poison_strikes <= config_.max_restarts;
  const auto open_max = may_be_open ? config_.poison_strikes * config_.culprits_in_a_row_max : 0;
  return std::ssize(faults) - std::min<std::ptrdiff_t>(open, open_max) > config_.max_restarts;
}

/// A thread does not end, or not to be heard of while anybody waits.
bool world::is_hopeless() const {
  return was_refused_ || std::any_of(places_.begin(), places_.end(), [](const place& who) {
           return who.never_ends
                  || (who.is_suspect && (who.is_killed || who.what != place::kind::acting))
                  || std::any_of(
                      who.late.begin(),
                      who.late.end(),
                      [](const late_one& each) { return each.never_goes || each.is_suspect; })
                  || !who.known_late.empty();
         });
}

void world::check_bounds() {
  expect(is_given_up_ || !is_beyond_, "R-6: what fails always is given up");
  for (std::int32_t slot = 0; slot < world_slots; ++slot) {
    expect(machine_.slot(slot) != slot_state::resting || at(slot).deaths.size() > 1 || was_blamed_,
           "R-8: the first replacement is not delayed");
  }
  expect(machine_.state() != recovery_state::failed || is_given_up_, "R-7: failing is told");
}

std::string world::end_complaint() const {
  for (std::int32_t slot = 0; slot < world_slots; ++slot) {
    const auto complaint = is_given_up_ ? lost_end_complaint(slot) : running_end_complaint(slot);
    if (!complaint.empty()) {
      return complaint;
    }
  }
  const bool is_running =
      machine_.state() == recovery_state::running && begun_ == machine_.current_epoch().value;
  if (!is_given_up_ && !is_running) {
    return "dead end: the group does not run";
  }
  if (!is_given_up_ && is_told_late_) {
    return "R-12: nobody says that the late writers have gone";
  }
  return machine_.next_deadline() ? "R-4: a deadline without a wait" : "";
}

std::string world::running_end_complaint(std::int32_t slot) const {
  const auto& who = at(slot);
  const bool takes_part =
      who.what == place::kind::acting && !who.is_stuck && who.acting_in == begun_;
  return takes_part ? "" : "dead end: a worker does not take part";
}

/// Only what nobody can end is left.
std::string world::lost_end_complaint(std::int32_t slot) const {
  const auto& who = at(slot);
  const auto state = machine_.slot(slot);
  if (who.is_immortal) {
    return "";
  }
  if (who.what == place::kind::acting || (who.what == place::kind::ending && !who.never_ends)) {
    return "R-7: a worker outlives its replica";
  }
  return state == slot_state::absent || state == slot_state::dying
             ? ""
             : "R-7: a slot of a lost replica looks alive";
}

std::string world::fingerprint() const {
  std::array<std::string, world_slots> slots;
  for (std::int32_t slot = 0; slot < world_slots; ++slot) {
    slots[static_cast<std::size_t>(slot)] = fingerprint(slot);
  }
  std::sort(slots.begin(), slots.end());
  auto bytes = machine_.fingerprint();
  for (const auto value : {static_cast<std::int32_t>(fence_),
                           static_cast<std::int32_t>(begun_),
                           static_cast<std::int32_t>(given_up_in_),
                           faults_,
                           culprits_}) {
    append(bytes, value);
  }
  append(bytes, is_told_late_);
  append(
      bytes, is_refusing_, was_refused_, is_given_up_, is_struck_, !rounds_.empty(), was_blamed_);
  append_rounds(bytes, control_faults_);
  for (const auto& sent : tidings_) {
    if (sent.slot < 0) {
      append(bytes, sent.what, sent.now, sent.is_echo);
    }
  }
  for (const auto& slot : slots) {
    bytes += '|';
    bytes += slot;
  }
  return bytes;
}

/// By how long ago they were.
void world::append_rounds(std::string& bytes, const std::vector<std::uint32_t>& rounds) const {
  append(bytes, rounds.size());
  for (const auto round : rounds) {
    append(bytes,
           round == 0 ? 0U : static_cast<std::uint32_t>(rounds_.size()) + 2 - round,
           judgement_of(round));
  }
}

/// One slot: what the machine thinks of it, what it is, and what is on its way from and to it.
std::string world::fingerprint(std::int32_t slot) const {
  const auto& who = at(slot);
  auto bytes = machine_.fingerprint(slot, now_);
  append(bytes,
         who.what,
         who.is_loaded,
         who.is_stuck,
         who.never_ends,
         who.is_immortal,
         who.is_adopted,
         who.is_killed,
         who.is_suspect,
         who.is_unwanted,
         who.is_ordered);
  append(bytes, who.number, who.acting_in, who.dead, who.ended);
  for (const auto& each : who.late) {
    append(bytes, each.number, each.acted_in, each.never_goes, each.is_suspect);
  }
  for (const auto number : who.known_late) {
    bytes += '?';
    append(bytes, number);
  }
  append_rounds(bytes, who.deaths);
  append(bytes, wired_[static_cast<std::size_t>(slot)]);
  for (const auto& todo : who.inbox) {
    append(bytes, todo.what, todo.now);
  }
  for (const auto& sent : tidings_) {
    if (sent.slot == slot) {
      bytes += '!';
      append(bytes, sent.what, sent.number, sent.now, sent.is_echo);
    }
  }
  return bytes;
}

void world::expect(bool is_true, const std::string& rule) {
  if (!is_true && complaint_.empty()) {
    complaint_ = rule;
  }
}

} // namespace vdist::testing
