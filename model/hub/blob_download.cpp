#include "model/hub/blob_download.hpp"

#include "model/hub/file_lock.hpp"
#include "model/hub/partial_file.hpp"

#include <fmt/format.h>
#include <optional>

namespace vdist::hub {

namespace {

namespace fs = std::filesystem;

constexpr int wrong_contents_max = 2;
constexpr std::uint64_t file_bytes_max = std::uint64_t{1} << 48U; // the sum of all has no overflow
/// A try that brought as much renews the budget of tries: a long download may be cut many times.
constexpr std::uint64_t renewing_bytes = std::uint64_t{16} << 20;

/// Size of a file, 0 if there is none.
std::uint64_t bytes_of(const fs::path& path) {
  std::error_code failure;
  const auto bytes = fs::file_size(path, failure);
  return failure ? 0 : bytes;
}

/// A blob of another size is what a crash left of a tool that does not sync: it is replaced.
bool has_blob(const remote_file& file, const cache_folder& cache) {
  std::error_code absent;
  const auto bytes = fs::file_size(cache.blob(file.contents.hex), absent);
  return !absent && bytes == file.bytes;
}

/// D-3. nullopt: the blob is there.
result<std::optional<file_lock>>
lock_blob(const remote_file& file, const cache_folder& cache, const download_settings& settings) {
  const auto& hex = file.contents.hex;
  std::uint64_t seen = 0;
  auto moved = std::chrono::steady_clock::now();
  while (true) {
    VDIST_ASSIGN(auto lock, file_lock::try_lock(cache.lock(hex)));
    if (has_blob(file, cache)) {
      return std::optional<file_lock>();
    }
    if (lock) {
      return lock;
    }
    const auto now = std::chrono::steady_clock::now();
    const auto there = bytes_of(cache.partial_blob(hex));
    moved = there == seen ? moved : now;
    seen = there;
    if (now - moved > settings.lock_stall) {
      return fail(errc::timed_out,
                  fmt::format("download {}: another process holds the lock and makes no progress "
                              "(lock={}, stall_ms={})",
                              file.name,
                              cache.lock(hex).string(),
                              settings.lock_stall.count()));
    }
    VDIST_TRY(pause(settings.stop, settings.lock_poll));
  }
}

/// Whether "Content-Range: bytes <first>-<last>/<total>" is the rest that was asked for.
bool is_rest(std::string_view range, std::uint64_t first, std::uint64_t total) {
  return range == fmt::format("bytes {}-{}/{}", first, total - 1, total);
}

/// One request for what is missing.
class transfer {
public:
  transfer(const remote_file& file, partial_file& partial, const blob_progress& progress)
      : file_(file), partial_(partial), progress_(progress) {}

  result<void> run(http_client& client) {
    asked_ = partial_.bytes();
    VDIST_ASSIGN(const auto answer,
                 client.get(file_.url,
                            asked_,
                            [this](const http_head& head, std::span<const std::byte> part) {
                              return take(head, part);
                            }));
    if (answer.status == 416) { // what we have is more than the host has
      VDIST_TRY(partial_.begin_again());
      return fail(errc::closed, fmt::format("download: no such range (first={})", asked_));
    }
    VDIST_TRY(check_answer(answer));
    if (!partial_.is_complete()) {
      return fail(errc::closed,
                  fmt::format("download: the connection ended early (bytes={}, bytes_expected={})",
                              partial_.bytes(),
                              file_.bytes));
    }
    return {};
  }

  [[nodiscard]] std::uint64_t received() const { return received_; }

private:
  result<void> take(const http_head& head, std::span<const std::byte> part) {
    if (received_ == 0) {
      VDIST_TRY(begin(head));
    }
    VDIST_TRY(partial_.append(part));
    received_ += part.size();
    progress_(partial_.bytes());
    return {};
  }

  /// Before the first byte: is it the byte that was asked for?
  result<void> begin(const http_head& head) {
    if (head.status == 206) {
      return is_rest(head.header("content-range"), asked_, file_.bytes)
                 ? result<void>()
                 : fail(
                     errc::corrupt,
                     fmt::format("download: not the range that was asked for (first={})", asked_));
    }
    return asked_ == 0 ? result<void>() : partial_.begin_again(); // the host knows no ranges
  }

  const remote_file& file_;
  partial_file& partial_;
  const blob_progress& progress_;
  std::uint64_t asked_ = 0;
  std::uint64_t received_ = 0;
};

/// D-1: until everything is there.
result<std::uint64_t> complete(const remote_file& file,
                               partial_file& partial,
                               http_client& client,
                               const download_settings& settings,
                               const blob_progress& progress) {
  retry_budget budget(settings.retry, settings.stop);
  std::uint64_t received = 0;
  while (!partial.is_complete()) {
    transfer next(file, partial, progress);
    const auto outcome = next.run(client);
    received += next.received();
    if (next.received() >= renewing_bytes) {
      budget.renew();
    }
    if (!outcome) {
      VDIST_TRY(budget.spend(outcome.error()));
    }
  }
  return received;
}

} // namespace

result<remote_file> ask_about(std::string name,
                              std::string url,
                              http_client& client,
                              const download_settings& settings) {
  VDIST_ASSIGN(const auto answer,
               with_retries(settings.retry, settings.stop, [&client, &url]() -> result<http_head> {
                 VDIST_ASSIGN(auto head, client.head(url));
                 if (head.status < 300 || head.status >= 400) { // a redirect says it as well
                   VDIST_TRY(check_answer(head));
                 }
                 return head;
               }));
  const std::string_view linked = answer.header("x-linked-etag");
  const auto contents = parse_checksum(linked.empty() ? answer.header("etag") : linked);
  auto bytes = answer.number("x-linked-size");
  if (!bytes && answer.is_success()) {
    bytes = answer.number("content-length");
  }
  if (!contents || !bytes || *bytes > file_bytes_max) {
    return fail(errc::corrupt,
                fmt::format("ask {}: the host states no usable {} (file={})",
                            answer.place,
                            contents ? "size" : "checksum",
                            name));
  }
  return remote_file{
      .name = std::move(name), .url = std::move(url), .contents = *contents, .bytes = *bytes};
}

result<std::uint64_t> download_blob(const remote_file& file,
                                    const cache_folder& cache,
                                    http_client& client,
                                    const download_settings& settings,
                                    const blob_progress& progress) {
  VDIST_ASSIGN(const auto lock, lock_blob(file, cache, settings));
  if (!lock) {
    progress(file.bytes);
    return std::uint64_t{0};
  }
  VDIST_ASSIGN(
      auto partial,
      partial_file::open(cache.partial_blob(file.contents.hex), file.contents, file.bytes));
  progress(partial.bytes());
  std::uint64_t received = 0;
  for (int wrong = 1;; ++wrong) {
    VDIST_ASSIGN(const auto now, complete(file, partial, client, settings, progress));
    received += now;
    const auto finished = partial.finish(cache.blob(file.contents.hex));
    if (finished) {
      return received;
    }
    if (finished.error().code != errc::corrupt) {
      return finished.error();
    }
    VDIST_TRY(partial.begin_again()); // D-2
    progress(0);
    if (wrong == wrong_contents_max) {
      return finished.error();
    }
  }
}

result<void> check_answer(const http_head& answer) {
  const int status = answer.status;
  const auto refused = [&answer](errc code, std::string_view cause) {
    return fail(code,
                fmt::format("request {}: {} (status={})", answer.place, cause, answer.status));
  };
  if (answer.is_success()) {
    return {};
  }
  if (status == 401) {
    return refused(errc::bad_configuration,
                   "it does not exist, or is private: HF_TOKEN is missing or not accepted");
  }
  if (status == 403) {
    return refused(errc::bad_configuration,
                   "access is refused: the account of HF_TOKEN has to be granted it first");
  }
  if (status == 404) {
    return refused(errc::not_found, "it does not exist");
  }
  if (status == 408 || status == 425 || status == 429 || status >= 500) {
    return refused(errc::queue_full, "the host is busy");
  }
  return refused(errc::io_failed, "the host refuses");
}

} // namespace vdist::hub
