// tests/tidy/source_tree.hpp — the files of the repository as text, and text without its comments
// and literals. Reads nothing but the folders named in source_tree.cpp: no build output, no git.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace vdist::tidy {

struct source_file {
  std::string path; // from the repository root, with '/'
  std::string text;
};

/// Sources, build files, documents and configuration of the tree, sorted by path.
[[nodiscard]] std::vector<source_file> read_tree(const std::filesystem::path& root);

/// The same text, every character of a comment, string or character literal blanked; line breaks
/// stay, and so do the names in #include lines.
[[nodiscard]] std::string code_of(std::string_view text);

/// "actors/worker/worker.hpp" → "actors/worker"; "kernels/backend.hpp" → "kernels"; at most two
/// levels, so what lies deeper belongs to the folder above it. "" for files of the root.
[[nodiscard]] std::string folder_of(std::string_view path);

[[nodiscard]] bool is_header(std::string_view path);
/// Headers, sources and textual includes of C++.
[[nodiscard]] bool is_cpp(std::string_view path);
/// Part of what vdist is, not of what tests it or shows it.
[[nodiscard]] bool is_product(std::string_view path);

} // namespace vdist::tidy
