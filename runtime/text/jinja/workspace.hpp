// runtime/text/jinja/workspace.hpp — what one rendering owns: its memory, its steps and its time.
// Everything that a template makes lies in one arena that grows up to a limit and is freed at once,
// so that no operation has to check what it allocates. Not thread-safe: one per rendering.
// W-1 an allocation beyond memory_bytes_max throws template_error; nothing is allocated then.
// W-2 work is paid for before it is done: spend() throws when steps or time are used up.
#pragma once

#include "runtime/text/jinja/chat_template.hpp"
#include "runtime/text/jinja/template_error.hpp"
#include "runtime/text/jinja/value.hpp"

#include <array>
#include <memory_resource>

namespace vdist::text::jinja {

class workspace {
public:
  explicit workspace(const render_options& options);
  workspace(const workspace&) = delete;
  workspace& operator=(const workspace&) = delete;

  [[nodiscard]] std::pmr::memory_resource* memory() { return &arena_; }

  /// An object that lives until the end of the rendering; its destructor never runs.
  template <class T, class... Arguments>
  [[nodiscard]] T* make(Arguments&&... arguments) {
    return ::new (arena_.allocate(sizeof(T), alignof(T))) T(std::forward<Arguments>(arguments)...);
  }

  [[nodiscard]] list* make_list() { return make<list>(memory()); }

  [[nodiscard]] dict* make_dict() { return make<dict>(memory()); }

  /// An empty string whose characters will lie in the arena; done() makes it a value.
  [[nodiscard]] std::pmr::string text() { return std::pmr::string(memory()); }

  [[nodiscard]] value done(std::pmr::string text) {
    return value::string(*make<std::pmr::string>(std::move(text)));
  }

  /// A copy of the characters.
  [[nodiscard]] value copy(std::string_view utf8) { return done(std::pmr::string(utf8, memory())); }

  [[nodiscard]] value undefined(undefined_cause cause) {
    return value::undefined(make<undefined_cause>(cause));
  }

  /// Borrows `text`.
  [[nodiscard]] value undefined(std::string_view text) {
    return undefined({.what = undefined_cause::reason::text, .text = text, .owner_type = {}});
  }

  /// W-2.
  void spend(std::uint64_t steps = 1) {
    if (steps >= until_check_) [[unlikely]] {
      check(steps);
    } else {
      until_check_ -= steps;
    }
  }

  /// Pays for work on so many bytes.
  void spend_bytes(std::size_t bytes) { spend(1 + bytes / 64); }

  /// One evaluation inside another. Throws beyond depth_max.
  class level {
  public:
    explicit level(workspace& space) : depth_(space.depth_) {
      if (++depth_ > space.options_.limits.depth_max) [[unlikely]] {
        --depth_;
        too_deep();
      }
    }

    level(const level&) = delete;
    level& operator=(const level&) = delete;

    ~level() { --depth_; }

  private:
    [[noreturn]] static void too_deep();
    std::size_t& depth_;
  };

  [[nodiscard]] const render_options& options() const { return options_; }

  /// Byte offset of what is evaluated now, for errors.
  std::size_t at = 0;

private:
  /// Counts what the arena takes from the heap.
  class meter final : public std::pmr::memory_resource {
  public:
    explicit meter(std::size_t bytes_max) : left_(bytes_max) {}

  private:
    void* do_allocate(std::size_t bytes, std::size_t alignment) override;
    void do_deallocate(void* at, std::size_t bytes, std::size_t alignment) override;

    [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override {
      return this == &other;
    }

    std::size_t left_;
  };

  void check(std::uint64_t steps);

  const render_options& options_;
  meter meter_;
  std::array<std::byte, 8192> first_;
  std::pmr::monotonic_buffer_resource arena_;
  std::size_t depth_ = 0;
  std::uint64_t steps_left_;  // beyond until_check_
  std::uint64_t until_check_; // steps until the clock is read
  system_clock machine_clock_;
  const clock& clock_;
  time_point deadline_;
};

} // namespace vdist::text::jinja
