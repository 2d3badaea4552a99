#include "host/child_table.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <utility>

namespace vdist::host {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

/// Parts of `detect`: the last third is the probe of a silent process, and six looks fit into all of it.
constexpr int probe_part = 3;
constexpr int looks_per_detect = 6;
/// V-5: a few steps of a worker, fewer than teach it how long one takes (step_pace.hpp); and the most that patience grows.
constexpr std::uint64_t changes_of_progress = 16;
constexpr int doublings_max = 6;
constexpr int first_descriptor = 3;

bool is_readable(int fd) {
  pollfd one{.fd = fd, .events = POLLIN, .revents = 0};
  return fd >= 0 && ::poll(&one, 1, 0) > 0;
}

} // namespace

child_table::child_table(const board& on, duration detect, watch how)
    : board_(on), detect_(detect) {
  for (auto index = static_cast<std::uint32_t>(life_entries_max); index > 0; --index) {
    free_lives_.push_back(index - 1);
  }
  if (how == watch::pidfds_only) {
    return;
  }
  if (auto started = life_watch::start(*board_)) {
    words_ = std::move(*started);
  } else {
    log::debug("supervisor: {}", started.error().context);
  }
}

child_table::~child_table() {
  kill_all("the end of its supervisor"); // all at once, then one after the other is waited for
}

result<std::uint32_t> child_table::take_life() {
  if (free_lives_.empty()) {
    return fail(errc::resource_exhausted,
                fmt::format("supervisor: too many processes (limit={})", life_entries_max));
  }
  const auto index = free_lives_.back();
  free_lives_.pop_back();
  return index;
}

result<child_table::child*> child_table::start(const protocol::process_key& key, child_spec spec) {
  if (children_.contains(key)) {
    return fail(errc::invalid_argument, fmt::format("start: {} exists", to_string(key)));
  }
  VDIST_ASSIGN(const auto life, take_life());
  write_identity(board_.life(life), key); // C-1
  const auto board_place = first_descriptor + static_cast<int>(spec.descriptors.size());
  spec.descriptors.push_back(board_.file().get());
  const std::vector<std::string> place{
      "--board-fd", std::to_string(board_place), "--life", std::to_string(life)};
  spec.arguments.insert(spec.arguments.begin(), place.begin(), place.end());
  auto started = start_child(spec);
  if (!started) {
    free_lives_.push_back(life);
    return started.error();
  }
  if (words_) {
    words_->watch(life);
  }
  const auto [made, is_new] = children_.emplace(key,
                                                child{.process = std::move(*started),
                                                      .life = life,
                                                      .stall = stall_watch(detect_ / probe_part)});
  return &made->second;
}

child_table::child& child_table::rename(const protocol::process_key& key,
                                        const protocol::process_key& now) {
  auto node = children_.extract(key);
  node.key() = now;
  auto& renamed = children_.insert(std::move(node)).position->second;
  auto& entry = board_.life(renamed.life);
  entry.role.store(static_cast<std::uint32_t>(now.role));
  entry.rank.store(now.rank);
  entry.incarnation.store(now.incarnation);
  return renamed;
}

void child_table::kill(const protocol::process_key& key, std::string why) {
  if (const auto found = children_.find(key); found != children_.end()) {
    kill(*found, std::move(why));
  }
}

void child_table::kill(entry& one, std::string why) {
  auto& [key, child] = one;
  if (!std::exchange(child.is_dying, true)) {
    child.why = std::move(why);
    killed_.push_back(
        {.what = child_event::kind::dying, .key = key, .pid = child.pid(), .text = child.why});
  }
  child.process.send_signal(SIGKILL);
}

void child_table::kill_all(std::string_view why) {
  for (auto& one : children_) {
    kill(one, std::string(why));
  }
}

void child_table::signal(const protocol::process_key& key, int number) const {
  if (const auto found = children_.find(key); found != children_.end()) {
    found->second.process.send_signal(number);
  }
}

child_table::child* child_table::find(const protocol::process_key& key) {
  const auto found = children_.find(key);
  return found == children_.end() ? nullptr : &found->second;
}

void child_table::add_descriptors(std::vector<pollfd>& watched) const {
  if (words_) {
    watched.push_back({.fd = words_->descriptor(), .events = POLLIN, .revents = 0});
  }
  for (const auto& [key, child] : children_) {
    watched.push_back({.fd = child.process.descriptor(), .events = POLLIN, .revents = 0});
  }
}

/// One SIGCHLD may stand for several children: all are asked.
void child_table::note_stops(time_point now) {
  for (auto& [key, child] : children_) {
    switch (child.process.take_stop_change()) {
    case stop_change::none:
      break;
    case stop_change::stopped:
      child.stopped_since = now;
      break;
    case stop_change::continued:
      child.stopped_since.reset();
      board_.life(child.life).resume_ms.store(0);
      break;
    }
  }
}

std::vector<child_event> child_table::look(time_point now) {
  std::vector<child_event> events;
  look_at_words(events);
  look_at_stops(now);
  look_at_progress(now);
  events.insert(events.end(), killed_.begin(), killed_.end());
  killed_.clear();
  look_at_ends(events);
  return events;
}

void child_table::look_at_words(std::vector<child_event>& out) {
  if (!words_) {
    return;
  }
  for (const auto index : words_->take_dead()) {
    const auto found = std::find_if(children_.begin(), children_.end(), [index](const auto& one) {
      return one.second.life == index;
    });
    if (found == children_.end()) {
      continue;
    }
    auto& [key, child] = *found;
    child.process.send_signal(SIGKILL); // C-3
    if (!std::exchange(child.is_dying, true)) {
      out.push_back({.what = child_event::kind::dying,
                     .key = key,
                     .pid = child.pid(),
                     .text = "it has come to its end"});
    }
  }
}

void child_table::look_at_stops(time_point now) {
  for (auto& one : children_) {
    auto& child = one.second;
    if (!child.stopped_since || child.is_dying) {
      continue;
    }
    const auto stopped_for = now - *child.stopped_since;
    auto& resume = board_.life(child.life).resume_ms;
    if (stopped_for >= detect_) {
      kill(one,
           fmt::format("it was stopped for {} ms",
                       duration_cast<milliseconds>(stopped_for).count()));
    } else if (resume.load() > 0 && stopped_for >= milliseconds(resume.load())) {
      resume.store(0);
      child.process.send_signal(SIGCONT);
    }
  }
}

void child_table::look_at_progress(time_point now) {
  if (now < look_due_) {
    return;
  }
  look_due_ = now + look_interval();
  for (auto& one : children_) {
    auto& child = one.second;
    if (child.is_dying || child.stopped_since || !has_progress(child)) {
      continue;
    }
    weigh_doubts(one.first, child);
    const auto verdict =
        child.stall.look(board_.life(child.life).progress, now, [&child](duration elapsed) {
          return child.cpu.use(child.process.pid(), elapsed);
        });
    look_due_ = std::min(look_due_, child.stall.due().value_or(look_due_));
    if (verdict == stall_watch::verdict::stuck) {
      ++doubts_[{one.first.role, one.first.rank}];
      kill(one,
           fmt::format("it made no progress for {} ms",
                       duration_cast<milliseconds>(child.stall.silence(now)).count()));
    }
  }
}

/// V-5. A spare is weighed when it has become somebody.
void child_table::weigh_doubts(const protocol::process_key& key, child& one) {
  const auto found = doubts_.find({key.role, key.rank});
  if (found == doubts_.end()) {
    return;
  }
  if (changes_since_loaded(board_.life(one.life).progress) >= changes_of_progress) {
    doubts_.erase(found);
    one.stall.set_patience(1);
    return;
  }
  one.stall.set_patience(1 << std::min(found->second, doublings_max));
}

void child_table::look_at_ends(std::vector<child_event>& out) {
  for (auto one = children_.begin(); one != children_.end();) {
    auto& [key, child] = *one;
    if (!is_readable(child.process.descriptor())) {
      ++one;
      continue;
    }
    child_event event{.what = child_event::kind::ended, .key = key, .pid = child.pid()};
    event.how = child.process.reap();
    event.text =
        child.why.empty() ? event.how.text() : fmt::format("{}: {}", event.how.text(), child.why);
    if (words_) {
      words_->forget(child.life);
    }
    free_lives_.push_back(child.life);
    one = children_.erase(one);
    out.push_back(std::move(event));
  }
}

bool child_table::has_progress(const child& one) const {
  return board_.life(one.life).progress.word.load(std::memory_order_relaxed) != 0;
}

duration child_table::look_interval() const {
  return std::max<duration>(detect_ / looks_per_detect, milliseconds(1));
}

std::optional<time_point> child_table::next_look() const {
  std::optional<time_point> next;
  const auto note = [&next](time_point due) {
    next = next ? std::min(*next, due) : due;
  };
  for (const auto& [key, child] : children_) {
    if (child.is_dying) {
      continue;
    }
    if (child.stopped_since) {
      const auto resume = board_.life(child.life).resume_ms.load();
      note(*child.stopped_since
           + (resume > 0 ? std::min<duration>(detect_, milliseconds(resume)) : detect_));
    } else if (key.role == protocol::process_role::worker || has_progress(child)) {
      note(look_due_); // a worker at rest may begin to compute at any time
    }
  }
  if (!killed_.empty()) {
    note(time_point{});
  }
  return next;
}

} // namespace vdist::host
