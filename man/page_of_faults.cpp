// man/page_of_faults.cpp — prints faults.toml(5): the grammar of fault scripts, every action and every point.
#include "runtime/base/failpoint_rule.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <string>
#include <string_view>

#include "man/roff.hpp"

namespace {

using vdist::man::argument;
using vdist::man::escaped;

constexpr std::string_view head = R"(.\" Written by man/page_of_faults.cpp.
.Dd December 1, 2026
.Dt FAULTS.TOML 5
.Os
.Sh NAME
.Nm faults.toml
.Nd faults that vdist injects into itself
.Sh DESCRIPTION
A script for
.Fl \-faults
of
.Xr vdist-run 1 :
places in the code, what happens there, and what must hold all the same.
A run fails if one of its rules never struck.
Scripts to begin with are in
.Pa config/faults .
The syntax is TOML 1.0; what is not known, or means nothing at its place, is an error that names the line and what is legal.
.Bd -literal -offset indent
seed = 7                  # of all that is drawn; 0 by default

[[fault]]                 # a place and an action
at = { point = "worker.step_begin", rank = 1, step = 40 }
action = "kill9"
count = 1                 # how often it acts; 0: always

[[fault]]                 # the same in one line, as vdist-ctl has it
rule = "worker.step_begin rank=1 step=40 kill9"

[[fault]]                 # something of the list, again and again
every_ms = 500            # or every_s
choose = ["kill9 worker", "stop(500) worker 1", "kill_actor executor"]
count = 0                 # strikes at most; 0: while there is work

[expect]                  # else the run fails
lost = 0                  # requests without a result
altered = 0               # results that differ from an undisturbed run (--verify)
doubled = 0               # results that are there twice
stall_ms_max = 1000       # from a strike to the first token behind it
restarts_max = 5          # of workers
prefilled_again_max = 0   # tokens whose keys and values were lost
.Ed
.Pp
The keys
.Cm replica ,
.Cm stage ,
.Cm rank ,
.Cm step ,
.Cm request
and
.Cm nth
narrow a place.
Steps are counted from the arming on, and a rule with a step strikes at the first hit that is not before it;
.Cm nth
counts the hits that fit.
.Pp
An action is a chain of links
.Ql [p%][n*]action[(argument)] ,
joined by
.Ql \-> .
At every hit the first link acts that is due: with a chance of p percent, n times at most
(without n as often as
.Cm count
says, always with 0).
So
.Ql 50%2*delay(20)\->kill9
delays half of the hits, twice at most, and ends the process at the others.
.Pp
Targets of
.Cm choose
are worker, worker and its rank, executor, router, scheduler, supervisor, node and vault.
)";

constexpr std::string_view tail = R"(.Sh SEE ALSO
.Xr vdist-ctl 1 ,
.Xr vdist-run 1 ,
.Xr cluster.toml 5
)";

std::string written(vdist::failpoint_action action) {
  const auto wanted = vdist::argument_of(action);
  return wanted.name.empty() ? std::string(to_string(action))
                             : fmt::format("{}({})", to_string(action), wanted.name);
}

std::string item(std::string_view name, std::string_view meaning) {
  return fmt::format(".It Ic {}\n{}", argument(name), escaped(meaning));
}

} // namespace

int main() {
  std::string page(head);
  page += ".Sh ACTIONS\nThose with an asterisk need workers that are processes.\n.Bl -tag -width "
          "indent\n";
  for (std::size_t i = 0; i < vdist::failpoint_actions; ++i) {
    const auto action = static_cast<vdist::failpoint_action>(i);
    const auto wanted = vdist::argument_of(action);
    const auto range =
        wanted.name.empty() ? "" : fmt::format("; {} to {}", wanted.least, wanted.most);
    page += item(
        written(action),
        fmt::format("{}{}{}.\n", needs_process(action) ? "* " : "", meaning_of(action), range));
  }
  page += ".El\n.Sh POINTS\nWhere they are, and which actions mean something there.\n.Bl -tag "
          "-width indent\n";
  for (const auto& place : vdist::failpoint_places()) {
    std::string legal;
    for (std::size_t i = 0; i < vdist::failpoint_actions; ++i) {
      const auto action = static_cast<vdist::failpoint_action>(i);
      if (place.actions.has(action)) {
        legal += fmt::format("{}{}", legal.empty() ? "" : ", ", to_string(action));
      }
    }
    page += item(place.name, fmt::format("{}\n", place.where))
            + fmt::format(".br\nLegal: {}.\n", escaped(legal));
  }
  page += ".El\n";
  page += tail;
  return std::fwrite(page.data(), 1, page.size(), stdout) == page.size() ? 0 : 1;
}
