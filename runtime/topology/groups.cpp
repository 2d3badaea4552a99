#include "runtime/topology/groups.hpp"

#include "runtime/base/check.hpp"

#include <map>
#include <tuple>

namespace vdist::topology {

namespace {

/// Ranks with equal keys form a group. The fields that a kind varies over are 0 in its keys.
using group_key = std::tuple<std::int32_t, std::int32_t, std::int32_t, std::int32_t>;

group_key key_of(group_kind kind, const coordinates& at) {
  switch (kind) {
  case group_kind::tensor:
    return {at.data, at.pipeline, at.prefill_context, 0};
  case group_kind::pipeline:
    return {at.data, 0, at.prefill_context, at.tensor};
  case group_kind::prefill_context:
    return {at.data, at.pipeline, 0, at.tensor};
  case group_kind::data:
    return {0, at.pipeline, at.prefill_context, at.tensor};
  case group_kind::expert:
  case group_kind::expert_balance:
    return {0, at.pipeline, 0, 0};
  case group_kind::replica:
    return {at.data, 0, 0, 0};
  case group_kind::decode_context:
    break; // not a set of fixed coordinates: decode_context_groups
  }
  VDIST_CHECK(false, "topology: not a kind that is given by fixed coordinates");
  return {};
}

/// Cuts each stage's ranks into pieces of decode_context. With prefill context the ranks of a stage
/// are counted over prefill_context first, then tensor; without it that is plainly the tensor
/// order.
std::vector<group> decode_context_groups(const parallel_sizes& sizes) {
  VDIST_CHECK(is_legal_decode_context(sizes), "topology: decode_context does not fit the sizes");
  std::vector<group> groups;
  for (std::int32_t stage = 0; stage < sizes.data * sizes.pipeline; ++stage) {
    for (std::int32_t tensor = 0; tensor < sizes.tensor; ++tensor) {
      for (std::int32_t prefill = 0; prefill < sizes.prefill_context; ++prefill) {
        if (groups.empty() || groups.back().size() == sizes.decode_context) {
          groups.push_back(
              {group_kind::decode_context, static_cast<std::int32_t>(groups.size()), {}});
        }
        const coordinates at{stage / sizes.pipeline, stage % sizes.pipeline, prefill, tensor};
        groups.back().ranks.push_back(rank_of(at, sizes));
      }
    }
  }
  return groups;
}

} // namespace

std::string_view to_string(group_kind kind) noexcept {
  switch (kind) {
  case group_kind::tensor:
    return "tensor";
  case group_kind::pipeline:
    return "pipeline";
  case group_kind::prefill_context:
    return "prefill_context";
  case group_kind::decode_context:
    return "decode_context";
  case group_kind::data:
    return "data";
  case group_kind::expert:
    return "expert";
  case group_kind::expert_balance:
    return "expert_balance";
  case group_kind::replica:
    return "replica";
  }
  return "unknown";
}

std::vector<group> make_groups(group_kind kind, const parallel_sizes& sizes) {
  if (kind == group_kind::decode_context) {
    return decode_context_groups(sizes);
  }
  std::map<group_key, std::int32_t> index_of;
  std::vector<group> groups;
  for (std::int32_t r = 0; r < sizes.world(); ++r) {
    const group_key key = key_of(kind, coordinates_of(rank_id(r), sizes));
    const auto [entry, is_new] =
        index_of.try_emplace(key, static_cast<std::int32_t>(groups.size()));
    if (is_new) {
      groups.push_back({kind, entry->second, {}});
    }
    groups[static_cast<std::size_t>(entry->second)].ranks.push_back(rank_id(r));
  }
  return groups;
}

bool is_legal_decode_context(const parallel_sizes& sizes) {
  const std::int32_t dcp = sizes.decode_context;
  if (dcp < 1) {
    return false;
  }
  if (sizes.prefill_context == 1) {
    return sizes.tensor % dcp == 0;
  }
  return dcp == 1 || dcp == sizes.prefill_context || dcp == sizes.prefill_context * sizes.tensor;
}

} // namespace vdist::topology
