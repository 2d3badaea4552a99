#include "runtime/text/jinja/chat_template.hpp"

#include "runtime/text/jinja/characters.hpp"
#include "runtime/text/jinja/interpreter.hpp"
#include "runtime/text/jinja/json_text.hpp"
#include "runtime/text/jinja/lexer.hpp"
#include "runtime/text/jinja/parser.hpp"
#include "runtime/text/unicode.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vdist::text::jinja {
namespace {

/// Bytes of a cause in an error: the template, or what it raises, may be of any length.
constexpr std::size_t cause_bytes_max = 1024;

/// One line of bounded length.
std::string one_line(std::string_view cause) {
  auto end = std::min(cause.size(), cause_bytes_max);
  while (end < cause.size() && (static_cast<unsigned char>(cause[end]) & 0xC0U) == 0x80U) {
    --end;
  }
  std::string made(cause.substr(0, end));
  for (char& c : made) {
    c = static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c;
  }
  return made + (end < cause.size() ? "…" : "");
}

/// J-3.
error located(const template_error& fault, std::string_view source, std::size_t at) {
  const auto before = source.substr(0, std::min(at, source.size()));
  const auto line_break = before.rfind('\n');
  const auto line = line_break == std::string_view::npos ? before : before.substr(line_break + 1);
  return fail(fault.code(),
              fmt::format("chat template: {} (line={} column={})",
                          one_line(fault.cause()),
                          1 + std::count(before.begin(), before.end(), '\n'),
                          1 + count_characters(line)));
}

/// What the standard library throws where memory ends.
error out_of_memory() {
  return fail(errc::resource_exhausted, "chat template: out of memory");
}

} // namespace

struct chat_template::program {
  std::string source; // normalised; the tree has views of it
  body whole;
};

chat_template::chat_template(std::unique_ptr<const program> compiled)
    : program_(std::move(compiled)) {}

chat_template::chat_template(chat_template&&) noexcept = default;
chat_template& chat_template::operator=(chat_template&&) noexcept = default;
chat_template::~chat_template() = default;

result<chat_template> chat_template::compile(std::string source, const source_limits& limits) {
  if (source.size() > limits.bytes_max) {
    return fail(errc::resource_exhausted,
                fmt::format("chat template: too long (bytes={} bytes_max={})",
                            source.size(),
                            limits.bytes_max));
  }
  if (const auto at = find_invalid_utf8(source); at != std::string::npos) {
    return fail(errc::corrupt, fmt::format("chat template: not UTF-8 (byte={})", at));
  }
  auto compiled = std::make_unique<program>();
  try {
    compiled->source = normalised_source(source);
    compiled->whole = parse(compiled->source, limits);
  } catch (const template_error& fault) {
    return located(fault, compiled->source, fault.offset().value_or(0));
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  }
  return chat_template(std::move(compiled));
}

result<std::string> chat_template::render(const nlohmann::ordered_json& context,
                                          const render_options& options) const {
  if (!context.is_object()) {
    return fail(errc::invalid_argument, "chat template: the context must be an object");
  }
  workspace space(options);
  try {
    const auto variables = value_of_json(space, context);
    const auto text = interpreter(space, variables.as_dict()).run(program_->whole);
    return std::string(text);
  } catch (const template_error& fault) {
    return located(fault, program_->source, fault.offset().value_or(space.at));
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const std::length_error&) {
    return out_of_memory();
  }
}

} // namespace vdist::text::jinja
