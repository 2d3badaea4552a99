#include "actors/front_door/http_front_door.hpp"

#include "actors/front_door/event_id.hpp"
#include "actors/front_door/generation_answer.hpp"
#include "actors/front_door/http_metrics.hpp"
#include "actors/front_door/live_page.hpp"
#include "actors/front_door/live_snapshot.hpp"
#include "actors/front_door/request_name.hpp"
#include "actors/front_door/request_reading.hpp"
#include "actors/front_door/work_pool.hpp"

#include "transport/http/server.hpp"

#include "runtime/api/json.hpp"
#include "runtime/api/openai/tokenize_request.hpp"
#include "runtime/api/openai/whole_response.hpp"
#include "runtime/base/log.hpp"

#include <algorithm>
#include <atomic>
#include <fmt/format.h>
#include <poll.h>
#include <utility>

namespace vdist::actors {

namespace {

namespace openai = api::openai;

constexpr std::string_view retry_after_s = "1";
/// What pages of other origins may read of our answers.
constexpr const char* exposed_headers = "Idempotency-Key, Retry-After, WWW-Authenticate, Allow";
constexpr std::chrono::milliseconds listen_pause{20};
constexpr std::string_view model_prefix = "/v1/models/";

http::response json_answer(int status, std::string body) {
  return {
      .status = status, .headers = {{"content-type", "application/json"}}, .body = std::move(body)};
}

/// F-1.
http::response error_answer(const openai::api_error& cause) {
  auto answer = json_answer(cause.status, {});
  openai::append_error(answer.body, cause);
  if (cause.status == 429 || cause.status == 503) {
    answer.headers.push_back({"retry-after", std::string(retry_after_s)});
  }
  if (cause.status == 401) {
    answer.headers.push_back({"www-authenticate", "Bearer"});
  }
  return answer;
}

openai::api_error request_error(int status, std::string code, std::string message) {
  return {.status = status,
          .type = status == 429   ? "rate_limit_error"
                  : status >= 500 ? "server_error"
                                  : "invalid_request_error",
          .param = std::nullopt,
          .code = std::move(code),
          .message = std::move(message)};
}

/// Of what the HTTP server refuses by itself.
http::response refusal_answer(const http::refusal& cause) {
  return error_answer(request_error(cause.status,
                                    cause.status == 413 ? "request_too_large" : "bad_request",
                                    std::string(cause.reason)));
}

const openai::api_error loading_error =
    openai::of_engine(fail(errc::closed, "server: the model is being loaded"));

/// F-6.
std::string status_text(const door_port& port) {
  return port.replicas.empty()
             ? R"({"status":"ok"})"
             : fmt::format(R"({{"status":"ok","replicas":[{}]}})", fmt::join(port.replicas, ","));
}

/// The end of what every route needs; F-3.
struct generation_input {
  const openai::generation_request& request;
  std::vector<tokenized_prompt> prompts;
  std::vector<std::string> echoes; // by prompt; empty: none
  std::string_view param;          // what the prompts are called
  bool is_chat = false;
};

/// The name of a request, and what its client has of it.
struct request_identity {
  std::string name;
  bool is_drawn = false;
  bool is_resumed = false;
  std::vector<std::uint32_t> resumed;
};

openai::answer<request_identity>
identify(const http::request& asked, std::size_t choices, bool is_stream) {
  request_identity made;
  const auto* name = asked.find("idempotency-key");
  const auto* event = asked.find("last-event-id");
  made.is_drawn = name == nullptr;
  made.name = made.is_drawn ? draw_request_name() : *name;
  if (const auto legal = check_request_name(made.name); !legal) {
    return openai::invalid_value("Idempotency-Key", legal.error().context);
  }
  if (event == nullptr) {
    return made;
  }
  if (made.is_drawn || !is_stream) {
    return openai::invalid_value("Last-Event-ID",
                                 "last-event-id: goes with \"stream\": true and the "
                                 "Idempotency-Key that the stream had");
  }
  auto progress = parse_event_id(*event, choices);
  if (!progress) {
    return openai::invalid_value("Last-Event-ID", progress.error().context);
  }
  made.is_resumed = true;
  made.resumed = std::move(*progress);
  return made;
}

} // namespace

struct http_front_door::impl {
  using exchange = std::shared_ptr<http::exchange>;

  /// One request on its way.
  struct call {
    exchange with;
    serving_backend* backend = nullptr; // never null where a route needs it
    std::size_t client = 0;             // index of its API key
    const door_port* port = nullptr;    // that it came to (F-6); never null
  };

  struct route {
    std::string_view method;
    std::string_view path;
    void (impl::*serve)(const call&);
    bool is_public = false; // F-5
    bool is_pooled = false; // F-2
    bool needs_backend = false;
  };

  impl(front_door_config settings, served_model what, const clock& with)
      : config(std::move(settings)),
        model(std::move(what)),
        time(with),
        counts(std::make_shared<http_metrics>(paths())),
        lane(std::make_shared<delivery_lane>(with)),
        pool("submit", config.submit_threads, config.submit_queue_max),
        ports(config.ports.empty() ? std::vector{door_port{.port = config.http.port}}
                                   : config.ports),
        servers(ports.size()),
        listening(ports.size()),
        feed(
            config.live, [this] { return window.add(backend.load()->observe()); }, with) {}

  static const std::vector<route>& routes();
  /// In the same order, and one for all others behind them.
  static std::vector<std::string> paths();
  result<void> listen(std::size_t index, time_point patient_until);
  [[nodiscard]] http::statistics stats() const;
  void handle(exchange with, const door_port& port);
  void dispatch(const route& to, call made);

  void completions(const call& made);
  void chat(const call& made);
  void models(const call& made);
  void one_model(const call& made);
  void tokenize(const call& made);
  void detokenize(const call& made);
  void cluster(const call& made);
  void cluster_events(const call& made);
  void page(const call& made);
  void health(const call& made);
  void live(const call& made);
  void ready(const call& made);
  void version(const call& made);
  void show_metrics(const call& made);

  void generate(const call& made, generation_input input);
  openai::answer<std::vector<std::shared_ptr<text_stream>>>
  submit(const call& made, const generation_input& input, const request_identity& who);
  answer_plan plan_for(const call& made, const generation_input& input, request_identity who) const;

  static void refuse(const call& made, const openai::api_error& cause) {
    made.with->reply(error_answer(cause));
  }

  [[nodiscard]] openai::request_limits limits() const {
    return {.models = std::span(&model.name, 1),
            .body_bytes_max = config.http.bounds.body_bytes_max};
  }

  [[nodiscard]] openai::model_entry entry() const {
    return {.id = model.name, .created = model.created, .max_model_len = model.max_model_len};
  }

  front_door_config config;
  const served_model model;
  std::atomic<serving_backend*> backend{nullptr};
  const clock& time;
  std::shared_ptr<http_metrics> counts; // shared with the exchanges
  std::shared_ptr<delivery_lane> lane;  // shared with the answers
  work_pool pool;
  std::vector<door_port> ports;                       // fixed before anybody listens; as `servers`
  std::vector<std::unique_ptr<http::server>> servers; // null: it does not listen yet
  /// The same; requests come before start() has returned.
  std::vector<std::atomic<const http::server*>> listening;
  live_window window; // of the feed's thread
  live_feed feed;     // asks the backend only for those who came when there was one
  bool is_closed = false;
};

const std::vector<http_front_door::impl::route>& http_front_door::impl::routes() {
  static const std::vector<route> all{
      {"POST", "/v1/completions", &impl::completions, false, true, true},
      {"POST", "/v1/chat/completions", &impl::chat, false, true, true},
      {"POST", "/tokenize", &impl::tokenize, false, true, false},
      {"POST", "/detokenize", &impl::detokenize, false, true, false},
      {"GET", "/v1/models", &impl::models, false, false, false},
      {"GET", "/v1/cluster", &impl::cluster, false, true, true},
      {"GET", "/v1/cluster/events", &impl::cluster_events, false, false, true},
      {"GET", "/health", &impl::health, true, true, true},
      {"GET", "/live", &impl::live, true, false, false},
      {"GET", "/ready", &impl::ready, true, false, false},
      {"GET", "/version", &impl::version, false, false, false},
      {"GET", "/metrics", &impl::show_metrics, false, true, false},
      {"GET", "/", &impl::page, true, false, false},
      {"GET", model_prefix, &impl::one_model, false, false, false},
  };
  return all;
}

std::vector<std::string> http_front_door::impl::paths() {
  std::vector<std::string> all;
  for (const auto& one : routes()) {
    all.emplace_back(one.path);
  }
  all.emplace_back("other");
  return all;
}

void http_front_door::impl::handle(exchange with, const door_port& port) {
  const auto& asked = with->request();
  const auto& all = routes();
  const auto found = std::find_if(all.begin(), all.end(), [&asked](const route& one) {
    const bool is_prefix = one.path.size() > 1 && one.path.ends_with('/');
    return is_prefix ? asked.path.starts_with(one.path) : asked.path == one.path;
  });
  call made{.with = std::move(with), .port = &port};
  made.with->on_answer([counts = counts, index = found - all.begin()](int status) {
    counts->note_answer(static_cast<std::size_t>(index), status);
  });
  const bool is_public = found != all.end() && found->is_public;
  const auto* given = asked.find("authorization");
  const auto client = config.keys.find(given != nullptr ? std::string_view(*given) : "");
  if (!is_public && !client) {
    return refuse(made,
                  request_error(401,
                                "invalid_api_key",
                                "authorization: a valid API key is needed, as \"Bearer <key>\""));
  }
  if (found == all.end()) {
    return refuse(made,
                  request_error(404,
                                "unknown_url",
                                fmt::format("there is nothing at this path (path={})",
                                            api::shown_text(asked.path))));
  }
  const bool is_method =
      asked.method == found->method || (found->method == "GET" && asked.method == "HEAD");
  if (!is_method) {
    auto answer = error_answer(request_error(405,
                                             "method_not_allowed",
                                             fmt::format("this path takes {} (method={})",
                                                         found->method,
                                                         api::shown_text(asked.method))));
    answer.headers.push_back({"allow", std::string(found->method)});
    made.with->reply(std::move(answer));
    return;
  }
  made.client = client.value_or(0);
  dispatch(*found, std::move(made));
}

void http_front_door::impl::dispatch(const route& to, call made) {
  made.backend = backend.load();
  if (to.needs_backend && made.backend == nullptr) {
    return refuse(made, loading_error);
  }
  if (!to.is_pooled) {
    return (this->*to.serve)(made);
  }
  const bool is_taken = pool.try_add([this, made, serve = to.serve, since = time.now()] {
    counts->note_wait(time.now() - since);
    if (!made.with->is_gone()) {
      (this->*serve)(made);
    }
  });
  if (!is_taken) {
    refuse(made,
           request_error(429,
                         "queue_full",
                         fmt::format("server: too many requests wait to be read (limit={})",
                                     config.submit_queue_max)));
  }
}

void http_front_door::impl::completions(const call& made) {
  const auto parsed =
      openai::parse_completion_request(made.with->request().body, limits(), model.defaults);
  if (!parsed) {
    return refuse(made, parsed.error());
  }
  auto prompts = tokenize_prompts(*parsed, model);
  if (!prompts) {
    return refuse(made, prompts.error());
  }
  std::vector<std::string> echoes;
  if (parsed->echo) {
    for (std::size_t i = 0; i < prompts->size(); ++i) {
      echoes.push_back(echo_of(parsed->prompts[i], parsed->params, model));
    }
  }
  generate(made,
           {.request = *parsed,
            .prompts = std::move(prompts.value()),
            .echoes = std::move(echoes),
            .param = "prompt",
            .is_chat = false});
}

void http_front_door::impl::chat(const call& made) {
  const auto parsed =
      openai::parse_chat_request(made.with->request().body, limits(), model.defaults);
  if (!parsed) {
    return refuse(made, parsed.error());
  }
  auto prompt = tokenize_chat(parsed->prompt, parsed->add_special_tokens, model);
  if (!prompt) {
    return refuse(made, prompt.error());
  }
  generate(made,
           {.request = *parsed,
            .prompts = {std::move(prompt.value())},
            .echoes = {},
            .param = "messages",
            .is_chat = true});
}

void http_front_door::impl::generate(const call& made, generation_input input) {
  const auto n = static_cast<std::size_t>(input.request.params.n);
  if (input.prompts.size() * n > choices_max) {
    return refuse(made,
                  openai::invalid_value("n",
                                        fmt::format("n: too many choices (prompts={} n={} limit of "
                                                    "their product={})",
                                                    input.prompts.size(),
                                                    n,
                                                    choices_max)));
  }
  auto who = identify(made.with->request(), input.prompts.size() * n, input.request.is_stream);
  if (!who) {
    return refuse(made, who.error());
  }
  auto streams = submit(made, input, *who);
  if (!streams) {
    return refuse(made, streams.error());
  }
  generation_answer::begin(
      made.with, plan_for(made, input, std::move(who.value())), std::move(streams.value()), lane);
}

/// All prompts or none: what was accepted before a refusal is left as if its client had gone.
openai::answer<std::vector<std::shared_ptr<text_stream>>> http_front_door::impl::submit(
    const call& made, const generation_input& input, const request_identity& who) {
  std::vector<prompt_order> orders;
  const auto scope = fmt::format("{} {}", made.client, made.with->request().path);
  for (const auto& prompt : input.prompts) {
    orders.push_back({.token_ids = prompt.token_ids,
                      .params = input.request.params,
                      .client_key = client_key_of(scope, who.name, orders.size()),
                      .replicas = made.port->replicas});
    if (const auto legal = made.backend->check(orders.back()); !legal) {
      return openai::of_engine(legal.error(), input.param);
    }
  }
  std::vector<std::shared_ptr<text_stream>> streams;
  for (const auto& order : orders) {
    auto accepted = made.backend->submit(order);
    if (accepted) {
      streams.insert(streams.end(), accepted->begin(), accepted->end());
      continue;
    }
    if (!streams.empty()) {
      lane->keep(std::move(streams), who.is_drawn ? duration(0) : duration(config.return_time));
    }
    if (accepted.error().code == errc::invalid_argument) { // it was legal: its key is another's
      return openai::api_error{.status = 409,
                               .type = "invalid_request_error",
                               .param = "Idempotency-Key",
                               .code = "idempotency_key_in_use",
                               .message = "idempotency-key: it was given to another request"};
    }
    return openai::of_engine(accepted.error());
  }
  return streams;
}

answer_plan http_front_door::impl::plan_for(const call& made,
                                            const generation_input& input,
                                            request_identity who) const {
  const auto& path = made.with->request().path;
  const auto scope = fmt::format("{} {} id", made.client, path);
  const auto high = client_key_of(scope, who.name, 0);
  const auto low = client_key_of(scope, who.name, 1);
  answer_plan plan{
      .is_chat = input.is_chat,
      .is_stream = input.request.is_stream,
      .streaming = input.request.streaming,
      .head = {.id = input.is_chat ? openai::chat_id(high, low) : openai::completion_id(high, low),
               .created = std::chrono::duration_cast<std::chrono::seconds>(
                              std::chrono::system_clock::now().time_since_epoch())
                              .count(),
               .model = input.request.model,
               .system_fingerprint = {}},
      .headers = {{"idempotency-key", who.name}},
      .has_logprobs = input.request.params.logprobs.has_value(),
      .stop_token_ids = input.request.params.stop_token_ids,
      .resumed = std::move(who.resumed),
      .is_resumed = who.is_resumed,
      .may_return = !who.is_drawn,
      .return_time = config.return_time,
      .tokenizer = model.tokenizer};
  for (std::size_t i = 0; i < input.prompts.size(); ++i) {
    plan.prompt_tokens += static_cast<std::int64_t>(input.prompts[i].token_ids.size());
    if (!input.echoes.empty()) {
      plan.echoes.insert(
          plan.echoes.end(), static_cast<std::size_t>(input.request.params.n), input.echoes[i]);
    }
  }
  return plan;
}

void http_front_door::impl::models(const call& made) {
  std::string body;
  const auto one = entry();
  openai::append_models(body, std::span(&one, 1));
  made.with->reply(json_answer(200, std::move(body)));
}

void http_front_door::impl::one_model(const call& made) {
  const auto name = std::string_view(made.with->request().path).substr(model_prefix.size());
  if (name != model.name) {
    return refuse(made, openai::model_not_found(name));
  }
  std::string body;
  openai::append_model(body, entry());
  made.with->reply(json_answer(200, std::move(body)));
}

void http_front_door::impl::tokenize(const call& made) {
  const auto parsed = openai::parse_tokenize_request(made.with->request().body, limits());
  if (!parsed) {
    return refuse(made, parsed.error());
  }
  const auto prompt = parsed->chat
                          ? tokenize_chat(*parsed->chat, parsed->add_special_tokens, model)
                          : tokenize_text(*parsed->prompt, parsed->add_special_tokens, model);
  if (!prompt) {
    return refuse(made, prompt.error());
  }
  std::optional<std::vector<std::string>> texts;
  if (parsed->return_token_strs) {
    texts.emplace();
    for (const auto id : prompt->token_ids) {
      texts->emplace_back(model.tokenizer->token_text(id));
    }
  }
  std::string body;
  openai::append_tokens(body, prompt->token_ids, model.max_model_len, texts);
  made.with->reply(json_answer(200, std::move(body)));
}

void http_front_door::impl::detokenize(const call& made) {
  const auto parsed = openai::parse_detokenize_request(made.with->request().body, limits());
  if (!parsed) {
    return refuse(made, parsed.error());
  }
  if (!model.tokenizer) {
    return refuse(made, no_tokenizer("tokens"));
  }
  std::string body;
  openai::append_detokenized(
      body, model.tokenizer->decode(parsed->tokens, text::special_tokens_output::keep));
  made.with->reply(json_answer(200, std::move(body)));
}

void http_front_door::impl::cluster(const call& made) {
  made.with->reply(json_answer(200, made.backend->describe_cluster()));
}

/// F-7.
void http_front_door::impl::cluster_events(const call& made) {
  if (made.with->request().method == "HEAD") {
    made.with->reply({.status = 200,
                      .headers = {{"content-type", "text/event-stream; charset=utf-8"}},
                      .body = {}});
    return;
  }
  if (!feed.add(made.with)) {
    refuse(made,
           request_error(503,
                         "too_many_watchers",
                         fmt::format("server: too many watch the cluster (limit={})",
                                     config.live.watchers_max)));
  }
}

void http_front_door::impl::page(const call& made) {
  made.with->reply({.status = 200,
                    .headers = {{"content-type", "text/html; charset=utf-8"},
                                {"content-security-policy", std::string(live_page_policy())},
                                {"x-content-type-options", "nosniff"},
                                {"referrer-policy", "no-referrer"},
                                {"cache-control", "no-cache"}},
                    .body = std::string(live_page())});
}

void http_front_door::impl::health(const call& made) {
  if (const auto well = made.backend->health(made.port->replicas); !well) {
    return refuse(made, openai::of_engine(fail(errc::closed, well.error().context)));
  }
  made.with->reply(json_answer(200, status_text(*made.port)));
}

void http_front_door::impl::live(const call& made) {
  made.with->reply(json_answer(200, R"({"status":"ok"})"));
}

/// F-4.
void http_front_door::impl::ready(const call& made) {
  if (made.backend == nullptr) {
    return refuse(made, loading_error);
  }
  if (made.backend->is_draining(made.port->replicas)) {
    return refuse(made, openai::of_engine(fail(errc::closed, "server: it drains")));
  }
  made.with->reply(json_answer(200, status_text(*made.port)));
}

void http_front_door::impl::version(const call& made) {
  std::string body = R"({"version":)";
  api::append_json_string(body, model.version);
  body += '}';
  made.with->reply(json_answer(200, std::move(body)));
}

void http_front_door::impl::show_metrics(const call& made) {
  metrics::exposition page;
  describe(made.backend != nullptr
               ? made.backend->sample()
               : metrics::sample_before_start(model.name, model.max_model_len, model.replicas),
           page);
  counts->describe({.server = stats(), .answers_under_way = lane->size(), .version = model.version},
                   page);
  made.with->reply({.status = 200,
                    .headers = {{"content-type", std::string(metrics::text_format)}},
                    .body = page.text()});
}

http::statistics http_front_door::impl::stats() const {
  http::statistics all;
  for (const auto& from : listening) {
    if (const auto* const server = from.load()) {
      all += server->stats();
    }
  }
  return all;
}

http_front_door::http_front_door(std::unique_ptr<impl> inside) : impl_(std::move(inside)) {}

http_front_door::~http_front_door() {
  close();
}

result<void> http_front_door::impl::listen(std::size_t index, time_point patient_until) {
  const auto& port = ports[index];
  auto wanted = config.http;
  wanted.port = port.port;
  for (;;) {
    auto server = http::server::start(wanted, [this, &port](std::shared_ptr<http::exchange> with) {
      handle(std::move(with), port);
    });
    if (server) {
      servers[index] = std::move(*server);
      listening[index] = servers[index].get();
      return {};
    }
    const bool is_in_use = server.error().code == errc::resource_exhausted;
    if (!is_in_use || time.now() >= patient_until) {
      return server.error();
    }
    ::poll(
        nullptr, 0, static_cast<int>(listen_pause.count())); // no event tells that a port is free
  }
}

result<std::unique_ptr<http_front_door>>
http_front_door::start(front_door_config config, served_model model, const clock& time) {
  config.http.error_answer = refusal_answer;
  config.http.exposed_headers = exposed_headers;
  const auto patient_until = time.now() + config.listen_patience;
  std::unique_ptr<http_front_door> made(
      new http_front_door(std::make_unique<impl>(std::move(config), std::move(model), time)));
  auto& inside = *made->impl_;
  for (std::size_t index = 0; index < inside.ports.size(); ++index) {
    VDIST_TRY(inside.listen(index, patient_until));
  }
  if (const auto& defect = inside.model.chat.defect()) {
    log::warn("{}: chats are refused (model={})", defect->context, inside.model.name);
  }
  return made;
}

void http_front_door::open(serving_backend& backend) {
  impl_->backend = &backend;
}

/// One after the other: whoever comes to one that still listens is refused by the backend, which drains (F-4).
result<void> http_front_door::drain(time_point deadline) {
  impl_->feed.stop(); // it would never end by itself
  result<void> drained;
  for (const auto& server : impl_->servers) {
    if (auto one = server->drain(deadline); !one) {
      drained = std::move(one);
    }
  }
  return drained;
}

void http_front_door::close() {
  if (std::exchange(impl_->is_closed, true)) {
    return;
  }
  for (const auto& server : impl_->servers) {
    if (server) {
      server->stop();
    }
  }
  impl_->feed.stop();
  impl_->pool.stop();  // nothing submits any more …
  impl_->lane->stop(); // … and nobody reads
}

std::uint16_t http_front_door::port() const noexcept {
  return impl_->servers.front()->port();
}

std::vector<door_port> http_front_door::ports() const {
  auto all = impl_->ports;
  for (std::size_t index = 0; index < all.size(); ++index) {
    all[index].port = impl_->servers[index]->port();
  }
  return all;
}

std::string http_front_door::url(std::size_t index) const {
  return fmt::format(
      "{}://{}", impl_->config.http.tls ? "https" : "http", impl_->servers.at(index)->address());
}

http::statistics http_front_door::stats() const {
  return impl_->stats();
}

std::size_t http_front_door::answers_under_way() const {
  return impl_->lane->size();
}

} // namespace vdist::actors
