// model/hub/fetch.hpp — a model repository of a Hugging Face compatible host, in the local cache.
//
//     hub::fetch_options options{.endpoint = env.hf_endpoint, .token = env.hf_token, .cache = …};
//     VDIST_ASSIGN(const auto model, hub::fetch(*hub::parse_repository("org/name"), options, …));
//
// F-1 What the cache has is used without a request: a start does not depend on the network, and a
// restart serves the same weights. A newer commit of a branch is fetched by naming it.
// F-2 Only what serving needs is fetched: configuration, tokenizer, chat template, and the
// safetensors files of the model, not other formats of the same weights.
// F-3 A snapshot is visible to others (H-1) only when all of it is there; what a failed or killed
// fetch leaves is used by the next one (D-1).
// Several processes may fetch the same repository into the same cache (D-3).
#pragma once

#include "model/hub/blob_download.hpp"
#include "model/hub/listing.hpp"
#include "model/hub/repository.hpp"

#include "runtime/base/result.hpp"
#include "runtime/config/secret.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>

namespace vdist::hub {

struct fetch_options {
  std::string endpoint = "https://huggingface.co";
  config::secret token;        // empty: public repositories only
  std::filesystem::path cache; // …/hub
  bool is_offline = false;     // make no request
  content wanted = content::everything;

  std::int32_t files_at_once = 8; // downloads, each with a thread and a connection; 1 to 64
  retry_settings retry;
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds head_timeout{30'000};
  std::chrono::milliseconds stall_timeout{30'000}; // of a download without progress
  std::chrono::milliseconds lock_stall{120'000};
  std::uint64_t disk_reserve_bytes = std::uint64_t{256} << 20; // left free beside the download
  std::stop_token stop;                                        // ends it with errc::cancelled
};

struct fetched {
  std::filesystem::path snapshot; // the model folder
  std::string commit;
  std::uint64_t transferred_bytes = 0; // of files; 0: everything was there
};

/// (bytes of the missing files that are there, bytes of all missing files): from the loading
/// threads, never two calls at once, with numbers that do not fall.
using fetch_progress = std::function<void(std::uint64_t bytes_done, std::uint64_t bytes_total)>;

/// errc::not_found: no such repository, revision or weights, or not in the cache and offline;
/// bad_configuration: the token or the endpoint; resource_exhausted: the disk; corrupt: the host's
/// answers or files are not what it promised; timed_out, closed, queue_full: the network, after all
/// tries; cancelled. Every text begins with "fetch <repository>@<revision>:" and none has the token.
[[nodiscard]] result<fetched>
fetch(const repository& wanted, const fetch_options& options, const fetch_progress& progress = {});

} // namespace vdist::hub
