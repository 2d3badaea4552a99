#include "tests/tidy/checks.hpp"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

namespace vdist::tidy {

namespace {

/// Calls f(line number, line) for every line.
template <class F>
void for_each_line(std::string_view text, const F& f) {
  std::size_t number = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    f(++number, text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

std::size_t count_lines(std::string_view text) {
  const auto ends = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  return ends + (text.empty() || text.back() == '\n' ? 0 : 1);
}

std::string at(const std::string& path, std::size_t line, const std::string& what) {
  return path + ":" + std::to_string(line) + ": " + what;
}

bool starts_with_any(std::string_view path, const std::vector<std::string_view>& prefixes) {
  return std::any_of(
      prefixes.begin(), prefixes.end(), [path](std::string_view p) { return path.starts_with(p); });
}

const edge_rule* rule_of(std::string_view folder, const std::vector<edge_rule>& rules) {
  const auto found = std::find_if(rules.begin(), rules.end(), [folder](const edge_rule& rule) {
    return matches(rule.from, folder);
  });
  return found == rules.end() ? nullptr : &*found;
}

bool allows(const edge_rule& rule, std::string_view folder) {
  return std::any_of(rule.to.begin(), rule.to.end(), [folder](std::string_view to) {
    return matches(to, folder);
  });
}

bool is_word_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

bool contains(std::string_view line, const banned_rule& rule) {
  for (auto found = line.find(rule.token); found != std::string_view::npos;
       found = line.find(rule.token, found + 1)) {
    const auto end = found + rule.token.size();
    const bool is_part = (found > 0 && is_word_character(line[found - 1]))
                         || (end < line.size() && is_word_character(line[end]));
    if (rule.look_in != banned_rule::where::whole_word || !is_part) {
      return true;
    }
  }
  return false;
}

/// One node per library: the kernel families are one.
std::string module_of(std::string_view path) {
  return path.starts_with("kernels/") ? "kernels" : folder_of(path);
}

using graph = std::map<std::string, std::set<std::string>>;

/// Depth first; `trail` holds the folders on the way.
void find_circles(const graph& edges,
                  std::vector<std::string>& trail,
                  std::set<std::string>& done,
                  breaches& out) {
  const auto folder = trail.back();
  const auto found = edges.find(folder);
  if (found != edges.end()) {
    for (const auto& next : found->second) {
      const auto back = std::find(trail.begin(), trail.end(), next);
      if (back != trail.end()) {
        std::string circle;
        for (auto step = back; step != trail.end(); ++step) {
          circle += *step + " -> ";
        }
        out.push_back("circle: " + circle + next);
      } else if (!done.contains(next)) {
        trail.push_back(next);
        find_circles(edges, trail, done, out);
        trail.pop_back();
      }
    }
  }
  done.insert(folder);
}

std::vector<size_entry> largest(std::vector<size_entry> entries, std::size_t count) {
  std::stable_sort(entries.begin(), entries.end(), [](const size_entry& a, const size_entry& b) {
    return a.lines > b.lines;
  });
  entries.resize(std::min(entries.size(), count));
  return entries;
}

} // namespace

std::vector<include> includes_of(std::string_view text) {
  std::vector<include> found;
  const auto code = code_of(text);
  for_each_line(code, [&found](std::size_t number, std::string_view line) {
    constexpr std::string_view keyword = "#include ";
    if (!line.starts_with(keyword) || line.size() < keyword.size() + 2) {
      return;
    }
    const char open = line[keyword.size()];
    const auto begin = keyword.size() + 1;
    const auto end = line.find(open == '<' ? '>' : '"', begin);
    if (end != std::string_view::npos) {
      found.push_back({number, std::string(line.substr(begin, end - begin)), open == '"'});
    }
  });
  return found;
}

breaches check_edges(const std::vector<source_file>& files, const std::vector<edge_rule>& rules) {
  std::set<std::string_view> paths;
  for (const auto& file : files) {
    paths.insert(file.path);
  }
  breaches out;
  for (const auto& file : files) {
    if (!is_cpp(file.path)) {
      continue;
    }
    const auto folder = folder_of(file.path);
    const auto* rule = rule_of(folder, rules);
    if (rule == nullptr) {
      out.push_back(file.path + ": no rule says what " + folder + " may include");
      continue;
    }
    for (const auto& found : includes_of(file.text)) {
      const auto target = folder_of(found.target);
      if (!found.is_ours) {
        continue;
      }
      if (!paths.contains(found.target)) {
        out.push_back(at(file.path,
                         found.line,
                         "\"" + found.target + "\" is not a path from the repository root"));
      } else if (target != folder && !allows(*rule, target)) {
        out.push_back(at(file.path, found.line, folder + " may not include " + target));
      }
    }
  }
  return out;
}

breaches check_libraries(const std::vector<source_file>& files,
                         const std::vector<library_rule>& rules) {
  breaches out;
  for (const auto& file : files) {
    if (!is_cpp(file.path)) {
      continue;
    }
    for (const auto& found : includes_of(file.text)) {
      if (found.is_ours || is_system_header(found.target)) {
        continue;
      }
      const auto rule =
          std::find_if(rules.begin(), rules.end(), [&found](const library_rule& candidate) {
            return found.target.starts_with(candidate.prefix);
          });
      if (rule == rules.end()) {
        out.push_back(at(file.path, found.line, "<" + found.target + "> is of no known library"));
      } else if (!starts_with_any(file.path, rule->homes)) {
        out.push_back(at(file.path, found.line, "<" + found.target + "> is not at home here"));
      }
    }
  }
  return out;
}

breaches check_circles(const std::vector<source_file>& files) {
  graph edges;
  for (const auto& file : files) {
    if (!is_cpp(file.path) || !is_product(file.path)) {
      continue;
    }
    for (const auto& found : includes_of(file.text)) {
      const auto from = module_of(file.path);
      const auto to = module_of(found.target);
      if (found.is_ours && from != to) {
        edges[from].insert(to);
      }
    }
  }
  breaches out;
  std::set<std::string> done;
  for (const auto& [folder, targets] : edges) {
    if (!done.contains(folder)) {
      std::vector<std::string> trail{folder};
      find_circles(edges, trail, done, out);
    }
  }
  return out;
}

breaches check_headers(const std::vector<source_file>& files) {
  breaches out;
  for (const auto& file : files) {
    if (!is_cpp(file.path) || file.path.ends_with(".cpp") || file.path.ends_with(".cu")) {
      continue;
    }
    if (!file.text.starts_with("// " + file.path + " — ")) {
      out.push_back(at(file.path, 1, "a header begins with `// <its path> — what it is for`"));
    }
    if (!is_header(file.path)) {
      continue; // textual includes may come twice
    }
    const auto code = code_of(file.text);
    const auto first = code.find_first_not_of(" \n");
    if (first == std::string::npos
        || !std::string_view(code).substr(first).starts_with("#pragma once")) {
      out.push_back(at(file.path, 1, "#pragma once must be the first line of code"));
    }
    if (!is_product(file.path)) {
      continue;
    }
    for_each_line(code, [&out, &file](std::size_t number, std::string_view line) {
      if (line.find("using namespace") != std::string_view::npos) {
        out.push_back(at(
            file.path, number, "`using namespace` in a header reaches everybody who includes it"));
      }
    });
  }
  return out;
}

breaches check_banned(const std::vector<source_file>& files,
                      const std::vector<banned_rule>& rules) {
  breaches out;
  for (const auto& file : files) {
    const auto code = is_cpp(file.path) ? code_of(file.text) : file.text;
    for (const auto& rule : rules) {
      if (!starts_with_any(file.path, rule.places) || starts_with_any(file.path, rule.exceptions)) {
        continue;
      }
      const bool is_code = rule.look_in == banned_rule::where::code;
      if (is_code && !is_cpp(file.path)) {
        continue;
      }
      for_each_line(is_code ? code : file.text,
                    [&out, &file, &rule](std::size_t number, std::string_view line) {
                      if (contains(line, rule)) {
                        out.push_back(
                            at(file.path,
                               number,
                               "`" + std::string(rule.token)
                                   + "` is banned here; instead: " + std::string(rule.instead)));
                      }
                    });
    }
  }
  return out;
}

breaches check_documents(const std::vector<source_file>& files) {
  constexpr std::string_view readme = "README.md";
  breaches out;
  std::set<std::string> folders;
  std::set<std::string> documented;
  for (const auto& file : files) {
    const auto slash = file.path.rfind('/');
    const auto folder = slash == std::string::npos ? std::string() : file.path.substr(0, slash);
    const auto lines = count_lines(file.text);
    if (is_cpp(file.path) && is_product(file.path)) {
      folders.insert(folder);
    }
    if (file.path.ends_with(readme) && !folder.empty()) {
      documented.insert(folder);
      if (lines > readme_lines_max && !folder.starts_with("examples/")) {
        out.push_back(at(file.path,
                         lines,
                         "a README.md has at most " + std::to_string(readme_lines_max) + " lines"));
      }
    }
    if (file.path == "ARCHITECTURE.md" && lines > architecture_lines_max) {
      out.push_back(
          at(file.path, lines, "at most " + std::to_string(architecture_lines_max) + " lines"));
    }
  }
  for (const auto& folder : folders) {
    if (!documented.contains(folder)) {
      out.push_back(folder + ": has no README.md");
    }
  }
  return out;
}

std::vector<size_entry> largest_files(const std::vector<source_file>& files, std::size_t count) {
  std::vector<size_entry> entries;
  for (const auto& file : files) {
    if (is_cpp(file.path)) {
      entries.push_back({count_lines(file.text), file.path});
    }
  }
  return largest(std::move(entries), count);
}

std::vector<size_entry> largest_functions(const std::vector<source_file>& files,
                                          std::size_t count) {
  std::vector<size_entry> entries;
  for (const auto& file : files) {
    if (!is_cpp(file.path)) {
      continue;
    }
    std::size_t opened = 0; // line of the last brace that ends a line begun in the first column
    const auto code = code_of(file.text);
    for_each_line(code, [&entries, &file, &opened](std::size_t number, std::string_view line) {
      const auto last = line.find_last_not_of(' ');
      if (last == std::string_view::npos) {
        return;
      }
      line = line.substr(0, last + 1);
      if (line == "}" && opened != 0) {
        entries.push_back({number - opened + 1, file.path + ":" + std::to_string(opened)});
        opened = 0;
      } else if (line.ends_with('{')
                 && (line.front() != ' ' || line.find(')') != std::string_view::npos)
                 && line.find("namespace") == std::string_view::npos && opened == 0) {
        opened = number;
      } else if (line == "};" || line.starts_with("namespace")) {
        opened = 0;
      }
    });
  }
  return largest(std::move(entries), count);
}

} // namespace vdist::tidy
