// what the driver says of devices, by what follows.
#include "actors/system/device_watch.hpp"

#include <boost/test/unit_test.hpp>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <vector>

using namespace vdist;
using namespace vdist::actors;

namespace {

/// A driver that says what a test wants.
class told_events {
public:
  bool next(std::chrono::milliseconds timeout, kernels::device_event& out) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, timeout, [this] { return !waiting_.empty(); })) {
      return false;
    }
    out = waiting_.front();
    waiting_.pop_front();
    changed_.notify_all();
    return true;
  }

  void tell(std::int32_t device, std::uint64_t xid) {
    std::unique_lock lock(mutex_);
    waiting_.push_back({.device = device, .xid = xid});
    changed_.notify_all();
    changed_.wait(lock, [this] { return waiting_.empty(); });
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<kernels::device_event> waiting_;
};

} // namespace

BOOST_AUTO_TEST_SUITE(events_of_devices)

BOOST_AUTO_TEST_CASE(x1_all_are_counted_and_a_lost_device_is_told_once) {
  told_events driver;
  device_event_counts counts{};
  std::vector<std::string> lost;
  {
    const device_watch watch(
        {.next = [&driver](std::chrono::milliseconds timeout,
                           kernels::device_event& out) { return driver.next(timeout, out); },
         .on_lost =
             [&lost](std::int32_t /*device*/, const std::string& reason) {
               lost.push_back(reason);
             }},
        counts);
    driver.tell(0, 31);
    driver.tell(0, 43);
    driver.tell(1, 63);
    driver.tell(1, 79);
    driver.tell(1, 79);
    driver.tell(1, 154);
  } // the last one has been taken in when the thread has ended
  BOOST_TEST(metrics::read(counts[0]) == 2U); // none
  BOOST_TEST(metrics::read(counts[1]) == 2U); // worker
  BOOST_TEST(metrics::read(counts[2]) == 2U); // device
  BOOST_TEST(metrics::read(counts[3]) == 0U);
  BOOST_REQUIRE(lost.size() == 1U);
  BOOST_TEST(lost.front() == "device 1 must not be used any more: the driver reports Xid 79");
}

BOOST_AUTO_TEST_SUITE_END()
