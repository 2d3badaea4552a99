// runtime/text/jinja/model_template.hpp — the chat template that a model's folder brings: read and compiled once,
// with the special tokens that it sees.
//   chat_template.jinja                     is preferred to
//   tokenizer_config.json "chat_template"   a source, or a list of {"name", "template"}: "default", and "tool_use"
//                                           for prompts that have tools
// M-1 Whatever the files hold, load() returns: a template that cannot be used is an error of render(), so that a
// model is not lost for its template's sake.
// Immutable; any thread. A thread that renders needs stack_bytes_max of stack.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/text/jinja/chat_template.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace vdist::text::jinja {

class model_template {
public:
  /// Without a template: render() says so.
  model_template() = default;

  /// Reads the folder's files.
  [[nodiscard]] static model_template load(const std::filesystem::path& model_folder);

  /// Compiles a source of one's own; `special_tokens`: a JSON object from name to text, bos_token and so on.
  [[nodiscard]] static model_template of_source(std::string source,
                                                std::string_view special_tokens = "{}");

  /// Whether the folder has a template that cannot be used, and why; nullopt: there is none, or it is fine.
  [[nodiscard]] const std::optional<error>& defect() const noexcept { return defect_; }

  [[nodiscard]] bool is_present() const noexcept { return default_ || tools_ || defect_; }

  /// `variables`: a JSON object, what the request brings; the model's special tokens are there unless it has others.
  /// Errors: unsupported (the model has no template), defect(), and those of chat_template::render.
  [[nodiscard]] result<std::string> render(std::string_view variables) const;

private:
  void compile(std::string_view name, std::string source);

  std::optional<chat_template> default_;
  std::optional<chat_template> tools_; // when there are tools
  std::optional<error> defect_;
  std::string special_tokens_ = "{}"; // JSON
};

} // namespace vdist::text::jinja
