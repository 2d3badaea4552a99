#include "transport/socket/shared_file.hpp"

#include "tests/support/open_fds.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <limits>
#include <sys/mman.h>

using namespace vdist;
using namespace vdist::socket;

namespace {

constexpr std::size_t bytes = 100'000;

} // namespace

BOOST_AUTO_TEST_SUITE(shared_file_suite)

BOOST_AUTO_TEST_CASE(all_mappings_show_the_same_zeros_and_writes) {
  const auto file = make_shared_file("test", bytes);
  BOOST_REQUIRE(file);
  const auto first = shared_mapping::map(*file, bytes);
  const auto second = shared_mapping::map(*file, bytes);
  BOOST_REQUIRE(first);
  BOOST_REQUIRE(second);
  BOOST_TEST(first->memory().size() == bytes);
  BOOST_TEST((first->memory().data() != second->memory().data()));
  BOOST_TEST(std::all_of(first->memory().begin(), first->memory().end(), [](std::byte b) {
    return b == std::byte{0};
  }));
  first->memory().back() = std::byte{7};
  BOOST_TEST((second->memory().back() == std::byte{7}));
}

BOOST_AUTO_TEST_CASE(nobody_can_change_the_size) { // S-1
  const auto file = make_shared_file("test", bytes).value();
  BOOST_TEST(ftruncate(file.get(), 1) == -1);
  BOOST_TEST(errno == EPERM);
  BOOST_TEST(ftruncate(file.get(), 2 * bytes) == -1);
  BOOST_TEST(fcntl(file.get(), F_ADD_SEALS, F_SEAL_WRITE) == -1);
  BOOST_TEST((fcntl(file.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

BOOST_AUTO_TEST_CASE(maps_no_file_that_could_shrink) { // S-2
  const unique_fd open_size(memfd_create("test", MFD_CLOEXEC));
  BOOST_REQUIRE(ftruncate(open_size.get(), bytes) == 0);
  BOOST_CHECK(shared_mapping::map(open_size, bytes).error().code == errc::invalid_argument);
  const unique_fd device(open("/dev/zero", O_RDWR | O_CLOEXEC));
  BOOST_CHECK(shared_mapping::map(device, bytes).error().code == errc::invalid_argument);
  const auto file = make_shared_file("test", bytes).value();
  BOOST_CHECK(shared_mapping::map(file, bytes + 1).error().code == errc::invalid_argument);
  BOOST_CHECK(shared_mapping::map(file, 0).error().code == errc::invalid_argument);
}

BOOST_AUTO_TEST_CASE(maps_at_the_given_address_or_not_at_all) {
  const auto file = make_shared_file("test", bytes).value();
  // An address that is free: where something was mapped until now.
  const auto address =
      reinterpret_cast<std::uintptr_t>(shared_mapping::map(file, bytes).value().memory().data());
  const auto wanted = shared_mapping::map(file, bytes, address);
  BOOST_REQUIRE(wanted);
  BOOST_TEST(reinterpret_cast<std::uintptr_t>(wanted->memory().data()) == address);
  wanted->memory().front() = std::byte{1};
  const auto other = make_shared_file("other", bytes).value();
  const auto taken = shared_mapping::map(other, bytes, address);
  BOOST_REQUIRE(!taken);
  BOOST_CHECK(taken.error().code == errc::resource_exhausted);
  BOOST_TEST(taken.error().context.find("the address is taken") != std::string::npos);
  BOOST_TEST((wanted->memory().front() == std::byte{1}));
}

BOOST_AUTO_TEST_CASE(the_memory_lives_as_long_as_anybody_maps_it) {
  const auto before = testing::open_fds();
  auto file = make_shared_file("test", bytes).value();
  auto first = shared_mapping::map(file, bytes).value();
  file.reset();
  BOOST_TEST(testing::open_fds() == before);
  first.memory().front() = std::byte{3};
  const auto moved = std::move(first);
  BOOST_TEST((moved.memory().front() == std::byte{3}));
}

BOOST_AUTO_TEST_CASE(an_absurd_size_is_refused) {
  const auto absurd = make_shared_file("test", std::numeric_limits<std::size_t>::max());
  BOOST_REQUIRE(!absurd);
  BOOST_CHECK(absurd.error().code == errc::resource_exhausted);
}

BOOST_AUTO_TEST_SUITE_END()
