// What loading a shard costs: resident memory, which is bounded, and time, which is printed beside
// what the machine can do. Each load runs in a child process, so that its peak is its own.
#include "tests/model/weights/expected_error.hpp"
#include "tests/model/weights/toy_models.hpp"
#include "tests/support/temporary_folder.hpp"

#include "model/weights/checkpoint.hpp"
#include "model/weights/convert.hpp"
#include "model/weights/load_weights.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

using namespace vdist;
using namespace vdist::weights;
using namespace vdist::weights::testing;
using kernels::dtype;
using vdist::testing::temporary_folder;

constexpr std::size_t mebibyte = std::size_t{1} << 20;
/// The promise: 1.1 × the shard, and this for the program, its headers and its buffers.
constexpr std::size_t allowance = 96 * mebibyte;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool has_own_memory = false; // a sanitizer's shadow is resident too
#else
constexpr bool has_own_memory = true;
#endif

/// The elements of all tensors: a tensor's element i is pattern[(i + start_of(tensor)) % size].
class pattern {
public:
  pattern() : floats_(size) {
    std::uint32_t state = 1;
    for (float& value : floats_) {
      state = state * 1664525U + 1013904223U;
      value = static_cast<float>(state >> 8U) / static_cast<float>(1U << 24U) - 0.5F;
    }
    halves_ = encoded(floats_, dtype::bfloat16);
  }

  [[nodiscard]] std::string_view bytes(dtype type) const {
    return type == dtype::bfloat16
               ? std::string_view(halves_)
               : std::string_view(reinterpret_cast<const char*>(floats_.data()), size * 4);
  }

  [[nodiscard]] static std::size_t start_of(std::string_view tensor) {
    std::size_t start = 0;
    for (const char letter : tensor) {
      start = (start * 131 + static_cast<unsigned char>(letter)) % size;
    }
    return start;
  }

  /// Whether `count` bfloat16 elements at `held` are those of the tensor from `first` on.
  [[nodiscard]] bool
  matches(std::string_view tensor, std::int64_t first, std::int64_t count, const char* held) const {
    std::size_t at = (start_of(tensor) + static_cast<std::size_t>(first)) % size;
    for (auto left = static_cast<std::size_t>(count); left > 0;) {
      const std::size_t here = std::min(left, size - at);
      if (std::memcmp(halves_.data() + at * 2, held, here * 2) != 0) {
        return false;
      }
      held += here * 2;
      left -= here;
      at = 0;
    }
    return true;
  }

private:
  static constexpr std::size_t size = mebibyte + 7; // no multiple of any row

  std::vector<float> floats_;
  std::string halves_;
};

/// Streams the tensors that `plan` names into one file.
void write_file(const std::filesystem::path& path,
                const std::vector<tensor_ref>& tensors,
                dtype type,
                const pattern& values) {
  const std::size_t element = kernels::size_of(type);
  std::string header = "{";
  std::size_t end = 0;
  for (const tensor_ref& tensor : tensors) {
    const std::size_t begin = end;
    end += static_cast<std::size_t>(tensor.shape.elements()) * element;
    header += fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}{}],"data_offsets":[{},{}]}})",
                          begin == 0 ? "" : ",",
                          tensor.names.front(),
                          type == dtype::bfloat16 ? "BF16" : "F32",
                          tensor.shape.rows,
                          tensor.shape.is_vector() ? "" : fmt::format(",{}", tensor.shape.columns),
                          begin,
                          end);
  }
  header += "}";
  const std::uint64_t length = header.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length))
      .write(header.data(), static_cast<std::streamsize>(header.size()));
  const std::string_view bytes = values.bytes(type);
  for (const tensor_ref& tensor : tensors) {
    std::size_t at = pattern::start_of(tensor.names.front()) * element;
    for (auto left = static_cast<std::size_t>(tensor.shape.elements()) * element; left > 0;) {
      const std::size_t here = std::min(left, bytes.size() - at);
      file.write(bytes.data() + at, static_cast<std::streamsize>(here));
      left -= here;
      at = 0;
    }
  }
  BOOST_REQUIRE(file.flush().good());
}

/// A checkpoint of two files that holds the whole model.
void write_checkpoint(const std::filesystem::path& folder,
                      const toy_sizes& sizes,
                      dtype type,
                      const pattern& values) {
  const weight_plan whole = llama_plan(sizes, dtype::bfloat16, 0, 1);
  std::vector<tensor_ref> files[2];
  std::string map;
  for (const weight& weight : whole.weights) {
    for (const weight_slice& slice : weight.slices) {
      const std::size_t file = files[0].size() <= files[1].size() ? 0 : 1;
      files[file].push_back(slice.tensor);
      map += fmt::format(
          R"({}"{}":"{}.safetensors")", map.empty() ? "" : ",", slice.tensor.names.front(), file);
    }
  }
  for (std::size_t file = 0; file < 2; ++file) {
    write_file(folder / fmt::format("{}.safetensors", file), files[file], type, values);
  }
  std::ofstream(folder / "model.safetensors.index.json") << R"({"weight_map":{)" << map << "}}";
}

/// Fresh pages, as a worker's region is.
std::span<std::byte> map_region(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  BOOST_REQUIRE(memory != MAP_FAILED);
  return {static_cast<std::byte*>(memory), bytes};
}

std::size_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == "VmHWM:") {
      std::size_t kib = 0;
      status >> kib;
      return kib * 1024;
    }
  }
  return SIZE_MAX;
}

/// Bytes that this process has read from files, cached or not.
std::size_t bytes_read_so_far() {
  std::ifstream io("/proc/self/io");
  std::string word;
  std::size_t bytes = 0;
  io >> word >> bytes;
  BOOST_REQUIRE(word == "rchar:");
  return bytes;
}

/// What a child reports; plain, it goes through a pipe.
struct measured {
  std::size_t shard_bytes = 0;
  std::size_t peak_bytes = 0;
  std::size_t read_bytes = 0;
  double load_seconds = 0;
  bool is_exact = false;
};

bool is_exact(const weight_plan& plan, std::span<const std::byte> region, const pattern& values) {
  for (const weight& held : plan.weights) {
    if (held.type != dtype::bfloat16) {
      continue; // the norms; load_weights_test.cpp covers them
    }
    for (const weight_slice& slice : held.slices) {
      const std::string& name = slice.tensor.names.front();
      for (std::int64_t row = 0; row < slice.rows.count; ++row) {
        const std::int64_t first =
            (slice.rows.first + row) * slice.tensor.shape.width() + slice.columns.first;
        const std::int64_t place =
            (slice.destination_row + row) * held.shape.width() + slice.destination_column;
        const auto* at = reinterpret_cast<const char*>(region.data()) + held.offset + place * 2;
        if (!values.matches(name, first, slice.columns.count, at)) {
          return false;
        }
      }
    }
  }
  return true;
}

measured load_shard(const std::filesystem::path& folder,
                    const toy_sizes& sizes,
                    std::int32_t threads,
                    const pattern& values) {
  const weight_plan plan = llama_plan(sizes, dtype::bfloat16, 1, 2);
  const std::span<std::byte> region = map_region(plan.bytes);
  const std::size_t read_before = bytes_read_so_far();
  const auto started = std::chrono::steady_clock::now();
  const auto source = checkpoint::open(folder);
  if (!source || !load_weights(plan, *source, region, {.threads = threads})) {
    return {};
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
  const std::size_t peak = peak_resident_bytes();
  return {.shard_bytes = plan.bytes,
          .peak_bytes = peak,
          .read_bytes = bytes_read_so_far() - read_before,
          .load_seconds = elapsed.count(),
          .is_exact = is_exact(plan, region, values)};
}

measured load_in_child(const std::filesystem::path& folder,
                       const toy_sizes& sizes,
                       std::int32_t threads,
                       const pattern& values) {
  int ends[2];
  BOOST_REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  BOOST_REQUIRE(child >= 0);
  if (child == 0) {
    const measured mine = load_shard(folder, sizes, threads, values);
    ::_exit(::write(ends[1], &mine, sizeof(mine)) == sizeof(mine) ? 0 : 1);
  }
  ::close(ends[1]);
  measured theirs;
  const ssize_t got = ::read(ends[0], &theirs, sizeof(theirs));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  BOOST_REQUIRE(got == sizeof(theirs));
  return theirs;
}

/// Seconds in which `threads` fill fresh pages with as many bytes by `fill(out, count)`.
template <class Fill>
double seconds_to_fill(std::size_t bytes, std::int32_t threads, const Fill& fill) {
  const std::span<std::byte> region = map_region(bytes);
  const auto started = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> team;
    const std::size_t share = bytes / static_cast<std::size_t>(threads);
    for (std::int32_t i = 0; i < threads; ++i) {
      team.emplace_back([&fill, part = region.subspan(static_cast<std::size_t>(i) * share, share)] {
        for (std::size_t at = 0; at + mebibyte <= part.size(); at += mebibyte) {
          fill(part.data() + at, mebibyte);
        }
      });
    }
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
  ::munmap(region.data(), bytes);
  return elapsed.count();
}

double gigabytes_per_second(std::size_t bytes, double seconds) {
  return static_cast<double>(bytes) / seconds / 1e9;
}

/// One line: what loading reached, and what plain calls reach into fresh memory on this machine.
void print_speed(std::string_view label,
                 std::int32_t threads,
                 const measured& load,
                 const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  std::atomic<bool> is_short = false;
  const double reading = seconds_to_fill(
      load.shard_bytes, threads, [fd, &is_short](std::byte* out, std::size_t count) {
        is_short = is_short || ::pread(fd, out, count, 0) != static_cast<ssize_t>(count);
      });
  ::close(fd);
  BOOST_TEST(!is_short);
  const std::vector<std::byte> source(mebibyte);
  const double copying =
      seconds_to_fill(load.shard_bytes, threads, [&source](std::byte* out, std::size_t count) {
        std::memcpy(out, source.data(), count);
      });
  fmt::print("load {}: {} threads, shard {} MiB, {:.2f} GB/s of weights; pread {:.2f}, memcpy "
             "{:.2f} GB/s; peak {} MiB, limit {} MiB\n",
             label,
             threads,
             load.shard_bytes / mebibyte,
             gigabytes_per_second(load.shard_bytes, load.load_seconds),
             gigabytes_per_second(load.shard_bytes, reading),
             gigabytes_per_second(load.shard_bytes, copying),
             load.peak_bytes / mebibyte,
             (load.shard_bytes * 11 / 10 + allowance) / mebibyte);
}

void check_load(std::string_view label, const toy_sizes& sizes, dtype stored) {
  const pattern values;
  const temporary_folder folder;
  write_checkpoint(folder.path(), sizes, stored, values);
  for (const std::int32_t threads : {1, 2, 16}) {
    const measured load = load_in_child(folder.path(), sizes, threads, values);
    BOOST_TEST(load.is_exact);
    if (has_own_memory) {
      BOOST_TEST(load.peak_bytes <= load.shard_bytes * 11 / 10 + allowance);
      BOOST_TEST(load.peak_bytes >= load.shard_bytes); // or the measurement is wrong
    }
    // C-1: the norms are held as float32, the rest of the shard as bfloat16.
    const std::size_t needed = load.shard_bytes * kernels::size_of(stored) / 2;
    BOOST_TEST(load.read_bytes < needed + mebibyte);
    BOOST_TEST(load.read_bytes > needed - mebibyte);
    print_speed(label, threads, load, folder.path() / "0.safetensors");
  }
}

constexpr toy_sizes model{.layers = 3,
                          .hidden = 2048,
                          .heads = 16,
                          .kv_heads = 4,
                          .head_dim = 128,
                          .intermediate = 8192,
                          .vocabulary = 65'537};

} // namespace

BOOST_AUTO_TEST_CASE(a_shard_of_bfloat16_stays_within_its_memory_and_is_exact) {
  check_load("bfloat16", model, dtype::bfloat16);
}

BOOST_AUTO_TEST_CASE(a_shard_converted_from_float32_stays_within_its_memory_and_is_exact) {
  toy_sizes smaller = model;
  smaller.layers = 1;
  smaller.vocabulary = 32'771;
  check_load("float32 to bfloat16", smaller, dtype::float32);
}
