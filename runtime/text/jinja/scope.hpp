// runtime/text/jinja/scope.hpp — the variables of a place in a template. Loops, macros and blocks open a
// scope inside the one around them; `if` does not. What is set in a scope ends with it.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <memory_resource>
#include <string_view>
#include <utility>
#include <vector>

namespace vdist::text::jinja {

class scope {
public:
  scope(std::pmr::memory_resource* memory, scope* parent) : parent_(parent), names_(memory) {}

  void set(std::string_view name, const value& to) {
    if (value* found = own(name); found != nullptr) {
      *found = to;
    } else {
      names_.emplace_back(name, to);
    }
  }

  /// The variable here or in a scope around; null when there is none.
  [[nodiscard]] const value* find(std::string_view name) {
    for (scope* at = this; at != nullptr; at = at->parent_) {
      if (const value* found = at->own(name); found != nullptr) {
        return found;
      }
    }
    return nullptr;
  }

  /// A macro was made here and will look for its variables later: the scope must stay as it is.
  void keep() {
    for (scope* at = this; at != nullptr && !at->is_kept_; at = at->parent_) {
      at->is_kept_ = true;
    }
  }

  [[nodiscard]] bool is_kept() const { return is_kept_; }

  void clear() { names_.clear(); }

private:
  [[nodiscard]] value* own(std::string_view name) {
    for (auto& [key, element] : names_) {
      if (key == name) {
        return &element;
      }
    }
    return nullptr;
  }

  scope* parent_;
  // Few: those that one place of the source names.
  std::pmr::vector<std::pair<std::string_view, value>> names_;
  bool is_kept_ = false;
};

} // namespace vdist::text::jinja
