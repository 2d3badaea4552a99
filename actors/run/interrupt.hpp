// actors/run/interrupt.hpp — SIGINT and SIGTERM as a flag that loops look at. The second signal ends the process.
#pragma once

namespace vdist::actors {

/// Installs the handlers; call once, before threads start.
void watch_for_interrupts();

/// Whether a signal has come.
[[nodiscard]] bool is_interrupted() noexcept;

/// Which one: SIGINT or SIGTERM; 0: none yet.
[[nodiscard]] int interrupted_by() noexcept;

} // namespace vdist::actors
