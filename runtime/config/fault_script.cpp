#include "runtime/config/fault_script.hpp"

#include "runtime/config/fault_rule.hpp"
#include "runtime/config/load.hpp"
#include "runtime/config/nearest.hpp"
#include "runtime/config/toml.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <limits>

namespace vdist::config {

namespace {

/// By target.
constexpr std::array<nemesis_target, 7> targets{{{"worker", "worker.step_end"},
                                                 {"executor", "executor.before_send"},
                                                 {"router", "router.tokens"},
                                                 {"scheduler", "scheduler.add"},
                                                 {"supervisor", "supervisor.event"},
                                                 {"node", "executor.before_send"},
                                                 {"vault", "vault.map"}}};

std::optional<nemesis_choice::target> target_of(std::string_view name) {
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i].name == name) {
      return static_cast<nemesis_choice::target>(i);
    }
  }
  return std::nullopt;
}

/// What is called a strike at a process has to be one.
bool strikes_all_of(nemesis_choice::target target, failpoint_action action) {
  switch (target) {
  case nemesis_choice::target::node:
    return needs_process(action);
  case nemesis_choice::target::vault:
    return action == failpoint_action::kill9;
  default:
    return true;
  }
}

constexpr std::int64_t interval_ms_max = 86'400'000; // a day

/// Reads one script; every error names its file and the line.
class script_reader {
public:
  script_reader(std::string_view name, fault_victims victims) : name_(name), victims_(victims) {}

  result<fault_script> read(const toml::table& root) {
    constexpr std::array<std::string_view, 3> root_keys{"fault", "expect", "seed"};
    VDIST_TRY(check_keys(root, root_keys));
    std::optional<std::int64_t> seed;
    VDIST_TRY(read_number(root, "seed", 0, std::numeric_limits<std::int64_t>::max(), seed));
    script_.seed = static_cast<std::uint64_t>(seed.value_or(0));
    VDIST_TRY(read_expectations(root));
    const auto* const faults = root["fault"].as_array();
    if (faults == nullptr || faults->empty()) {
      return fail(errc::bad_configuration, fmt::format("{}: no [[fault]]", name_));
    }
    for (const auto& entry : *faults) {
      const auto* const fault = entry.as_table();
      if (fault == nullptr) {
        return bad(entry, "fault: must be a table, written [[fault]]");
      }
      VDIST_TRY(read_fault(*fault));
    }
    VDIST_TRY(check_size(*faults));
    return std::move(script_);
  }

private:
  [[nodiscard]] error bad(const toml::node& at, std::string what) const {
    return fail(
        errc::bad_configuration,
        fmt::format("{}:{}: {}", name_, at.source().begin.line, in_one_line(std::move(what))));
  }

  /// An error that says what is wrong, with its place.
  result<void> at_line(const toml::node& at, result<void> checked) const {
    return checked ? checked : result<void>(bad(at, "fault: " + checked.error().context));
  }

  /// The legal keys of one table; anything else is an error.
  template <std::size_t N>
  result<void> check_keys(const toml::table& table,
                          const std::array<std::string_view, N>& legal) const {
    for (const auto& [key, value] : table) {
      const std::string_view word(key.str());
      if (std::find(legal.begin(), legal.end(), word) == legal.end()) {
        return bad(value,
                   fmt::format("unknown key \"{}\" (did you mean {}? legal: {})",
                               word,
                               nearest(word, legal),
                               fmt::join(legal, ", ")));
      }
    }
    return {};
  }

  /// An optional whole number.
  result<void> read_number(const toml::table& table,
                           std::string_view key,
                           std::int64_t least,
                           std::int64_t most,
                           std::optional<std::int64_t>& into) const {
    const auto* const node = table.get(key);
    if (node == nullptr) {
      return {};
    }
    into = node->value_exact<std::int64_t>();
    if (!into || *into < least || *into > most) {
      return bad(*node, fmt::format("{}: must be a whole number from {} to {}", key, least, most));
    }
    return {};
  }

  result<void> read_expectations(const toml::table& root) {
    constexpr std::array<std::string_view, 6> keys{
        "lost", "altered", "doubled", "stall_ms_max", "restarts_max", "prefilled_again_max"};
    constexpr auto most = std::numeric_limits<std::int64_t>::max();
    const auto* const node = root.get("expect");
    if (node == nullptr) {
      return {};
    }
    const auto* const table = node->as_table();
    if (table == nullptr) {
      return bad(*node, "expect: must be a table, written [expect]");
    }
    VDIST_TRY(check_keys(*table, keys));
    auto& expect = script_.expect;
    std::array<std::optional<std::int64_t>, 3> counts;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      VDIST_TRY(read_number(*table, keys[i], 0, most, counts[i]));
    }
    expect.lost = static_cast<std::uint64_t>(counts[0].value_or(0));
    expect.altered = static_cast<std::uint64_t>(counts[1].value_or(0));
    expect.doubled = static_cast<std::uint64_t>(counts[2].value_or(0));
    VDIST_TRY(read_number(*table, "stall_ms_max", 0, most, expect.stall_ms_max));
    VDIST_TRY(read_number(*table, "restarts_max", 0, most, expect.restarts_max));
    return read_number(*table, "prefilled_again_max", 0, most, expect.prefilled_again_max);
  }

  result<void> read_fault(const toml::table& fault) {
    if (fault.contains("every_s") || fault.contains("every_ms") || fault.contains("choose")) {
      return read_nemesis(fault);
    }
    return fault.contains("rule") ? read_words(fault) : read_rule(fault);
  }

  result<void> read_words(const toml::table& fault) {
    constexpr std::array<std::string_view, 1> keys{"rule"};
    VDIST_TRY(check_keys(fault, keys));
    const auto& node = *fault.get("rule");
    const auto text = node.value_exact<std::string>();
    if (!text) {
      return bad(node, "rule: must be a text (\"worker.step_begin rank=1 step=40 kill9\")");
    }
    auto rule = parse_fault_rule(*text, victims_);
    if (!rule) {
      return bad(node, "fault: " + rule.error().context);
    }
    add(std::move(*rule));
    return {};
  }

  result<void> read_rule(const toml::table& fault) {
    constexpr std::array<std::string_view, 5> keys{"at", "action", "count", "rule", "every_ms"};
    VDIST_TRY(check_keys(fault, keys));
    const auto* const at = fault["at"].as_table();
    const auto point = at != nullptr ? (*at)["point"].value_exact<std::string>() : std::nullopt;
    if (!point) {
      return bad(fault,
                 "fault: at.point is missing (for example at = { point = \"worker.step_begin\" })");
    }
    VDIST_TRY(check_keys(*at, place_keys));
    failpoint_rule rule{.point = *point};
    for (const auto& [key, value] : *at) {
      if (key.str() == "point") {
        continue;
      }
      const auto number = value.value_exact<std::int64_t>();
      if (!number) {
        return bad(value, fmt::format("{}: must be a whole number", std::string_view(key.str())));
      }
      VDIST_TRY(at_line(value, set_place(rule, key.str(), *number)));
    }
    std::optional<std::int64_t> count;
    VDIST_TRY(read_number(fault, "count", 0, std::numeric_limits<std::uint32_t>::max(), count));
    const auto* const action = fault.get("action");
    const auto text = action != nullptr ? action->value_exact<std::string>() : std::nullopt;
    if (!text) {
      return bad(action != nullptr ? *action : fault,
                 "fault: action is missing or no text (for example action = \"kill9\")");
    }
    VDIST_TRY(
        at_line(*action, set_action(rule, *text, static_cast<std::uint32_t>(count.value_or(1)))));
    VDIST_TRY(at_line(*at, check_rule(rule, victims_)));
    add(std::move(rule));
    return {};
  }

  result<void> read_nemesis(const toml::table& fault) {
    constexpr std::array<std::string_view, 4> keys{"every_s", "every_ms", "choose", "count"};
    VDIST_TRY(check_keys(fault, keys));
    std::optional<std::int64_t> seconds;
    std::optional<std::int64_t> ms;
    std::optional<std::int64_t> count;
    VDIST_TRY(read_number(fault, "every_s", 1, interval_ms_max / 1000, seconds));
    VDIST_TRY(read_number(fault, "every_ms", 1, interval_ms_max, ms));
    VDIST_TRY(read_number(fault, "count", 0, std::numeric_limits<std::uint32_t>::max(), count));
    if (seconds.has_value() == ms.has_value()) {
      return bad(fault, "fault: a nemesis has either every_s or every_ms");
    }
    nemesis made{.every_ms = ms ? *ms : *seconds * 1000,
                 .count = static_cast<std::uint32_t>(count.value_or(0))};
    const auto* const choices = fault["choose"].as_array();
    if (choices == nullptr || choices->empty() || choices->size() > nemesis_choices_max) {
      return bad(fault,
                 fmt::format("fault: choose must be a list of 1 to {} texts (\"kill9 worker\")",
                             nemesis_choices_max));
    }
    for (const auto& node : *choices) {
      VDIST_ASSIGN(const auto choice, read_choice(node));
      made.choices.push_back(choice);
    }
    script_.nemeses.push_back(std::move(made));
    return {};
  }

  /// "stop(500) worker 1".
  result<nemesis_choice> read_choice(const toml::node& node) const {
    const auto text = node.value_exact<std::string>();
    const auto words = text ? words_of(*text) : std::vector<std::string_view>();
    const auto target = words.size() < 2 ? std::nullopt : target_of(words[1]);
    const bool has_rank = words.size() == 3 && target == nemesis_choice::target::worker;
    const auto rank = has_rank ? parse_whole(words[2]).value_or(-1) : 0;
    const bool is_ranked = rank >= 0 && rank <= std::numeric_limits<std::int32_t>::max();
    if (!target || words.size() != (has_rank ? 3U : 2U) || !is_ranked) {
      return bad(node,
                 "choose: must be an action and a target (legal targets: worker, worker <rank>, "
                 "executor, router, scheduler, supervisor, node, vault)");
    }
    nemesis_choice choice{.what = *target};
    if (has_rank) {
      choice.rank = static_cast<std::int32_t>(rank);
    }
    auto link = parse_link(words[0], 1);
    if (!link) {
      return bad(node, "choose: " + link.error().context);
    }
    choice.link = *link;
    const auto& facts = facts_of(choice.what);
    const failpoint_rule rule{.point = std::string(facts.point), .action = link->action};
    VDIST_TRY(at_line(node, check_rule(rule, victims_)));
    if (!strikes_all_of(choice.what, link->action)) {
      return bad(
          node,
          fmt::format("choose: {} does not strike the {}", to_string(link->action), facts.name));
    }
    return choice;
  }

  /// Chances differ between rules that are written alike.
  void add(failpoint_rule rule) {
    rule.seed = script_.seed * failpoint_rules_max + script_.rules.size();
    script_.rules.push_back(std::move(rule));
  }

  result<void> check_size(const toml::node& faults) const {
    if (script_.nemeses.size() > nemeses_max) {
      return bad(faults, fmt::format("fault: {} nemeses at most", nemeses_max));
    }
    // Each nemesis has a rule of its own.
    if (script_.rules.size() + script_.nemeses.size() > failpoint_rules_max) {
      return bad(faults, fmt::format("fault: {} at most", failpoint_rules_max));
    }
    return {};
  }

  std::string_view name_;
  fault_victims victims_;
  fault_script script_;
};

} // namespace

result<fault_script>
parse_fault_script(std::string_view text, std::string_view name, fault_victims victims) {
  const result<toml::table> parsed = parse_toml(text, name);
  if (!parsed) {
    return parsed.error();
  }
  return script_reader(name, victims).read(*parsed);
}

result<fault_script> load_fault_script(const std::filesystem::path& file, fault_victims victims) {
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    return fail(errc::not_found, fmt::format("{}: the fault script cannot be read", file.string()));
  }
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (text.size() > config_bytes_max) {
    return fail(errc::bad_configuration,
                fmt::format("{}: larger than {} bytes", file.string(), config_bytes_max));
  }
  return parse_fault_script(text, file.string(), victims);
}

const nemesis_target& facts_of(nemesis_choice::target target) noexcept {
  return targets[static_cast<std::size_t>(target)];
}

} // namespace vdist::config
