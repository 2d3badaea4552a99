#include "actors/system/isolation.hpp"

#include "actors/system/devices.hpp"

#include "model/exec/device_vault.hpp"

#include "transport/vault/memory_vault.hpp"
#include "transport/vault/vault_client.hpp"

#include "runtime/ledger/memory_ledger.hpp"
#include "runtime/ledger/shared_ledger.hpp"

#include "kernels/cuda_module.hpp"

#include <random>
#include <string>
#include <utility>

#include "host/programs.hpp"

namespace vdist::actors {

namespace {

result<std::unique_ptr<host::host_link>> reach_host(const host_access& access) {
  if (access.link >= 0) {
    return host::host_link::open(socket::unique_fd(access.link));
  }
  VDIST_ASSIGN(const auto programs, host::find_programs(access.programs));
  return host::host_link::launch(programs);
}

result<void> use_processes(isolated_parts& parts, const host_access& access, const clock& time) {
  VDIST_ASSIGN(parts.host, reach_host(access));
  const vault::vault_client_settings settings{.may_move = true}; // two engines in one process
  parts.memory = std::make_unique<vault::vault_client>(parts.host->take_vault(), time, settings);
  VDIST_ASSIGN(parts.ledger_memory,
               socket::shared_mapping::map(parts.host->take_ledger(), parts.host->ledger_bytes()));
  if (parts.host->store_bytes() > 0) {
    VDIST_ASSIGN(parts.store_memory,
                 socket::shared_mapping::map(parts.host->take_store(), parts.host->store_bytes()));
  }
  VDIST_ASSIGN(auto journal, ledger::open_ledger(parts.ledger_memory->memory(), &time));
  parts.board = parts.host->shared_board();
  auto& board = **parts.board;
  parts.cluster = board.cluster;
  parts.points = std::make_unique<failpoints>(failpoints_on(board));
  journal->set_failpoints(parts.points.get());
  parts.journal = std::move(journal);
  parts.trace.emplace(trace_on(board));
  parts.run = &run_on(board);
  return {};
}

void use_threads(isolated_parts& parts, const clock& time) {
  std::random_device random;
  parts.memory = std::make_unique<vault::memory_vault>();
  parts.journal = std::make_unique<ledger::memory_ledger>(ledger::ledger_limits{}, &time);
  parts.cluster = (std::uint64_t{random()} << 32U) | random();
  parts.points = std::make_unique<failpoints>();
  parts.own_trace = std::make_unique<fault_trace_table>();
  parts.trace.emplace(*parts.own_trace);
  parts.own_run = std::make_unique<run_words>();
  parts.run = parts.own_run.get();
}

} // namespace

result<isolated_parts>
make_isolated_parts(config::isolation_kind wanted, const host_access& access, const clock& time) {
  isolated_parts parts;
  if (access.link >= 0 || wanted == config::isolation_kind::process) {
    VDIST_TRY(use_processes(parts, access, time));
  } else {
    use_threads(parts, time);
  }
  return parts;
}

result<void> use_devices(isolated_parts& parts, const model_setup& setup) {
  std::string why;
  auto* module = kernels::load_cuda_module(why);
  if (module == nullptr) {
    return fail(errc::not_found, "cuda: " + why);
  }
  if (parts.host) {
    return {}; // vdist-vault has them, worker processes map them, and this process never does
  }
  parts.memory = std::make_unique<exec::device_vault>(
      std::move(parts.memory), *module, [&setup](rank_id rank) { return device_of(setup, rank); });
  return {};
}

} // namespace vdist::actors
