// actors/system/isolation.hpp — what is different between workers as threads and workers as processes, in one place: who
// starts them, where memory that outlives them lies, and where the ledger is. Everything else is the same code.
//
//            thread                        process
//   workers  threads of this process       processes of the host supervisor (host_link.hpp)
//   vault    memory_vault                  vault_client of the process vdist-vault
//   on GPUs  device_vault beside it        the same process; workers map weights and KV cache
//   ledger   memory_ledger                 shared_ledger in memory of the supervisor
//   host store  memory of this process     memory of the supervisor; none with one that an embedding program launches
//   points, trace, progress  own memory    the host's board
#pragma once

#include "actors/gateway/board_areas.hpp"
#include "actors/system/model_setup.hpp"

#include "transport/socket/shared_file.hpp"
#include "transport/vault/vault.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/failpoint.hpp"
#include "runtime/base/result.hpp"
#include "runtime/config/cluster_config.hpp"
#include "runtime/ledger/ledger.hpp"

#include <filesystem>
#include <memory>
#include <optional>

#include "host/host_link.hpp"

namespace vdist::actors {

/// How this process can have worker processes.
struct host_access {
  int link = -1;                  // descriptor that vdist-run gave along; -1: none
  std::filesystem::path programs; // folder of vdist-run, to launch a supervisor; empty: searched
};

/// Ends in the order of destruction: first nobody calls back any more, then memory goes.
struct isolated_parts {
  std::unique_ptr<vault::vault> memory;
  std::optional<socket::shared_mapping> ledger_memory;
  std::unique_ptr<ledger::ledger> journal;
  std::optional<socket::shared_mapping> store_memory; // of the host store; unset: there is none
  std::uint64_t cluster = 0; // its id, the same for every process of the host
  std::shared_ptr<const host::board>
      board; // of processes: lanes use its areas after the link has gone
  std::unique_ptr<fault_trace_table> own_trace; // of threads; else on the board, as the points
  std::unique_ptr<run_words> own_run;           // of threads; else on the board
  std::unique_ptr<failpoints> points;
  std::optional<fault_trace> trace;
  run_words* run = nullptr;
  std::unique_ptr<host::host_link> host; // null: threads
};

/// With a link, workers are processes; without one the configuration decides, and "auto" means
/// threads. `time` outlives the parts.
[[nodiscard]] result<isolated_parts>
make_isolated_parts(config::isolation_kind wanted, const host_access& access, const clock& time);

/// Weights and KV cache become memory of the workers' GPUs: of this process for threads; for processes of vdist-vault,
/// from where each worker maps its own. Error: not_found (no GPU, driver or library).
/// `setup` outlives the parts.
[[nodiscard]] result<void> use_devices(isolated_parts& parts, const model_setup& setup);

} // namespace vdist::actors
