#include "actors/front_door/http_metrics.hpp"

#include <algorithm>
#include <utility>

namespace vdist::actors {

namespace {

using metrics::family_name;

void describe_server(const http::statistics& server, metrics::exposition& page) {
  page.gauge({"vdist:http_connections", "Open connections."},
             {},
             static_cast<double>(server.connections_open));
  page.counter({"vdist:http_connections_accepted_total", "Connections that were accepted."},
               {},
               server.connections_accepted);
  page.counter({"vdist:http_vanished_total", "Clients that left before their answer was complete."},
               {},
               server.vanished);
  constexpr family_name bytes{"vdist:http_bytes_total", "Bytes of HTTP, without those of TLS."};
  page.counter(bytes, {{"direction", "in"}}, server.bytes_in);
  page.counter(bytes, {{"direction", "out"}}, server.bytes_out);
  for (std::size_t i = 0; i < http::refusal_reasons; ++i) {
    page.counter({"vdist:http_refused_total", "What the server refused before any route, by why."},
                 {{"reason", std::string(to_string(static_cast<http::refused_by>(i)))}},
                 server.refused[i]);
  }
}

} // namespace

http_metrics::http_metrics(std::vector<std::string> routes)
    : routes_(std::move(routes)), answers_(routes_.size()) {}

void http_metrics::note_answer(std::size_t route, int status) noexcept {
  const auto last = statuses.end() - 1;
  const auto found = std::find(statuses.begin(), last, status);
  metrics::count(answers_[route][static_cast<std::size_t>(found - statuses.begin())]);
}

void http_metrics::describe(const front_door_sample& of, metrics::exposition& page) const {
  page.gauge({"vdist:build_info", "1; the label is the version."},
             {{"version", std::string(of.version)}},
             1);
  describe_server(of.server, page);
  describe_answers(page);
  page.gauge({"vdist:http_answers_active", "Answers that generate and are not over."},
             {},
             static_cast<double>(of.answers_under_way));
  page.histogram({"vdist:http_submit_wait_seconds", "From a complete request to its reading."},
                 {},
                 wait_.snapshot());
}

/// The answer 200 of every route from the beginning, others once there are some.
void http_metrics::describe_answers(metrics::exposition& page) const {
  for (std::size_t route = 0; route < routes_.size(); ++route) {
    for (std::size_t i = 0; i < statuses.size(); ++i) {
      const auto count = metrics::read(answers_[route][i]);
      if (count > 0 || statuses[i] == 200) {
        page.counter({"vdist:http_requests_total", "Answers that began, by route and status."},
                     {{"route", routes_[route]},
                      {"status", statuses[i] != 0 ? std::to_string(statuses[i]) : "other"}},
                     count);
      }
    }
  }
}

} // namespace vdist::actors
