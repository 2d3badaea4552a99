#include "runtime/text/jinja/loop_object.hpp"

#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/interpreter.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/sequences.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

value loop_cycle(workspace&, const bound_arguments& given) {
  return dynamic_cast<loop_object&>(given[0].as_object()).cycle(given.all());
}

value loop_changed(workspace& space, const bound_arguments& given) {
  return dynamic_cast<loop_object&>(given[0].as_object()).changed(space, given.all());
}

constexpr std::array methods{
    builtin{"changed", loop_changed, {"self"}, 1, argument_style::any},
    builtin{"cycle", loop_cycle, {"self"}, 1, argument_style::any},
};

} // namespace

loop_object::loop_object(workspace& space, const value& over, std::size_t depth)
    : all_(&jinja::iterate(space, over)), depth_(depth) {
  if (!over.is_string()) { // the length of a text takes time, and few loops ask
    count_ = length_if_any(space, over);
  }
}

std::optional<value> loop_object::next(workspace& space) {
  auto made = is_peeked_ ? ahead_ : all_->next(space);
  is_peeked_ = false;
  if (made) {
    ++taken_;
    before_ = current_;
    current_ = made;
  }
  return made;
}

const std::optional<value>& loop_object::peek(workspace& space) {
  if (!is_peeked_) {
    ahead_ = all_->next(space);
    is_peeked_ = true;
  }
  return ahead_;
}

std::size_t loop_object::count(workspace& space) {
  if (!count_) {
    auto* rest = space.make_list();
    while (const auto one = all_->next(space)) {
      rest->push_back(*one);
    }
    all_ = &iterate_list(space, *rest);
    count_ = taken_ + rest->size() + (is_peeked_ && ahead_ ? 1 : 0);
  }
  return *count_;
}

std::optional<value> loop_object::attribute(workspace& space, std::string_view name) {
  if (name == "index") {
    return value::number(taken_);
  }
  if (name == "index0") {
    return value::number(static_cast<integer>(taken_) - 1);
  }
  if (name == "first") {
    return value::boolean(taken_ == 1);
  }
  if (name == "last") {
    return value::boolean(!peek(space));
  }
  if (name == "length") {
    return value::number(count(space));
  }
  if (name == "revindex" || name == "revindex0") {
    const auto left = static_cast<integer>(count(space)) - static_cast<integer>(taken_);
    return value::number(left + (name == "revindex" ? 1 : 0));
  }
  if (name == "previtem") {
    return before_ && taken_ > 1 ? *before_ : space.undefined("there is no previous item");
  }
  if (name == "nextitem") {
    const auto& next = peek(space);
    return next ? *next : space.undefined("there is no next item");
  }
  if (name == "depth" || name == "depth0") {
    return value::number(depth_ + (name == "depth" ? 1 : 0));
  }
  const value self = value::of(static_cast<object*>(this));
  const auto* found = find_builtin(methods, name);
  return found != nullptr ? std::optional(function_value(space, *found, &self)) : std::nullopt;
}

value loop_object::cycle(const call_arguments& given) const {
  if (given.positional.empty()) {
    refuse("no items for cycling given");
  }
  return given.positional[(taken_ - 1) % given.positional.size()];
}

value loop_object::changed(workspace& space, const call_arguments& given) {
  auto* now = space.make_list();
  now->assign(given.positional.begin(), given.positional.end());
  const bool is_same =
      last_changed_ != nullptr && equals(space, value::of(last_changed_), value::of(now));
  last_changed_ = is_same ? last_changed_ : now;
  return value::boolean(!is_same);
}

value loop_object::call(workspace& space, const call_arguments& given) {
  if (run_ == nullptr) {
    refuse("The loop must have the 'recursive' marker to be called recursively.");
  }
  if (given.positional.size() != 1 || !given.named.empty()) {
    refuse("loop() takes exactly one argument");
  }
  static_cast<void>(space);
  return run_->loop_again(*statement_, given.positional[0], depth_ + 1, *around_);
}

void loop_object::print(workspace& space, std::pmr::string& out) {
  out += fmt::format("<LoopContext {}/{}>", taken_, count(space));
}

} // namespace vdist::text::jinja
