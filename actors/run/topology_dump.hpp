// actors/run/topology_dump.hpp — the topology and every weight's shard as JSON, before anything is loaded.
#pragma once

#include "actors/system/model_setup.hpp"

#include "runtime/base/result.hpp"

#include <string>

namespace vdist::actors {

/// {"sizes", "model", "stages", "groups", "kv_cache", "layers": [{"layer", "stage", "ranks"}], "parameters": [{"name",
/// "shape", "dtype", "bytes", "layer", "shards": [{"rank", "weight", "shape", "axis", "offset"}]}], "ranks": [{"rank", …,
/// "weights": [{"name", "shape", "dtype", "bytes", "offset", "slices": [{"tensor", "rows", "columns"}]}]}]}, as
/// model_inspection.hpp says; ranges are [first, last); no axis and offset: the whole. Indented, ends with a newline.
[[nodiscard]] result<std::string> dump_topology(const model_setup& setup);

/// The plan for people: a picture of the ranks and the memory of a worker. What --check prints.
[[nodiscard]] std::string describe_setup(const model_setup& setup);

} // namespace vdist::actors
