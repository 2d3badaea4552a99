#include "runtime/text/jinja/builtins.hpp"

#include "runtime/text/jinja/workspace.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

std::size_t parameter_count(const builtin& callee) {
  const auto end = std::find(callee.parameters.begin(), callee.parameters.end(), "");
  return static_cast<std::size_t>(end - callee.parameters.begin());
}

class function_object final : public object {
public:
  function_object(const builtin& function, const value* owner)
      : function_(function), has_owner_(owner != nullptr), owner_(has_owner_ ? *owner : value()) {}

  [[nodiscard]] std::string_view type_name() const override { return "builtin_function_or_method"; }

  [[nodiscard]] bool is_callable() const override { return true; }

  [[nodiscard]] value call(workspace& space, const call_arguments& arguments) override {
    return call_builtin(space, function_, has_owner_ ? &owner_ : nullptr, arguments);
  }

  void print(workspace&, std::pmr::string& out) override {
    out += "<built-in function ";
    out += function_.name;
    out += '>';
  }

private:
  const builtin& function_;
  bool has_owner_;
  value owner_;
};

} // namespace

bound_arguments::bound_arguments(const builtin& callee,
                                 const value* self,
                                 const call_arguments& given)
    : all_(given) {
  std::size_t next = 0;
  if (self != nullptr) {
    values_[0] = *self;
    is_given_[next++] = true;
  }
  if (callee.style == argument_style::any) {
    return;
  }
  const auto count = parameter_count(callee);
  if (given.positional.size() > count - next) {
    refuse(fmt::format("{}() takes at most {} arguments ({} given)",
                       callee.name,
                       count - next,
                       given.positional.size()));
  }
  for (const auto& one : given.positional) {
    values_[next] = one;
    is_given_[next++] = true;
  }
  if (!given.named.empty() && callee.style == argument_style::by_position) {
    refuse(fmt::format("{}() takes no keyword arguments", callee.name));
  }
  for (const auto& [name, one] : given.named) {
    const auto* const end = callee.parameters.data() + count;
    const auto* const found = std::find(callee.parameters.data(), end, name);
    const auto place = static_cast<std::size_t>(found - callee.parameters.data());
    if (found == end) {
      refuse(fmt::format("{}() got an unexpected keyword argument '{}'", callee.name, name));
    }
    if (is_given_[place]) {
      refuse(fmt::format("{}() got multiple values for argument '{}'", callee.name, name));
    }
    values_[place] = one;
    is_given_[place] = true;
  }
  for (std::size_t i = 0; i < callee.required; ++i) {
    if (!is_given_[i]) {
      refuse(fmt::format("{}() missing argument '{}'", callee.name, callee.parameters[i]));
    }
  }
}

value call_builtin(workspace& space,
                   const builtin& callee,
                   const value* self,
                   const call_arguments& given) {
  space.spend();
  return callee.run(space, bound_arguments(callee, self, given));
}

value function_value(workspace& space, const builtin& function, const value* owner) {
  return value::of(space.make<function_object>(function, owner));
}

const builtin* find_builtin(const builtin* first, std::size_t count, std::string_view name) {
  const auto* const found =
      std::lower_bound(first, first + count, name, [](const builtin& one, std::string_view key) {
        return one.name < key;
      });
  return found != first + count && found->name == name ? found : nullptr;
}

const builtin* find_filter(std::string_view name) {
  for (const auto find :
       {find_text_filter, find_sequence_filter, find_selection_filter, find_number_filter}) {
    if (const auto* found = find(name); found != nullptr) {
      return found;
    }
  }
  return nullptr;
}

} // namespace vdist::text::jinja
