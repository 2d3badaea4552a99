#include "actors/worker/step_watch.hpp"

namespace vdist::actors {

namespace {

/// Says `waiting` for the time of one operation.
class waiting_in {
public:
  explicit waiting_in(step_watch& watch) : watch_(watch) { watch_.wait(); }

  ~waiting_in() { watch_.go_on(); }

  waiting_in(const waiting_in&) = delete;
  waiting_in& operator=(const waiting_in&) = delete;

private:
  step_watch& watch_;
};

class watched_communicator final : public tensor::communicator {
public:
  watched_communicator(std::unique_ptr<tensor::communicator> inner, step_watch& watch)
      : inner_(std::move(inner)), watch_(watch) {}

  [[nodiscard]] std::int32_t rank() const noexcept override { return inner_->rank(); }

  [[nodiscard]] std::int32_t size() const noexcept override { return inner_->size(); }

  result<void> start_epoch(epoch next) override { return inner_->start_epoch(next); }

  result<void> all_reduce_sum(std::span<float> data) override {
    const waiting_in now(watch_);
    return inner_->all_reduce_sum(data);
  }

  result<void> reduce_scatter_sum(std::span<const float> in, std::span<float> out) override {
    const waiting_in now(watch_);
    return inner_->reduce_scatter_sum(in, out);
  }

  result<void>
  all_gather(std::span<const float> in, std::span<float> out, std::size_t rows) override {
    const waiting_in now(watch_);
    return inner_->all_gather(in, out, rows);
  }

  result<void> all_to_all(std::span<const std::byte> in, std::span<std::byte> out) override {
    const waiting_in now(watch_);
    return inner_->all_to_all(in, out);
  }

  result<void> all_to_all_v(std::span<const std::byte> in,
                            const tensor::rank_parts& in_parts,
                            std::span<std::byte> out,
                            const tensor::rank_parts& out_parts) override {
    const waiting_in now(watch_);
    return inner_->all_to_all_v(in, in_parts, out, out_parts);
  }

  result<void> broadcast(std::span<std::byte> data, std::int32_t root) override {
    const waiting_in now(watch_);
    return inner_->broadcast(data, root);
  }

  result<void> barrier() override {
    const waiting_in now(watch_);
    return inner_->barrier();
  }

  result<void> send(std::span<const std::byte> data, std::int32_t to) override {
    const waiting_in now(watch_);
    return inner_->send(data, to);
  }

  result<void> recv(std::span<std::byte> data, std::int32_t from) override {
    const waiting_in now(watch_);
    return inner_->recv(data, from);
  }

private:
  const std::unique_ptr<tensor::communicator> inner_;
  step_watch& watch_;
};

class watched_pipe final : public tensor::pipe {
public:
  watched_pipe(std::unique_ptr<tensor::pipe> inner, step_watch& watch)
      : inner_(std::move(inner)), watch_(watch) {}

  result<void> start_epoch(epoch next) override { return inner_->start_epoch(next); }

  result<void> send(std::span<const float> data) override {
    const waiting_in now(watch_);
    return inner_->send(data);
  }

  result<void> recv(std::span<float> data) override {
    const waiting_in now(watch_);
    return inner_->recv(data);
  }

private:
  const std::unique_ptr<tensor::pipe> inner_;
  step_watch& watch_;
};

std::chrono::milliseconds in_ms(duration time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time);
}

} // namespace

device_verdict step_watch::look_at_device(device_step& oldest, const exec::device_waits& said) {
  using kind = device_verdict::kind;
  if (time_ == nullptr) {
    return {};
  }
  const auto now = time_->now();
  if (oldest.begun == time_point()) {
    begin_on_device(oldest);
  }
  if (const auto wait = evidence_.look(said, now)) {
    waited_until_ = now;
    end_stretch();
    enter(work_phase::waiting);
    const auto waited = in_ms(now - std::max(wait->since, oldest.begun)); // one may follow another
    const auto usual = meeting_pace_.budget(oldest.size());
    const bool is_usual_known =
        steps_of_epoch_ >= step_pace::steps_to_learn && meeting_pace_.knows(oldest.size());
    return {.what = is_usual_known && !is_leaving_ && waited > usual ? kind::peer_is_late
                                                                     : kind::goes_on,
            .silent = waited,
            .budget = usual,
            .peer = wait->rank,
            .operation = wait->operation};
  }
  const auto budget = judged_budget(oldest.size());
  if (phase_ != work_phase::computing || !is_of_device_) {
    compute_on_device(budget);
  }
  const auto silent = in_ms(now - std::max(oldest.begun, waited_until_));
  return {
      .what = silent > budget ? kind::overdue : kind::goes_on, .silent = silent, .budget = budget};
}

void step_watch::finish_on_device(device_step& oldest) {
  if (time_ == nullptr) {
    return;
  }
  end_stretch();
  end_on_device(oldest);
  pace_.finished(oldest.computed(), oldest.longest);
  meeting_pace_.finished(oldest.computed(), oldest.longest_with);
  host_pace_.finished(oldest.size().tokens,
                      std::max(oldest.host, std::exchange(longest_, duration(0))));
  if (left_ != nullptr) {
    pace_.leave(oldest.computed(), *left_);
  }
  ++steps_of_epoch_;
}

std::unique_ptr<tensor::communicator>
watch_communicator(std::unique_ptr<tensor::communicator> inner, step_watch& watch) {
  return std::make_unique<watched_communicator>(std::move(inner), watch);
}

std::unique_ptr<tensor::pipe> watch_pipe(std::unique_ptr<tensor::pipe> inner, step_watch& watch) {
  return std::make_unique<watched_pipe>(std::move(inner), watch);
}

} // namespace vdist::actors
