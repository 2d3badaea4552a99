// model/weights/file_tensor_reader.hpp — reads parts of one tensor of a checkpoint file; private to
// this folder.
// C-1 A byte that a slice needs is read once: straight to its place if it has its type already, else
// through a buffer of at most read_buffer_bytes. Only lines that share pages are read together with
// what lies between them.
// C-2 A file that shrinks, grows or is replaced after its header was read is an error, never a
// signal and never a mixture of two files. What is overwritten in place at its size goes unnoticed.
#pragma once

#include "model/weights/weight_file.hpp"
#include "model/weights/weight_source.hpp"

#include <optional>
#include <string>
#include <vector>

namespace vdist::weights {

/// What is converted right after it was read is still in the second cache level of its core.
inline constexpr std::size_t read_buffer_bytes = std::size_t{256} << 10;

/// A tensor as a header describes it, and the file that it lies in.
struct tensor_place {
  std::filesystem::path path;
  file_identity identity;  // of the file whose header was read
  std::string name;        // of the tensor
  std::uint64_t first = 0; // bytes from the start of the file
  std::uint64_t bytes = 0;
  kernels::dtype type = kernels::dtype::float32; // as stored
};

class file_tensor_reader final : public tensor_reader {
public:
  /// Opens nothing: many tensors are only looked at.
  explicit file_tensor_reader(tensor_place place);

  result<void> read(const tensor_block& block, const block_target& target) override;

private:
  /// A block in bytes of the file.
  struct byte_lines {
    std::uint64_t first = 0;
    std::size_t bytes = 0; // of one line
    std::size_t count = 0; // of lines
    std::size_t stride = 0;
  };

  result<void> open_file();
  void check_bounds(const tensor_block& block) const;
  [[nodiscard]] byte_lines in_bytes(const tensor_block& block) const;

  [[nodiscard]] result<void> read_straight(const byte_lines& lines, const block_target& target);
  [[nodiscard]] result<void> read_apart(const byte_lines& lines, const block_target& target);
  [[nodiscard]] result<void> read_together(const byte_lines& lines, const block_target& target);
  [[nodiscard]] result<const std::byte*> buffered(std::uint64_t first, std::size_t bytes);
  [[nodiscard]] result<void>
  convert_into(const std::byte* from, std::size_t bytes, kernels::dtype type, std::byte* to) const;

  tensor_place place_;
  std::size_t element_bytes_; // as stored
  std::optional<weight_file> file_;
  std::vector<std::byte> buffer_;
};

} // namespace vdist::weights
