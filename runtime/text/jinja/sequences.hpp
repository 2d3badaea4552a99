// runtime/text/jinja/sequences.hpp — iteration, and the objects that are sequences of values: ranges,
// views of dicts, lazy iterators.
#pragma once

#include "runtime/text/jinja/value.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <string_view>
#include <utility>

namespace vdist::text::jinja {

/// Iterators over what the workspace knows; made in it.
[[nodiscard]] iterator& iterate_list(workspace& space, const list& all);
[[nodiscard]] iterator& iterate_backwards(workspace& space, const list& all);

/// Python's range; `step` is not 0.
[[nodiscard]] value range_value(workspace& space, integer start, integer stop, integer step);

enum class dict_part : std::uint8_t { keys, values, items };
[[nodiscard]] value dict_view(workspace& space, const dict& of, dict_part part);

/// A namespace: the one thing of a template that can be written to.
class name_space final : public object {
public:
  explicit name_space(workspace& space) : names_(space.memory()) {}

  [[nodiscard]] std::string_view type_name() const override { return "Namespace"; }

  [[nodiscard]] std::optional<value> attribute(workspace& space, std::string_view name) override;

  void set(workspace& space, std::string_view name, const value& to) {
    names_.set(space, value::string(name), to);
  }

  void print(workspace& space, std::pmr::string& out) override;

private:
  dict names_;
};

/// Null when the value is none.
[[nodiscard]] name_space* as_name_space(const value& one);

/// A function that gives the next value as an iterator; its captures must not need a destructor.
template <class Next>
class lazy_iterator final : public iterator {
public:
  explicit lazy_iterator(Next next) : next_(std::move(next)) {
    static_assert(std::is_trivially_destructible_v<Next>);
  }

  [[nodiscard]] std::optional<value> next(workspace& space) override {
    space.spend();
    return next_(space);
  }

private:
  Next next_;
};

template <class Next>
[[nodiscard]] value lazily(workspace& space, Next next) {
  return value::of(static_cast<object*>(space.make<lazy_iterator<Next>>(std::move(next))));
}

} // namespace vdist::text::jinja
