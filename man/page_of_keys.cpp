// man/page_of_keys.cpp — prints cluster.toml(5): every key with its type, default, legal values and meaning.
#include "runtime/config/describe.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <string>
#include <string_view>

#include "man/roff.hpp"

namespace {

using vdist::man::argument;
using vdist::man::escaped;

constexpr std::string_view head = R"(.\" Written by man/page_of_keys.cpp.
.Dd November 28, 2026
.Dt CLUSTER.TOML 5
.Os
.Sh NAME
.Nm cluster.toml
.Nd configuration of a vdist cluster
.Sh DESCRIPTION
One file describes a whole cluster: the model, how it is split over workers, their devices, what happens on faults, and how
it is served.
The syntax is TOML 1.0.
Every key is optional unless it says otherwise, and a key that is not known is an error, as is a value that is not legal:
the message names the file, the line, the key and what is legal.
.Pp
Any key can also be given on the command line of
.Xr vdist-run 1 ,
with
.Fl \-set Ar section.key=value ,
or in the settings of a program that embeds the engine; these win over the file.
.Pp
Values in brackets below are defaults.
)";

constexpr std::string_view tail = R"(.Sh EXAMPLES
Two copies of a model, each split over four GPUs:
.Bd -literal -offset indent
[model]
path = "org/name"

[parallel]
data = 2
tensor = 4

[server]
port = 8000
.Ed
.Sh SEE ALSO
.Xr vdist-ctl 1 ,
.Xr vdist-run 1 ,
.Xr faults.toml 5
)";

std::string section_of(std::string_view name) {
  return std::string(name.substr(0, name.rfind('.')));
}

} // namespace

int main() {
  std::string page(head);
  std::string open;
  for (const auto& key : vdist::config::list_keys()) {
    const auto section = section_of(key.name);
    if (section != open) {
      page += open.empty() ? "" : ".El\n";
      page += section == "node"
                  ? fmt::format(".Sh THE TABLES [[{}]]\nOne per host of the cluster.\n", section)
                  : fmt::format(".Sh THE TABLE [{}]\n", section);
      page += ".Bl -tag -width indent\n";
      open = section;
    }
    const auto unit = key.unit.empty() ? std::string() : " " + key.unit;
    page += fmt::format(".It Ic {} Pq {}\n",
                        argument(key.name),
                        argument(fmt::format("{}{}", key.default_value, unit)));
    page += escaped(key.doc) + "\n.br\nLegal: " + escaped(key.legal) + ".\n";
  }
  page += ".El\n";
  page += tail;
  return std::fwrite(page.data(), 1, page.size(), stdout) == page.size() ? 0 : 1;
}
