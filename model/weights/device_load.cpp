#include "model/weights/device_load.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <fmt/format.h>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace vdist::weights {

namespace {

/// A weight that the device generates.
struct generated_weight {
  std::size_t index = 0;                        // in the plan
  std::vector<kernels::random_fill_rule> rules; // of its slices
};

/// In the order of the plan.
std::vector<generated_weight> find_generated(const weight_plan& plan, const weight_source& source) {
  std::vector<generated_weight> found;
  for (std::size_t i = 0; i < plan.weights.size(); ++i) {
    const auto& target = plan.weights[i];
    generated_weight candidate{.index = i};
    for (const auto& slice : target.slices) {
      if (const auto rule = source.rule(slice.tensor, target.role)) {
        candidate.rules.push_back(*rule);
      }
    }
    if (candidate.rules.size() == target.slices.size()) {
      found.push_back(std::move(candidate));
    }
  }
  return found;
}

std::size_t bytes_of(std::int64_t elements, kernels::dtype type) {
  return static_cast<std::size_t>(elements) * kernels::size_of(type);
}

/// Up to the next weight.
std::size_t end_of(const weight_plan& plan, std::size_t index) {
  return index + 1 < plan.weights.size() ? plan.weights[index + 1].offset : plan.bytes;
}

/// One slice of the weight at `destination`; the indices are those of the stored order.
kernels::random_fill_args fill_of(const weight& target,
                                  const weight_slice& slice,
                                  const kernels::random_fill_rule& rule,
                                  std::byte* destination) {
  const auto width = target.shape.width();
  const bool is_transposed = slice.tensor.stored == storage::transposed;
  const auto row_step = is_transposed ? 1 : slice.tensor.shape.width();
  const auto column_step = is_transposed ? slice.tensor.shape.rows : 1;
  const auto first = slice.rows.first * row_step + slice.columns.first * column_step;
  const auto place = slice.destination_row * width + slice.destination_column;
  return {.y = {destination + bytes_of(place, target.type), target.type},
          .rule = rule,
          .rows = slice.rows.count,
          .columns = slice.columns.count,
          .y_stride = width,
          .first = static_cast<std::uint64_t>(first),
          .row_step = static_cast<std::uint64_t>(row_step),
          .column_step = static_cast<std::uint64_t>(column_step)};
}

/// Rows first … first + count - 1 of a weight, and the gap behind its last one.
struct band {
  const weight* source = nullptr;
  index_range rows;
  std::size_t offset = 0;    // in the region
  std::size_t gap_bytes = 0; // up to the next weight; zeros
};

/// The part of a weight that a band is, as a weight of its own.
weight cut(const band& part) {
  const auto& whole = *part.source;
  weight cut{.name = whole.name, .role = whole.role, .type = whole.type, .shape = whole.shape};
  cut.shape.rows = part.rows.count;
  const auto covered = whole.shape.rows - whole.padding_rows;
  cut.padding_rows = std::clamp<std::int64_t>(part.rows.end() - covered, 0, part.rows.count);
  for (const auto& slice : whole.slices) {
    const auto first = std::max(slice.destination_row, part.rows.first);
    const auto end = std::min(slice.destination_row + slice.rows.count, part.rows.end());
    if (first >= end) {
      continue;
    }
    auto piece = slice;
    piece.rows = {slice.rows.first + first - slice.destination_row, end - first};
    piece.destination_row = first - part.rows.first;
    cut.slices.push_back(std::move(piece));
  }
  return cut;
}

/// Of the weights that are not `generated`.
std::vector<band> cut_into_bands(const weight_plan& plan,
                                 const std::vector<generated_weight>& generated) {
  std::vector<band> bands;
  auto next = generated.begin();
  for (std::size_t i = 0; i < plan.weights.size(); ++i) {
    if (next != generated.end() && next->index == i) {
      ++next;
      continue;
    }
    const auto& source = plan.weights[i];
    const auto end = end_of(plan, i);
    const auto row_bytes = bytes_of(source.shape.width(), source.type);
    const auto rows_max = std::max<std::int64_t>(
        1, static_cast<std::int64_t>(device_band_bytes / std::max<std::size_t>(row_bytes, 1)));
    for (std::int64_t row = 0; row < source.shape.rows; row += rows_max) {
      bands.push_back({.source = &source,
                       .rows = {row, std::min(rows_max, source.shape.rows - row)},
                       .offset = source.offset + static_cast<std::size_t>(row) * row_bytes});
    }
    if (!bands.empty() && bands.back().source == &source) {
      bands.back().gap_bytes = end - source.offset - source.bytes();
    }
  }
  return bands;
}

std::size_t bytes_of(const band& part) {
  return bytes_of(part.rows.count * part.source->shape.width(), part.source->type) + part.gap_bytes;
}

/// What the loading threads share. Backend and queue belong to whoever holds the mutex.
class device_loading {
public:
  device_loading(const weight_plan& plan,
                 const weight_source& source,
                 std::byte* region,
                 kernels::backend& device,
                 std::chrono::milliseconds deadline,
                 const load_options& options)
      : plan_(plan),
        source_(source),
        region_(region),
        device_(device),
        queue_(device.queue()),
        deadline_(deadline),
        options_(options),
        generated_(find_generated(plan, source)),
        bands_(cut_into_bands(plan, generated_)) {
    for (const auto& part : bands_) {
      room_bytes_ = std::max(room_bytes_, bytes_of(part));
    }
  }

  /// D-1. On the thread that owns the backend, before work(). One weight is under way while the next one is handed over.
  result<void> generate() {
    under_way before;
    for (const auto& each : generated_) {
      const auto bytes = hand_over(each);
      const under_way now{.bytes = bytes, .sent = queue_.mark()};
      VDIST_TRY(arrive(before));
      before = now;
    }
    return arrive(before);
  }

  [[nodiscard]] std::size_t band_count() const { return bands_.size(); }

  void work() {
    {
      const std::lock_guard lock(mutex_);
      queue_.use_on_this_thread();
    }
    if (auto done = take_bands(); !done) {
      has_failed_.store(true);
      const std::lock_guard lock(mutex_);
      if (!error_) {
        error_ = done.error();
      }
    }
  }

  result<void> finish() {
    if (error_) {
      return *error_;
    }
    if (options_.progress) {
      options_.progress(plan_.bytes, plan_.bytes);
    }
    return {};
  }

private:
  struct under_way {
    std::size_t bytes = 0;
    kernels::queue_mark sent = 0; // 0: nothing is under way
  };

  /// Returns the bytes that will be written, up to the next weight.
  std::size_t hand_over(const generated_weight& wanted) {
    const auto& target = plan_.weights[wanted.index];
    auto* destination = region_ + target.offset;
    for (std::size_t i = 0; i < target.slices.size(); ++i) {
      device_.fill_random(fill_of(target, target.slices[i], wanted.rules[i], destination));
    }
    const auto covered =
        bytes_of((target.shape.rows - target.padding_rows) * target.shape.width(), target.type);
    const auto bytes = end_of(plan_, wanted.index) - target.offset;
    if (bytes > covered) {
      queue_.fill_zero(destination + covered, bytes - covered);
    }
    return bytes;
  }

  result<void> arrive(const under_way& sent) {
    VDIST_TRY(wait(sent.sent));
    const std::lock_guard lock(mutex_);
    advance(sent.bytes);
    return {};
  }

  /// Two of them per thread: one is filled while the other is on its way.
  struct room {
    void* staging = nullptr;
    kernels::queue_mark sent = 0; // 0: nothing is under way
  };

  result<void> take_bands() {
    std::array<room, 2> rooms;
    auto done = take_bands(rooms);
    for (auto& each : rooms) {
      if (done) {
        done = wait(each.sent);
      }
      const std::lock_guard lock(mutex_);
      if (each.staging != nullptr) {
        queue_.release_staging(each.staging); // waits for the device by itself
      }
    }
    return done;
  }

  result<void> take_bands(std::array<room, 2>& rooms) {
    std::size_t turn = 0;
    for (std::size_t i = next_.fetch_add(1); i < bands_.size() && !has_failed_.load();
         i = next_.fetch_add(1)) {
      auto& mine = rooms[turn++ % rooms.size()];
      VDIST_TRY(make_free(mine));
      VDIST_TRY(fill(bands_[i], static_cast<std::byte*>(mine.staging)));
      send(bands_[i], mine);
    }
    return {};
  }

  result<void> make_free(room& mine) {
    if (mine.staging != nullptr) {
      return wait(mine.sent);
    }
    const std::lock_guard lock(mutex_);
    mine.staging = queue_.allocate_staging(room_bytes_);
    if (mine.staging == nullptr) {
      return fail(errc::resource_exhausted,
                  fmt::format("load weights: no staging memory (bytes={})", room_bytes_));
    }
    return {};
  }

  result<void> fill(const band& part, std::byte* staging) {
    const auto piece = cut(part);
    VDIST_TRY(load_weight(piece, source_, {staging, piece.bytes()}));
    std::fill_n(staging + piece.bytes(), part.gap_bytes, std::byte{0});
    return {};
  }

  void send(const band& part, room& mine) {
    const std::lock_guard lock(mutex_);
    queue_.copy_in(region_ + part.offset, mine.staging, bytes_of(part));
    mine.sent = queue_.mark();
    advance(bytes_of(part));
  }

  /// Under the mutex.
  void advance(std::size_t bytes) {
    bytes_done_ += bytes;
    if (options_.progress && bytes > 0) {
      options_.progress(bytes_done_, plan_.bytes);
    }
  }

  result<void> wait(kernels::queue_mark sent) {
    const auto end = std::chrono::steady_clock::now() + deadline_;
    for (;;) {
      {
        const std::lock_guard lock(mutex_);
        if (sent == 0 || queue_.wait(sent, std::chrono::nanoseconds(0))) {
          return {};
        }
        if (!queue_.failure().empty()) {
          return fail(errc::internal, "load weights: " + queue_.failure());
        }
      }
      if (std::chrono::steady_clock::now() > end) {
        return fail(errc::internal,
                    fmt::format("load weights: the device takes too long (deadline_ms={})",
                                deadline_.count()));
      }
      std::this_thread::yield();
    }
  }

  const weight_plan& plan_;
  const weight_source& source_;
  std::byte* region_;
  kernels::backend& device_;
  kernels::device_queue& queue_; // guarded by mutex_
  std::chrono::milliseconds deadline_;
  const load_options& options_;
  const std::vector<generated_weight> generated_;
  const std::vector<band> bands_; // of the rest, in the order of the region
  std::size_t room_bytes_ = 0;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> has_failed_{false};
  std::mutex mutex_; // guards the rest, and the progress callback
  std::size_t bytes_done_ = 0;
  std::optional<error> error_;
};

} // namespace

result<void> load_weights_to_device(const weight_plan& plan,
                                    const weight_source& source,
                                    std::byte* region,
                                    kernels::backend& device,
                                    std::chrono::milliseconds deadline,
                                    const load_options& options) {
  device_loading shared(plan, source, region, device, deadline, options);
  VDIST_TRY(shared.generate());
  VDIST_TRY(work_on_threads(options.threads, shared.band_count(), [&shared] { shared.work(); }));
  return shared.finish();
}

} // namespace vdist::weights
