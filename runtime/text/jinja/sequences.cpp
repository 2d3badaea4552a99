#include "runtime/text/jinja/sequences.hpp"

#include "runtime/text/jinja/number_text.hpp"
#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/print.hpp"
#include "runtime/text/unicode.hpp"

#include <fmt/format.h>

namespace vdist::text::jinja {
namespace {

class list_iterator final : public iterator {
public:
  explicit list_iterator(const list& all) : all_(all) {}

  [[nodiscard]] std::string_view type_name() const override { return "list_iterator"; }

  [[nodiscard]] std::optional<value> next(workspace& space) override {
    space.spend();
    return at_ < all_.size() ? std::optional(all_[at_++]) : std::nullopt;
  }

private:
  const list& all_;
  std::size_t at_ = 0;
};

class backward_iterator final : public iterator {
public:
  explicit backward_iterator(const list& all) : all_(all), left_(all.size()) {}

  [[nodiscard]] std::string_view type_name() const override { return "list_reverseiterator"; }

  [[nodiscard]] std::optional<value> next(workspace& space) override {
    space.spend();
    return left_ > 0 ? std::optional(all_[--left_]) : std::nullopt;
  }

private:
  const list& all_;
  std::size_t left_;
};

class character_iterator final : public iterator {
public:
  explicit character_iterator(std::string_view utf8) : utf8_(utf8) {}

  [[nodiscard]] std::string_view type_name() const override { return "str_iterator"; }

  [[nodiscard]] std::optional<value> next(workspace& space) override {
    space.spend();
    if (at_ == utf8_.size()) {
      return std::nullopt;
    }
    const auto begin = at_;
    at_ += code_point_at(utf8_, at_).bytes;
    return value::string(utf8_.substr(begin, at_ - begin));
  }

private:
  std::string_view utf8_;
  std::size_t at_ = 0;
};

value part_of(workspace& space, const std::pair<value, value>& entry, dict_part part) {
  if (part != dict_part::items) {
    return part == dict_part::keys ? entry.first : entry.second;
  }
  auto* pair = space.make_list();
  pair->reserve(2);
  pair->push_back(entry.first);
  pair->push_back(entry.second);
  return value::tuple(pair);
}

class dict_iterator final : public iterator {
public:
  dict_iterator(const dict& of, dict_part part) : of_(of), part_(part) {}

  [[nodiscard]] std::string_view type_name() const override { return "dict_keyiterator"; }

  [[nodiscard]] std::optional<value> next(workspace& space) override {
    space.spend();
    return at_ < of_.size() ? std::optional(part_of(space, of_.entries()[at_++], part_))
                            : std::nullopt;
  }

private:
  const dict& of_;
  dict_part part_;
  std::size_t at_ = 0;
};

class view_object final : public object {
public:
  view_object(const dict& of, dict_part part) : of_(of), part_(part) {}

  [[nodiscard]] std::string_view type_name() const override {
    return part_ == dict_part::keys     ? "dict_keys"
           : part_ == dict_part::values ? "dict_values"
                                        : "dict_items";
  }

  [[nodiscard]] iterator* iterate(workspace& space) override {
    return space.make<dict_iterator>(of_, part_);
  }

  [[nodiscard]] std::optional<std::size_t> length(workspace&) override { return of_.size(); }

  void print(workspace& space, std::pmr::string& out) override {
    out += type_name();
    out += '(';
    append_repr(space, out, value::of(&elements_of(space, value::of(this))));
    out += ')';
  }

private:
  const dict& of_;
  dict_part part_;
};

class range_object final : public object {
public:
  range_object(integer start, integer stop, integer step, std::size_t count)
      : start_(start), stop_(stop), step_(step), count_(count) {}

  [[nodiscard]] std::string_view type_name() const override { return "range"; }

  [[nodiscard]] std::optional<value> item(workspace&, const value& key) override {
    if (!key.is_integer()) {
      return std::nullopt;
    }
    const auto count = static_cast<integer>(count_);
    const auto i = key.as_integer() < 0 ? key.as_integer() + count : key.as_integer();
    return i >= 0 && i < count ? std::optional(at(static_cast<std::size_t>(i))) : std::nullopt;
  }

  [[nodiscard]] std::optional<value>
  slice(workspace& space, integer from, integer to, integer step) override {
    return range_value(space, start_ + from * step_, start_ + to * step_, step * step_);
  }

  [[nodiscard]] iterator* iterate(workspace& space) override {
    auto next = [this, i = std::size_t{0}](workspace&) mutable {
      return i < count_ ? std::optional(at(i++)) : std::nullopt;
    };
    return space.make<lazy_iterator<decltype(next)>>(next);
  }

  [[nodiscard]] std::optional<std::size_t> length(workspace&) override { return count_; }

  [[nodiscard]] bool is_sequence() const override { return true; }

  void print(workspace&, std::pmr::string& out) override {
    out += fmt::format("range({}, {}", text_of(start_), text_of(stop_));
    out += step_ == 1 ? ")" : fmt::format(", {})", text_of(step_));
  }

private:
  [[nodiscard]] value at(std::size_t i) const {
    return value::number(start_ + static_cast<integer>(i) * step_);
  }

  integer start_;
  integer stop_;
  integer step_;
  std::size_t count_;
};

/// What jinja2's sandbox allows.
constexpr integer range_max = 100'000;

} // namespace

iterator& iterate_list(workspace& space, const list& all) {
  return *space.make<list_iterator>(all);
}

iterator& iterate_backwards(workspace& space, const list& all) {
  return *space.make<backward_iterator>(all);
}

value range_value(workspace& space, integer start, integer stop, integer step) {
  constexpr integer bound = integer{1} << 64U; // no sum below leaves the range of integers
  if (start > bound || start < -bound || stop > bound || stop < -bound || step > bound
      || step < -bound) {
    refuse("range: integer out of range");
  }
  const auto distance = step > 0 ? stop - start : start - stop;
  const auto stride = step > 0 ? step : -step;
  const auto count = distance <= 0 ? 0 : (distance + stride - 1) / stride;
  if (count > range_max) {
    refuse(
        fmt::format("range too big, the sandbox blocks ranges larger than {}", text_of(range_max)));
  }
  return value::of(space.make<range_object>(start, stop, step, static_cast<std::size_t>(count)));
}

value dict_view(workspace& space, const dict& of, dict_part part) {
  return value::of(space.make<view_object>(of, part));
}

std::optional<value> name_space::attribute(workspace& space, std::string_view name) {
  const auto* found = names_.find(space, name);
  return found != nullptr ? std::optional(*found) : std::nullopt;
}

void name_space::print(workspace& space, std::pmr::string& out) {
  out += "<Namespace ";
  append_repr(space, out, value::of(&names_));
  out += '>';
}

name_space* as_name_space(const value& one) {
  return one.is(kind::object) ? dynamic_cast<name_space*>(&one.as_object()) : nullptr;
}

bool is_iterable(workspace& space, const value& one) {
  switch (one.what()) {
  case kind::none:
  case kind::boolean:
  case kind::integer:
  case kind::real:
    return false;
  case kind::object:
    return one.as_object().iterate(space) != nullptr;
  default:
    return true;
  }
}

iterator& iterate(workspace& space, const value& one) {
  static const list nothing;
  switch (one.what()) {
  case kind::undefined:
    return iterate_list(space, nothing);
  case kind::string:
    return *space.make<character_iterator>(one.as_string());
  case kind::list:
  case kind::tuple:
    return iterate_list(space, one.as_list());
  case kind::dict:
    return *space.make<dict_iterator>(one.as_dict(), dict_part::keys);
  case kind::object:
    if (auto* found = one.as_object().iterate(space); found != nullptr) {
      return *found;
    }
    [[fallthrough]];
  default:
    refuse(fmt::format("'{}' object is not iterable", type_name(one)));
  }
}

} // namespace vdist::text::jinja
