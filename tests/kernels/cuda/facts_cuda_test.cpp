// What a device says of itself, and that asking it takes nothing of it. No other case runs in this process.
#include "tests/kernels/cuda/cuda_fixture.hpp"

#include <dlfcn.h>

using namespace vdist::kernels;
using namespace vdist::kernels::testing;

namespace {

constexpr std::size_t mib = std::size_t{1} << 20U;

/// Whether this process has a context on a device, in the driver's own words; -1 when it does not tell.
int has_context(int device) {
  void* driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) {
    return -1;
  }
  using state_call = int (*)(int device, unsigned int* flags, int* is_active);
  const auto state = reinterpret_cast<state_call>(dlsym(driver, "cuDevicePrimaryCtxGetState"));
  unsigned int flags = 0;
  int is_active = 0;
  return state != nullptr && state(device, &flags, &is_active) == 0 ? is_active : -1;
}

bool has_management_library() {
  return dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr;
}

} // namespace

BOOST_AUTO_TEST_SUITE(facts_cuda_suite, *boost::unit_test::precondition(has_gpu))

// First, and in this order: a context once made stays.
BOOST_AUTO_TEST_CASE(asking_for_facts_and_peers_makes_no_context) {
  auto& module = *cuda_or_null();
  for (std::int32_t device = 0; device < module.device_count(); ++device) {
    std::string why;
    const auto facts = module.facts_of(device, why);
    BOOST_TEST(why == "");
    BOOST_TEST(facts.name.find("NVIDIA") != std::string::npos, facts.name);
    BOOST_TEST(facts.uuid.size() == 36U);
    BOOST_TEST(facts.uuid[8] == '-');
    BOOST_TEST(facts.major >= 8);
    BOOST_TEST(facts.multiprocessors > 0);
    BOOST_TEST(facts.total_bytes > 1024 * mib);
    BOOST_TEST(facts.free_bytes > 0U);
    BOOST_TEST(facts.free_bytes <= facts.total_bytes);
    BOOST_TEST(module.can_access(device, device, why));
    for (std::int32_t peer = 0; peer < module.device_count(); ++peer) {
      std::string gap;
      BOOST_TEST(module.can_access(device, peer, gap) == gap.empty(), gap);
    }
    if (has_management_library()) {
      BOOST_TEST(has_context(device) == 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(devices_that_are_not_there_are_refused) {
  auto& module = *cuda_or_null();
  for (const auto device : {-1, module.device_count()}) {
    std::string facts_why;
    (void)module.facts_of(device, facts_why);
    BOOST_TEST(facts_why.find("no such device") != std::string::npos, facts_why);
    std::string peer_why;
    BOOST_TEST(!module.can_access(0, device, peer_why));
    BOOST_TEST(peer_why.find("no such device") != std::string::npos, peer_why);
  }
}

BOOST_AUTO_TEST_CASE(memory_that_is_taken_is_not_free) {
  auto& module = *cuda_or_null();
  constexpr std::size_t bytes = 512 * mib;
  std::string why;
  BOOST_REQUIRE_MESSAGE(module.use_device(0, why), why);
  const auto before = module.facts_of(0, why);
  void* memory = module.allocate(0, bytes, why);
  BOOST_REQUIRE_MESSAGE(memory != nullptr, why);
  const auto during = module.facts_of(0, why);
  module.release(0, memory);
  BOOST_TEST(before.free_bytes >= during.free_bytes + bytes);
  BOOST_TEST(before.free_bytes <= during.free_bytes + bytes + 512 * mib, "no more than that");
}

BOOST_AUTO_TEST_SUITE_END()
