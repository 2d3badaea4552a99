// runtime/text/jinja/value.hpp — the values of a template: Python's, as far as templates can see them.
// A value is 32 bytes, trivially copyable, and owns nothing: strings, lists and objects lie in the
// workspace of one rendering, in the compiled template or in the caller's context, and live at least
// as long as the rendering. Nothing is ever freed before its end, so values may refer to each other
// in circles. V-1 strings are well-formed UTF-8. V-2 lists and dicts do not change once they can be
// seen by a template (the sandbox refuses append, update and the like); namespaces do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace vdist::text::jinja {

class dict;
class iterator;
class value;
class workspace;

/// Python's integers have no bounds; these hold everything that 64 bits hold, signed or not, and an
/// operation that leaves their range is an error.
__extension__ using integer = __int128;
inline constexpr integer integer_max =
    static_cast<integer>(~static_cast<unsigned __int128>(0) >> 1);
inline constexpr integer integer_min = -integer_max - 1;

enum class kind : std::uint8_t {
  undefined,
  none,
  boolean,
  integer,
  real,
  string,
  list,
  tuple,
  dict,
  object, // everything else: functions, namespaces, ranges, iterators, the loop
};

using list = std::pmr::vector<value>;

/// Why a value is undefined, kept in parts: most of them are only asked whether they are defined.
struct undefined_cause {
  enum class reason : std::uint8_t { name, attribute, element, text, unsafe };
  reason what = reason::text;
  std::string_view text;       // the name, the attribute, or the whole text
  std::string_view owner_type; // of attribute, element and unsafe
};

/// Arguments of a call: borrowed for the call.
struct call_arguments {
  explicit call_arguments(std::pmr::memory_resource* memory) : positional(memory), named(memory) {}

  std::pmr::vector<value> positional;
  std::pmr::vector<std::pair<std::string_view, value>> named; // each name once
};

/// A value with behaviour of its own. Allocated in the workspace and never destroyed: members must
/// get their memory there, too.
class object {
public:
  [[nodiscard]] virtual std::string_view type_name() const = 0;
  /// Python's getattr; nothing when there is none.
  [[nodiscard]] virtual std::optional<value> attribute(workspace& space, std::string_view name);
  /// Python's subscription; nothing when there is no such element.
  [[nodiscard]] virtual std::optional<value> item(workspace& space, const value& key);

  /// Python's slice, with bounds that lie within the length; nothing when it has none.
  [[nodiscard]] virtual std::optional<value>
  slice(workspace& space, integer from, integer to, integer step);

  [[nodiscard]] virtual bool is_callable() const { return false; }

  [[nodiscard]] virtual value call(workspace& space, const call_arguments& arguments);
  /// Null when it cannot be iterated.
  [[nodiscard]] virtual iterator* iterate(workspace& space);
  [[nodiscard]] virtual std::optional<std::size_t> length(workspace& space);

  /// Whether it is what the test `sequence` looks for: a length and subscription.
  [[nodiscard]] virtual bool is_sequence() const { return false; }

  virtual void print(workspace& space, std::pmr::string& out);

protected:
  object() = default;
  ~object() = default;
};

class value {
public:
  value() : value(nullptr) {} // None

  [[nodiscard]] static value none() { return {}; }

  [[nodiscard]] static value undefined(const undefined_cause* cause) {
    value made(kind::undefined);
    made.undefined_ = cause;
    return made;
  }

  [[nodiscard]] static value boolean(bool b) {
    value made(kind::boolean);
    made.boolean_ = b;
    return made;
  }

  [[nodiscard]] static value number(integer i) {
    value made(kind::integer);
    made.integer_ = i;
    return made;
  }

  [[nodiscard]] static value number(std::size_t i) { return number(static_cast<integer>(i)); }

  [[nodiscard]] static value real(double r) {
    value made(kind::real);
    made.real_ = r;
    return made;
  }

  /// Borrows the characters.
  [[nodiscard]] static value string(std::string_view utf8) {
    value made(kind::string);
    made.string_ = utf8;
    return made;
  }

  /// A string that is HTML already (MarkupSafe's Markup).
  [[nodiscard]] static value markup(std::string_view utf8) {
    value made = string(utf8);
    made.is_markup_ = true;
    return made;
  }

  [[nodiscard]] static value of(const list* elements) {
    value made(kind::list);
    made.list_ = elements;
    return made;
  }

  [[nodiscard]] static value tuple(const list* elements) {
    value made(kind::tuple);
    made.list_ = elements;
    return made;
  }

  [[nodiscard]] static value of(const dict* entries) {
    value made(kind::dict);
    made.dict_ = entries;
    return made;
  }

  [[nodiscard]] static value of(object* other) {
    value made(kind::object);
    made.object_ = other;
    return made;
  }

  [[nodiscard]] kind what() const { return kind_; }

  [[nodiscard]] bool is(kind k) const { return kind_ == k; }

  [[nodiscard]] bool is_undefined() const { return kind_ == kind::undefined; }

  [[nodiscard]] bool is_none() const { return kind_ == kind::none; }

  [[nodiscard]] bool is_string() const { return kind_ == kind::string; }

  [[nodiscard]] bool is_markup() const { return is_markup_; }

  [[nodiscard]] bool is_list_or_tuple() const {
    return kind_ == kind::list || kind_ == kind::tuple;
  }

  /// Booleans are integers, as in Python.
  [[nodiscard]] bool is_integer() const { return kind_ == kind::integer || kind_ == kind::boolean; }

  [[nodiscard]] bool is_number() const { return is_integer() || kind_ == kind::real; }

  // The payload; the caller has looked at what().
  [[nodiscard]] bool as_boolean() const { return boolean_; }

  [[nodiscard]] integer as_integer() const {
    return kind_ == kind::boolean ? static_cast<integer>(boolean_) : integer_;
  }

  [[nodiscard]] double as_real() const {
    return kind_ == kind::real ? real_ : static_cast<double>(as_integer());
  }

  [[nodiscard]] std::string_view as_string() const { return string_; }

  [[nodiscard]] const list& as_list() const { return *list_; }

  [[nodiscard]] const dict& as_dict() const { return *dict_; }

  [[nodiscard]] object& as_object() const { return *object_; }

  [[nodiscard]] const undefined_cause& cause() const { return *undefined_; }

  /// Python's `is`: the same object, not only an equal one.
  [[nodiscard]] bool is_same(const value& other) const;

private:
  explicit value(kind k) : kind_(k), none_(nullptr) {}

  explicit value(std::nullptr_t) : value(kind::none) {}

  kind kind_;
  bool is_markup_ = false;

  union {
    std::nullptr_t none_;
    bool boolean_;
    integer integer_;
    double real_;
    std::string_view string_;
    const list* list_;
    const dict* dict_;
    object* object_;
    const undefined_cause* undefined_;
  };
};

static_assert(std::is_trivially_copyable_v<value> && sizeof(value) == 32);

/// Values one after the other; what iter() of Python gives. It is its own iteration, once.
class iterator : public object {
public:
  [[nodiscard]] virtual std::optional<value> next(workspace& space) = 0;

  [[nodiscard]] std::string_view type_name() const override { return "generator"; }

  [[nodiscard]] iterator* iterate(workspace&) override { return this; }

protected:
  ~iterator() = default;
};

/// Python's dict: keys in the order of their insertion, found by hash. Only what is still being
/// built, and namespaces, are written to.
class dict {
public:
  explicit dict(std::pmr::memory_resource* memory) : entries_(memory), slots_(memory) {}

  /// Inserts or replaces. Throws template_error when the key cannot be hashed.
  void set(workspace& space, const value& key, const value& element);
  /// Null when there is none; also for keys that cannot be hashed.
  [[nodiscard]] const value* find(workspace& space, const value& key) const;
  [[nodiscard]] const value* find(workspace& space, std::string_view key) const;

  [[nodiscard]] const std::pmr::vector<std::pair<value, value>>& entries() const {
    return entries_;
  }

  [[nodiscard]] std::size_t size() const { return entries_.size(); }

  void reserve(std::size_t count) { entries_.reserve(count); }

private:
  // The position of an entry; size() when there is none.
  template <class Same>
  [[nodiscard]] std::size_t place_of(workspace& space, std::size_t hash, Same&& is_same) const;
  [[nodiscard]] std::size_t place_of(workspace& space, std::string_view key) const;
  [[nodiscard]] std::size_t place_of(workspace& space, const value& key, std::size_t hash) const;
  void index(workspace& space, std::size_t first);

  std::pmr::vector<std::pair<value, value>> entries_;
  // Open addressing over a power of two; 0 is empty, otherwise the entry's position + 1. Empty while
  // there are few entries.
  std::pmr::vector<std::uint32_t> slots_;
};

} // namespace vdist::text::jinja
