// tests/tidy/checks.hpp — the rules applied to files in memory; every function returns one line per
// breach, `path:line: what is wrong`, and nothing when all is well. Pure: tests feed them samples.
#pragma once

#include "tests/tidy/rules.hpp"
#include "tests/tidy/source_tree.hpp"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace vdist::tidy {

using breaches = std::vector<std::string>;

/// Lines of a README.md at most.
inline constexpr std::size_t readme_lines_max = 30;
inline constexpr std::size_t architecture_lines_max = 250;

struct include {
  std::size_t line = 0; // 1-based
  std::string target;
  bool is_ours = false; // in quotes
};

[[nodiscard]] std::vector<include> includes_of(std::string_view text);

/// Includes of ours are written from the repository root, name a file that exists, and follow the
/// edge rules.
[[nodiscard]] breaches check_edges(const std::vector<source_file>& files,
                                   const std::vector<edge_rule>& rules);

/// Third-party headers only at their homes; headers that no rule and no system knows are breaches.
[[nodiscard]] breaches check_libraries(const std::vector<source_file>& files,
                                       const std::vector<library_rule>& rules);

/// No folder of the product includes itself over others. The families of kernels count as one: they
/// are one library behind one page.
[[nodiscard]] breaches check_circles(const std::vector<source_file>& files);

/// `// <its path> — what it is for` first, then #pragma once; no `using namespace` in the product.
[[nodiscard]] breaches check_headers(const std::vector<source_file>& files);

[[nodiscard]] breaches check_banned(const std::vector<source_file>& files,
                                    const std::vector<banned_rule>& rules);

/// Every product folder with sources has a README.md; none is longer than readme_lines_max, but for
/// the repository's own, and ARCHITECTURE.md has its own bound.
[[nodiscard]] breaches check_documents(const std::vector<source_file>& files);

struct size_entry {
  std::size_t lines = 0;
  std::string name;
};

/// The `count` longest files and functions (those that begin and end in the first column), falling.
[[nodiscard]] std::vector<size_entry> largest_files(const std::vector<source_file>& files,
                                                    std::size_t count);
[[nodiscard]] std::vector<size_entry> largest_functions(const std::vector<source_file>& files,
                                                        std::size_t count);

} // namespace vdist::tidy
