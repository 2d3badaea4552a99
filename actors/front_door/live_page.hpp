// actors/front_door/live_page.hpp — the page of GET /, as it was embedded when the program was built (live_page/live_page.html,
// cmake/embed_page.cmake).
#pragma once

#include <string_view>

namespace vdist::actors {

/// HTML, with its style and its script inside. Static.
[[nodiscard]] std::string_view live_page();

/// Its Content-Security-Policy: nothing but this style and this script, by their hashes, and requests to this server.
[[nodiscard]] std::string_view live_page_policy();

} // namespace vdist::actors
