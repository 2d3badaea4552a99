// vdist/embedding/watch_state.hpp — what a vdist::layer_watch is made of: the watch inside the cluster, between its reader and an
// engine that may close at any time.
//
// W-1 The watch inside ends before its cluster: the engine has each one until somebody calls end(), the destructor of the public
//     watch or, when the last caller has left, the owner thread.
// W-2 Once end() has returned nothing of the cluster is touched any more, whichever thread has done the work.
// W-3 refuse() waits for nobody, so that close() keeps its deadline; a reader that waits comes back at once.
#pragma once

#include "actors/system/layer_watch.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>

#include "vdist/inspection.hpp"

namespace vdist::embedding {

class engine_core;

class watch_state {
public:
  watch_state(std::unique_ptr<actors::layer_watch> watch, std::weak_ptr<engine_core> engine);
  watch_state(const watch_state&) = delete;
  watch_state& operator=(const watch_state&) = delete;

  [[nodiscard]] expected<layer_row> next(std::chrono::nanoseconds timeout);
  /// Any thread.
  [[nodiscard]] std::uint64_t lost() const noexcept;

  /// The engine begins to close: W-3, I-7 of inspection.hpp. Any thread.
  void refuse() noexcept;
  /// W-1, W-2. Any thread, any number of times; the caller has a share of this, the engine gives its own up.
  void end() noexcept;

private:
  const std::weak_ptr<engine_core> engine_;

  std::mutex reading_; // held while a row is waited for and while the watch ends; before mutex_
  mutable std::mutex mutex_; // never held for long
  std::unique_ptr<actors::layer_watch>
      watch_;               // changed with both locks held; null: ended, so refused
  std::uint64_t lost_ = 0;  // when it was refused; guarded by mutex_
  bool is_refused_ = false; // guarded by mutex_
};

} // namespace vdist::embedding
