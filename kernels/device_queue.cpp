#include "kernels/device_queue.hpp"

namespace vdist::kernels {

void device_queue::copy_rows_in(const row_copy& rows) noexcept {
  for (std::size_t row = 0; row < rows.rows; ++row) {
    copy_in(static_cast<std::byte*>(rows.to) + row * rows.to_stride,
            static_cast<const std::byte*>(rows.from) + row * rows.from_stride,
            rows.row_bytes);
  }
}

void device_queue::copy_rows_out(const row_copy& rows) noexcept {
  for (std::size_t row = 0; row < rows.rows; ++row) {
    copy_out(static_cast<std::byte*>(rows.to) + row * rows.to_stride,
             static_cast<const std::byte*>(rows.from) + row * rows.from_stride,
             rows.row_bytes);
  }
}

} // namespace vdist::kernels
