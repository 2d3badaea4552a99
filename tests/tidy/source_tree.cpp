#include "tests/tidy/source_tree.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>

namespace vdist::tidy {

namespace fs = std::filesystem;

namespace {

constexpr std::array product_folders{
    "actors", "host", "kernels", "model", "programs", "runtime", "transport", "vdist"};
constexpr std::array other_folders{"tests", "examples", "config", "cmake", "man", ".ci", "docs"};
constexpr std::array text_endings{
    ".hpp", ".cpp", ".inl", ".cu", ".cuh", ".txt", ".cmake", ".md", ".toml"};

bool is_text(const fs::path& path) {
  const auto ending = path.extension().string();
  return ending.empty()
         || std::find(text_endings.begin(), text_endings.end(), ending) != text_endings.end();
}

source_file read(const fs::path& root, const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {fs::relative(path, root).generic_string(),
          std::string(std::istreambuf_iterator<char>(file), {})};
}

/// Walks over C++ text and says what each character belongs to.
class blanker {
public:
  explicit blanker(std::string_view text) : in_(text), out_(text) {}

  std::string run() {
    while (at_ < in_.size()) {
      if (in_[at_] == '#' && in_.substr(at_).starts_with("#include")) {
        at_ = std::min(in_.find('\n', at_), in_.size());
      } else if (in_.substr(at_).starts_with("//")) {
        blank_to(std::min(in_.find('\n', at_), in_.size()));
      } else if (in_.substr(at_).starts_with("/*")) {
        blank_to(end_behind("*/", at_ + 2));
      } else if (in_.substr(at_).starts_with("R\"")) {
        const auto open = std::min(in_.find('(', at_), in_.size());
        const std::string close = ")" + std::string(in_.substr(at_ + 2, open - at_ - 2)) + "\"";
        blank_to(end_behind(close, open));
      } else if (in_[at_] == '"' || (in_[at_] == '\'' && !is_digit_separator())) {
        blank_literal(in_[at_]);
      } else {
        ++at_;
      }
    }
    return std::move(out_);
  }

private:
  bool is_digit_separator() const {
    return at_ > 0 && std::isxdigit(static_cast<unsigned char>(in_[at_ - 1])) != 0;
  }

  std::size_t end_behind(std::string_view mark, std::size_t from) const {
    const auto found = in_.find(mark, from);
    return found == std::string_view::npos ? in_.size() : found + mark.size();
  }

  void blank_literal(char quote) {
    auto end = at_ + 1;
    while (end < in_.size() && in_[end] != quote && in_[end] != '\n') {
      end += in_[end] == '\\' ? 2 : 1;
    }
    blank_to(std::min(end + 1, in_.size()));
  }

  void blank_to(std::size_t end) {
    for (; at_ < end; ++at_) {
      out_[at_] = in_[at_] == '\n' ? '\n' : ' ';
    }
  }

  std::string_view in_;
  std::string out_;
  std::size_t at_ = 0;
};

} // namespace

std::vector<source_file> read_tree(const fs::path& root) {
  std::vector<source_file> files;
  const auto walk = [&root, &files](const fs::path& folder) {
    if (!fs::exists(folder)) {
      return;
    }
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file() && is_text(entry.path())) {
        files.push_back(read(root, entry.path()));
      }
    }
  };
  for (const auto* folder : product_folders) {
    walk(root / folder);
  }
  for (const auto* folder : other_folders) {
    walk(root / folder);
  }
  for (const auto& entry : fs::directory_iterator(root)) {
    if (entry.is_regular_file() && is_text(entry.path())) {
      files.push_back(read(root, entry.path()));
    }
  }
  std::sort(files.begin(), files.end(), [](const source_file& a, const source_file& b) {
    return a.path < b.path;
  });
  return files;
}

std::string code_of(std::string_view text) {
  return blanker(text).run();
}

std::string folder_of(std::string_view path) {
  const auto first = path.find('/');
  if (first == std::string_view::npos) {
    return {};
  }
  const auto second = path.find('/', first + 1);
  return std::string(path.substr(0, second == std::string_view::npos ? first : second));
}

bool is_header(std::string_view path) {
  return path.ends_with(".hpp") || path.ends_with(".cuh");
}

bool is_cpp(std::string_view path) {
  return is_header(path) || path.ends_with(".cpp") || path.ends_with(".inl")
         || path.ends_with(".cu");
}

bool is_product(std::string_view path) {
  return std::any_of(
      product_folders.begin(), product_folders.end(), [path](std::string_view folder) {
        return path.starts_with(folder) && path.substr(folder.size()).starts_with('/');
      });
}

} // namespace vdist::tidy
