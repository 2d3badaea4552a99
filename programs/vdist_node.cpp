// vdist-node — the control process of a host: actors and front door. vdist-run starts it, and becomes it when workers are
// threads.
#include "actors/system/node_program.hpp"

#include "runtime/base/result.hpp"

#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
  try {
    return vdist::actors::run_node(argc, argv);
  } catch (const std::exception& cause) {
    std::fprintf(stderr, "vdist-run: internal error: %s\n", cause.what());
    return vdist::exit_code(vdist::errc::internal);
  }
}
