#include "model/hub/http_client.hpp"

#include "model/hub/stall_watch.hpp"
#include "model/hub/web_address.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <csignal>
#include <curl/curl.h>
#include <fmt/format.h>
#include <utility>

namespace vdist::hub {

namespace {

constexpr std::size_t headers_max = 200;
constexpr std::size_t header_bytes_max = std::size_t{64} << 10;
constexpr std::size_t dropped_bytes_max = std::size_t{1} << 20; // of an answer nobody wants

struct easy_delete {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};

struct list_delete {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

using header_list = std::unique_ptr<curl_slist, list_delete>;

void append(header_list& list, const std::string& line) {
  if (curl_slist* longer = curl_slist_append(list.get(), line.c_str()); longer != nullptr) {
    static_cast<void>(list.release());
    list.reset(longer);
  }
}

/// Once in a process, and before the first handle.
void initialise_library() {
  static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);
  static_cast<void>(done); // a failure shows as a handle that cannot be made
}

/// With CURLOPT_NOSIGNAL, a TLS connection that is closed by its peer can raise SIGPIPE: it is held
/// back from this thread and swallowed.
class pipe_signal_guard {
public:
  pipe_signal_guard() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }

  pipe_signal_guard(const pipe_signal_guard&) = delete;
  pipe_signal_guard& operator=(const pipe_signal_guard&) = delete;

  ~pipe_signal_guard() {
    if (sigismember(&before_, SIGPIPE) == 0) {
      const timespec at_once{};
      sigtimedwait(&pipe_, nullptr, &at_once);
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

private:
  sigset_t pipe_{};
  sigset_t before_{};
};

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  const auto last = text.find_last_not_of(" \t\r\n");
  return first == std::string_view::npos ? std::string_view()
                                         : text.substr(first, last - first + 1);
}

/// One request under way: what libcurl's callbacks see.
struct exchange {
  const body_sink* sink = nullptr; // null: HEAD
  std::stop_token stop;
  stall_watch watch;
  http_head head;
  std::size_t header_bytes = 0;
  std::size_t dropped_bytes = 0;
  result<void> outcome; // of the sink

  bool take_header(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > header_bytes_max) {
      outcome = fail(errc::corrupt, "the answer has too many headers");
      return false;
    }
    if (line.starts_with("HTTP/")) { // also behind "100 Continue"
      head.headers.clear();
    }
    const auto colon = line.find(':');
    if (colon != std::string_view::npos && head.headers.size() < headers_max) {
      std::string name(line.substr(0, colon));
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char letter) {
        return static_cast<char>(std::tolower(letter));
      });
      head.headers.insert_or_assign(std::move(name), std::string(trimmed(line.substr(colon + 1))));
    }
    return true;
  }

  bool take_body(CURL* easy, std::span<const std::byte> part) {
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    head.status = static_cast<int>(status);
    if (sink == nullptr || !head.is_success()) {
      dropped_bytes += part.size();
      return dropped_bytes <= dropped_bytes_max;
    }
    outcome = (*sink)(head, part);
    return outcome.has_value();
  }
};

/// What libcurl hands to every callback.
struct callback_context {
  exchange* request;
  CURL* easy;
};

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* context) {
  auto& request = *static_cast<callback_context*>(context)->request;
  return request.take_header({data, size * count}) ? size * count : 0;
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* context) {
  const auto& both = *static_cast<callback_context*>(context);
  const auto part = std::as_bytes(std::span(data, size * count));
  return both.request->take_body(both.easy, part) ? part.size() : 0;
}

/// Ends the transfer on a stop, and when it is stuck.
int on_progress(void* context, curl_off_t, curl_off_t received, curl_off_t, curl_off_t) {
  auto& request = *static_cast<callback_context*>(context)->request;
  if (request.stop.stop_requested()) {
    request.outcome =
        fail(errc::cancelled, fmt::format("request {}: cancelled", request.head.place));
  } else if (request.watch.is_stuck(received, std::chrono::steady_clock::now())) {
    request.outcome =
        fail(errc::timed_out, fmt::format("request {}: no progress", request.head.place));
  }
  return request.outcome ? 0 : 1;
}

/// Which errors are worth another try: timed_out and closed. A host without an address is, if it
/// had one before: else it is a wrong name, or there is no network.
errc kind_of(CURLcode code, bool was_reached) {
  switch (code) {
  case CURLE_OPERATION_TIMEDOUT:
    return errc::timed_out;
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_COULDNT_RESOLVE_PROXY:
    return was_reached ? errc::closed : errc::io_failed;
  case CURLE_COULDNT_CONNECT:
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_PARTIAL_FILE:
  case CURLE_GOT_NOTHING:
  case CURLE_SEND_ERROR:
  case CURLE_RECV_ERROR:
  case CURLE_HTTP2:
  case CURLE_HTTP2_STREAM:
    return errc::closed;
  case CURLE_OUT_OF_MEMORY:
    return errc::resource_exhausted;
  default:
    return errc::io_failed;
  }
}

} // namespace

std::string_view http_head::header(std::string_view name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

std::optional<std::uint64_t> http_head::number(std::string_view name) const {
  const std::string_view text = header(name);
  std::uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && !text.empty()
             ? std::optional(value)
             : std::nullopt;
}

struct http_client::session {
  http_settings settings;
  web_address endpoint;
  std::unique_ptr<CURL, easy_delete> easy; // keeps its connections
  bool was_reached = false;                // some host, once

  /// One hop. The place is filled in; a redirect is an answer like any other.
  result<http_head> perform(const std::string& url, std::uint64_t first, const body_sink* sink) {
    const auto target = web_address::parse(url);
    if (!target) {
      return fail(errc::io_failed, "request: not an http address");
    }
    exchange request{.sink = sink,
                     .stop = settings.stop,
                     .watch = stall_watch(settings.stall_timeout,
                                          settings.stall_bytes,
                                          std::chrono::steady_clock::now())};
    request.head.place = target->shown();
    callback_context context{&request, easy.get()};
    header_list headers;
    append(headers, "Accept-Encoding: identity"); // sizes and ranges are those of the file
    if (first > 0) {
      append(headers, fmt::format("Range: bytes={}-", first));
    }
    if (!settings.token.is_empty() && target->has_origin_of(endpoint)) { // T-1
      append(headers, "Authorization: Bearer " + settings.token.reveal());
    }
    prepare(url, headers.get(), context);
    CURLcode code = CURLE_OK;
    {
      const pipe_signal_guard guard;
      code = curl_easy_perform(easy.get());
    }
    long status = 0;
    curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
    request.head.status = static_cast<int>(status);
    return outcome_of(code, std::move(request));
  }

  void prepare(const std::string& url, curl_slist* headers, callback_context& context) {
    CURL* handle = easy.get();
    const bool is_head = context.request->sink == nullptr;
    curl_easy_reset(handle); // options only: connections stay
    curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_NOBODY, is_head ? 1L : 0L);
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle, CURLOPT_USERAGENT, "vdist");
    curl_easy_setopt(
        handle, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings.connect_timeout.count()));
    curl_easy_setopt(handle,
                     CURLOPT_TIMEOUT_MS,
                     is_head ? static_cast<long>(settings.head_timeout.count()) : 0L);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, &on_header);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, &context);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &on_body);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, &context);
    curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, long{256} << 10);
    curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, &on_progress);
    curl_easy_setopt(handle, CURLOPT_XFERINFODATA, &context);
  }

  result<http_head> outcome_of(CURLcode code, exchange request) {
    was_reached = was_reached || request.head.status != 0;
    const bool is_dropped = request.dropped_bytes > dropped_bytes_max;
    if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && is_dropped)) {
      return std::move(request.head);
    }
    if (!request.outcome) {
      return request.outcome.error();
    }
    return fail(kind_of(code, was_reached),
                fmt::format("request {}: {}", request.head.place, curl_easy_strerror(code)));
  }

  /// Where the last answer leads to.
  result<std::string> next_address(const std::string& url, const http_head& head) {
    char* next = nullptr;
    curl_easy_getinfo(easy.get(), CURLINFO_REDIRECT_URL, &next);
    const auto to = next == nullptr ? std::nullopt : web_address::parse(next);
    if (!to) {
      return fail(errc::io_failed,
                  fmt::format("request {}: a redirect without an address (status={})",
                              head.place,
                              head.status));
    }
    if (!web_address::parse(url)->may_lead_to(*to)) { // T-1
      return fail(
          errc::io_failed,
          fmt::format("request {}: a redirect to {} is not encrypted", head.place, to->shown()));
    }
    return std::string(next);
  }

  result<http_head> follow(std::string url, std::uint64_t first, const body_sink* sink) {
    for (std::int32_t hop = 0; hop <= settings.redirects_max; ++hop) {
      VDIST_ASSIGN(auto head, perform(url, first, sink));
      if (!is_redirect(head.status)) {
        return head;
      }
      VDIST_ASSIGN(auto next, next_address(url, head));
      if (sink == nullptr && !web_address::parse(next)->has_origin_of(*web_address::parse(url))) {
        return head;
      }
      url = std::move(next);
    }
    return fail(errc::io_failed,
                fmt::format("request {}: too many redirects (redirects_max={})",
                            web_address::parse(url)->shown(),
                            settings.redirects_max));
  }
};

http_client::http_client(std::unique_ptr<session> made) : session_(std::move(made)) {}

http_client::http_client(http_client&&) noexcept = default;
http_client& http_client::operator=(http_client&&) noexcept = default;
http_client::~http_client() = default;

result<http_client> http_client::make(http_settings settings) {
  initialise_library();
  auto endpoint = web_address::parse(settings.endpoint);
  if (!endpoint) {
    return fail(errc::bad_configuration, "HF_ENDPOINT: must be an http or https address");
  }
  const std::string& token = settings.token.reveal();
  if (!std::all_of(
          token.begin(), token.end(), [](char letter) { return letter > ' ' && letter <= '~'; })) {
    return fail(errc::bad_configuration, "HF_TOKEN: has characters that no token has");
  }
  auto made = std::make_unique<session>();
  made->settings = std::move(settings);
  made->endpoint = *std::move(endpoint);
  made->easy.reset(curl_easy_init());
  if (made->easy == nullptr) {
    return fail(errc::resource_exhausted, "request: libcurl gives no handle");
  }
  return http_client(std::move(made));
}

result<http_head>
http_client::get(const std::string& url, std::uint64_t first, const body_sink& sink) {
  return session_->follow(url, first, &sink);
}

result<http_head> http_client::head(const std::string& url) {
  return session_->follow(url, 0, nullptr);
}

std::string url_escaped(std::string_view text) {
  std::string escaped;
  for (const char letter : text) {
    const auto code = static_cast<unsigned char>(letter);
    const bool is_plain =
        std::isalnum(code) != 0 || letter == '-' || letter == '.' || letter == '_' || letter == '~';
    escaped += is_plain ? std::string(1, letter) : fmt::format("%{:02X}", code);
  }
  return escaped;
}

} // namespace vdist::hub
