// runtime/text/jinja/chat_template.hpp — chat templates: a Jinja interpreter that renders what
// Python's jinja2 renders in the sandbox that Hugging Face's `transformers` sets up for them
// (ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop controls, `generation` blocks,
// raise_exception, strftime_now, its tojson). Everything behind this header is private to the folder.
//
// J-1 render() gives the bytes of jinja2, or an error where jinja2 raises one. (README.md: what is
//     refused and what differs.)
// J-2 Whatever template and context are: no crash, no hang, no memory beyond the limits. Stack use is
//     bounded by nesting_max and depth_max, at most stack_bytes_max for the defaults.
// J-3 Every error has the place: `chat template: cause (line=3 column=14)`; columns count characters.
// J-4 A template is immutable once compiled: any number of threads may render it at once.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace vdist::text::jinja {

/// Bounds on a source.
struct source_limits {
  std::size_t bytes_max = std::size_t{1} << 20U;
  /// Of expressions and statements in each other; a chain of operators nests once per operator.
  std::size_t nesting_max = 200;
};

/// Bounds on one rendering.
struct render_limits {
  std::uint64_t steps_max = 20'000'000; // about one per expression, and per 64 bytes that are moved
  duration time_max = std::chrono::seconds(2);
  std::size_t memory_bytes_max = std::size_t{128} << 20U; // of all values together
  std::size_t output_bytes_max = std::size_t{16} << 20U;
  std::size_t depth_max = 600; // of evaluations in each other: expressions, statements, macros
};

/// What a thread that renders with the default limits needs on its stack at most.
inline constexpr std::size_t stack_bytes_max = std::size_t{4} << 20U;

struct render_options {
  render_limits limits;
  std::optional<std::tm> now;         // of strftime_now; the machine's local time if empty
  const class clock* clock = nullptr; // measures time_max; the machine's clock if null. Borrowed.
};

class chat_template {
public:
  /// errc::corrupt for a source that is no template, errc::unsupported for parts of Jinja that chat
  /// templates have no use for.
  [[nodiscard]] static result<chat_template> compile(std::string source,
                                                     const source_limits& limits = {});

  chat_template(chat_template&&) noexcept;
  chat_template& operator=(chat_template&&) noexcept;
  ~chat_template();

  /// `context` is an object: the template's variables by name. What transformers passes: messages,
  /// tools, documents, add_generation_prompt, bos_token, eos_token and the other special tokens, and
  /// whatever the request adds. null is None; a name that is absent is undefined.
  /// errc::invalid_argument when the template raises, or refuses what it was given;
  /// errc::resource_exhausted and errc::timed_out at a limit.
  [[nodiscard]] result<std::string> render(const nlohmann::ordered_json& context,
                                           const render_options& options = {}) const;

private:
  struct program;
  explicit chat_template(std::unique_ptr<const program> compiled);
  std::unique_ptr<const program> program_;
};

} // namespace vdist::text::jinja
