// The functions that every template finds by name.
#include "runtime/text/jinja/builtins.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/print.hpp"
#include "runtime/text/jinja/sequences.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <array>
#include <ctime>
#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

value global_range(workspace& space, const bound_arguments& given) {
  const auto first = require_integer(given[0], "range");
  const auto step = require_integer(given.value_or(2, value::number(integer{1})), "range");
  if (step == 0) {
    refuse("range() arg 3 must not be zero");
  }
  return given.find(1) != nullptr
             ? range_value(space, first, require_integer(given[1], "range"), step)
             : range_value(space, 0, first, 1);
}

/// Calls `set` with every key and element of a dict or of a sequence of pairs, then with the names.
template <class Set>
void each_pair(workspace& space, const call_arguments& given, std::string_view what, Set&& set) {
  if (given.positional.size() > 1) {
    refuse(fmt::format("{} expected at most 1 argument, got {}", what, given.positional.size()));
  }
  if (!given.positional.empty()) {
    const auto& from = given.positional[0];
    if (from.is(kind::dict)) {
      for (const auto& [key, element] : from.as_dict().entries()) {
        space.spend();
        set(key, element);
      }
    } else {
      require_defined(from);
      for (const auto& pair : elements_of(space, from)) {
        const auto& both = elements_of(space, pair);
        if (both.size() != 2) {
          refuse(fmt::format("{}: a sequence of pairs is needed", what));
        }
        set(both[0], both[1]);
      }
    }
  }
  for (const auto& [name, one] : given.named) {
    set(value::string(name), one);
  }
}

value global_dict(workspace& space, const bound_arguments& given) {
  auto* made = space.make_dict();
  each_pair(space, given.all(), "dict", [&space, made](const value& key, const value& one) {
    made->set(space, key, one);
  });
  return value::of(made);
}

value global_namespace(workspace& space, const bound_arguments& given) {
  auto* made = space.make<name_space>(space);
  each_pair(space, given.all(), "namespace", [&space, made](const value& key, const value& one) {
    made->set(space, require_string(key, "namespace"), one);
  });
  return value::of(static_cast<object*>(made));
}

/// The texts in a row, one for each call.
class cycler final : public object {
public:
  explicit cycler(const list& items) : items_(items) {}

  [[nodiscard]] std::string_view type_name() const override { return "Cycler"; }

  [[nodiscard]] std::optional<value> attribute(workspace& space, std::string_view name) override;

  [[nodiscard]] value next() {
    const auto made = items_[at_];
    at_ = (at_ + 1) % items_.size();
    return made;
  }

  void reset() { at_ = 0; }

private:
  const list& items_;
  std::size_t at_ = 0;
};

value cycler_next(workspace&, const bound_arguments& given) {
  return dynamic_cast<cycler&>(given[0].as_object()).next();
}

value cycler_reset(workspace&, const bound_arguments& given) {
  dynamic_cast<cycler&>(given[0].as_object()).reset();
  return value::none();
}

constexpr std::array cycler_methods{
    builtin{"next", cycler_next, {"self"}, 1},
    builtin{"reset", cycler_reset, {"self"}, 1},
};

std::optional<value> cycler::attribute(workspace& space, std::string_view name) {
  if (name == "current") {
    return items_[at_];
  }
  const value self = value::of(static_cast<object*>(this));
  const auto* found = find_builtin(cycler_methods, name);
  return found != nullptr ? std::optional(function_value(space, *found, &self)) : std::nullopt;
}

value global_cycler(workspace& space, const bound_arguments& given) {
  if (given.all().positional.empty() || !given.all().named.empty()) {
    refuse("cycler: at least one item has to be provided");
  }
  auto* items = space.make_list();
  items->assign(given.all().positional.begin(), given.all().positional.end());
  return value::of(static_cast<object*>(space.make<cycler>(*items)));
}

/// Nothing at the first call, then its separator.
class joiner final : public object {
public:
  explicit joiner(const value& separator) : separator_(separator) {}

  [[nodiscard]] std::string_view type_name() const override { return "Joiner"; }

  [[nodiscard]] bool is_callable() const override { return true; }

  [[nodiscard]] value call(workspace&, const call_arguments& given) override {
    if (!given.positional.empty() || !given.named.empty()) {
      refuse("joiner takes no arguments");
    }
    return std::exchange(is_used_, true) ? separator_ : value::string("");
  }

private:
  value separator_;
  bool is_used_ = false;
};

value global_joiner(workspace& space, const bound_arguments& given) {
  const auto separator = given.value_or(0, value::string(", "));
  return value::of(static_cast<object*>(space.make<joiner>(separator)));
}

value global_raise(workspace& space, const bound_arguments& given) {
  refuse(std::string(str_of(space, given[0]).as_string()));
}

std::tm local_time(const workspace& space, const std::optional<std::tm>& given) {
  static_cast<void>(space);
  if (given) {
    return *given;
  }
  const std::time_t now = std::time(nullptr);
  std::tm made{};
  localtime_r(&now, &made);
  return made;
}

/// What datetime.strftime writes of a time without zone and with whole seconds.
value global_strftime(workspace& space, const bound_arguments& given) {
  constexpr std::size_t format_bytes_max = 1024;
  const auto format = require_string(given[0], "strftime_now");
  if (format.size() > format_bytes_max) {
    refuse(fmt::format("strftime_now: format too long (bytes_max={})", format_bytes_max));
  }
  const auto now = local_time(space, space.options().now);
  auto made = space.text();
  for (std::size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%' || at + 1 == format.size()) {
      made += format[at];
      continue;
    }
    ++at;
    if (format[at] == 'f') {
      made += "000000";
    } else if (format[at] != 'z' && format[at] != 'Z') {
      const char one[] = {'%', format[at], '\0'};
      std::array<char, 128> text{};
      // A directive may be empty (%p in some languages); the buffer is larger than any.
      made.append(text.data(), std::strftime(text.data(), text.size(), one, &now));
    }
  }
  return space.done(std::move(made));
}

value global_lipsum(workspace&, const bound_arguments&) {
  throw template_error(errc::unsupported, "lipsum is unsupported");
}

constexpr auto any = argument_style::any;

constexpr std::array globals{
    builtin{"cycler", global_cycler, {}, 0, any},
    builtin{"dict", global_dict, {}, 0, any},
    builtin{"joiner", global_joiner, {"sep"}, 0},
    builtin{"lipsum", global_lipsum, {}, 0, any},
    builtin{"namespace", global_namespace, {}, 0, any},
    builtin{"raise_exception", global_raise, {"message"}, 1},
    builtin{"range", global_range, {"start", "stop", "step"}, 1, argument_style::by_position},
    builtin{"strftime_now", global_strftime, {"format"}, 1},
};
static_assert(is_sorted_by_name(globals));

} // namespace

const builtin* find_global(std::string_view name) {
  return find_builtin(globals, name);
}

} // namespace vdist::text::jinja
