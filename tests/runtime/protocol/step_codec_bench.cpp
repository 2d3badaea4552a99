// Time to encode and decode a plan and a result; the median of many batches, microseconds.
#include "tests/runtime/protocol/step_examples.hpp"

#include "runtime/protocol/step_codec.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>

using namespace vdist;
using namespace vdist::protocol;
using namespace vdist::testing;

namespace {

template <class Work>
double median_us(Work&& work) {
  constexpr int batches = 101;
  constexpr int per_batch = 200;
  std::vector<double> times;
  for (int b = 0; b < batches; ++b) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < per_batch; ++i) {
      work();
    }
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    times.push_back(took.count() / per_batch);
  }
  std::nth_element(times.begin(), times.begin() + batches / 2, times.end());
  return times[batches / 2];
}

template <class Message>
void report(const char* name, const Message& message) {
  std::vector<std::byte> bytes;
  Message target;
  const double encode_us = median_us([&] { encode(message, bytes); });
  const double decode_us = median_us([&] { static_cast<void>(decode(bytes, target)); });
  std::cout << name << ": " << bytes.size() << " bytes, encode " << encode_us << " us, decode "
            << decode_us << " us\n";
  BOOST_TEST(same(target, message));
}

} // namespace

BOOST_AUTO_TEST_CASE(step_codec_times) {
  for (const std::size_t sequences : {8U, 256U, 1024U}) {
    const auto label = std::to_string(sequences) + " sequences";
    report(("plan, " + label).c_str(), example_plan(0, sequences));
    report(("result, " + label).c_str(), example_result(0, sequences));
  }
}
