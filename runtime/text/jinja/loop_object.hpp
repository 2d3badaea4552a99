// runtime/text/jinja/loop_object.hpp — the `loop` of a for statement: where it is, and what comes next.
#pragma once

#include "runtime/text/jinja/value.hpp"

#include <optional>

namespace vdist::text::jinja {

class interpreter;
struct for_statement;
class scope;

class loop_object final : public object {
public:
  /// `over` is what is iterated: a sequence, or an iterator that knows no length.
  loop_object(workspace& space, const value& over, std::size_t depth);

  /// Makes the loop callable: its body over other values (`recursive`).
  void recurse_into(interpreter& run, const for_statement& loop, scope& around) {
    run_ = &run;
    statement_ = &loop;
    around_ = &around;
  }

  /// The next value, which is current then. At most one value is taken ahead of need, unless the
  /// length of an iterator is asked for.
  [[nodiscard]] std::optional<value> next(workspace& space);

  [[nodiscard]] std::string_view type_name() const override { return "LoopContext"; }

  [[nodiscard]] std::optional<value> attribute(workspace& space, std::string_view name) override;

  [[nodiscard]] bool is_callable() const override { return true; }

  [[nodiscard]] value call(workspace& space, const call_arguments& given) override;

  [[nodiscard]] std::optional<std::size_t> length(workspace& space) override {
    return count(space);
  }

  [[nodiscard]] value cycle(const call_arguments& given) const;
  [[nodiscard]] value changed(workspace& space, const call_arguments& given);

  void print(workspace& space, std::pmr::string& out) override;

private:
  [[nodiscard]] const std::optional<value>& peek(workspace& space);
  [[nodiscard]] std::size_t count(workspace& space);

  iterator* all_;
  std::optional<std::size_t> count_;
  std::size_t depth_;     // 0 is the outermost
  std::size_t taken_ = 0; // index + 1 of the current value
  bool is_peeked_ = false;
  std::optional<value> ahead_;
  std::optional<value> current_;
  std::optional<value> before_;
  const list* last_changed_ = nullptr;
  interpreter* run_ = nullptr;
  const for_statement* statement_ = nullptr;
  scope* around_ = nullptr;
};

} // namespace vdist::text::jinja
