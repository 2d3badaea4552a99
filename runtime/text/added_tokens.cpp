#include "runtime/text/added_tokens.hpp"

#include "runtime/text/unicode.hpp"

#include <algorithm>

namespace vdist::text {
namespace {

bool ends_with_word(std::string_view utf8) {
  return !utf8.empty()
         && is_word_character(code_point_at(utf8, code_point_before(utf8, utf8.size())).value);
}

bool starts_with_word(std::string_view utf8) {
  return !utf8.empty() && is_word_character(code_point_at(utf8, 0).value);
}

/// Where the white space at the end of utf8[floor, end) begins.
std::size_t white_space_before(std::string_view utf8, std::size_t floor, std::size_t end) {
  while (end > floor) {
    const std::size_t before = code_point_before(utf8, end);
    if (!is_white_space(code_point_at(utf8, before).value)) {
      break;
    }
    end = before;
  }
  return end;
}

std::size_t white_space_behind(std::string_view utf8, std::size_t at) {
  while (at < utf8.size()) {
    const code_point c = code_point_at(utf8, at);
    if (!is_white_space(c.value)) {
      break;
    }
    at += c.bytes;
  }
  return at;
}

} // namespace

added_token_matcher::added_token_matcher(std::vector<added_token> tokens)
    : tokens_(std::move(tokens)) {
  roots_.fill(-1);
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    insert(static_cast<std::int32_t>(i));
  }
}

void added_token_matcher::insert(std::int32_t token) {
  const std::string& content = tokens_[static_cast<std::size_t>(token)].content;
  std::int32_t at = -1;
  for (const char byte : content) {
    std::int32_t child = child_of(at, byte);
    if (child < 0) {
      child = static_cast<std::int32_t>(nodes_.size());
      std::int32_t& first = at < 0 ? roots_[static_cast<unsigned char>(byte)]
                                   : nodes_[static_cast<std::size_t>(at)].first_child;
      const node made{.next_sibling = at < 0 ? -1 : first, .byte = byte};
      first = child;
      nodes_.push_back(made);
    }
    at = child;
  }
  if (at >= 0 && nodes_[static_cast<std::size_t>(at)].token < 0) {
    nodes_[static_cast<std::size_t>(at)].token = token;
  }
}

std::int32_t added_token_matcher::child_of(std::int32_t parent, char byte) const {
  if (parent < 0) {
    return roots_[static_cast<unsigned char>(byte)];
  }
  std::int32_t child = nodes_[static_cast<std::size_t>(parent)].first_child;
  while (child >= 0 && nodes_[static_cast<std::size_t>(child)].byte != byte) {
    child = nodes_[static_cast<std::size_t>(child)].next_sibling;
  }
  return child;
}

std::int32_t added_token_matcher::longest_at(std::string_view utf8, std::size_t at) const {
  std::int32_t longest = -1;
  std::int32_t where = -1;
  for (; at < utf8.size(); ++at) {
    where = child_of(where, utf8[at]);
    if (where < 0) {
      break;
    }
    if (nodes_[static_cast<std::size_t>(where)].token >= 0) {
      longest = nodes_[static_cast<std::size_t>(where)].token;
    }
  }
  return longest;
}

void added_token_matcher::split(std::string_view utf8, std::vector<text_fragment>& out) const {
  std::size_t done = 0; // everything before is in `out`
  std::size_t at = 0;
  while (!tokens_.empty() && at < utf8.size()) {
    const std::int32_t index =
        roots_[static_cast<unsigned char>(utf8[at])] < 0 ? -1 : longest_at(utf8, at);
    if (index < 0) {
      ++at;
      continue;
    }
    const added_token& token = tokens_[static_cast<std::size_t>(index)];
    std::size_t begin = at;
    std::size_t end = at + token.content.size();
    at = end;
    if (token.single_word
        && (ends_with_word(utf8.substr(0, begin)) || starts_with_word(utf8.substr(end)))) {
      continue;
    }
    if (token.lstrip) {
      begin = white_space_before(utf8, std::min(done, begin), begin);
    }
    if (token.rstrip) {
      end = white_space_behind(utf8, end);
    }
    if (done < begin) {
      out.push_back({utf8.substr(done, begin - done), -1});
    }
    out.push_back({utf8.substr(begin, end - begin), token.id});
    done = end;
  }
  if (done < utf8.size()) {
    out.push_back({utf8.substr(done), -1});
  }
}

} // namespace vdist::text
