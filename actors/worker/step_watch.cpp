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

} // namespace

std::unique_ptr<tensor::communicator>
watch_communicator(std::unique_ptr<tensor::communicator> inner, step_watch& watch) {
  return std::make_unique<watched_communicator>(std::move(inner), watch);
}

std::unique_ptr<tensor::pipe> watch_pipe(std::unique_ptr<tensor::pipe> inner, step_watch& watch) {
  return std::make_unique<watched_pipe>(std::move(inner), watch);
}

} // namespace vdist::actors
