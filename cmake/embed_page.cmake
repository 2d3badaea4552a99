# cmake -DPAGE=live_page.html -DOUTPUT=live_page.cpp -P embed_page.cmake — a page as C++ source, and the policy that lets
# nothing run but its one style and its one script. Why hashes and no nonces: the page is static, so it needs no template.

# The base64 of a number of hexadecimal digits, three bytes at a time; 32 bytes leave two over.
function(to_base64 result hex)
  set(letters "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  set(text "")
  string(APPEND hex "00")
  foreach(at RANGE 0 60 6)
    string(SUBSTRING "${hex}" ${at} 6 digits)
    foreach(shift 18 12 6 0)
      math(EXPR index "(0x${digits} >> ${shift}) & 63")
      string(SUBSTRING "${letters}" ${index} 1 letter)
      string(APPEND text "${letter}")
    endforeach()
  endforeach()
  string(SUBSTRING "${text}" 0 43 text)
  set(${result} "${text}=" PARENT_SCOPE)
endfunction()

# The hash source of what stands between <tag> and </tag>; there is exactly one of them.
function(hash_of result page tag)
  string(FIND "${page}" "<${tag}>" begin)
  string(FIND "${page}" "</${tag}>" end)
  string(FIND "${page}" "<${tag}" last REVERSE)
  if(begin EQUAL -1 OR end LESS begin OR NOT last EQUAL begin)
    message(FATAL_ERROR "embed_page: the page has not exactly one <${tag}> without attributes")
  endif()
  string(LENGTH "<${tag}>" length)
  math(EXPR begin "${begin} + ${length}")
  math(EXPR length "${end} - ${begin}")
  string(SUBSTRING "${page}" ${begin} ${length} content)
  string(SHA256 hash "${content}")
  to_base64(hash "${hash}")
  set(${result} "'sha256-${hash}'" PARENT_SCOPE)
endfunction()

file(READ "${PAGE}" page)
hash_of(style "${page}" style)
hash_of(script "${page}" script)
set(policy "default-src 'none'; style-src ${style}; script-src ${script}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
file(WRITE "${OUTPUT}" "// Made by cmake/embed_page.cmake.
#include \"actors/front_door/live_page.hpp\"

namespace vdist::actors {

std::string_view live_page() {
  static constexpr std::string_view page = R\"~page~(${page})~page~\";
  return page;
}

std::string_view live_page_policy() {
  static constexpr std::string_view policy = \"${policy}\";
  return policy;
}

} // namespace vdist::actors
")
