#include "model/weights/load_weights.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace vdist::weights {

namespace {

/// Side of the square tiles in which matrices are transposed: 64 lines of 64 elements stay in the
/// first cache level.
constexpr std::int64_t tile = 64;

/// Told how many bytes of a weight have just been written.
using piece_callback = std::function<void(std::size_t bytes)>;

/// One slice on its way into its weight. The reads happen in rising order of the stored tensor
/// where that is possible.
struct slice_copy {
  const weight& target;
  const weight_slice& slice;
  const tensor_reader& reader;
  std::byte* destination; // of the whole weight
  const piece_callback& on_piece;
  bool fits = true;

  [[nodiscard]] std::byte* at(std::int64_t row, std::int64_t column) const {
    return destination
           + static_cast<std::size_t>(row * target.shape.width() + column) * element_bytes();
  }

  [[nodiscard]] std::size_t element_bytes() const { return kernels::size_of(target.type); }

  void run() {
    if (slice.tensor.stored == storage::transposed) {
      copy_transposed();
    } else if (slice.columns.count == slice.tensor.shape.width()
               && slice.columns.count == target.shape.width()) {
      copy_run();
    } else {
      copy_rows();
    }
  }

  /// Full rows on both sides: one contiguous run, in pieces.
  void copy_run() {
    const std::int64_t width = target.shape.width();
    const std::int64_t count = slice.rows.count * width;
    const auto piece = static_cast<std::int64_t>(load_piece_bytes / element_bytes());
    std::byte* out = at(slice.destination_row, 0);
    for (std::int64_t done = 0; done < count; done += piece) {
      const std::int64_t here = std::min(piece, count - done);
      fits = reader.read(slice.rows.first * width + done, here, target.type, out) && fits;
      out += static_cast<std::size_t>(here) * element_bytes();
      on_piece(static_cast<std::size_t>(here) * element_bytes());
    }
  }

  /// Part of each row.
  void copy_rows() {
    const std::size_t row_bytes = static_cast<std::size_t>(slice.columns.count) * element_bytes();
    std::size_t unreported = 0;
    for (std::int64_t row = 0; row < slice.rows.count; ++row) {
      const std::int64_t first =
          (slice.rows.first + row) * slice.tensor.shape.width() + slice.columns.first;
      std::byte* out = at(slice.destination_row + row, slice.destination_column);
      fits = reader.read(first, slice.columns.count, target.type, out) && fits;
      unreported += row_bytes;
      if (unreported >= load_piece_bytes / 2 || row + 1 == slice.rows.count) {
        on_piece(std::exchange(unreported, 0));
      }
    }
  }

  /// The stored tensor has our columns as its rows: tile by tile through a buffer.
  void copy_transposed() {
    for (std::int64_t column = 0; column < slice.columns.count; column += tile) {
      const std::int64_t columns = std::min(tile, slice.columns.count - column);
      std::size_t unreported = 0;
      for (std::int64_t row = 0; row < slice.rows.count; row += tile) {
        const std::int64_t rows = std::min(tile, slice.rows.count - row);
        if (element_bytes() == sizeof(std::uint16_t)) {
          copy_tile<std::uint16_t>(row, rows, column, columns);
        } else {
          copy_tile<std::uint32_t>(row, rows, column, columns);
        }
        unreported += static_cast<std::size_t>(rows * columns) * element_bytes();
        if (unreported >= load_piece_bytes / 2 || row + tile >= slice.rows.count) {
          on_piece(std::exchange(unreported, 0));
        }
      }
    }
  }

  template <class Element>
  void copy_tile(std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
    std::array<Element, static_cast<std::size_t>(tile * tile)> buffer; // [column][row]
    for (std::int64_t c = 0; c < columns; ++c) {
      const std::int64_t first =
          (slice.columns.first + column + c) * slice.tensor.shape.rows + slice.rows.first + row;
      auto* line = reinterpret_cast<std::byte*>(buffer.data() + c * tile);
      fits = reader.read(first, rows, target.type, line) && fits;
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      auto* out = reinterpret_cast<Element*>(
          at(slice.destination_row + row + r, slice.destination_column + column));
      for (std::int64_t c = 0; c < columns; ++c) {
        out[c] = buffer[static_cast<std::size_t>(c * tile + r)];
      }
    }
  }
};

result<void> fill(const weight& weight,
                  const weight_source& source,
                  std::byte* destination,
                  const piece_callback& on_piece) {
  for (const weight_slice& slice : weight.slices) {
    VDIST_ASSIGN(const auto reader, source.open(slice.tensor, weight.role));
    slice_copy copy{weight, slice, *reader, destination, on_piece};
    copy.run();
    if (!copy.fits) {
      return fail(
          errc::unsupported,
          fmt::format("load {}: a value does not fit the type (tensor={}, dtype={}, legal={})",
                      weight.name,
                      fmt::join(slice.tensor.names, " or "),
                      kernels::to_string(weight.type),
                      "bfloat16 float32"));
    }
  }
  const std::size_t padding = static_cast<std::size_t>(weight.padding_rows * weight.shape.width())
                              * kernels::size_of(weight.type);
  std::memset(destination + weight.bytes() - padding, 0, padding);
  on_piece(padding);
  return {};
}

/// What the loading threads share.
class loading {
public:
  loading(const weight_plan& plan,
          const weight_source& source,
          std::span<std::byte> region,
          const load_options& options)
      : plan_(plan), source_(source), region_(region), options_(options) {}

  /// Takes weights until none is left or one has failed. Called by every thread.
  void work() {
    const piece_callback on_piece = [this](std::size_t bytes) {
      advance(bytes);
    };
    for (std::size_t i = next_.fetch_add(1); i < plan_.weights.size() && !has_failed_.load();
         i = next_.fetch_add(1)) {
      const weight& weight = plan_.weights[i];
      if (auto filled = fill(weight, source_, region_.data() + weight.offset, on_piece); !filled) {
        has_failed_.store(true);
        const std::lock_guard lock(mutex_);
        error_ = filled.error();
      }
      clear_gap(i);
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
  void advance(std::size_t bytes) {
    if (!options_.progress || bytes == 0) {
      return;
    }
    const std::lock_guard lock(mutex_);
    bytes_done_ += bytes;
    options_.progress(bytes_done_, plan_.bytes);
  }

  /// Zeroes the alignment gap behind a weight, so that the region is a function of plan and source.
  void clear_gap(std::size_t index) {
    const weight& weight = plan_.weights[index];
    const std::size_t end =
        index + 1 < plan_.weights.size() ? plan_.weights[index + 1].offset : plan_.bytes;
    const std::size_t begin = weight.offset + weight.bytes();
    std::memset(region_.data() + begin, 0, end - begin);
  }

  const weight_plan& plan_;
  const weight_source& source_;
  std::span<std::byte> region_;
  const load_options& options_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> has_failed_{false};
  std::mutex mutex_;           // guards the rest, and the progress callback
  std::size_t bytes_done_ = 0; // of weights; gaps are added by finish()
  std::optional<error> error_;
};

} // namespace

result<void> load_weights(const weight_plan& plan,
                          const weight_source& source,
                          std::span<std::byte> region,
                          const load_options& options) {
  if (region.size() < plan.bytes) {
    return fail(errc::invalid_argument,
                fmt::format("load weights: the region is too small (bytes={}, bytes_needed={})",
                            region.size(),
                            plan.bytes));
  }
  if (reinterpret_cast<std::uintptr_t>(region.data()) % weight_alignment != 0) {
    return fail(
        errc::invalid_argument,
        fmt::format("load weights: the region is not aligned (alignment={})", weight_alignment));
  }
  if (options.threads < 1 || options.threads > max_load_threads) {
    return fail(errc::invalid_argument,
                fmt::format("load weights: illegal number of threads (threads={}, legal=1 to {})",
                            options.threads,
                            max_load_threads));
  }
  loading shared(plan, source, region, options);
  {
    std::vector<std::jthread> helpers;
    for (std::int32_t i = 1; i < options.threads; ++i) {
      helpers.emplace_back([&shared] { shared.work(); });
    }
    shared.work();
  }
  return shared.finish();
}

result<void>
load_weight(const weight& weight, const weight_source& source, std::span<std::byte> destination) {
  if (destination.size() != weight.bytes()) {
    return fail(
        errc::invalid_argument,
        fmt::format("load {}: the destination has the wrong size (bytes={}, bytes_needed={})",
                    weight.name,
                    destination.size(),
                    weight.bytes()));
  }
  return fill(weight, source, destination.data(), [](std::size_t) {});
}

} // namespace vdist::weights
