// runtime/config/rules.hpp — what must hold between keys. Internal to the folder.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/config/assembler.hpp"

namespace vdist::config {

/// Checks combinations of values that are legal one by one. Sizes that depend on the model are
/// checked by runtime/topology, when the model is known.
[[nodiscard]] result<void> check_rules(const assembler& made);

} // namespace vdist::config
