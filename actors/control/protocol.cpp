#include "actors/control/protocol.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <exception>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace vdist::control {

using nlohmann::json;

// Found by the JSON library through their names.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(worker_details, rank, stage, tensor, state, incarnation, pid)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(capacity_details, workers, configured, since_s, reason)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(replica_details,
                                   replica,
                                   state,
                                   is_draining,
                                   active,
                                   epoch,
                                   restarts,
                                   running,
                                   waiting,
                                   kv_used,
                                   kv_cached,
                                   kv_total,
                                   steps,
                                   tokens,
                                   control_us_per_step,
                                   capacity,
                                   workers)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(stage_details, first, last)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(process_details, role, pid, incarnation)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(spare_details, pid, rank, is_ready)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(port_details, port, replicas)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(cluster_status,
                                   name,
                                   isolation,
                                   model,
                                   device,
                                   uptime_s,
                                   is_draining,
                                   active,
                                   accepted,
                                   finished,
                                   data,
                                   pipeline,
                                   tensor,
                                   capacity,
                                   stages,
                                   replicas,
                                   processes,
                                   spares,
                                   ports)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(
    ledger_line, id, prompt_tokens, max_tokens, committed, reason, age_s)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ledger_page, unfinished, finished, lines)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(drain_progress, active)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(restart_progress, is_done, text)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(fault_line, rule, hits)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(fault_page, rules)

namespace {

using kind = control_request::kind;

/// By kind.
constexpr std::array<std::string_view, 7> request_names{
    "status", "ledger", "drain", "kill", "faults", "resume", "restart"};
constexpr std::string_view requests_text =
    "legal: status, ledger, drain, resume, restart, kill, faults";

/// What a request has beside its name: all of the first, and some of the second.
struct member_names {
  std::vector<std::string_view> due;
  std::vector<std::string_view> possible;
};

member_names members_of(kind what) {
  switch (what) {
  case kind::status:
  case kind::ledger:
    break;
  case kind::drain:
    return {.due = {}, .possible = {"target"}};
  case kind::kill:
  case kind::resume:
    return {.due = {"target"}, .possible = {}};
  case kind::faults:
    return {.due = {"do"}, .possible = {"rule"}};
  case kind::restart:
    return {.due = {"target", "above", "claim"}, .possible = {}};
  }
  return {};
}

/// More incarnations than any replica has workers are nonsense.
constexpr std::size_t above_max = 4096;
/// By fault_order::kind.
constexpr std::array<std::string_view, 3> order_names{"arm", "list", "clear"};
constexpr std::string_view targets_text = "legal: worker <rank>, node, vault";

/// A name that is no UTF-8, of a folder for example, must not stop a reply.
std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// The text of a member, nullptr when it is missing or something else.
const std::string* text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

/// Whether the object has what its request needs and nothing else.
bool has_members(const json& object, const member_names& names) {
  const auto is_there = [&object](std::string_view name) {
    return object.contains(name);
  };
  const auto known = static_cast<std::size_t>(
      1 + std::count_if(names.due.begin(), names.due.end(), is_there)
      + std::count_if(names.possible.begin(), names.possible.end(), is_there));
  return object.size() == known && std::all_of(names.due.begin(), names.due.end(), is_there);
}

/// Of "worker 7", the 7.
std::optional<std::int32_t> number_behind(std::string_view word, std::string_view text) {
  if (!text.starts_with(word) || !text.substr(word.size()).starts_with(' ')) {
    return std::nullopt;
  }
  const auto digits = text.substr(word.size() + 1);
  std::int32_t number = 0;
  const auto* const end = digits.data() + digits.size();
  const auto read = std::from_chars(digits.data(), end, number);
  return read.ec == std::errc{} && read.ptr == end && number >= 0 ? std::optional(number)
                                                                  : std::nullopt;
}

/// The order of a request whose members are there.
result<restart_order> read_restart(const json& object) {
  const auto bad = fail(errc::invalid_argument,
                        "control: restart has a text \"target\", whole numbers \"above\" and a "
                        "whole number \"claim\"");
  const auto* const target = text_of(object, "target");
  const auto& above = object.at("above");
  const auto& claim = object.at("claim");
  const auto is_incarnation = [](const json& value) {
    return value.is_number_unsigned()
           && value.get<std::uint64_t>() <= std::numeric_limits<std::uint32_t>::max();
  };
  if (target == nullptr || !claim.is_number_unsigned() || !above.is_array()
      || above.size() > above_max || !std::all_of(above.begin(), above.end(), is_incarnation)) {
    return bad;
  }
  VDIST_ASSIGN(auto order, parse_restart(*target));
  order.above = above.get<std::vector<std::uint32_t>>();
  order.claim = claim.get<std::uint64_t>();
  return order;
}

json json_of(const error& cause) {
  return {{"error", {{"code", to_string(cause.code)}, {"message", cause.context}}}};
}

/// What was done under its name, or why it was not.
template <class T>
json named_or_error(const char* name, const result<T>& done) {
  return done ? json{{name, *done}} : json_of(done.error());
}

json reply_to(controllable& cluster, const control_request& request) {
  switch (request.what) {
  case kind::status:
    return {{"status", cluster.details()}};
  case kind::ledger:
    return {{"ledger", cluster.ledger(ledger_lines_max)}};
  case kind::resume:
  case kind::drain:
    return named_or_error("drain",
                          request.replica
                              ? cluster.drain_replica(*request.replica, request.what == kind::drain)
                              : cluster.drain());
  case kind::kill:
    return named_or_error("killed", cluster.kill(request.target));
  case kind::restart:
    return named_or_error("restart", cluster.restart(request.restart));
  case kind::faults:
    return named_or_error("faults", cluster.faults(request.order));
  }
  return {};
}

errc code_of(std::string_view name) {
  for (auto code = static_cast<int>(errc::ok) + 1; code <= static_cast<int>(errc_last); ++code) {
    if (name == to_string(static_cast<errc>(code))) {
      return static_cast<errc>(code);
    }
  }
  return errc::internal;
}

void make_printable(json& value) {
  if (auto* text = value.get_ptr<std::string*>()) {
    for (auto& letter : *text) {
      const auto byte = static_cast<unsigned char>(letter);
      letter = byte < 0x20 || byte == 0x7f ? '?' : letter;
    }
  } else if (value.is_structured()) {
    for (auto& member : value) {
      make_printable(member);
    }
  }
}

/// A real number where a count is due is cut to one, which is undefined beyond what the count can hold. No time or rate of
/// ours is negative, or so large.
bool is_plain_real(const json& value) {
  constexpr double least = -1;
  constexpr double most = std::numeric_limits<std::int32_t>::max();
  const auto number = value.get<double>();
  return number > least && number < most;
}

/// Also where a real is due and a whole number stands.
bool has_plain_reals(const json& value) {
  constexpr std::array<std::string_view, 4> reals{
      "age_s", "control_us_per_step", "since_s", "uptime_s"};
  if (value.is_number_float()) {
    return is_plain_real(value);
  }
  if (!value.is_object()) {
    return !value.is_array() || std::all_of(value.begin(), value.end(), has_plain_reals);
  }
  for (const auto& [name, field] : value.items()) {
    const bool is_real = std::find(reals.begin(), reals.end(), name) != reals.end();
    if (!has_plain_reals(field) || (is_real && field.is_number() && !is_plain_real(field))) {
      return false;
    }
  }
  return true;
}

/// Deeper than any reply of ours; bounds the recursions above.
constexpr int depth_max = 8;

result<json> parse_object(std::string_view text, errc code) {
  bool is_deep = false;
  const auto watch = [&is_deep](int depth, json::parse_event_t, const json&) {
    is_deep = is_deep || depth > depth_max;
    return !is_deep;
  };
  auto parsed = json::parse(text, watch, false);
  if (is_deep || !parsed.is_object()) {
    return fail(code, "control: the message is no JSON object");
  }
  return parsed;
}

template <class T>
result<T> decode_reply(std::string_view text, const char* name) {
  try {
    VDIST_ASSIGN(auto reply, parse_object(text, errc::corrupt));
    make_printable(reply);
    if (!has_plain_reals(reply)) {
      return fail(errc::corrupt, "control: a number of the reply cannot be");
    }
    if (const auto failure = reply.find("error"); failure != reply.end()) {
      return fail(code_of(failure->at("code").template get<std::string>()),
                  failure->at("message").template get<std::string>());
    }
    return reply.at(name).template get<T>();
  } catch (const json::exception& cause) {
    return fail(errc::corrupt,
                fmt::format("control: the reply is of another version: {}", cause.what()));
  }
}

} // namespace

result<kill_target> parse_target(std::string_view text) {
  if (text == "node" || text == "vault") {
    return kill_target{.what = text == "node" ? kill_target::kind::node : kill_target::kind::vault};
  }
  if (const auto rank = number_behind("worker", text)) {
    return kill_target{.rank = *rank};
  }
  return fail(errc::invalid_argument, fmt::format("kill: no such target ({})", targets_text));
}

std::string to_string(const kill_target& target) {
  switch (target.what) {
  case kill_target::kind::node:
    return "node";
  case kill_target::kind::vault:
    return "vault";
  case kill_target::kind::worker:
    break;
  }
  return fmt::format("worker {}", target.rank);
}

result<std::int32_t> parse_replica(std::string_view text) {
  const auto number = number_behind("replica", text);
  return number ? result<std::int32_t>(*number)
                : fail(errc::invalid_argument, "drain: no such target (legal: replica <number>)");
}

result<restart_order> parse_restart(std::string_view text) {
  using part = restart_order::kind;
  if (text == "node" || text == "none") {
    return restart_order{.what = text == "node" ? part::node : part::none, .above = {}};
  }
  for (const auto what : {part::worker, part::replica}) {
    if (const auto number = number_behind(what == part::worker ? "worker" : "replica", text)) {
      return restart_order{.what = what, .index = *number, .above = {}};
    }
  }
  if (text == "vault") {
    return fail(errc::unsupported,
                "restart: vault: there is nothing to wait for; kill vault replaces it, and the "
                "next one goes on with its memory");
  }
  return fail(errc::invalid_argument,
              "restart: no such target (legal: worker <rank>, replica <number>, node, all)");
}

std::string to_string(const restart_order& order) {
  switch (order.what) {
  case restart_order::kind::worker:
    return fmt::format("worker {}", order.index);
  case restart_order::kind::replica:
    return fmt::format("replica {}", order.index);
  case restart_order::kind::node:
    return "node";
  case restart_order::kind::none:
    break;
  }
  return "none";
}

result<fault_order> parse_order(std::string_view what, std::string_view rule) {
  const auto found = std::find(order_names.begin(), order_names.end(), what);
  if (found == order_names.end()) {
    return fail(errc::invalid_argument, "faults: no such order (legal: arm <rule>, list, clear)");
  }
  fault_order order{.what = static_cast<fault_order::kind>(found - order_names.begin()),
                    .rule = std::string(rule)};
  if ((order.what == fault_order::kind::arm) == rule.empty()) {
    return fail(errc::invalid_argument,
                "faults: arm needs a rule, list and clear have none (for example: arm "
                "worker.step_begin rank=1 step=40 kill9)");
  }
  return order;
}

std::string encode(const control_request& request) {
  json object{{"request", request_names.at(static_cast<std::size_t>(request.what))}};
  if (request.what == kind::kill) {
    object["target"] = to_string(request.target);
  }
  if (request.replica && (request.what == kind::drain || request.what == kind::resume)) {
    object["target"] = fmt::format("replica {}", *request.replica);
  }
  if (request.what == kind::restart) {
    object["target"] = to_string(request.restart);
    object["above"] = request.restart.above;
    object["claim"] = request.restart.claim;
  }
  if (request.what == kind::faults) {
    object["do"] = order_names.at(static_cast<std::size_t>(request.order.what));
    if (request.order.what == fault_order::kind::arm) {
      object["rule"] = request.order.rule;
    }
  }
  return dump(object);
}

std::string status_json(const cluster_status& status) {
  return dump(status);
}

std::string encode(const error& cause) {
  return dump(json_of(cause));
}

result<control_request> decode_request(std::string_view text) {
  VDIST_ASSIGN(const auto object, parse_object(text, errc::invalid_argument));
  const auto* const name = text_of(object, "request");
  const auto found = name == nullptr ? request_names.end()
                                     : std::find(request_names.begin(), request_names.end(), *name);
  if (found == request_names.end()) {
    return fail(errc::invalid_argument,
                fmt::format("control: no such request ({})", requests_text));
  }
  control_request request{.what = static_cast<kind>(found - request_names.begin())};
  const auto* const target = text_of(object, "target");
  const auto* const what = text_of(object, "do");
  const auto* const rule = text_of(object, "rule");
  const auto is_text = [&object](const char* name, const std::string* text) {
    return text != nullptr || !object.contains(name);
  };
  if (!has_members(object, members_of(request.what)) || !is_text("target", target)
      || !is_text("do", what) || !is_text("rule", rule)) {
    return fail(errc::invalid_argument,
                "control: kill and resume have a \"target\", drain may, restart has an \"above\" "
                "and a \"claim\", too, faults a \"do\" and maybe a \"rule\", and nothing has more");
  }
  if (request.what == kind::kill) {
    VDIST_ASSIGN(request.target, parse_target(*target));
  } else if (request.what == kind::faults) {
    VDIST_ASSIGN(request.order, parse_order(*what, rule != nullptr ? *rule : std::string_view()));
  } else if (request.what == kind::restart) {
    VDIST_ASSIGN(request.restart, read_restart(object));
  } else if (target != nullptr) {
    VDIST_ASSIGN(request.replica, parse_replica(*target));
  }
  return request;
}

std::string answer(controllable& cluster, std::string_view request) {
  try {
    const auto asked = decode_request(request);
    if (!asked) {
      return encode(asked.error());
    }
    auto reply = dump(reply_to(cluster, *asked));
    return reply.size() <= reply_bytes_max
               ? reply
               : encode(fail(errc::resource_exhausted,
                             fmt::format("control: the reply is too long (bytes={} bytes_max={})",
                                         reply.size(),
                                         reply_bytes_max)));
  } catch (const std::exception& cause) { // no memory, for example
    return encode(fail(errc::internal, std::string("control: ") + cause.what()));
  }
}

result<cluster_status> decode_status(std::string_view reply) {
  return decode_reply<cluster_status>(reply, "status");
}

result<ledger_page> decode_ledger(std::string_view reply) {
  return decode_reply<ledger_page>(reply, "ledger");
}

result<drain_progress> decode_drain(std::string_view reply) {
  return decode_reply<drain_progress>(reply, "drain");
}

result<restart_progress> decode_restart(std::string_view reply) {
  return decode_reply<restart_progress>(reply, "restart");
}

result<std::string> decode_killed(std::string_view reply) {
  return decode_reply<std::string>(reply, "killed");
}

result<fault_page> decode_faults(std::string_view reply) {
  return decode_reply<fault_page>(reply, "faults");
}

} // namespace vdist::control
