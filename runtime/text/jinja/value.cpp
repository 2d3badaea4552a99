#include "runtime/text/jinja/value.hpp"

#include "runtime/text/jinja/operations.hpp"
#include "runtime/text/jinja/workspace.hpp"

#include <fmt/format.h>
#include <functional>

namespace vdist::text::jinja {
namespace {

/// Up to so many entries, comparing with every key beats hashing.
constexpr std::size_t linear_max = 8;

} // namespace

bool value::is_same(const value& other) const {
  if (kind_ != other.kind_) {
    return false;
  }
  switch (kind_) {
  case kind::none:
    return true;
  case kind::boolean:
    return boolean_ == other.boolean_;
  case kind::integer:
    return integer_ == other.integer_ && integer_ >= -5 && integer_ <= 256; // those Python shares
  case kind::real:
    return false;
  case kind::string:
    return string_.data() == other.string_.data() && string_.size() == other.string_.size();
  case kind::list:
  case kind::tuple:
    return list_ == other.list_;
  case kind::dict:
    return dict_ == other.dict_;
  case kind::object:
    return object_ == other.object_;
  case kind::undefined:
    return undefined_ == other.undefined_;
  }
  return false;
}

std::optional<value> object::attribute(workspace&, std::string_view) {
  return std::nullopt;
}

std::optional<value> object::item(workspace&, const value&) {
  return std::nullopt;
}

std::optional<value> object::slice(workspace&, integer, integer, integer) {
  return std::nullopt;
}

value object::call(workspace&, const call_arguments&) {
  refuse(fmt::format("'{}' object is not callable", type_name()));
}

iterator* object::iterate(workspace&) {
  return nullptr;
}

std::optional<std::size_t> object::length(workspace&) {
  return std::nullopt;
}

void object::print(workspace&, std::pmr::string& out) {
  out += '<';
  out += type_name();
  out += " object>";
}

template <class Same>
std::size_t dict::place_of(workspace& space, std::size_t hash, Same&& is_same) const {
  const auto count = entries_.size();
  if (slots_.empty()) {
    for (std::size_t i = 0; i < count; ++i) {
      if (is_same(entries_[i].first)) {
        return i;
      }
    }
    return count;
  }
  const auto mask = slots_.size() - 1;
  for (auto at = hash & mask; slots_[at] != 0; at = (at + 1) & mask) {
    space.spend(); // keys may have been chosen to collide
    if (is_same(entries_[slots_[at] - 1].first)) {
      return slots_[at] - 1;
    }
  }
  return count;
}

std::size_t dict::place_of(workspace& space, std::string_view key) const {
  const auto hash = slots_.empty() ? 0 : std::hash<std::string_view>()(key);
  return place_of(space, hash, [key](const value& other) {
    return other.is_string() && other.as_string() == key;
  });
}

std::size_t dict::place_of(workspace& space, const value& key, std::size_t hash) const {
  if (key.is_string()) {
    return place_of(space, key.as_string());
  }
  return place_of(
      space, hash, [&space, &key](const value& other) { return equals(space, other, key); });
}

const value* dict::find(workspace& space, std::string_view key) const {
  const auto place = place_of(space, key);
  return place < entries_.size() ? &entries_[place].second : nullptr;
}

const value* dict::find(workspace& space, const value& key) const {
  const auto hash = hash_of(space, key);
  const auto place = hash ? place_of(space, key, *hash) : entries_.size();
  return place < entries_.size() ? &entries_[place].second : nullptr;
}

void dict::index(workspace& space, std::size_t first) {
  const auto mask = slots_.size() - 1;
  for (auto i = first; i < entries_.size(); ++i) {
    auto at = *hash_of(space, entries_[i].first) & mask;
    while (slots_[at] != 0) {
      at = (at + 1) & mask;
    }
    slots_[at] = static_cast<std::uint32_t>(i + 1);
  }
}

void dict::set(workspace& space, const value& key, const value& element) {
  const auto hash = hash_of(space, key);
  if (!hash) {
    refuse(fmt::format("unhashable type: '{}'", type_name(key)));
  }
  const auto place = place_of(space, key, *hash);
  if (place < entries_.size()) {
    entries_[place].second = element;
    return;
  }
  entries_.emplace_back(key, element);
  if (entries_.size() > linear_max && 2 * entries_.size() > slots_.size()) {
    slots_.assign(slots_.empty() ? 8 * linear_max : 2 * slots_.size(), 0);
    index(space, 0);
  } else if (!slots_.empty()) {
    index(space, entries_.size() - 1);
  }
}

} // namespace vdist::text::jinja
