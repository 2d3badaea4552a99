// model/exec/silent_links.hpp — links that lead nowhere: every operation succeeds and leaves its memory as it is. A rank
// that rehearses (rank_model.hpp) runs its steps with them, and disturbs nobody.
#pragma once

#include "transport/tensor/communicator.hpp"

#include <cstdint>

namespace vdist::exec {

class silent_communicator final : public tensor::communicator {
public:
  silent_communicator(std::int32_t rank, std::int32_t size, bool adds_sums)
      : rank_(rank), size_(size), adds_sums_(adds_sums) {}

  [[nodiscard]] std::int32_t rank() const noexcept override { return rank_; }

  [[nodiscard]] std::int32_t size() const noexcept override { return size_; }

  [[nodiscard]] bool adds_sums() const noexcept override { return adds_sums_; }

  [[nodiscard]] result<void> start_epoch(epoch /*next*/) override { return {}; }

  [[nodiscard]] result<void> all_reduce_sum(std::span<float> /*data*/) override { return {}; }

  [[nodiscard]] result<void> add_sum(std::span<float> /*data*/,
                                     std::span<float> /*onto*/) override {
    return {};
  }

  [[nodiscard]] result<void> reduce_scatter_sum(std::span<const float> /*in*/,
                                                std::span<float> /*out*/) override {
    return {};
  }

  [[nodiscard]] result<void> all_gather(std::span<const float> /*in*/,
                                        std::span<float> /*out*/,
                                        std::size_t /*rows*/) override {
    return {};
  }

  [[nodiscard]] result<void> all_to_all(std::span<const std::byte> /*in*/,
                                        std::span<std::byte> /*out*/) override {
    return {};
  }

  [[nodiscard]] result<void> all_to_all_v(std::span<const std::byte> /*in*/,
                                          const tensor::rank_parts& /*in_parts*/,
                                          std::span<std::byte> /*out*/,
                                          const tensor::rank_parts& /*out_parts*/) override {
    return {};
  }

  [[nodiscard]] result<void> broadcast(std::span<std::byte> /*data*/,
                                       std::int32_t /*root*/) override {
    return {};
  }

  [[nodiscard]] result<void> barrier() override { return {}; }

  [[nodiscard]] result<void> send(std::span<const std::byte> /*data*/,
                                  std::int32_t /*to*/) override {
    return {};
  }

  [[nodiscard]] result<void> recv(std::span<std::byte> /*data*/, std::int32_t /*from*/) override {
    return {};
  }

private:
  std::int32_t rank_;
  std::int32_t size_;
  bool adds_sums_;
};

class silent_pipe final : public tensor::pipe {
public:
  [[nodiscard]] result<void> start_epoch(epoch /*next*/) override { return {}; }

  [[nodiscard]] result<void> send(std::span<const float> /*data*/) override { return {}; }

  [[nodiscard]] result<void> recv(std::span<float> /*data*/) override { return {}; }
};

} // namespace vdist::exec
