#include "actors/executor/step_lane.hpp"

#include "actors/executor/digest_vote.hpp"

#include "runtime/base/log.hpp"
#include "runtime/protocol/step_codec.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace vdist::actors {

namespace {

/// Longest sleep of an idle lane; it wakes at once when something arrives.
constexpr std::chrono::seconds rest_max{1};
/// Requests of a predecessor are handed over within milliseconds; who has not come by then is not waited for.
constexpr std::chrono::seconds kept_max{5};

class stopwatch {
public:
  explicit stopwatch(const frame::wait_policy& waits) : waits_(waits), at_(waits.now()) {}

  /// Adds the time since the last lap to `sum`.
  void lap(std::atomic<std::uint64_t>& sum) {
    const auto now = waits_.now();
    sum.fetch_add(static_cast<std::uint64_t>(std::chrono::nanoseconds(now - at_).count()),
                  std::memory_order_relaxed);
    at_ = now;
  }

private:
  const frame::wait_policy& waits_;
  time_point at_;
};

} // namespace

step_lane::step_lane(step_lane_config config,
                     step_lane_listener listener,
                     step_lane_links links,
                     const frame::wait_policy& waits)
    : config_(std::move(config)),
      listener_(std::move(listener)),
      links_(links),
      waits_(waits),
      scheduler_(config_.scheduler, links_.kv),
      next_step_(links_.last_step != nullptr ? links_.last_step->load() + 1 : 1),
      flights_(*links_.flights, config_.scheduler.max_sequences),
      meter_(links_.requests),
      results_(config_.stage_of_slot.size()),
      events_(std::make_shared<token_events>()) {}

void step_lane::run(std::shared_ptr<step_lane> predecessor) {
  follow(std::move(predecessor));
  while (turn(time_point::max()).what != lane_turn::kind::ended) {
  }
}

void step_lane::follow(std::shared_ptr<step_lane> predecessor) {
  predecessor_ = std::move(predecessor);
}

lane_turn step_lane::turn(time_point patience) {
  word_.enter(work_phase::computing);
  if (has_returned_) {
    return {.what = lane_turn::kind::ended};
  }
  if (!has_taken_over_) {
    return take_over(patience);
  }
  if (!stop_requested_) {
    try {
      return work(patience);
    } catch (const std::exception& cause) {
      if (!stop_requested_) {
        listener_.on_crashed(cause.what());
      }
    }
  }
  end();
  return {.what = lane_turn::kind::ended};
}

///
lane_turn step_lane::take_over(time_point patience) {
  if (predecessor_) {
    word_.enter(work_phase::waiting);
    const auto due = waits_.now() + rest_max;
    const auto has_ended = [this] {
      return predecessor_->has_returned_.load();
    };
    const auto waited =
        waits_.wait(predecessor_->returned_door_, has_ended, {.deadline = std::min(due, patience)});
    if (waited != frame::wait_status::ok) {
      return {.what = lane_turn::kind::waiting, .due = due};
    }
    next_step_ = predecessor_->next_step_;
    predecessor_.reset(); // over what it ended, its supervisor says with the next epoch
  } else {
    follows_death_ = true;
    strike({.cause = "the control process ended"});
  }
  has_taken_over_ = true;
  if (links_.view != nullptr) {
    scheduler_.show_prefixes(links_.view->prefixes);
  }
  attach_store();
  keep_kv();
  if (listener_.on_taken_over) {
    listener_.on_taken_over();
  }
  return {};
}

///
void step_lane::attach_store() {
  if (links_.store.memory.empty()) {
    return;
  }
  store_ = std::make_unique<kv::host_store>(links_.store.memory, links_.store.config);
  scheduler_.use_store(*store_, links_.store.saves_max);
}

///
void step_lane::keep_kv() {
  if (links_.kv == nullptr) {
    return;
  }
  auto records = links_.kv->content() != 0 ? links_.kv->read() : std::vector<sched::kept_kv>();
  std::erase_if(records, [this](const sched::kept_kv& record) {
    const auto known = links_.journal->state(record.id);
    return !known || known->reason != protocol::finish_reason::none;
  });
  scheduler_.keep(std::move(records));
  kept_until_ = waits_.now() + kept_max;
}

void step_lane::end() {
  publish(); // what is committed belongs to the clients, also when the lane has to go
  count_drops();
  wiring_.reset();
  word_.enter(work_phase::idle);
  has_returned_ = true;
  returned_door_.ring();
  if (listener_.on_ended) {
    listener_.on_ended();
  }
}

void step_lane::stop() {
  stop_requested_ = true;
  links_.inbox->stop();
}

sched::scheduler_stats step_lane::stats() const {
  const std::lock_guard lock(stats_mutex_);
  return stats_;
}

/// Commands are heard between steps.
lane_turn step_lane::work(time_point patience) {
  if (is_collecting_) {
    return collect(patience);
  }
  links_.inbox->take(commands_, links_.inbox_reader);
  obey(commands_);
  if (scheduler_.awaited() > 0 && waits_.now() >= kept_until_) {
    scheduler_.give_up_kept();
  }
  count_kept();
  if (!wiring_) {
    return rest(patience);
  }
  if (!fill_pipeline()) {
    return {};
  }
  publish();
  return flying_.empty() ? rest(patience) : collect(patience);
}

void step_lane::obey(step_commands& commands) {
  for (const auto& request : commands.requests) {
    take_request(*request);
  }
  for (const auto id : commands.cancels) {
    scheduler_.cancel(id);
  }
  if (commands.begin) {
    begin(*commands.begin);
  }
  if (commands.lifted) {
    scheduler_.lift(*commands.lifted);
  }
}

/// For everybody who counts over the lives of lanes.
void step_lane::count_kept() {
  if (links_.kept_total == nullptr) {
    return;
  }
  const auto& now = scheduler_.counters();
  const auto add = [](std::atomic<std::uint64_t>& sum, std::uint64_t& before, std::uint64_t count) {
    if (count != before) {
      sum += count - std::exchange(before, count);
    }
  };
  auto& total = *links_.kept_total;
  add(total.restored, counted_.tokens_restored, now.tokens_restored);
  add(total.computed_again, counted_.tokens_computed_again, now.tokens_computed_again);
  add(total.loaded, counted_.tokens_loaded, now.tokens_loaded);
  add(total.blocks_saved, counted_.blocks_saved, now.blocks_saved);
  add(total.blocks_unsaved, counted_.blocks_unsaved, now.blocks_unsaved);
}

/// A request may come twice when the router hands it over again just as it was on its way; the
/// second is dropped, also when the first has ended meanwhile. X-7.
void step_lane::take_request(const protocol::request& request) {
  const auto known = links_.journal->state(request.id);
  if (live_.contains(request.id) || !known || known->reason != protocol::finish_reason::none
      || known->committed != std::ssize(request.generated)) {
    return;
  }
  if (auto added = scheduler_.add(request); !added) {
    events_->push_back({.id = request.id,
                        .reason = protocol::finish_reason::failed,
                        .message = added.error().context});
    return;
  }
  live_.insert(request.id);
  if (known->strikes > 0) {
    suspects_.insert(request.id);
    owes_acquittal_ = true;
  }
  if (request.generated.empty()) {
    meter_.queued(request.id, waits_.now());
  }
  judge(request.id, known->strikes);
}

void step_lane::begin(const begin_epoch& message) {
  leave_epoch();
  scheduler_.start_epoch(message.now, message.has_late_writers);
  begun_ = message.now;
  if (message.death) {
    follows_death_ = false;
    owes_acquittal_ = true;
    strike(*message.death);
    weigh_suspects();
  }
  flights_.forget(last_step());
  wiring_ = message.wiring;
  if (links_.kv != nullptr && links_.kv->content() != wiring_->kv_content) { // T-6
    scheduler_.lose_kv();
    links_.kv->set_content(wiring_->kv_content);
  }
}

///
void step_lane::strike(const step_death& death) {
  const auto ids = flights_.flying();
  flights_.forget(last_step());
  if (ids.empty()) {
    return;
  }
  last_death_ = death;
  links_.journal->strike(ids);
  for (const auto id : ids) {
    const auto strikes = links_.journal->strikes(id);
    if (strikes > 0) { // it is unfinished
      suspects_.insert(id);
    }
    if (live_.contains(id)) {
      judge(id, strikes);
    }
  }
}

/// Of a request that the scheduler has.
void step_lane::judge(request_id id, std::int32_t strikes) {
  const auto strikes_max = config_.poison_strikes;
  if (strikes_max == 0 || strikes + 1 < strikes_max) {
    return;
  }
  if (strikes < strikes_max) {
    scheduler_.suspect(id);
    return;
  }
  suspects_.erase(id);
  const bool is_new = scheduler_.fail_request(id, text_of_poison(strikes));
  if (is_new && listener_.on_culprit) {
    listener_.on_culprit(
        {.strikes = strikes, .has_progressed = flights_.judge(), .is_of_process = follows_death_});
  }
}

/// The ledger is asked, which hears of every token and every end.
void step_lane::weigh_suspects() {
  if (!owes_acquittal_) {
    return;
  }
  std::erase_if(suspects_, [this](request_id id) {
    const auto known = links_.journal->state(id);
    const bool has_strikes = !known || known->strikes > 0; // of one that is forgotten nobody knows
    if (has_strikes && known && known->reason == protocol::finish_reason::none) {
      return false;
    }
    are_innocent_ = are_innocent_ && !has_strikes;
    return true;
  });
  if (!suspects_.empty()) {
    return;
  }
  owes_acquittal_ = false;
  const acquittal given{.now = begun_, .are_innocent = std::exchange(are_innocent_, true)};
  if (listener_.on_acquittal) {
    listener_.on_acquittal(given);
  }
}

/// For the client. No cause is known if the process that struck last ended before the request did.
std::string step_lane::text_of_poison(std::int32_t strikes) const {
  const auto slot = last_death_.slot;
  const std::string cause = last_death_.cause.empty() ? "unknown" : last_death_.cause;
  if (slot < 0) {
    return fmt::format(
        "step: it failed {} times with this request in it, the last time alone (cause={})",
        strikes,
        cause);
  }
  return fmt::format("step: it ended a worker {} times with this request in it, the last time "
                     "alone (rank={} cause={})",
                     strikes,
                     config_.first_rank + slot,
                     cause);
}

step_id step_lane::last_step() const {
  return step_id(next_step_.value - 1);
}

/// Of the epoch that ends.
void step_lane::count_drops() const {
  using frame::drop_reason;
  if (links_.recoveries == nullptr || !wiring_) {
    return;
  }
  auto& into = *links_.recoveries;
  for (const auto& results : wiring_->results) {
    const auto& drops = results->drops();
    const auto foreign = drops.of(drop_reason::foreign);
    const auto stale = drops.of(drop_reason::stale_epoch) + drops.of(drop_reason::stale_incarnation)
                       + drops.of(drop_reason::duplicate);
    metrics::count(into.frames_stale, stale);
    metrics::count(into.frames_foreign, foreign);
    metrics::count(into.frames_damaged, drops.total() - stale - foreign);
  }
}

void step_lane::leave_epoch() {
  count_drops();
  flying_.clear();
  is_collecting_ = false;
  wiring_.reset();
}

/// False: the epoch has ended meanwhile.
bool step_lane::fill_pipeline() {
  while (flying_.size() < static_cast<std::size_t>(config_.scheduler.max_steps_in_flight)) {
    stopwatch watch(waits_);
    if (!scheduler_.plan(next_step_, wiring_->now, plan_)) {
      return true;
    }
    watch.lap(links_.times->plan_ns);
    is_checked_ = false;
    flying_.push_back({next_step_, waits_.now()});
    meter_.planned(plan_, flying_.back().sent_at);
    if (links_.last_step != nullptr) {
      links_.last_step->store(next_step_.value, std::memory_order_relaxed);
    }
    next_step_ = next_step_.next();
    links_.times->tokens.fetch_add(static_cast<std::uint64_t>(plan_.computed_tokens()),
                                   std::memory_order_relaxed);
    if (auto sent = send_plan(); !sent) {
      handle_failure(sent.error());
      return false;
    }
    watch.lap(links_.times->send_ns);
  }
  return true;
}

result<void> step_lane::send_plan() {
  protocol::encode(plan_, encoded_);
  flights_.take_off(plan_);
  VDIST_FAILPOINT(*links_.points,
                  "executor.before_send",
                  {.replica = config_.replica,
                   .step = static_cast<std::int64_t>(plan_.step),
                   .requests = plan_.request_ids},
                  listener_.kill_actor);
  const frame::envelope header{.protocol = protocol::step_protocol,
                               .version = protocol::step_version,
                               .kind = protocol::step_plan_kind,
                               .cluster = config_.cluster,
                               .group = config_.replica,
                               .epoch = plan_.epoch};
  const auto deadline = waits_.now() + config_.step_deadline;
  word_.enter(work_phase::waiting); // for room
  for (auto& plans : wiring_->plans) {
    VDIST_TRY(plans->write(header, encoded_, deadline));
  }
  word_.enter(work_phase::computing);
  return {};
}

/// Takes the results of the oldest step in flight; once they are complete, finishes it.
lane_turn step_lane::collect(time_point patience) {
  if (!is_collecting_) {
    is_collecting_ = true;
    slots_read_ = 0;
  }
  const auto deadline = flying_.front().sent_at + config_.step_deadline;
  stopwatch watch(waits_);
  const auto collected = read_results(flying_.front(), std::min(deadline, patience));
  watch.lap(links_.times->collect_ns);
  if (!collected && collected.error().code == errc::timed_out && waits_.now() < deadline) {
    return {.what = lane_turn::kind::waiting, .due = deadline};
  }
  is_collecting_ = false;
  if (collected) {
    finish_step();
  } else {
    handle_failure(collected.error());
  }
  return {};
}

result<void> step_lane::read_results(const flying_step& flying, time_point patience) {
  word_.enter(work_phase::waiting);
  for (; slots_read_ < results_.size(); ++slots_read_) {
    VDIST_TRY(read_result(slots_read_, flying.step, patience));
  }
  word_.enter(work_phase::computing);
  VDIST_TRY(check_digests());
  const auto slowest =
      std::max_element(results_.begin(), results_.end(), [](const auto& a, const auto& b) {
        return a.compute_us < b.compute_us;
      });
  links_.times->compute_us.fetch_add(slowest->compute_us, std::memory_order_relaxed);
  return {};
}

result<void> step_lane::read_result(std::size_t slot, step_id step, time_point deadline) {
  auto read = wiring_->results[slot]->read(deadline);
  if (!read) {
    return fail(read.error().code,
                fmt::format("worker of slot {} did not answer: {}", slot, read.error().context));
  }
  auto& result = results_[slot];
  VDIST_TRY(protocol::decode(read->body, result));
  const auto rank = config_.first_rank + static_cast<std::int32_t>(slot);
  if (read->header.kind != protocol::step_result_kind || result.step != step.value
      || result.epoch != wiring_->now.value || result.rank != rank) {
    return fail(errc::corrupt,
                fmt::format("worker of slot {} answered another step (step={} expected={})",
                            slot,
                            result.step,
                            step.value));
  }
  return {};
}

/// P-6: tensor ranks of a stage have computed the same rows, or one of them is wrong.
result<void> step_lane::check_digests() const {
  const auto& stages = config_.stage_of_slot;
  for (std::size_t first = 0, end = 0; first < results_.size(); first = end) {
    end = first + 1;
    bool agree = true;
    for (; end < results_.size() && stages[end] == stages[first]; ++end) {
      agree = agree && results_[end].digest == results_[first].digest;
    }
    if (!agree) {
      return name_dissenters(first, end);
    }
  }
  return {};
}

/// The stage of slots [first, end) disagrees.
error step_lane::name_dissenters(std::size_t first, std::size_t end) const {
  std::vector<std::uint64_t> digests;
  for (auto slot = first; slot < end; ++slot) {
    digests.push_back(results_[slot].digest);
  }
  const auto vote = vote_on(digests);
  std::vector<std::int32_t> named;
  for (const auto place : vote.named) {
    named.push_back(static_cast<std::int32_t>(first + place));
  }
  auto text = fmt::format("ranks of stage {} disagree ({} {}, step={})",
                          config_.stage_of_slot[first],
                          vote.is_certain ? "not the others': slots" : "slots",
                          fmt::join(named, ", "),
                          results_[first].step);
  if (listener_.on_disagreement) {
    listener_.on_disagreement(named, vote.is_certain, text);
  }
  return fail(errc::corrupt, std::move(text));
}

void step_lane::finish_step() {
  stopwatch watch(waits_);
  const auto& sampled = results_[static_cast<std::size_t>(config_.sampling_slot)];
  const auto step = flying_.front().step;
  flying_.pop_front();
  if (auto committed = scheduler_.commit(sampled, *events_); !committed) {
    // Whatever its code: `aborted`, which elsewhere is a fence and nobody's fault, is a worker's error.
    handle_failure(fail(errc::corrupt, committed.error().context));
    return;
  }
  note_saved();
  commit_events();
  flights_.land(step);
  watch.lap(links_.times->commit_ns);
  links_.times->steps.fetch_add(1, std::memory_order_relaxed);
  note_stats();
}

///
void step_lane::note_saved() {
  if (!store_) {
    return;
  }
  const auto last =
      std::min_element(results_.begin(), results_.end(), [](const auto& a, const auto& b) {
        return a.saved_step < b.saved_step;
      });
  scheduler_.note_saved(step_id(last->saved_step));
}

///
void step_lane::note_stats() {
  const auto now = scheduler_.stats();
  meter_.note(now);
  if (links_.view != nullptr) {
    links_.view->blocks_available.store(now.blocks_free + now.blocks_cached,
                                        std::memory_order_relaxed);
  }
  const std::lock_guard lock(stats_mutex_);
  stats_ = now;
}

/// Events without tokens (refused, cancelled) are committed the same way.
void step_lane::commit_events() {
  scheduler_.flush(*events_);
  if (events_->empty()) {
    return;
  }
  batch_.clear();
  for (const auto& event : *events_) {
    batch_.append(event);
    if (event.reason != protocol::finish_reason::none) {
      live_.erase(event.id);
    }
  }
  if (auto written = links_.journal->commit(batch_); !written) {
    throw std::runtime_error(written.error().context);
  }
  weigh_suspects();
  meter_.committed(*events_, waits_.now());
  if (outgoing_) {
    outgoing_->insert(outgoing_->end(),
                      std::make_move_iterator(events_->begin()),
                      std::make_move_iterator(events_->end()));
    events_->clear();
  } else {
    outgoing_ = std::exchange(events_, std::make_shared<token_events>());
  }
}

void step_lane::publish() {
  if (outgoing_) {
    listener_.on_tokens(std::exchange(outgoing_, nullptr));
  }
}

/// The supervisor fences, mends and begins a new epoch; until then the lane waits.
void step_lane::handle_failure(const error& cause) {
  const auto now = wiring_->now;
  leave_epoch();
  if (cause.code != errc::aborted) {
    listener_.on_step_failed(now, cause.context);
  }
}

/// Nothing can be planned: events without a step go out, then the lane sleeps until something arrives.
lane_turn step_lane::rest(time_point patience) {
  commit_events();
  publish();
  if (wiring_ && !is_checked_ && scheduler_.is_idle()) {
    is_checked_ = true;
    if (auto intact = scheduler_.check_integrity(); !intact) {
      throw std::runtime_error(intact.error().context);
    }
    note_stats();
  }
  word_.enter(work_phase::waiting);
  const auto due = waits_.now() + rest_max;
  links_.inbox->wait(waits_, std::min(due, patience));
  return {.what = lane_turn::kind::waiting, .due = due};
}

} // namespace vdist::actors
