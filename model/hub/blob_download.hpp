// model/hub/blob_download.hpp — one file of a repository, from the host into its blob.
// D-1 what a cut connection left is kept, and only the rest is asked for.
// D-2 a blob gets its name only if its size and checksum are what the host stated; wrong contents are
// dropped and downloaded once more, then it is an error.
// D-3 one writer at a time: whoever comes second waits, for as long as the first makes progress.
#pragma once

#include "model/hub/cache_folder.hpp"
#include "model/hub/checksum.hpp"
#include "model/hub/http_client.hpp"
#include "model/hub/retry.hpp"

#include "runtime/base/result.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

namespace vdist::hub {

/// What the host says about a file.
struct remote_file {
  std::string name; // in the repository
  std::string url;
  checksum contents;
  std::uint64_t bytes = 0;
};

struct download_settings {
  retry_settings retry;
  /// A writer that shows no progress for so long is not waited for any longer.
  std::chrono::milliseconds lock_stall{120'000};
  std::chrono::milliseconds lock_poll{50}; // between two looks at somebody else's progress
  std::stop_token stop;
};

/// Told how many bytes of the blob are there; falls when it begins again.
using blob_progress = std::function<void(std::uint64_t bytes_present)>;

/// Asks the host for checksum and size. errc::corrupt: it states none that are known.
[[nodiscard]] result<remote_file> ask_about(std::string name,
                                            std::string url,
                                            http_client& client,
                                            const download_settings& settings);

/// Returns the bytes that were transferred; 0 if the blob was there. The blob is whole afterwards.
[[nodiscard]] result<std::uint64_t> download_blob(const remote_file& file,
                                                  const cache_folder& cache,
                                                  http_client& client,
                                                  const download_settings& settings,
                                                  const blob_progress& progress);

/// The error of an answer that is no success. errc::queue_full: busy, try again; not_found; else
/// bad_configuration: the token is missing, wrong, or has no right to it.
[[nodiscard]] result<void> check_answer(const http_head& answer);

} // namespace vdist::hub
