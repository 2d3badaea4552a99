#include "tests/kernels/random/random_fill_ref.hpp"

namespace {

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

} // namespace

// F-1, and nothing beside the block is written.
BOOST_AUTO_TEST_CASE(elements_follow_the_formula_wherever_they_lie) {
  const auto device = make_backend(cpu_isa::portable);
  for (const dtype type : all_dtypes) {
    for (const auto& rule : fill_rules()) {
      for (const auto& c : fill_cases()) {
        const auto want = reference_fill(c, type, rule);
        std::vector<std::byte> got(want.size(), fill_poison);
        device->fill_random(c.args(got.data(), type, rule));
        BOOST_TEST((got == want), c << " " << to_string(type) << " key " << rule.key);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(every_backend_of_this_machine_gives_the_same_bytes) {
  const auto c = fill_cases().back();
  const auto rule = fill_rules().front();
  const auto want = reference_fill(c, dtype::bfloat16, rule);
  for (const auto& device : all_backends(2)) {
    std::vector<std::byte> got(want.size(), fill_poison);
    device->fill_random(c.args(got.data(), dtype::bfloat16, rule));
    BOOST_TEST((got == want), device->name());
  }
}
