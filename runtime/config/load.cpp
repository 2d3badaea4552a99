#include "runtime/config/load.hpp"

#include "runtime/config/assembler.hpp"
#include "runtime/config/rules.hpp"

#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <system_error>

namespace vdist::config {

namespace {

constexpr std::string_view random_prefix = "random:";

result<std::string> read_text(const std::filesystem::path& file) {
  std::error_code code;
  const auto status = std::filesystem::status(file, code);
  if (!std::filesystem::exists(status)) {
    return fail(errc::not_found,
                fmt::format("read configuration: file does not exist (file={})", file.string()));
  }
  if (std::filesystem::is_directory(status)) {
    return fail(
        errc::io_failed,
        fmt::format("read configuration: is a folder, not a file (file={})", file.string()));
  }
  std::ifstream in(file, std::ios::binary);
  std::string text(config_bytes_max + 1,
                   '\0'); // one more than legal, so that parse() sees a file that is too large
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (!in.eof() && in.fail())) {
    return fail(errc::io_failed,
                fmt::format("read configuration: cannot read (file={})", file.string()));
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

bool is_there(const std::filesystem::path& path) {
  std::error_code code; // an unreadable parent means: not found here
  return std::filesystem::exists(path, code);
}

} // namespace

result<cluster_config>
parse(std::string_view text, std::string_view name, std::span<const std::string> overrides) {
  assembler made{std::string(name)};
  VDIST_TRY(made.apply_file(text));
  for (const std::string& argument : overrides) {
    VDIST_TRY(made.apply_override(argument));
  }
  VDIST_TRY(check_rules(made));
  return made.config();
}

result<cluster_config> load(const std::filesystem::path& file,
                            std::span<const std::string> overrides) {
  VDIST_ASSIGN(const std::string text, read_text(file));
  VDIST_ASSIGN(cluster_config config, parse(text, file.string(), overrides));
  config.model.path = resolve_model_path(config.model.path, file.parent_path());
  return config;
}

std::string resolve_model_path(std::string_view path, const std::filesystem::path& config_folder) {
  const bool is_random = path.starts_with(random_prefix);
  const std::string_view prefix = is_random ? random_prefix : std::string_view();
  const std::filesystem::path folder(path.substr(prefix.size()));
  if (folder.empty() || folder.is_absolute() || is_there(folder)) {
    return std::string(path);
  }
  const std::filesystem::path beside = config_folder / folder;
  return is_there(beside) ? fmt::format("{}{}", prefix, beside.string()) : std::string(path);
}

} // namespace vdist::config
