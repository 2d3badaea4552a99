// actors/run/fault_run.hpp — work under a fault script: arms it, does the work, reports. With `verify` the same input runs
// twice, undisturbed first, and the streams are compared.
//
// F-1 Exit: an error if a rule was never hit, an expectation failed, or streams differ. The report is written in any case.
// F-2 With verify both runs begin anew: output of an earlier run would be compared with what was not done.
// F-3 A control process that finds its rules armed has taken over from one that died under them: it goes on with the
//     disturbed run, and arms nothing again.
// F-4 Steps of a script are those of the run with faults: its first one is number 1.
#pragma once

#include "actors/run/batch_run.hpp"
#include "actors/run/fault_report.hpp"
#include "actors/system/engine.hpp"

#include "runtime/base/result.hpp"
#include "runtime/config/fault_script.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace vdist::actors {

struct fault_run_options {
  config::fault_script script;
  std::string script_name;
  std::string output;  // of the batch; empty: a prompt
  std::string reports; // BASE of BASE.json and BASE.svg; empty: no files
  bool is_verified = false;
  bool is_quiet = false; // no table
};

/// One of the runs over the input.
struct fault_pass {
  std::string output;                     // where its results go
  std::optional<std::uint64_t> seed_base; // of requests that name no seed
};

/// Does the work of one pass. nullopt: it was a prompt.
using fault_work = std::function<result<std::optional<batch_summary>>(const fault_pass& pass)>;

/// Errors: of the work; internal (F-1); io_failed (a report cannot be written).
[[nodiscard]] result<void>
run_with_faults(engine& engine, const fault_run_options& options, const fault_work& work);

} // namespace vdist::actors
