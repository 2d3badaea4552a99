// runtime/text/jinja/access.hpp — x.name, x[key] and x[a:b:c], with the sandbox's rules.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <string_view>

namespace vdist::text::jinja {

/// x.name: an attribute of Python (a method, mostly), otherwise the element of that key, otherwise
/// undefined. `name` must live as long as the workspace.
[[nodiscard]] value attribute_of(workspace& space, const value& owner, std::string_view name);
/// getattr() only.
[[nodiscard]] std::optional<value>
attribute_only(workspace& space, const value& owner, std::string_view name);
/// x[key]: the element, otherwise an attribute of that name, otherwise undefined.
[[nodiscard]] value item_of(workspace& space, const value& owner, const value& key);
/// Bounds may be None.
[[nodiscard]] value slice_of(
    workspace& space, const value& owner, const value& start, const value& stop, const value& step);

} // namespace vdist::text::jinja
