#include "tests/support/engine_driver.hpp"

#include "tests/support/isolation_under_test.hpp"

#include "runtime/base/log.hpp"
#include "runtime/config/environment.hpp"
#include "runtime/config/load.hpp"

#include <boost/test/unit_test.hpp>

#include <bit>
#include <iterator>

namespace vdist::testing {

namespace {

using namespace std::chrono_literals;

/// Longest silence of a stream, and longest wait for the router: generous, the machine may be busy.
constexpr auto patience = 60s;

bool is_same(const api::token_info& left, const api::token_info& right) {
  return left.id == right.id && left.text == right.text
         && std::bit_cast<std::uint32_t>(left.logprob)
                == std::bit_cast<std::uint32_t>(right.logprob);
}

bool is_same(const api::position_logprobs& left, const api::position_logprobs& right) {
  return is_same(left.chosen, right.chosen)
         && std::equal(left.top.begin(),
                       left.top.end(),
                       right.top.begin(),
                       right.top.end(),
                       [](const auto& a, const auto& b) { return is_same(a, b); });
}

} // namespace

bool operator==(const heard& left, const heard& right) {
  return left.text == right.text && left.token_ids == right.token_ids && left.reason == right.reason
         && std::equal(left.logprobs.begin(),
                       left.logprobs.end(),
                       right.logprobs.begin(),
                       right.logprobs.end(),
                       [](const auto& a, const auto& b) { return is_same(a, b); });
}

std::ostream& operator<<(std::ostream& out, const heard& value) {
  out << '"' << value.text << "\" [";
  for (const auto id : value.token_ids) {
    out << id << ' ';
  }
  out << "] " << protocol::to_string(value.reason) << ' ' << value.message;
  for (const auto& position : value.logprobs) {
    out << ' ' << position.chosen.logprob << "(+" << position.top.size() << ')';
  }
  return out;
}

engine_driver::engine_driver(std::string_view toml, const std::vector<std::string>& overrides) {
  log::initialise("off");
  auto all = overrides;
  all.push_back("log.level=off"); // of worker processes too
  const auto isolation = isolation_under_test();
  if (!isolation.empty()) {
    all.push_back("cluster.isolation=" + isolation);
  }
  auto config = config::parse(toml, "test.toml", all);
  BOOST_REQUIRE_MESSAGE(config.has_value(), (config ? "" : config.error().context));
  auto started = engine::start(*config, config::read_environment(), {});
  BOOST_REQUIRE_MESSAGE(started.has_value(), (started ? "" : started.error().context));
  engine_ = std::move(*started);
}

std::vector<heard> engine_driver::run(const std::vector<generate_request>& requests) {
  std::vector<std::shared_ptr<actors::text_stream>> streams;
  for (const auto& request : requests) {
    auto made = engine_->generate(request);
    BOOST_REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().context));
    std::move(made->sequences.begin(), made->sequences.end(), std::back_inserter(streams));
  }
  std::vector<heard> all;
  for (const auto& stream : streams) {
    all.push_back(read_to_end(*stream));
  }
  return all;
}

std::vector<heard> engine_driver::run_alone(const std::vector<generate_request>& requests) {
  std::vector<heard> all;
  for (const auto& request : requests) {
    auto some = run({request});
    std::move(some.begin(), some.end(), std::back_inserter(all));
  }
  return all;
}

engine_status engine_driver::settled() {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  auto status = engine_->status();
  while (status.active_requests > 0 && std::chrono::steady_clock::now() < deadline) {
    status = engine_->status();
  }
  return status;
}

heard read_to_end(actors::text_stream& stream) {
  heard all;
  while (all.reason == protocol::finish_reason::none) {
    auto chunk = stream.next(patience);
    BOOST_REQUIRE_MESSAGE(chunk.has_value(), (chunk ? "" : chunk.error().context));
    BOOST_REQUIRE_MESSAGE(chunk->has_value(), "a stream fell silent");
    auto& piece = **chunk;
    all.text += piece.text;
    all.token_ids.insert(all.token_ids.end(), piece.token_ids.begin(), piece.token_ids.end());
    std::move(piece.logprobs.begin(), piece.logprobs.end(), std::back_inserter(all.logprobs));
    all.reason = piece.reason;
    all.message = piece.message;
  }
  const auto after = stream.next(0s);
  BOOST_REQUIRE(!after.has_value());
  BOOST_TEST((after.error().code == errc::closed), "one end only");
  return all;
}

std::string tiny_tales_config() {
  return "[model]\npath = \"" VDIST_SOURCE_DIR
         "/examples/models/tiny-tales\"\nmax_model_len = 192\n"
         "[device]\nkind = \"cpu\"\nthreads = 1\nkv_cache_bytes = 16777216\n"
         "[scheduler]\nmax_batch_tokens = 512\nmax_sequences = 32\n"
         "[fault_tolerance]\nmax_restarts = 1000\nrestart_backoff_ms = 0\npoison_strikes = 0\n";
}

std::string sim_config() {
  return "[device]\nkind = \"sim\"\nkv_cache_bytes = 16777216\n"
         "[device.sim]\nvocabulary = 1000\nlayers = 8\nheads = 8\nkv_heads = 8\nhidden = "
         "64\nmax_model_len = 256\n"
         "[scheduler]\nmax_batch_tokens = 512\nmax_sequences = 64\n"
         "[fault_tolerance]\nmax_restarts = 1000\nrestart_backoff_ms = 0\npoison_strikes = 0\n";
}

} // namespace vdist::testing
