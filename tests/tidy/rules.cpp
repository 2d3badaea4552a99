#include "tests/tidy/rules.hpp"

#include <algorithm>
#include <array>

namespace vdist::tidy {

namespace {

using where = banned_rule::where;

constexpr std::array posix_headers{
    "dlfcn.h",
    "fcntl.h",
    "netdb.h",
    "poll.h",
    "pthread.h",
    "sched.h",
    "signal.h",
    "spawn.h",
    "termios.h",
    "unistd.h",
    "cpuid.h",
};

} // namespace

const std::vector<edge_rule>& edge_rules() {
  static const std::vector<edge_rule> rules{
      {"runtime/base", {}},
      {"runtime/api", {"runtime/base", "runtime/protocol"}},
      {"runtime/api/openai", {"runtime/api", "runtime/base", "runtime/protocol"}},
      {"runtime/ledger", {"runtime/base", "runtime/protocol"}},
      {"runtime/protocol", {"runtime/base", "runtime/topology"}},
      {"runtime/sched", {"runtime/base", "runtime/kv", "runtime/protocol", "runtime/topology"}},
      {"runtime/text/jinja", {"runtime/base", "runtime/text"}},
      {"runtime/*", {"runtime/base"}},
      {"transport/frame", {"runtime/base"}},
      {"transport/vault", {"runtime/base", "transport/socket"}},
      {"transport/*", {"runtime/base", "transport/frame"}},
      // The contracts lie beside their operation, kernels/backend.hpp gathers them on one page.
      {"kernels", {"kernels/*"}},
      {"kernels/*", {"kernels/*"}},
      {"model/hub", {"runtime/base", "runtime/config"}},
      {"model/weights",
       {"model/hub",
        "kernels",
        "kernels/activation",
        "kernels/random",
        "runtime/base",
        "runtime/topology"}},
      {"model/sampling", {"runtime/base", "runtime/protocol"}},
      {"model/layers",
       {"model/weights",
        "kernels",
        "kernels/activation",
        "kernels/attention",
        "kernels/embedding",
        "kernels/linear",
        "kernels/norm",
        "kernels/position",
        "transport/tensor",
        "runtime/base",
        "runtime/topology"}},
      {"model/arch",
       {"model/weights", "model/layers", "kernels", "runtime/base", "runtime/topology"}},
      // No kernels/cpu: which device a model runs on is decided above it.
      {"model/exec",
       {"model/*",
        "kernels",
        "kernels/attention",
        "transport/frame",
        "transport/tensor",
        "transport/vault",
        "runtime/base",
        "runtime/config",
        "runtime/protocol",
        "runtime/topology"}},
      {"host",
       {"runtime/base",
        "runtime/ledger",
        "runtime/protocol",
        "transport/socket",
        "transport/vault"}},
      {"actors/run", {"actors/*", "host", "model/*", "kernels/*", "transport/*", "runtime/*"}},
      {"actors/system",
       {"actors",
        "actors/control",
        "actors/executor",
        "actors/front_door",
        "actors/gateway",
        "actors/guardian",
        "actors/router",
        "actors/scheduler",
        "actors/stage",
        "actors/supervisor",
        "actors/worker",
        "host",
        "model/*",
        "kernels/*",
        "transport/*",
        "runtime/*"}},
      {"actors", {"runtime/base", "runtime/protocol"}},
      {"actors/*",
       {"actors",
        "actors/control",
        "actors/executor",
        "actors/gateway",
        "actors/router",
        "actors/stage",
        "actors/worker",
        "host",
        "model/*",
        "kernels/*",
        "transport/*",
        "runtime/*"}},
      // The public API: its headers stand alone, its sources on the engine.
      {"vdist", {}},
      {"vdist/embedding",
       {"vdist", "actors", "actors/front_door", "actors/system", "runtime/base", "runtime/config"}},
      {"man", {"runtime/base", "runtime/config"}},
      {"programs", {"*"}},
      {"tests/*", {"*"}},
      {"examples/*", {"*"}},
  };
  return rules;
}

const std::vector<library_rule>& library_rules() {
  static const std::vector<library_rule> rules{
      {"caf/",
       {"actors/", "vdist/actors.hpp", "vdist/embedding/", "tests/", "examples/caf-service/"}},
      {"boost/test/", {"tests/"}},
      {"boost/mpl/", {"tests/"}}, // lists of types for Boost.Test's templates
      {"boost/", {"transport/http/", "tests/fuzz/http_fuzz_test.cpp"}},
      {"vdist/",
       {"examples/", "tests/vdist/outside/"}}, // as users write it; in the tree: "vdist/…"
      {"CLI/", {"actors/control/", "actors/run/", "tests/", "examples/"}},
      {"fmt/",
       {"actors/",
        "host/",
        "model/",
        "transport/",
        "runtime/",
        "vdist/embedding/",
        "man/",
        "tests/",
        "examples/"}},
      {"spdlog/", {"runtime/base/"}},
      {"toml++/", {"runtime/config/"}},
      {"nlohmann/",
       {"runtime/api/",
        "runtime/text/",
        "model/hub/",
        "model/weights/",
        "actors/control/protocol.cpp",
        "actors/run/fault_report.cpp",
        "actors/run/topology_dump.cpp",
        "tests/",
        "examples/"}},
      {"curl/", {"model/hub/"}},
      {"openssl/",
       {"model/hub/", "transport/http/", "tests/transport/http/", "tests/actors/front_door/"}},
      {"prometheus/", {"runtime/metrics/"}},
      {"pcre2.h", {"runtime/text/"}},
      {"unicode/", {"runtime/text/"}},
      {"msgpack", {"runtime/protocol/", "tests/runtime/protocol/"}},
      {"zmq", {"transport/zmq/"}},
      {"xxhash.h", {"runtime/kv/", "runtime/protocol/request_codec.cpp", "model/exec/", "tests/"}},
      {"immintrin.h", {"kernels/", "transport/", "tests/bench/"}},
      {"nmmintrin.h", {"transport/frame/"}},
      {"cuda", {"kernels/", "transport/tensor/", "transport/vault/"}},
      {"cublasLt.h", {"kernels/cuda/"}},
      {"nccl", {"transport/tensor/"}},
      {"gloo/", {"transport/tensor/", "tests/bench/system/"}},
  };
  return rules;
}

const std::vector<banned_rule>& banned_rules() {
  static const std::vector<std::string_view> product{
      "actors/", "host/", "kernels/", "model/", "programs/", "runtime/", "transport/", "vdist/"};
  static const std::vector<std::string_view> all{"actors/",
                                                 "host/",
                                                 "kernels/",
                                                 "model/",
                                                 "programs/",
                                                 "runtime/",
                                                 "transport/",
                                                 "vdist/",
                                                 "tests/",
                                                 "examples/",
                                                 "config/",
                                                 "cmake/"};
  static const std::vector<std::string_view> itself{"tests/tidy/"};
  static const std::vector<banned_rule> rules{
      {"caf/all.hpp", where::code, all, itself, "the narrow headers of what is used"},
      {"boost/test/included/",
       where::code,
       all,
       itself,
       "<boost/test/unit_test.hpp>; the main is shared"},
      {"[&]", where::code, {"actors/"}, {}, "named captures: continuations outlive the frame"},
      {"[&,", where::code, {"actors/"}, {}, "named captures: continuations outlive the frame"},
      {"[=]", where::code, {"actors/"}, {}, "named captures: [=] hides what is kept alive"},
      {"[=,", where::code, {"actors/"}, {}, "named captures: [=] hides what is kept alive"},
      {"std::rand(", where::code, all, {}, "a seeded generator that is handed in"},
      {"srand(", where::code, all, {}, "a seeded generator that is handed in"},
      {"getenv", where::code, product, {"runtime/config/"}, "config::read_environment()"},
      {"std::cout",
       where::code,
       product,
       {},
       "log:: for people, std::fwrite in a main for results"},
      {" printf(", where::code, product, {}, "log:: for people, std::fwrite in a main for results"},
      {"std::printf",
       where::code,
       product,
       {},
       "log:: for people, std::fwrite in a main for results"},
      {"stdout)",
       where::code,
       product,
       {"actors/run/", "programs/"},
       "log:: for people, std::fwrite in a main for results"},
      {"usleep(", where::code, all, {}, "a wait with a wake-up and a deadline"},
      {"sleep_for(",
       where::code,
       product,
       {"runtime/base/failpoint.cpp", "model/exec/sim_runner.cpp"},
       "a wait with a wake-up and a deadline"},
      {"this_thread::sleep_until",
       where::code,
       product,
       {"runtime/base/failpoint_act.cpp", "model/exec/sim_runner.cpp"},
       "a wait with a wake-up"},
      {"cudaDeviceSynchronize", where::code, product, {}, "an event of the stream"},
      {"TODO", where::whole_word, all, itself, "the thing itself"},
      {"FIXME", where::whole_word, all, itself, "the thing itself"},
      {"XXX", where::whole_word, all, itself, "the thing itself"},
      {"stub", where::whole_word, all, itself, "the thing itself"},
      {"not implemented", where::text, all, itself, "errc::unsupported with what is supported"},
      // Paths of a machine on which somebody built.
      {"/root/", where::text, all, itself, "a path from the repository root"},
      {"/home/", where::text, all, itself, "a path from the repository root"},
      {"/tmp/", where::text, product, {}, "a path of the configuration"},
  };
  return rules;
}

bool is_system_header(std::string_view header) {
  return header.find('.') == std::string_view::npos || header.starts_with("sys/")
         || header.starts_with("linux/") || header.starts_with("arpa/")
         || header.starts_with("netinet/")
         || std::find(posix_headers.begin(), posix_headers.end(), header) != posix_headers.end();
}

bool matches(std::string_view pattern, std::string_view folder) {
  if (pattern == "*") {
    return true;
  }
  if (!pattern.ends_with("/*")) {
    return pattern == folder;
  }
  pattern.remove_suffix(2);
  return folder == pattern
         || (folder.starts_with(pattern) && folder.substr(pattern.size()).starts_with('/'));
}

} // namespace vdist::tidy
