// The tensor plane's interfaces over groups of devices, and their end by the replica's fence. Ranks share one GPU.
#include "tests/kernels/cuda/device_group_fixture.hpp"

#include "model/exec/device_links.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace vdist;
using namespace vdist::kernels::testing;

namespace utf = boost::unit_test;

/// Two ranks whose links are made by `make(backend, settings)`.
template <class Link>
struct two_links {
  explicit two_links(std::chrono::milliseconds wait, const kernels::exchange_layout& layout)
      : ranks({0, 0}, layout) {
    for (std::size_t r = 0; r < 2; ++r) {
      exec::device_link_settings settings{.group = {.rank = static_cast<std::int32_t>(r),
                                                    .ranks = 2,
                                                    .layout = layout,
                                                    .wait = wait},
                                          .stop = &stop,
                                          .waits = &waits};
      settings.group.regions = {ranks.at(0).region, ranks.at(1).region};
      auto made = [&] {
        if constexpr (std::is_same_v<Link, exec::device_pipe>) {
          return exec::make_device_pipe(*ranks.at(r).ops, settings);
        } else {
          return exec::make_device_communicator(*ranks.at(r).ops, settings);
        }
      }();
      BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? std::string() : made.error().context));
      links.push_back(std::move(*made));
    }
  }

  void start(std::uint32_t now) {
    for (auto& link : links) {
      const auto started = link->start_epoch(epoch(now));
      BOOST_REQUIRE_MESSAGE(started.has_value(),
                            (started ? std::string() : started.error().context));
    }
  }

  rank_threads ranks;
  system_clock time;
  frame::fence stop;
  frame::wait_policy waits{{.spin_budget = std::chrono::microseconds(0)}, time};
  std::vector<std::unique_ptr<Link>> links; // first to end
};

using two_communicators = two_links<exec::device_communicator>;

constexpr std::size_t count = 5000;

} // namespace

BOOST_AUTO_TEST_SUITE(device_links, *utf::precondition(has_gpu))

BOOST_AUTO_TEST_CASE(a_communicator_adds_and_a_fence_ends_its_waits) { // L-1 to L-3
  two_communicators group(std::chrono::seconds(20), kernels::group_layout(2));
  const auto values = rank_values(2, count, 3);
  const auto want = tree_sums(values);
  std::vector<std::unique_ptr<device_array<float>>> data;
  for (std::size_t r = 0; r < 2; ++r) {
    data.push_back(std::make_unique<device_array<float>>(*group.ranks.at(r).ops, values[r]));
  }
  BOOST_TEST(
      (group.links[0]->all_reduce_sum({data[0]->data(), count}).error().code == errc::aborted));
  group.start(1);
  BOOST_TEST((group.links[0]->start_epoch(epoch(1)).error().code == errc::stale));
  group.ranks.run([&](rank_threads::rank&, std::size_t r) {
    (void)group.links[r]->all_reduce_sum({data[r]->data(), count});
  });
  for (std::size_t r = 0; r < 2; ++r) {
    BOOST_TEST(group.links[r]->status().has_value());
    BOOST_TEST(have_equal_bits(data[r]->read(), want));
  }
  std::thread breaker([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    group.stop.raise(epoch(2));
  });
  group.ranks.run({0}, [&](rank_threads::rank&, std::size_t r) {
    BOOST_TEST(group.links[r]->all_reduce_sum({data[r]->data(), count}).has_value()); // L-1
  });
  breaker.join();
  BOOST_REQUIRE(!group.links[0]->status());
  BOOST_TEST((group.links[0]->status().error().code == errc::aborted));
  group.start(2);
  group.ranks.run([&](rank_threads::rank&, std::size_t r) { (void)group.links[r]->barrier(); });
  BOOST_TEST(group.links[0]->status().has_value());
}

BOOST_AUTO_TEST_CASE(a_communicator_gathers_whole_rows) {
  constexpr std::size_t rows = 5;
  constexpr std::size_t part = count / rows;
  two_communicators group(std::chrono::seconds(20), kernels::group_layout(2));
  const auto values = rank_values(2, count, 4);
  std::vector<std::unique_ptr<device_array<float>>> in;
  std::vector<std::unique_ptr<device_array<float>>> out;
  std::vector<float> want;
  for (std::size_t r = 0; r < 2; ++r) {
    auto& device = *group.ranks.at(r).ops;
    in.push_back(std::make_unique<device_array<float>>(device, values[r]));
    out.push_back(std::make_unique<device_array<float>>(device, std::vector<float>(2 * count)));
  }
  for (std::size_t row = 0; row < rows; ++row) {
    for (const auto& given : values) {
      want.insert(want.end(), &given[row * part], &given[row * part] + part);
    }
  }
  group.start(1);
  const auto refused = group.links[0]->all_gather({in[0]->data(), 7}, {out[0]->data(), 14}, 2);
  BOOST_TEST((refused.error().code == errc::invalid_argument));
  group.ranks.run([&](rank_threads::rank&, std::size_t r) {
    (void)group.links[r]->all_gather({in[r]->data(), count}, {out[r]->data(), 2 * count}, rows);
  });
  for (std::size_t r = 0; r < 2; ++r) {
    BOOST_TEST(group.links[r]->status().has_value());
    BOOST_TEST(have_equal_bits(out[r]->read(), want));
  }
}

BOOST_AUTO_TEST_CASE(a_late_rank_is_named_and_everything_behind_falls_through) { // L-1, L-2
  two_communicators group(std::chrono::milliseconds(200), kernels::group_layout(2));
  const device_array<float> data(*group.ranks.at(1).ops, std::vector<float>(count, 1.0F));
  group.start(1);
  group.ranks.run({1}, [&](rank_threads::rank&, std::size_t r) {
    for (int i = 0; i < 100; ++i) {
      (void)group.links[r]->all_reduce_sum({data.data(), count});
    }
  });
  const auto status = group.links[1]->status();
  BOOST_REQUIRE(!status);
  BOOST_TEST((status.error().code == errc::timed_out));
  BOOST_TEST(status.error().context.find("all_reduce_sum: rank 0 is late") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_pipe_has_a_sending_and_a_receiving_end) {
  two_links<exec::device_pipe> pipe(std::chrono::seconds(20), kernels::pipe_layout());
  const auto values = rank_values(1, count, 9).front();
  const device_array<float> from(*pipe.ranks.at(0).ops, values);
  const device_array<float> to(*pipe.ranks.at(1).ops, std::vector<float>(count));
  pipe.start(1);
  BOOST_TEST((pipe.links[1]->send({from.data(), count}).error().code == errc::invalid_argument));
  pipe.ranks.run([&](rank_threads::rank&, std::size_t r) {
    (void)(r == 0 ? pipe.links[0]->send({from.data(), count})
                  : pipe.links[1]->recv({to.data(), count}));
  });
  BOOST_TEST(pipe.links[0]->status().has_value());
  BOOST_TEST(pipe.links[1]->status().has_value());
  BOOST_TEST(have_equal_bits(to.read(), values));
}

BOOST_AUTO_TEST_SUITE_END()
