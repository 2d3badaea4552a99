#include "transport/tensor/nccl_group.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <thread>

namespace {

using namespace vdist;
using namespace vdist::tensor;

template <class Function>
Function of_fake(const char* name) {
  static void* const library = dlopen(VDIST_FAKE_NCCL, RTLD_NOW | RTLD_LOCAL);
  BOOST_REQUIRE(library != nullptr);
  return reinterpret_cast<Function>(dlsym(library, name));
}

void behave(int fault) {
  of_fake<void (*)(int)>("fake_nccl_behave")(fault);
}

int aborts() {
  return of_fake<int (*)()>("fake_nccl_aborts")();
}

bool has_text(const error& failure, const char* text) {
  return failure.context.find(text) != std::string::npos;
}

/// The "device" is host memory.
struct one_rank {
  alignas(8) std::byte scratch[8]{};
  system_clock time;
  frame::fence stop;

  nccl_group_settings settings(std::int32_t rank, std::int32_t size) {
    nccl_group_settings out{.rank = rank, .size = size, .now = epoch(4), .host = "alpha"};
    out.timeout = std::chrono::milliseconds(100);
    out.stop = &stop;
    out.scratch = scratch;
    out.write = [](void* to, const void* from, std::size_t bytes) -> result<void> {
      std::memcpy(to, from, bytes);
      return {};
    };
    out.read = out.write;
    return out;
  }

  result<std::unique_ptr<nccl_group>> join(std::int32_t rank = 1, std::int32_t size = 4) {
    const auto api = load_nccl(VDIST_FAKE_NCCL);
    BOOST_REQUIRE(api.has_value());
    const auto invitation = make_nccl_invitation(*api, epoch(4));
    BOOST_REQUIRE(invitation.has_value());
    return nccl_group::join(*api, *invitation, settings(rank, size), time);
  }
};

void check_aborted(int before) {
  for (int i = 0; i < 1000 && aborts() == before; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  BOOST_TEST(aborts() == before + 1);
}

} // namespace

BOOST_AUTO_TEST_SUITE(nccl)

BOOST_AUTO_TEST_CASE(a_missing_library_is_named_with_what_helps) {
  const auto api = load_nccl("/nowhere/libnccl.so.2");
  BOOST_REQUIRE(!api);
  BOOST_TEST((api.error().code == errc::not_found));
  BOOST_TEST(has_text(api.error(), "/nowhere/libnccl.so.2"));
  BOOST_TEST(has_text(api.error(), "VDIST_NCCL_SO_PATH"));
}

BOOST_AUTO_TEST_CASE(an_old_library_is_refused_with_both_versions) {
  const auto api = load_nccl(VDIST_FAKE_NCCL_OLD);
  BOOST_REQUIRE(!api);
  BOOST_TEST((api.error().code == errc::unsupported));
  BOOST_TEST(has_text(api.error(), "version=2.17.1 needed=2.18.0"));
}

BOOST_AUTO_TEST_CASE(a_library_without_a_function_is_refused) {
  const auto api = load_nccl(VDIST_FAKE_NCCL_PART);
  BOOST_REQUIRE(!api);
  BOOST_TEST((api.error().code == errc::unsupported));
  BOOST_TEST(has_text(api.error(), "ncclGetUniqueId"));
}

BOOST_AUTO_TEST_CASE(multicast_is_off_unless_somebody_says_otherwise) {
  BOOST_REQUIRE(unsetenv("NCCL_NVLS_ENABLE") == 0);
  BOOST_REQUIRE(load_nccl(VDIST_FAKE_NCCL).has_value());
  BOOST_TEST(std::string(std::getenv("NCCL_NVLS_ENABLE")) == "0");
  BOOST_REQUIRE(setenv("NCCL_NVLS_ENABLE", "2", 1) == 0);
  BOOST_REQUIRE(load_nccl(VDIST_FAKE_NCCL).has_value());
  BOOST_TEST(std::string(std::getenv("NCCL_NVLS_ENABLE")) == "2");
  BOOST_REQUIRE(unsetenv("NCCL_NVLS_ENABLE") == 0);
}

BOOST_AUTO_TEST_CASE(joins_without_blocking_and_tests_itself) { // L-1, L-4
  behave(0);
  one_rank rank;
  auto group = rank.join();
  BOOST_REQUIRE_MESSAGE(group.has_value(), (group ? std::string() : group.error().context));
  BOOST_TEST(of_fake<int (*)()>("fake_nccl_blocking")() == 0);
  int in = 5;
  int out = 0;
  BOOST_TEST((*group)->all_gather(&in, &out, sizeof in).has_value());
  BOOST_TEST(out == 5);
  const int before = aborts();
  (*group)->abort(); // L-2
  const auto refused = (*group)->all_gather(&in, &out, sizeof in);
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == errc::aborted));
  group->reset();
  check_aborted(before); // once
}

BOOST_AUTO_TEST_CASE(a_rank_that_does_not_come_is_a_deadline_not_a_hang) { // L-1
  behave(1);
  one_rank rank;
  const int before = aborts();
  const auto start = std::chrono::steady_clock::now();
  const auto group = rank.join();
  BOOST_REQUIRE(!group);
  BOOST_TEST((group.error().code == errc::timed_out));
  BOOST_TEST(has_text(group.error(), "rank=1 size=4 host=alpha"));
  BOOST_TEST(has_text(group.error(), "a rank has not come"));
  BOOST_TEST((std::chrono::steady_clock::now() - start < std::chrono::seconds(5)));
  check_aborted(before);
}

BOOST_AUTO_TEST_CASE(a_raised_fence_ends_joining) { // L-1
  behave(1);
  one_rank rank;
  const int before = aborts();
  rank.stop.raise(epoch(5));
  const auto group = rank.join();
  BOOST_REQUIRE(!group);
  BOOST_TEST((group.error().code == errc::aborted));
  check_aborted(before);
}

BOOST_AUTO_TEST_CASE(a_failure_names_rank_host_reason_and_causes) {
  behave(2);
  one_rank rank;
  const auto group = rank.join();
  BOOST_REQUIRE(!group);
  BOOST_TEST((group.error().code == errc::io_failed));
  for (const char* text :
       {"unhandled system error", "from the fake", "/dev/shm", "rank=1", "host=alpha", "2.28.9"}) {
    BOOST_TEST(has_text(group.error(), text), text);
  }
}

BOOST_AUTO_TEST_CASE(a_wrong_sum_is_no_group) { // L-4
  behave(3);
  one_rank rank;
  const auto group = rank.join();
  BOOST_REQUIRE(!group);
  BOOST_TEST((group.error().code == errc::corrupt));
  BOOST_TEST(has_text(group.error(), "sum=7 wanted=6"));
}

BOOST_AUTO_TEST_CASE(versions_and_epochs_of_the_invitation_count) { // L-5
  behave(0);
  one_rank rank;
  const auto api = load_nccl(VDIST_FAKE_NCCL);
  BOOST_REQUIRE(api.has_value());
  auto invitation = make_nccl_invitation(*api, epoch(4));
  BOOST_REQUIRE(invitation.has_value());
  invitation->of = epoch(3);
  const auto old = nccl_group::join(*api, *invitation, rank.settings(0, 2), rank.time);
  BOOST_REQUIRE(!old);
  BOOST_TEST((old.error().code == errc::stale));
  invitation->version = 22705;
  const auto other = nccl_group::join(*api, *invitation, rank.settings(0, 2), rank.time);
  BOOST_REQUIRE(!other);
  BOOST_TEST((other.error().code == errc::unsupported));
  BOOST_TEST(has_text(other.error(), "mine=2.28.9 rank_0=2.27.5"));
}

BOOST_AUTO_TEST_SUITE_END()
