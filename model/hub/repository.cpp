#include "model/hub/repository.hpp"

#include <algorithm>
#include <cctype>
#include <cstddef>

namespace vdist::hub {

namespace {

constexpr std::size_t id_parts_max = 2;
constexpr std::size_t revision_parts_max = 4; // "refs/pr/12"
constexpr std::size_t part_bytes_max = 200;   // a file name, with what is put around it

bool is_name_character(char letter) {
  return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '-' || letter == '_'
         || letter == '.';
}

/// Splits at '/', checks every part.
bool are_plain_names(std::string_view path, std::size_t parts_max) {
  std::size_t parts = 0;
  while (true) {
    const std::size_t slash = path.find('/');
    if (!is_plain_name(path.substr(0, slash)) || ++parts > parts_max) {
      return false;
    }
    if (slash == std::string_view::npos) {
      return true;
    }
    path.remove_prefix(slash + 1);
  }
}

} // namespace

bool is_plain_name(std::string_view part) {
  return !part.empty() && part.size() <= part_bytes_max && part.front() != '.'
         && std::all_of(part.begin(), part.end(), is_name_character);
}

std::optional<repository> parse_repository(std::string_view text, std::string_view revision) {
  const std::size_t at = text.find('@');
  const std::string_view id = text.substr(0, at);
  if (at != std::string_view::npos) {
    revision = text.substr(at + 1);
  }
  if (!are_plain_names(id, id_parts_max) || !are_plain_names(revision, revision_parts_max)) {
    return std::nullopt;
  }
  return repository{std::string(id), std::string(revision)};
}

} // namespace vdist::hub
