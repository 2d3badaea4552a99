// E-1 to E-4: what the numbers of CUDA's runtime and of the driver mean for whoever computes on a GPU.
#include "kernels/device_fault.hpp"

#include <boost/test/unit_test.hpp>

#include <initializer_list>

using namespace vdist::kernels;

namespace {

void check_cuda_errors(fault_class wanted, std::initializer_list<int> codes) {
  for (const auto code : codes) {
    BOOST_TEST(to_string(class_of_cuda_error(code)) == to_string(wanted), "cudaError " << code);
  }
}

void check_xids(fault_class wanted, std::initializer_list<std::uint64_t> xids) {
  for (const auto xid : xids) {
    BOOST_TEST(to_string(class_of_xid(xid)) == to_string(wanted), "Xid " << xid);
  }
}

} // namespace

BOOST_AUTO_TEST_CASE(e1_errors_of_one_process_leave_the_device_to_others) {
  check_cuda_errors(fault_class::worker, {1, 2, 46, 226, 700, 702, 710, 715, 716, 719, 999, 12345});
  check_xids(fault_class::worker, {8, 11, 13, 25, 31, 32, 39, 43, 45, 69, 77, 80, 85, 94, 137});
}

BOOST_AUTO_TEST_CASE(e2_a_device_that_needs_repair_is_not_used_again) {
  check_cuda_errors(fault_class::device, {101, 214, 220});
  check_xids(fault_class::device,
             {46, 48, 62, 64, 74, 79, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158});
}

BOOST_AUTO_TEST_CASE(e3_what_all_devices_need_is_the_hosts) {
  check_cuda_errors(fault_class::host, {100, 802, 803});
  check_xids(fault_class::host, {151});
}

BOOST_AUTO_TEST_CASE(e4_what_is_mended_or_unknown_is_logged_only) {
  check_cuda_errors(fault_class::none, {0});
  check_xids(fault_class::none, {0, 1, 61, 63, 68, 92, 121, 145, 149, 154, 157, 1'000'000});
}
