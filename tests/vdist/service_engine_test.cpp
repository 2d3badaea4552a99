// of vdist/actors.hpp: an engine among the actors of somebody else.
#include "tests/vdist/api_fixture.hpp"

#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>

#include <future>
#include <optional>

#include "vdist/actors.hpp"

using namespace std::chrono_literals;
using vdist::error_code;
using vdist::finish_reason;
using namespace vdist::testing;

namespace {

/// A service with an actor system of its own and an engine in it; destroyed in the order that actors.hpp asks for.
struct service {
  struct config : caf::actor_system_config {
    config() {
      set("scheduler.policy", caf::atom("sharing"));
      set("scheduler.max-threads", std::size_t{2});
    }
  };

  explicit service(std::vector<std::string> settings = {}) {
    settings.emplace_back("log.level=off");
    auto made =
        vdist::service_engine::from_text(system, sim_config(), {.settings = std::move(settings)});
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message));
    engine.emplace(std::move(*made));
  }

  config settings;
  caf::actor_system system{settings};
  std::optional<vdist::service_engine> engine;
};

vdist::submit_outcome
submit(caf::scoped_actor& self, const service& at, vdist::generate_request request) {
  vdist::submit_outcome got;
  self->request(at.engine->handle(),
                caf::duration(long_time),
                vdist::submit_request{std::move(request), caf::actor_cast<caf::actor>(self)})
      .receive([&got](const vdist::submit_outcome& outcome) { got = outcome; },
               [](const caf::error&) { BOOST_FAIL("the engine does not answer"); });
  return got;
}

struct heard_stream {
  std::vector<std::int32_t> tokens;
  finish_reason reason = finish_reason::none;
  vdist::engine_error cause{error_code::internal, {}};
};

heard_stream read_to_end(caf::scoped_actor& self, std::uint64_t stream) {
  heard_stream all;
  for (bool has_ended = false; !has_ended;) {
    self->receive(
        [&all, stream](const vdist::stream_event& message) {
          BOOST_TEST(message.stream == stream);
          all.tokens.insert(
              all.tokens.end(), message.event.token_ids.begin(), message.event.token_ids.end());
          all.reason = message.event.reason;
        },
        [&all, &has_ended, stream](const vdist::stream_end& message) {
          BOOST_TEST(message.stream == stream);
          all.cause = message.cause;
          has_ended = true;
        },
        caf::after(long_time) >>
            [&has_ended] {
              BOOST_ERROR("a stream fell silent");
              has_ended = true;
            });
  }
  self->receive(
      [](const vdist::stream_event&) { BOOST_ERROR("A-3: something comes behind the end"); },
      caf::after(0s) >> [] {});
  return all;
}

} // namespace

BOOST_AUTO_TEST_SUITE(vdist_actors)

BOOST_AUTO_TEST_CASE(messages_carry_the_same_tokens) {
  service at;
  const auto expected = tokens_of(at.engine->core(), sim_request(30));
  caf::scoped_actor self{at.system};
  const auto outcome = submit(self, at, sim_request(30));
  BOOST_REQUIRE(outcome.stream != 0U);
  BOOST_TEST(outcome.prompt_tokens == 3);
  const auto heard = read_to_end(self, outcome.stream);
  BOOST_TEST(heard.tokens == expected, boost::test_tools::per_element());
  BOOST_TEST((heard.reason == finish_reason::length));
  BOOST_TEST((heard.cause.code == error_code::none));
}

BOOST_AUTO_TEST_CASE(refusals_come_with_their_reason) {
  service at;
  caf::scoped_actor self{at.system};
  auto hot = sim_request(5);
  hot.sampling.temperature = 9.0F;
  const auto outcome = submit(self, at, hot);
  BOOST_TEST(outcome.stream == 0U);
  BOOST_TEST((outcome.cause.code == error_code::invalid_argument));
}

BOOST_AUTO_TEST_CASE(the_handle_survives_workers_and_routers) {
  service at;
  caf::scoped_actor self{at.system};
  const auto expected = tokens_of(at.engine->core(), sim_request(60));
  for (const auto* point : {"worker.step_begin", "router.tokens", "router.submit"}) {
    BOOST_REQUIRE(
        inside(at.engine->core())
            ->points()
            .arm({.point = point, .action = vdist::failpoint_action::kill_actor, .count = 2}));
    const auto outcome = submit(self, at, sim_request(60));
    BOOST_REQUIRE_MESSAGE(outcome.stream != 0U, outcome.cause.message);
    BOOST_TEST(read_to_end(self, outcome.stream).tokens == expected,
               boost::test_tools::per_element());
    BOOST_TEST(inside(at.engine->core())->points().hits().back() > 0U, "A-1: it was really killed");
  }
  BOOST_TEST(at.engine->core().stats()->actor_restarts > 0U);
}

BOOST_AUTO_TEST_CASE(a_cancelled_stream_ends_as_such) {
  service at({"device.sim.step_us=2000"});
  caf::scoped_actor self{at.system};
  const auto outcome = submit(self, at, sim_request(200));
  self->send(at.engine->handle(), vdist::cancel_stream{outcome.stream});
  const auto heard = read_to_end(self, outcome.stream);
  BOOST_TEST((heard.reason == finish_reason::cancelled));
  self->send(at.engine->handle(), vdist::cancel_stream{outcome.stream}); // has ended: ignored
}

BOOST_AUTO_TEST_CASE(a_reader_that_ends_cancels_its_streams) {
  service at({"device.sim.step_us=2000"});
  {
    caf::scoped_actor self{at.system};
    BOOST_TEST(submit(self, at, sim_request(240)).stream != 0U);
    BOOST_TEST(submit(self, at, sim_request(240)).stream != 0U);
  }
  BOOST_TEST(at.engine->core().drain(long_time).has_value());
  BOOST_TEST(at.engine->core().stats()->computed_tokens < 240U, "A-4");
}

BOOST_AUTO_TEST_CASE(its_end_is_told_to_readers_and_takes_nobody_else_along) {
  service at({"device.sim.step_us=2000"});
  const auto before = at.system.registry().running();
  const auto bystander = at.system.spawn([](caf::event_based_actor*) -> caf::behavior {
    return {[](int value) {
      return value + 1;
    }};
  });
  caf::scoped_actor self{at.system};
  const auto outcome = submit(self, at, sim_request(240));
  at.engine.reset();
  const auto heard = read_to_end(self, outcome.stream);
  BOOST_TEST((heard.cause.code == error_code::closed));
  self->request(bystander, caf::duration(long_time), 1)
      .receive([](int value) { BOOST_TEST(value == 2); },
               [](const caf::error&) { BOOST_ERROR("it has ended"); });
  self->send_exit(bystander, caf::exit_reason::user_shutdown);
  self->wait_for(bystander);
  BOOST_TEST(before > 5U, "they were here");
  // ~service: the system's destructor waits for every actor that is left, so this case would not end.
}

BOOST_AUTO_TEST_CASE(two_engines_share_a_system) {
  service at;
  auto other =
      vdist::service_engine::from_text(at.system, sim_config(), {.settings = {"log.level=off"}});
  BOOST_REQUIRE(other.has_value());
  const auto expected = tokens_of(at.engine->core(), sim_request(10));
  at.engine.reset();
  BOOST_TEST(tokens_of(other->core(), sim_request(10)) == expected,
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
