#include "model/exec/staged_links.hpp"

#include "transport/tensor/arguments.hpp"

#include <algorithm>
#include <span>

namespace vdist::exec {

namespace {

constexpr std::size_t room_bytes = std::size_t{8} << 20U;

result<void> refuse(const char* operation) {
  return fail(errc::unsupported,
              std::string(operation) + ": not between devices without direct access");
}

std::span<float> floats_at(std::byte* data, std::size_t count) {
  return {reinterpret_cast<float*>(data), count};
}

} // namespace

staging_area::staging_area(kernels::device_queue& queue, host_wait& wait)
    : queue_(queue), wait_(wait), memory_(queue, room_bytes, memory_place::staging) {}

std::size_t staging_area::room() {
  return room_bytes;
}

result<std::byte*> staging_area::fetch(const void* data, std::size_t bytes, std::size_t at) {
  queue_.copy_out(memory_.data() + at, data, bytes);
  VDIST_TRY(wait());
  return memory_.data() + at;
}

void staging_area::put(void* data, std::size_t bytes, std::size_t at) {
  queue_.copy_in(data, memory_.data() + at, bytes);
}

namespace {

class staged_communicator final : public tensor::communicator {
public:
  staged_communicator(tensor::communicator& inner, kernels::device_queue& queue, host_wait& wait)
      : inner_(inner), area_(queue, wait) {}

  [[nodiscard]] std::int32_t rank() const noexcept override { return inner_.rank(); }

  [[nodiscard]] std::int32_t size() const noexcept override { return inner_.size(); }

  result<void> start_epoch(epoch next) override { return inner_.start_epoch(next); }

  result<void> all_reduce_sum(std::span<float> data) override {
    return in_pieces(data, [this](std::span<float> piece) { return inner_.all_reduce_sum(piece); });
  }

  /// As many whole rows at once as there is room for; a row that is too long goes by itself.
  result<void>
  all_gather(std::span<const float> in, std::span<float> out, std::size_t rows) override {
    const auto ranks = static_cast<std::size_t>(size());
    VDIST_TRY(tensor::check_gather(in.size(), out.size(), rows, ranks));
    if (in.empty()) {
      return {};
    }
    const auto part = in.size() / rows;
    const auto most = std::max(gathered_floats_max() / part, std::size_t{1});
    for (std::size_t first = 0; first < rows; first += most) {
      const auto count = std::min(most, rows - first);
      const auto mine = in.subspan(first * part, count * part);
      const auto whole = out.subspan(first * part * ranks, count * part * ranks);
      VDIST_TRY(part <= gathered_floats_max() ? gather_rows(mine, whole, count)
                                              : gather_row(mine, whole));
    }
    return {};
  }

  result<void> barrier() override {
    VDIST_TRY(area_.wait());
    return inner_.barrier();
  }

  result<void> broadcast(std::span<std::byte> data, std::int32_t root) override {
    for (std::size_t first = 0; first < data.size(); first += area_.room()) {
      const auto bytes = std::min(area_.room(), data.size() - first);
      VDIST_ASSIGN(auto* staged, area_.fetch(data.data() + first, bytes));
      VDIST_TRY(inner_.broadcast({staged, bytes}, root));
      area_.put(data.data() + first, bytes);
    }
    return area_.wait();
  }

  // What no model asks of a tensor group on a device.
  result<void> reduce_scatter_sum(std::span<const float> /*in*/,
                                  std::span<float> /*out*/) override {
    return refuse("reduce-scatter");
  }

  result<void> all_to_all(std::span<const std::byte> /*in*/,
                          std::span<std::byte> /*out*/) override {
    return refuse("all-to-all");
  }

  result<void> all_to_all_v(std::span<const std::byte> /*in*/,
                            const tensor::rank_parts& /*in_parts*/,
                            std::span<std::byte> /*out*/,
                            const tensor::rank_parts& /*out_parts*/) override {
    return refuse("all-to-all");
  }

  result<void> send(std::span<const std::byte> /*data*/, std::int32_t /*to*/) override {
    return refuse("send");
  }

  result<void> recv(std::span<std::byte> /*data*/, std::int32_t /*from*/) override {
    return refuse("receive");
  }

private:
  /// Of this rank, beside which the staging memory has room for what all ranks give.
  [[nodiscard]] std::size_t gathered_floats_max() const {
    return staging_area::room() / sizeof(float) / (static_cast<std::size_t>(size()) + 1);
  }

  /// The result comes to lie behind `in` in the staging memory; in.size() <= gathered_floats_max().
  result<void> gather(std::span<const float> in, std::size_t rows) {
    VDIST_ASSIGN(auto* mine, area_.fetch(in.data(), in.size_bytes()));
    return inner_.all_gather(
        floats_at(mine, in.size()),
        floats_at(mine + in.size_bytes(), in.size() * static_cast<std::size_t>(size())),
        rows);
  }

  result<void> gather_rows(std::span<const float> in, std::span<float> out, std::size_t rows) {
    VDIST_TRY(gather(in, rows));
    area_.put(out.data(), out.size_bytes(), in.size_bytes());
    return area_.wait();
  }

  /// One row, by columns.
  result<void> gather_row(std::span<const float> in, std::span<float> out) {
    for (std::size_t first = 0; first < in.size(); first += gathered_floats_max()) {
      const auto piece = in.subspan(first, std::min(gathered_floats_max(), in.size() - first));
      VDIST_TRY(gather(piece, 1));
      for (std::size_t rank = 0; rank < static_cast<std::size_t>(size()); ++rank) {
        area_.put(out.data() + rank * in.size() + first,
                  piece.size_bytes(),
                  piece.size_bytes() * (rank + 1));
      }
      VDIST_TRY(area_.wait());
    }
    return {};
  }

  template <class Operation>
  result<void> in_pieces(std::span<float> data, const Operation& operation) {
    const auto most = area_.room() / sizeof(float);
    for (std::size_t first = 0; first < data.size(); first += most) {
      const auto count = std::min(most, data.size() - first);
      VDIST_ASSIGN(auto* staged, area_.fetch(data.data() + first, count * sizeof(float)));
      VDIST_TRY(operation(floats_at(staged, count)));
      area_.put(data.data() + first, count * sizeof(float));
    }
    return {};
  }

  tensor::communicator& inner_;
  staging_area area_;
};

class staged_pipe final : public tensor::pipe {
public:
  staged_pipe(tensor::pipe& inner, kernels::device_queue& queue, host_wait& wait)
      : inner_(inner), area_(queue, wait) {}

  result<void> start_epoch(epoch now) override { return inner_.start_epoch(now); }

  result<void> send(std::span<const float> data) override {
    const auto most = area_.room() / sizeof(float);
    for (std::size_t first = 0; first < data.size(); first += most) {
      const auto count = std::min(most, data.size() - first);
      VDIST_ASSIGN(auto* staged, area_.fetch(data.data() + first, count * sizeof(float)));
      VDIST_TRY(inner_.send(floats_at(staged, count)));
    }
    return {};
  }

  result<void> recv(std::span<float> data) override {
    const auto most = area_.room() / sizeof(float);
    for (std::size_t first = 0; first < data.size(); first += most) {
      const auto count = std::min(most, data.size() - first);
      VDIST_TRY(area_.wait()); // the piece before has left the staging memory
      VDIST_TRY(inner_.recv(floats_at(area_.data(), count)));
      area_.put(data.data() + first, count * sizeof(float));
    }
    return {};
  }

private:
  tensor::pipe& inner_;
  staging_area area_;
};

} // namespace

std::unique_ptr<tensor::communicator>
stage_communicator(tensor::communicator* inner, kernels::device_queue& queue, host_wait& wait) {
  return inner == nullptr ? nullptr : std::make_unique<staged_communicator>(*inner, queue, wait);
}

std::unique_ptr<tensor::pipe>
stage_pipe(tensor::pipe* inner, kernels::device_queue& queue, host_wait& wait) {
  return inner == nullptr ? nullptr : std::make_unique<staged_pipe>(*inner, queue, wait);
}

} // namespace vdist::exec
