#include "model/weights/load_weights.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fmt/format.h>
#include <mutex>
#include <optional>
#include <vector>

namespace vdist::weights {

namespace {

/// Stored lines that are transposed at a time: their elements fill whole cache lines of the region.
constexpr std::int64_t lines_together = 64;
/// Elements between two lines of the transposition buffer, beyond a line: a whole number of pages
/// would put all lines into the same set of the first cache level.
constexpr std::int64_t line_gap = 32;

/// Some stored lines of one slice: rows of our weight, or its columns where it is stored transposed.
struct piece {
  const weight* target = nullptr;
  const weight_slice* slice = nullptr;
  index_range lines; // in the stored tensor

  [[nodiscard]] bool is_transposed() const { return slice->tensor.stored == storage::transposed; }

  /// The other coordinate.
  [[nodiscard]] const index_range& across() const {
    return is_transposed() ? slice->rows : slice->columns;
  }

  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(lines.count * across().count) * kernels::size_of(target->type);
  }
};

/// Appends the pieces of one slice (L-1).
void cut(const weight& target, const weight_slice& slice, std::vector<piece>& pieces) {
  piece all{.target = &target, .slice = &slice};
  all.lines = all.is_transposed() ? slice.columns : slice.rows;
  const auto line_bytes =
      all.across().count * static_cast<std::int64_t>(kernels::size_of(target.type));
  if (line_bytes == 0) {
    return;
  }
  const std::int64_t lines_max =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(load_piece_bytes) / line_bytes);
  for (std::int64_t done = 0; done < all.lines.count; done += lines_max) {
    piece next = all;
    next.lines = {all.lines.first + done, std::min(lines_max, all.lines.count - done)};
    pieces.push_back(next);
  }
}

/// Copies one piece to its place in the weight at `destination`.
class piece_copy {
public:
  piece_copy(const piece& part, tensor_reader& reader, std::byte* destination)
      : part_(part),
        slice_(*part.slice),
        type_(part.target->type),
        width_(part.target->shape.width()),
        reader_(reader),
        destination_(destination) {}

  result<void> run() { return part_.is_transposed() ? copy_transposed() : copy_rows(); }

private:
  /// In the weight.
  [[nodiscard]] std::byte* at(std::int64_t row, std::int64_t column) const {
    return destination_ + bytes_of(row * width_ + column);
  }

  [[nodiscard]] std::size_t bytes_of(std::int64_t elements) const {
    return static_cast<std::size_t>(elements) * kernels::size_of(type_);
  }

  result<void> copy_rows() {
    const std::int64_t stored_width = slice_.tensor.shape.width();
    tensor_block block{.first = part_.lines.first * stored_width + slice_.columns.first,
                       .count = slice_.columns.count,
                       .lines = part_.lines.count,
                       .stride = stored_width};
    if (block.count == stored_width && block.count == width_) { // whole rows on both sides: one run
      block.count *= std::exchange(block.lines, 1);
    }
    const std::int64_t row = slice_.destination_row + part_.lines.first - slice_.rows.first;
    return reader_.read(
        block,
        {.data = at(row, slice_.destination_column), .stride = bytes_of(width_), .type = type_});
  }

  /// The stored tensor has our columns as its rows: a few of them at a time through a buffer.
  result<void> copy_transposed() {
    const auto element = static_cast<std::int64_t>(kernels::size_of(type_));
    const std::int64_t rows_max =
        static_cast<std::int64_t>(transpose_bytes) / (lines_together * element) - line_gap;
    const std::int64_t stride = std::min(rows_max, slice_.rows.count) + line_gap;
    std::vector<std::byte> buffer(bytes_of(lines_together * stride));
    for (std::int64_t line = 0; line < part_.lines.count; line += lines_together) {
      const std::int64_t lines = std::min(lines_together, part_.lines.count - line);
      for (std::int64_t row = 0; row < slice_.rows.count; row += rows_max) {
        const std::int64_t rows = std::min(rows_max, slice_.rows.count - row);
        const tensor_block block{.first = (part_.lines.first + line) * slice_.tensor.shape.rows
                                          + slice_.rows.first + row,
                                 .count = rows,
                                 .lines = lines,
                                 .stride = slice_.tensor.shape.rows};
        VDIST_TRY(reader_.read(block,
                               {.data = buffer.data(), .stride = bytes_of(stride), .type = type_}));
        const std::int64_t column =
            slice_.destination_column + part_.lines.first + line - slice_.columns.first;
        std::byte* out = at(slice_.destination_row + row, column);
        if (element == sizeof(std::uint16_t)) {
          turn<std::uint16_t>(buffer.data(), stride, {lines, rows}, out);
        } else {
          turn<std::uint32_t>(buffer.data(), stride, {lines, rows}, out);
        }
      }
    }
    return {};
  }

  struct extent {
    std::int64_t lines;
    std::int64_t rows;
  };

  /// lines × rows at `from` become rows × lines at `to`.
  template <class Element>
  void turn(const std::byte* from, std::int64_t stride, extent size, std::byte* to) const {
    const auto* in = reinterpret_cast<const Element*>(from);
    auto* out = reinterpret_cast<Element*>(to);
    for (std::int64_t row = 0; row < size.rows; ++row, out += width_) {
      for (std::int64_t line = 0; line < size.lines; ++line) {
        out[line] = in[line * stride + row];
      }
    }
  }

  const piece& part_;
  const weight_slice& slice_;
  kernels::dtype type_;
  std::int64_t width_; // of the weight
  tensor_reader& reader_;
  std::byte* destination_;
};

result<void> copy(const piece& part, const weight_source& source, std::byte* destination) {
  VDIST_ASSIGN(const auto reader, source.open(part.slice->tensor, part.target->role));
  return piece_copy(part, *reader, destination).run();
}

/// Zeroes what no slice covers: the padding rows and what follows up to byte `end`.
void clear_rest(const weight& target, std::byte* destination, std::size_t end) {
  const std::size_t covered =
      static_cast<std::size_t>((target.shape.rows - target.padding_rows) * target.shape.width())
      * kernels::size_of(target.type);
  std::memset(destination + covered, 0, end - covered);
}

/// What the loading threads share.
class loading {
public:
  loading(const weight_plan& plan,
          const weight_source& source,
          std::span<std::byte> region,
          const load_options& options)
      : plan_(plan), source_(source), region_(region), options_(options) {
    for (std::size_t i = 0; i < plan.weights.size(); ++i) {
      const weight& target = plan.weights[i];
      for (const weight_slice& slice : target.slices) {
        cut(target, slice, pieces_);
      }
      // The gap up to the next weight too: the region is a function of plan and source.
      const std::size_t next =
          i + 1 < plan.weights.size() ? plan.weights[i + 1].offset : plan.bytes;
      clear_rest(target, region.data() + target.offset, next - target.offset);
    }
  }

  [[nodiscard]] std::size_t piece_count() const { return pieces_.size(); }

  /// Takes pieces until none is left or one has failed. Called by every thread.
  void work() {
    for (std::size_t i = next_.fetch_add(1); i < pieces_.size() && !has_failed_.load();
         i = next_.fetch_add(1)) {
      const piece& part = pieces_[i];
      if (auto copied = copy(part, source_, region_.data() + part.target->offset); copied) {
        advance(part.bytes());
      } else {
        has_failed_.store(true);
        const std::lock_guard lock(mutex_);
        error_ = copied.error();
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
  void advance(std::size_t bytes) {
    if (!options_.progress) {
      return;
    }
    const std::lock_guard lock(mutex_);
    bytes_done_ += bytes;
    options_.progress(bytes_done_, plan_.bytes);
  }

  const weight_plan& plan_;
  const weight_source& source_;
  std::span<std::byte> region_;
  const load_options& options_;
  std::vector<piece> pieces_; // in the order of the region
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> has_failed_{false};
  std::mutex mutex_;           // guards the rest, and the progress callback
  std::size_t bytes_done_ = 0; // of slices; padding and gaps are added by finish()
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
  loading shared(plan, source, region, options);
  VDIST_TRY(work_on_threads(options.threads, shared.piece_count(), [&shared] { shared.work(); }));
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
  std::vector<piece> pieces;
  for (const weight_slice& slice : weight.slices) {
    cut(weight, slice, pieces);
  }
  clear_rest(weight, destination.data(), weight.bytes());
  for (const piece& part : pieces) {
    VDIST_TRY(copy(part, source, destination.data()));
  }
  return {};
}

} // namespace vdist::weights
