#include "model/hub/fetch.hpp"

#include "model/hub/cache_folder.hpp"

#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <mutex>
#include <numeric>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

namespace vdist::hub {

namespace {

namespace fs = std::filesystem;

constexpr std::int32_t files_at_once_max = 64;

result<std::string> read_text(const fs::path& path, std::size_t bytes_max) {
  std::error_code failure;
  const auto bytes = fs::file_size(path, failure);
  if (failure || bytes > bytes_max) {
    return fail(errc::corrupt, fmt::format("read {}: missing or too long", path.string()));
  }
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

/// Whether all weight files of a snapshot are there.
bool has_weights(const cache_folder& cache, const std::string& commit) {
  if (cache.has_file(commit, single_weight_file)) {
    return true;
  }
  const auto text = read_text(cache.snapshot(commit) / weight_index_file, index_bytes_max);
  const auto files =
      text ? parse_weight_index(*text) : result<std::vector<std::string>>(text.error());
  return files && std::all_of(files->begin(), files->end(), [&](const std::string& name) {
           return cache.has_file(commit, name);
         });
}

/// Adds up what is there of several files that are downloaded at once.
class progress_sum {
public:
  progress_sum(const std::vector<remote_file>& files, const fetch_progress& progress)
      : progress_(progress), present_(files.size(), 0) {
    for (const remote_file& file : files) {
      total_ += file.bytes;
    }
  }

  void report(std::size_t file, std::uint64_t bytes_present) {
    if (!progress_) {
      return;
    }
    const std::lock_guard lock(mutex_);
    present_[file] = bytes_present;
    const auto done = std::accumulate(present_.begin(), present_.end(), std::uint64_t{0});
    shown_ = std::max(shown_, done); // a file that begins again does not turn time back
    progress_(shown_, total_);
  }

private:
  const fetch_progress& progress_;
  std::uint64_t total_ = 0;
  std::mutex mutex_; // guards the rest, and the callback
  std::vector<std::uint64_t> present_;
  std::uint64_t shown_ = 0;
};

/// One fetch, from the question to the links.
class fetching {
public:
  fetching(const repository& wanted, const fetch_options& options, const fetch_progress& progress)
      : wanted_(wanted),
        options_(options),
        progress_(progress),
        cache_(options.cache, wanted.id),
        forward_(options.stop, [this] { stop_.request_stop(); }) {
    while (options_.endpoint.ends_with('/')) {
      options_.endpoint.pop_back();
    }
  }

  result<fetched> run() {
    if (auto there = find_in_cache()) {
      return *std::move(there);
    }
    if (options_.is_offline) {
      return fail(errc::not_found,
                  fmt::format("it is not in the cache, and HF_HUB_OFFLINE forbids to ask for it "
                              "(cache={})",
                              options_.cache.string()));
    }
    VDIST_TRY(make_clients());
    VDIST_ASSIGN(const auto listed, list());
    VDIST_TRY(cache_.create(listed.commit));
    VDIST_ASSIGN(auto names, choose_files(listed, options_.wanted));
    if (std::find(names.begin(), names.end(), weight_index_file) != names.end()) {
      VDIST_TRY(fetch_files(listed.commit, {std::string(weight_index_file)}, {}));
      VDIST_ASSIGN(const auto weights, weight_files(listed));
      names.insert(names.end(), weights.begin(), weights.end());
    }
    VDIST_TRY(fetch_files(listed.commit, names, progress_));
    VDIST_TRY(link_all(listed.commit));
    VDIST_TRY(cache_.write_reference(wanted_.revision, listed.commit));
    return result_of(listed.commit);
  }

private:
  [[nodiscard]] fetched result_of(const std::string& commit) const {
    return {.snapshot = cache_.snapshot(commit),
            .commit = commit,
            .transferred_bytes = transferred_.load()};
  }

  /// F-1. A model without a tokenizer may be one that another tool fetched in part: the host is
  /// asked, where that is allowed.
  [[nodiscard]] std::optional<fetched> find_in_cache() const {
    const auto commit = cache_.commit_of(wanted_.revision);
    if (!commit || !cache_.has_file(*commit, config_file)) {
      return std::nullopt;
    }
    const bool has_all =
        options_.wanted == content::without_weights || has_weights(cache_, *commit);
    const bool has_tokenizer = cache_.has_file(*commit, "tokenizer.json")
                               || cache_.has_file(*commit, "vocab.json")
                               || cache_.has_file(*commit, "tokenizer.model");
    return has_all && (has_tokenizer || options_.is_offline) ? std::optional(result_of(*commit))
                                                             : std::nullopt;
  }

  [[nodiscard]] download_settings settings() const {
    return {.retry = options_.retry, .lock_stall = options_.lock_stall, .stop = stop_.get_token()};
  }

  result<void> make_clients() {
    if (options_.files_at_once < 1 || options_.files_at_once > files_at_once_max) {
      return fail(
          errc::invalid_argument,
          fmt::format("illegal number of downloads at once (files_at_once={}, legal=1 to {})",
                      options_.files_at_once,
                      files_at_once_max));
    }
    for (std::int32_t i = 0; i < options_.files_at_once; ++i) {
      VDIST_ASSIGN(auto client,
                   http_client::make({.endpoint = options_.endpoint,
                                      .token = options_.token,
                                      .connect_timeout = options_.connect_timeout,
                                      .head_timeout = options_.head_timeout,
                                      .stall_timeout = options_.stall_timeout,
                                      .stop = stop_.get_token()}));
      clients_.push_back(std::move(client));
    }
    return {};
  }

  result<listing> list() {
    const auto url = fmt::format("{}/api/models/{}/revision/{}",
                                 options_.endpoint,
                                 wanted_.id,
                                 url_escaped(wanted_.revision));
    std::string text;
    VDIST_TRY(with_retries(options_.retry, stop_.get_token(), [&]() -> result<void> {
      text.clear();
      VDIST_ASSIGN(
          const auto answer,
          clients_.front().get(url, 0, [&text](const http_head&, std::span<const std::byte> part) {
            return append_bounded(text, part);
          }));
      return check_answer(answer);
    }));
    return parse_listing(text);
  }

  static result<void> append_bounded(std::string& text, std::span<const std::byte> part) {
    if (text.size() + part.size() > listing_bytes_max) {
      return fail(
          errc::corrupt,
          fmt::format("list files: the answer is too long (bytes_max={})", listing_bytes_max));
    }
    text.append(reinterpret_cast<const char*>(part.data()), part.size());
    return {};
  }

  /// The files that the index names, which is in its blob by now.
  result<std::vector<std::string>> weight_files(const listing& listed) const {
    const remote_file* fresh = find(weight_index_file);
    const fs::path path = fresh == nullptr ? cache_.snapshot(listed.commit) / weight_index_file
                                           : cache_.blob(fresh->contents.hex);
    VDIST_ASSIGN(const auto text, read_text(path, index_bytes_max));
    VDIST_ASSIGN(auto names, parse_weight_index(text));
    for (const std::string& name : names) {
      if (std::find(listed.files.begin(), listed.files.end(), name) == listed.files.end()) {
        return fail(
            errc::not_found,
            fmt::format("the weight index names a file that the host lacks (file={})", name));
      }
    }
    return names;
  }

  /// Brings the blobs of those files that the snapshot lacks.
  result<void> fetch_files(const std::string& commit,
                           const std::vector<std::string>& names,
                           const fetch_progress& progress) {
    std::vector<std::string> missing;
    for (const std::string& name : names) {
      if (!cache_.has_file(commit, name) && find(name) == nullptr) {
        missing.push_back(name);
      }
    }
    std::vector<remote_file> files(missing.size());
    VDIST_TRY(in_parallel(missing.size(), [&](std::size_t i, http_client& client) -> result<void> {
      auto url = fmt::format(
          "{}/{}/resolve/{}/{}", options_.endpoint, wanted_.id, commit, url_escaped(missing[i]));
      VDIST_ASSIGN(files[i], ask_about(missing[i], std::move(url), client, settings()));
      return {};
    }));
    VDIST_TRY(check_disk(files));
    progress_sum sum(files, progress);
    VDIST_TRY(in_parallel(files.size(), [&](std::size_t i, http_client& client) -> result<void> {
      VDIST_ASSIGN(const auto received,
                   download_blob(files[i], cache_, client, settings(), [&](std::uint64_t bytes) {
                     sum.report(i, bytes);
                   }));
      transferred_ += received;
      return {};
    }));
    files_.insert(files_.end(), files.begin(), files.end());
    return {};
  }

  result<void> check_disk(const std::vector<remote_file>& files) const {
    std::uint64_t needed = options_.disk_reserve_bytes;
    for (const remote_file& file : files) {
      std::error_code absent;
      if (fs::exists(cache_.blob(file.contents.hex), absent)) {
        continue;
      }
      const auto partial = fs::file_size(cache_.partial_blob(file.contents.hex), absent);
      needed += file.bytes - std::min(file.bytes, absent ? 0 : partial);
    }
    std::error_code failure;
    const auto space = fs::space(cache_.base(), failure);
    if (!failure && space.available < needed) {
      return fail(
          errc::resource_exhausted,
          fmt::format("not enough space on disk (folder={}, bytes_free={}, bytes_needed={})",
                      cache_.base().string(),
                      space.available,
                      needed));
    }
    return {};
  }

  /// F-3: config.json last, it is what makes a folder a model.
  result<void> link_all(const std::string& commit) {
    std::stable_partition(files_.begin(), files_.end(), [](const remote_file& file) {
      return file.name != config_file;
    });
    for (const remote_file& file : files_) {
      VDIST_TRY(cache_.link(commit, file.name, file.contents.hex));
    }
    return {};
  }

  /// Calls work(i, client) for every i below count; the first error ends the others.
  template <class Work>
  result<void> in_parallel(std::size_t count, const Work& work) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::optional<error> first_error;
    const auto run = [&](http_client& client) {
      for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
        if (const auto done = work(i, client); !done) {
          next.store(count);
          const std::lock_guard lock(mutex);
          if (!first_error) {
            first_error = done.error();
            stop_.request_stop();
          }
          return;
        }
      }
    };
    {
      std::vector<std::jthread> helpers;
      try {
        for (std::size_t i = 1; i < std::min(count, clients_.size()); ++i) {
          helpers.emplace_back([&run, &client = clients_[i]] { run(client); });
        }
      } catch (const std::system_error&) { // fewer threads do it too
      }
      run(clients_.front());
    }
    return first_error ? result<void>(*first_error) : result<void>();
  }

  [[nodiscard]] const remote_file* find(std::string_view name) const {
    const auto found = std::find_if(files_.begin(), files_.end(), [name](const remote_file& file) {
      return file.name == name;
    });
    return found == files_.end() ? nullptr : &*found;
  }

  const repository& wanted_;
  fetch_options options_;
  const fetch_progress& progress_;
  cache_folder cache_;
  std::stop_source stop_; // of our own, also for the first error
  std::stop_callback<std::function<void()>> forward_;
  std::vector<http_client> clients_; // one per thread
  std::vector<remote_file> files_;   // whose blobs are there, and that are to be linked
  std::atomic<std::uint64_t> transferred_{0};
};

} // namespace

result<fetched>
fetch(const repository& wanted, const fetch_options& options, const fetch_progress& progress) {
  auto outcome = fetching(wanted, options, progress).run();
  if (!outcome) {
    const error& cause = outcome.error();
    return fail(cause.code,
                fmt::format("fetch {}@{}: {}", wanted.id, wanted.revision, cause.context));
  }
  return outcome;
}

} // namespace vdist::hub
