// tests/model/exec/fake_device.hpp — a device without a device: its memory is the host's, and its operations compute nothing
// but who is touched, and the logits of a row if that is wanted. It records and replays as a GPU does: what is recorded is not run.
#pragma once

#include "kernels/backend.hpp"
#include "kernels/cpu/cpu_backend.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace vdist::testing {

using tape = std::vector<std::function<void()>>;

class fake_queue final : public kernels::device_queue {
public:
  std::map<std::uint64_t, tape> recorded;
  std::map<std::uint64_t, int> runs; // by key, of those that were not replayed
  int replays = 0;
  int allocations = 0; // of both sorts
  std::size_t device_bytes = 0;
  std::size_t device_bytes_max = SIZE_MAX;
  bool is_late = false;  // whoever waits has to ask twice
  bool is_stuck = false; // nothing that it is given is done

  /// An operation: done now, or put on the tape.
  void enqueue(std::function<void()> operation) {
    if (tape_ != nullptr) {
      tape_->push_back(std::move(operation));
    } else {
      operation();
    }
  }

  [[nodiscard]] bool is_recording() const { return tape_ != nullptr; }

  void* allocate(std::size_t bytes) noexcept override {
    if (device_bytes + bytes > device_bytes_max) {
      return nullptr;
    }
    ++allocations;
    device_bytes += bytes;
    void* memory = std::aligned_alloc(256, (bytes + 256) / 256 * 256);
    std::memset(memory, 0, bytes); // nothing else is written where nothing is computed
    sizes_[memory] = bytes;
    return memory;
  }

  void release(void* memory) noexcept override {
    if (memory != nullptr) {
      device_bytes -= sizes_[memory];
      std::free(memory);
    }
  }

  void* allocate_staging(std::size_t bytes) noexcept override {
    ++allocations;
    return std::calloc(bytes + 1, 1); // as on the device
  }

  void release_staging(void* memory) noexcept override { std::free(memory); }

  void copy_in(void* to, const void* from, std::size_t bytes) noexcept override {
    enqueue([=] { std::memcpy(to, from, bytes); });
  }

  void copy_out(void* to, const void* from, std::size_t bytes) noexcept override {
    enqueue([=] { std::memcpy(to, from, bytes); });
  }

  void fill_zero(void* memory, std::size_t bytes) noexcept override {
    enqueue([=] { std::memset(memory, 0, bytes); });
  }

  kernels::queue_mark mark() noexcept override { return ++marks_; }

  bool wait(kernels::queue_mark at, std::chrono::nanoseconds) noexcept override {
    return !is_stuck && (!is_late || std::exchange(asked_for_, at) == at);
  }

  void run(std::uint64_t key, const std::function<void()>& work) override {
    if (!recorded.contains(key) && runs[key]++ == 0) {
      work();
      return;
    }
    if (!recorded.contains(key)) {
      record_ahead(key, work);
    }
    ++replays;
    for (const auto& operation : recorded.at(key)) {
      operation();
    }
  }

  void record_ahead(std::uint64_t key, const std::function<void()>& work) override {
    tape_ = &recorded[key];
    work();
    tape_ = nullptr;
  }

  void forget(std::uint64_t key) noexcept override {
    recorded.erase(key);
    runs.erase(key);
  }

  [[nodiscard]] const std::string& failure() const noexcept override { return failure_; }

  [[nodiscard]] bool is_host_memory() const noexcept override { return false; }

private:
  tape* tape_ = nullptr;
  std::map<void*, std::size_t> sizes_;
  kernels::queue_mark marks_ = 0;
  kernels::queue_mark asked_for_ = 0;
  const std::string failure_; // always empty
};

/// What the operations saw; outlives the devices that fill it in.
struct fake_trace {
  fake_queue* queue = nullptr; // of the last device
  int rows_of_sequences = 0;   // tokens whose KV would have been written
  int rows_of_padding = 0;
  int rows_sampled = 0;
  int rows_gathered = 0;       // for the LM head, by the last one
  std::int32_t vocabulary = 0; // if it is set, row r of the LM head likes token r + 1 best
  int prompts_attended = 0;    // attention of steps with more than one query in a sequence
  int operations = 0;
  int group_calls = 0; // that ran, replays included
  int group_recordings = 0;
  int checksums = 0;
  kernels::fault_record fault;       // that groups report
  std::vector<std::uint32_t> fences; // that groups were told of
};

/// One that counts what it is asked for.
class fake_group final : public kernels::device_group {
public:
  fake_group(fake_queue& queue, fake_trace& seen) : queue_(queue), seen_(seen) {}

  bool start_epoch(std::uint32_t, std::chrono::nanoseconds) noexcept override { return true; }

  void all_reduce(const kernels::all_reduce_args&) noexcept override { count(); }

  void all_gather(const kernels::all_gather_args&) noexcept override { count(); }

  void broadcast(const kernels::broadcast_args&) noexcept override { count(); }

  void barrier() noexcept override { count(); }

  void send(const kernels::send_args&) noexcept override { count(); }

  void recv(const kernels::recv_args&) noexcept override { count(); }

  [[nodiscard]] kernels::fault_record fault() const noexcept override { return seen_.fault; }

  [[nodiscard]] kernels::wait_record waiting() const noexcept override { return {}; }

  void skip_next() noexcept override {}

  void raise_fence(std::uint32_t to) noexcept override { seen_.fences.push_back(to); }

private:
  void count() {
    seen_.group_recordings += queue_.is_recording() ? 1 : 0;
    queue_.enqueue([this] { ++seen_.group_calls; });
  }

  fake_queue& queue_;
  fake_trace& seen_;
};

class fake_device final : public kernels::backend {
public:
  static constexpr std::int32_t sampled_token = 7; // every token that it draws

  explicit fake_device(fake_trace& seen) : seen_(seen) { seen.queue = &queue_; }

  [[nodiscard]] std::string_view name() const noexcept override { return "fake"; }

  [[nodiscard]] kernels::activation_types types(kernels::dtype weights) const noexcept override {
    return {.inner = weights};
  }

  [[nodiscard]] kernels::device_queue& queue() noexcept override { return queue_; }

  void linear(const kernels::linear_args& a) noexcept override {
    count();
    if (a.out_features == seen_.vocabulary) {
      queue_.enqueue([a] {
        for (std::int32_t row = 0; row < a.tokens; ++row) {
          a.y.as<float>()[row * a.y_stride + row + 1] = 1;
        }
      });
    }
  }

  void rms_norm(const kernels::rms_norm_args&) noexcept override { count(); }

  void layer_norm(const kernels::layer_norm_args&) noexcept override { count(); }

  void rope(const kernels::rope_args&) noexcept override { count(); }

  void gated_activation(const kernels::gated_activation_args&) noexcept override { count(); }

  void activation(const kernels::activation_args&) noexcept override { count(); }

  void add_residual(const kernels::add_residual_args&) noexcept override { count(); }

  void embedding(const kernels::embedding_args&) noexcept override { count(); }

  void position_embedding(const kernels::position_embedding_args&) noexcept override { count(); }

  void gather_rows(const kernels::gather_rows_args& a) noexcept override {
    queue_.enqueue([this, rows = a.rows] { seen_.rows_gathered = rows; });
  }

  void kv_append(const kernels::kv_append_args& a) noexcept override {
    queue_.enqueue([this, batch = a.batch] {
      for (std::int32_t s = 0; s < batch.sequences; ++s) {
        const auto rows = batch.query_start[s + 1] - batch.query_start[s];
        (batch.first_position[s] < 0 ? seen_.rows_of_padding : seen_.rows_of_sequences) += rows;
      }
    });
  }

  void attention(const kernels::attention_args& a) noexcept override {
    queue_.enqueue(
        [this, longest = a.batch.longest_query] { seen_.prompts_attended += longest > 1 ? 1 : 0; });
  }

  void digest(const kernels::digest_args& a) noexcept override {
    queue_.enqueue([to = a.digest] { *to = 0; });
  }

  void checksum(const kernels::checksum_args& a) noexcept override {
    ++seen_.checksums;
    queue_.enqueue([this, a] { host_->checksum(a); });
  }

  [[nodiscard]] bool has_device_sampling() const noexcept override { return true; }

  void sample(const kernels::sample_args& a) noexcept override {
    queue_.enqueue([this, a] {
      for (std::int32_t row = 0; row < a.rows; ++row) {
        if (a.wanted[row].slot >= 0) {
          ++seen_.rows_sampled;
          a.tokens[row] = sampled_token;
          if (a.fed != nullptr) {
            a.fed[a.wanted[row].slot] = sampled_token;
          }
        }
      }
    });
  }

  void take_fed_tokens(const kernels::fed_tokens_args&) noexcept override { count(); }

  void update_blocks(const kernels::block_updates_args& a) noexcept override {
    queue_.enqueue([a] {
      for (std::int32_t i = 0; i < a.count; ++i) {
        a.tables[a.rows[i] * a.stride + a.columns[i]] = a.blocks[i];
      }
    });
  }

  [[nodiscard]] std::unique_ptr<kernels::device_group>
  join_group(const kernels::device_group_config&, std::string&) override {
    return std::make_unique<fake_group>(queue_, seen_);
  }

private:
  void count() {
    queue_.enqueue([this] { ++seen_.operations; });
  }

  fake_trace& seen_;
  fake_queue queue_;
  const std::unique_ptr<kernels::backend> host_ = kernels::make_cpu_backend({.max_tokens = 1});
};

} // namespace vdist::testing
