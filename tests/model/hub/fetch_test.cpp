// Downloads from a local host that misbehaves on purpose; every request that it saw is compared with
// what was needed.
#include "model/hub/fetch.hpp"

#include "tests/model/hub/hub_server.hpp"
#include "tests/support/temporary_folder.hpp"

#include "model/hub/cache_folder.hpp"
#include "model/hub/checksum.hpp"
#include "model/hub/file_lock.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <thread>

namespace {

using namespace vdist;
using namespace vdist::hub;
using namespace vdist::hub::testing;
using nlohmann::json;
using vdist::testing::temporary_folder;
namespace fs = std::filesystem;

constexpr std::size_t large_bytes = 3'000'003;
constexpr const char* first_shard = "model-00001-of-00002.safetensors";
constexpr const char* second_shard = "model-00002-of-00002.safetensors";

std::string contents_of(std::size_t bytes, std::uint32_t seed) {
  std::string text(bytes, '\0');
  for (char& letter : text) {
    seed = seed * 1664525U + 1013904223U;
    letter = static_cast<char>(seed >> 24U);
  }
  return text;
}

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A repository on a host, and an empty cache.
struct fetch_fixture {
  fetch_fixture() {
    for (const char* name : {"http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"}) {
      ::unsetenv(name);
    }
    remote.write("config.json", R"({"architectures":["LlamaForCausalLM"]})");
    remote.write("tokenizer.json", "{}");
    remote.write("tokenizer_config.json", R"({"chat_template":"x"})");
    remote.write("README.md", "not needed");
    remote.write("pytorch_model.bin", "not needed");
  }

  void with_one_weight_file() { remote.write("model.safetensors", contents_of(large_bytes, 1)); }

  void with_two_weight_files() {
    remote.write(
        "model.safetensors.index.json",
        json{{"weight_map", {{"a", first_shard}, {"b", second_shard}, {"c", first_shard}}}}.dump());
    remote.write(first_shard, contents_of(large_bytes, 1));
    remote.write(second_shard, contents_of(large_bytes / 2, 2));
    remote.write("consolidated.safetensors", "the same again");
  }

  void serve(const json& scenario = json::object()) {
    server = std::make_unique<hub_server>(remote.path(), scenario);
  }

  [[nodiscard]] fetch_options options() const {
    fetch_options options;
    options.endpoint = server ? server->endpoint() : "http://127.0.0.1:9";
    options.cache = cache.path() / "hub";
    options.retry.backoff = std::chrono::milliseconds(1);
    options.disk_reserve_bytes = 0;
    return options;
  }

  result<fetched> fetch_it(const fetch_options& with, const fetch_progress& progress = {}) const {
    return fetch({.id = "org/toy", .revision = revision}, with, progress);
  }

  fetched must_fetch(const fetch_options& with) const {
    auto outcome = fetch_it(with);
    BOOST_REQUIRE_MESSAGE(outcome.has_value(), (outcome ? "" : outcome.error().context));
    return *outcome;
  }

  void check_fails(const fetch_options& with,
                   errc code,
                   std::initializer_list<std::string_view> parts) const {
    const auto outcome = fetch_it(with);
    BOOST_REQUIRE(!outcome.has_value());
    const std::string& text = outcome.error().context;
    BOOST_TEST((outcome.error().code == code), to_string(outcome.error().code) << ": " << text);
    BOOST_TEST(text.starts_with("fetch org/toy@" + revision + ": "), text);
    for (const std::string_view part : parts) {
      BOOST_TEST(text.find(part) != std::string::npos, part << " in " << text);
    }
    BOOST_TEST(text.find("sesame") == std::string::npos, "T-2: " << text);
  }

  [[nodiscard]] bool is_exact(const fs::path& snapshot, const std::string& file) const {
    return fs::is_symlink(snapshot / file) && read(snapshot / file) == read(remote.path() / file);
  }

  [[nodiscard]] cache_folder folder() const { return {cache.path() / "hub", "org/toy"}; }

  /// Of a weight file.
  [[nodiscard]] std::string checksum_of(const std::string& file) const {
    const std::string text = read(remote.path() / file);
    auto digest = running_digest::start(checksum_kind::sha256, text.size());
    digest->add(std::as_bytes(std::span(text)));
    return digest->finish();
  }

  [[nodiscard]] std::size_t files_in(const char* part) const {
    std::size_t count = 0;
    std::error_code absent;
    for (const auto& entry : fs::directory_iterator(folder().base() / part, absent)) {
      count += entry.path().extension() == ".incomplete" ? 0 : 1;
    }
    return count;
  }

  temporary_folder remote; // what the host has
  temporary_folder cache;
  std::string revision = "main";
  std::unique_ptr<hub_server> server;
};

using ranges = std::vector<std::string>;

} // namespace

BOOST_FIXTURE_TEST_SUITE(fetching, fetch_fixture)

BOOST_AUTO_TEST_CASE(a_fresh_download_brings_what_is_needed_in_the_layout_of_the_cache) {
  with_two_weight_files();
  serve();
  std::uint64_t last = 0;
  std::uint64_t total = 0;
  bool is_rising = true;
  const auto outcome = fetch_it(options(), [&](std::uint64_t done, std::uint64_t all) {
    is_rising = is_rising && done >= last && done <= all && (total == 0 || total == all);
    last = done;
    total = all;
  });
  BOOST_REQUIRE_MESSAGE(outcome.has_value(), (outcome ? "" : outcome.error().context));
  BOOST_TEST(outcome->commit == commit);
  BOOST_TEST(outcome->snapshot == cache.path() / "hub/models--org--toy/snapshots" / commit);
  std::uint64_t bytes = 0;
  for (const char* file : {"config.json",
                           "tokenizer.json",
                           "tokenizer_config.json",
                           "model.safetensors.index.json",
                           first_shard,
                           second_shard}) {
    BOOST_TEST(is_exact(outcome->snapshot, file), file);
    bytes += fs::file_size(remote.path() / file);
  }
  BOOST_TEST(fs::read_symlink(outcome->snapshot / first_shard)
             == "../../blobs/" + checksum_of(first_shard));
  BOOST_TEST(read(folder().reference("main")) == commit);
  BOOST_TEST(outcome->transferred_bytes == bytes);
  BOOST_TEST(is_rising);
  BOOST_TEST(last == total);
  BOOST_TEST(total == bytes - fs::file_size(remote.path() / "model.safetensors.index.json"));
  // F-2: nothing else, and nothing twice.
  BOOST_TEST(files_in("snapshots") == 1U);
  BOOST_TEST(files_in("blobs") == 6U);
  BOOST_TEST(server->requests().size() == 1U + 2U * 6U + 2U); // list, HEAD and GET, two redirects
}

BOOST_AUTO_TEST_CASE(F_1_what_is_in_the_cache_is_used_without_a_request) {
  with_one_weight_file();
  serve();
  must_fetch(options());
  const std::size_t before = server->requests().size();
  BOOST_TEST(must_fetch(options()).transferred_bytes == 0U);
  BOOST_TEST(server->requests().size() == before);
  // The commit itself too; and without a host.
  revision = commit;
  server.reset();
  BOOST_TEST(must_fetch(options()).commit == commit);
}

BOOST_AUTO_TEST_CASE(D_1_a_cut_connection_goes_on_where_it_stopped) {
  with_one_weight_file();
  serve({{"faults", {{"model.safetensors", {"cut:1000000", "cut:1000001", "cut:2500000"}}}}});
  const auto got = must_fetch(options());
  BOOST_TEST(is_exact(got.snapshot, "model.safetensors"));
  BOOST_TEST(server->downloads("model.safetensors")
             == (ranges{"", "bytes=1000000-", "bytes=1000001-", "bytes=2500000-"}));
}

BOOST_AUTO_TEST_CASE(D_1_the_next_fetch_brings_only_the_rest) {
  with_one_weight_file();
  serve({{"faults", {{"model.safetensors", {"cut:2000000"}}}}});
  auto once = options();
  once.retry.tries = 1;
  check_fails(once, errc::closed, {"model.safetensors"});
  BOOST_TEST(!fs::exists(folder().snapshot(commit) / "config.json"), "F-3");
  BOOST_TEST(fs::file_size(folder().partial_blob(checksum_of("model.safetensors"))) == 2'000'000U);
  const auto got = must_fetch(options());
  BOOST_TEST(got.transferred_bytes == large_bytes - 2'000'000);
  BOOST_TEST(is_exact(got.snapshot, "model.safetensors"));
  BOOST_TEST(server->downloads("model.safetensors") == (ranges{"", "bytes=2000000-"}));
  BOOST_TEST(server->downloads("config.json").size() == 1U);
}

BOOST_AUTO_TEST_CASE(D_1_a_host_without_ranges_begins_again) {
  with_one_weight_file();
  serve({{"faults", {{"model.safetensors", {"cut:2000000", "whole"}}}}});
  BOOST_TEST(is_exact(must_fetch(options()).snapshot, "model.safetensors"));
}

BOOST_AUTO_TEST_CASE(a_range_that_was_not_asked_for_is_refused) {
  with_one_weight_file();
  serve({{"faults", {{"model.safetensors", {"cut:2000000", "shift"}}}}});
  check_fails(options(), errc::corrupt, {"not the range that was asked for", "first=2000000"});
}

BOOST_AUTO_TEST_CASE(D_2_wrong_bytes_are_dropped_and_downloaded_again) {
  with_one_weight_file();
  remote.write("vocab.json", "{\"a\":1}"); // a small file has the other checksum
  serve({{"faults", {{"model.safetensors", {"wrong"}}, {"vocab.json", {"wrong"}}}}});
  const auto got = must_fetch(options());
  BOOST_TEST(is_exact(got.snapshot, "model.safetensors"));
  BOOST_TEST(is_exact(got.snapshot, "vocab.json"));
  BOOST_TEST(server->downloads("model.safetensors") == (ranges{"", ""}));
  BOOST_TEST(server->downloads("vocab.json") == (ranges{"", ""}));
}

BOOST_AUTO_TEST_CASE(D_2_bytes_that_stay_wrong_are_an_error_and_never_a_blob) {
  with_one_weight_file();
  serve({{"faults", {{"model.safetensors", {"wrong", "wrong", "wrong"}}}}});
  check_fails(options(), errc::corrupt, {"checksum", checksum_of("model.safetensors")});
  BOOST_TEST(!fs::exists(folder().blob(checksum_of("model.safetensors"))));
  BOOST_TEST(!fs::exists(folder().snapshot(commit) / "config.json"));
  BOOST_TEST(fs::file_size(folder().partial_blob(checksum_of("model.safetensors"))) == 0U);
}

BOOST_AUTO_TEST_CASE(D_2_a_partial_file_of_garbage_does_no_harm) {
  with_one_weight_file();
  serve();
  const auto partial = folder().partial_blob(checksum_of("model.safetensors"));
  for (const std::size_t bytes : {std::size_t{5'000}, large_bytes, large_bytes + 1}) {
    fs::create_directories(partial.parent_path());
    fs::remove(folder().snapshot(commit) / "config.json");
    fs::remove(folder().snapshot(commit) / "model.safetensors");
    fs::remove(folder().blob(checksum_of("model.safetensors")));
    std::ofstream(partial, std::ios::binary) << std::string(bytes, 'g');
    BOOST_TEST(is_exact(must_fetch(options()).snapshot, "model.safetensors"), bytes);
  }
}

BOOST_AUTO_TEST_CASE(a_blob_of_another_size_is_replaced) {
  with_one_weight_file();
  serve();
  cache.write(folder().blob(checksum_of("model.safetensors")), "cut by a crash");
  BOOST_TEST(is_exact(must_fetch(options()).snapshot, "model.safetensors"));
}

BOOST_AUTO_TEST_CASE(more_bytes_than_promised_are_refused) {
  with_one_weight_file();
  serve({{"faults", {{"model.safetensors", {"long"}}}}});
  check_fails(options(), errc::corrupt, {"more bytes than were promised", "bytes=3000003"});
}

BOOST_AUTO_TEST_CASE(a_busy_host_is_asked_again) {
  with_one_weight_file();
  serve({{"faults",
          {{"model.safetensors", {"status:503", "status:500"}}, {"config.json", {"status:429"}}}}});
  BOOST_TEST(is_exact(must_fetch(options()).snapshot, "model.safetensors"));
  BOOST_TEST(server->downloads("model.safetensors").size() == 3U);
}

BOOST_AUTO_TEST_CASE(a_host_that_stays_busy_is_given_up_after_the_tries) {
  with_one_weight_file();
  serve({{"faults", {{"model.safetensors", json::array_t(20, "status:503")}}}});
  auto thrice = options();
  thrice.retry.tries = 3;
  check_fails(thrice, errc::queue_full, {"busy", "status=503", "/store/model.safetensors"});
  BOOST_TEST(server->downloads("model.safetensors").size() == 3U);
}

BOOST_AUTO_TEST_CASE(a_host_that_is_not_there_is_given_up_after_the_tries) {
  check_fails(options(), errc::closed, {"127.0.0.1:9"});
}

BOOST_AUTO_TEST_CASE(a_silent_connection_is_ended_and_resumed) {
  with_one_weight_file();
  serve({{"faults", {{"model.safetensors", {"hold:1500000"}}}}});
  auto impatient = options();
  impatient.stall_timeout = std::chrono::milliseconds(200);
  BOOST_TEST(is_exact(must_fetch(impatient).snapshot, "model.safetensors"));
  BOOST_TEST(server->downloads("model.safetensors") == (ranges{"", "bytes=1500000-"}));
}

BOOST_AUTO_TEST_CASE(T_1_the_token_goes_to_the_host_and_nowhere_else) {
  with_one_weight_file();
  serve({{"token", "hf_sesame"}});
  auto with_token = options();
  with_token.token = config::secret("hf_sesame");
  must_fetch(with_token);
  std::size_t at_store = 0;
  for (const seen_request& request : server->requests()) {
    BOOST_TEST(request.token == (request.server == "host" ? "Bearer hf_sesame" : ""), request.path);
    at_store += request.server == "store" ? 1 : 0;
  }
  BOOST_TEST(at_store == 1U);
}

BOOST_AUTO_TEST_CASE(a_token_that_is_missing_wrong_or_malformed_is_said_and_never_shown) {
  with_one_weight_file();
  serve({{"token", "right"}});
  check_fails(options(), errc::bad_configuration, {"HF_TOKEN", "status=401"});
  auto with_token = options();
  with_token.token = config::secret("sesame");
  check_fails(with_token, errc::bad_configuration, {"HF_TOKEN", "status=401"});
  BOOST_TEST(server->requests().size() == 2U); // no second try
  with_token.token = config::secret("sesame\r\nX-Injected: 1");
  check_fails(with_token, errc::bad_configuration, {"HF_TOKEN: has characters"});
  BOOST_TEST(server->requests().size() == 2U);
}

BOOST_AUTO_TEST_CASE(what_does_not_exist_or_is_not_granted_is_said) {
  with_one_weight_file();
  serve();
  revision = "v9";
  check_fails(options(), errc::not_found, {"does not exist", "status=404", "revision/v9"});
  revision = "refs/pr/1"; // one part of the address
  check_fails(options(), errc::not_found, {"revision/refs%2Fpr%2F1"});
  revision = "main";
  serve({{"repository_status", 403}});
  check_fails(options(), errc::bad_configuration, {"granted", "status=403"});
}

BOOST_AUTO_TEST_CASE(an_endpoint_that_is_no_address_is_said) {
  auto wrong = options();
  for (const char* endpoint : {"", "huggingface.co:x", "ftp://host", "file:///etc/passwd"}) {
    wrong.endpoint = endpoint;
    check_fails(wrong, errc::bad_configuration, {"HF_ENDPOINT"});
  }
}

BOOST_AUTO_TEST_CASE(offline_means_no_request) {
  with_one_weight_file();
  serve();
  auto offline = options();
  offline.is_offline = true;
  check_fails(offline, errc::not_found, {"HF_HUB_OFFLINE", cache.path().string()});
  BOOST_TEST(server->requests().empty());
  must_fetch(options());
  const std::size_t before = server->requests().size();
  BOOST_TEST(must_fetch(offline).commit == commit);
  BOOST_TEST(server->requests().size() == before);
}

BOOST_AUTO_TEST_CASE(a_snapshot_of_another_tool_is_completed) {
  with_two_weight_files();
  serve();
  const auto config_only = folder().snapshot(commit);
  cache.write("hub/models--org--toy/refs/main", std::string(commit) + "\n");
  cache.write(fs::path("hub/models--org--toy/snapshots") / commit / "config.json", "{}");
  const auto got = must_fetch(options());
  BOOST_TEST(got.snapshot == config_only);
  BOOST_TEST(read(config_only / "config.json") == "{}"); // of a commit: not fetched again
  BOOST_TEST(is_exact(config_only, first_shard));
  BOOST_TEST(is_exact(config_only, "tokenizer.json"));
  // Then one weight file is lost.
  fs::remove(config_only / second_shard);
  fs::remove(folder().blob(checksum_of(second_shard)));
  BOOST_TEST(must_fetch(options()).transferred_bytes
             == fs::file_size(remote.path() / second_shard));
  BOOST_TEST(is_exact(config_only, second_shard));
}

BOOST_AUTO_TEST_CASE(a_random_model_needs_no_weights) {
  serve(); // and the repository may lack them
  auto small = options();
  small.wanted = content::without_weights;
  const auto got = must_fetch(small);
  BOOST_TEST(is_exact(got.snapshot, "tokenizer.json"));
  BOOST_TEST(must_fetch(small).transferred_bytes == 0U);
  check_fails(options(), errc::not_found, {"no weights that can be read", "model.safetensors"});
}

BOOST_AUTO_TEST_CASE(names_that_lead_out_of_the_repository_are_refused) {
  with_one_weight_file();
  serve({{"more_siblings", {"../outside"}}});
  check_fails(options(), errc::corrupt, {"not the name of a file in the repository"});
  BOOST_TEST(!fs::exists(folder().base()));
  serve({{"more_siblings", {"onnx/model.safetensors", "a b ü.txt", ".gitattributes"}}});
  must_fetch(options());
}

BOOST_AUTO_TEST_CASE(an_index_that_leads_out_or_names_what_is_missing_is_refused) {
  serve();
  for (const char* name : {"../model.safetensors", "/model.safetensors", ".hidden", "sub/x"}) {
    remote.write("model.safetensors.index.json", json{{"weight_map", {{"a", name}}}}.dump());
    check_fails(options(), errc::corrupt, {"none of its folder"});
  }
  remote.write("model.safetensors.index.json",
               json{{"weight_map", {{"a", "x.safetensors"}}}}.dump());
  check_fails(options(), errc::not_found, {"host lacks", "file=x.safetensors"});
}

BOOST_AUTO_TEST_CASE(answers_without_bound_are_refused) {
  with_one_weight_file();
  serve({{"many_siblings", 20'001}});
  check_fails(options(), errc::corrupt, {"too many files", "files_max=20000"});
  serve({{"padding", listing_bytes_max}});
  check_fails(options(), errc::corrupt, {"too long", "bytes_max=16777216"});
  serve({{"no_redirect", true}, {"faults", {{"model.safetensors", json::array_t(9, "loop")}}}});
  check_fails(options(), errc::io_failed, {"too many redirects", "redirects_max=5"});
}

BOOST_AUTO_TEST_CASE(a_file_without_a_checksum_is_refused) {
  with_one_weight_file();
  serve({{"no_checksum", true}});
  check_fails(options(), errc::corrupt, {"states no usable checksum"});
}

BOOST_AUTO_TEST_CASE(a_disk_that_is_too_small_is_said_before_anything_is_downloaded) {
  with_one_weight_file();
  serve();
  auto large = options();
  large.disk_reserve_bytes = std::uint64_t{1} << 60U;
  check_fails(
      large, errc::resource_exhausted, {"not enough space", "bytes_free=", "bytes_needed="});
  BOOST_TEST(server->downloads("model.safetensors").empty());
}

BOOST_AUTO_TEST_CASE(a_stop_ends_a_download_under_way) {
  with_one_weight_file();
  serve({{"faults", {{"model.safetensors", {"hold:1500000"}}}}});
  std::stop_source stop;
  auto stoppable = options();
  stoppable.stop = stop.get_token();
  std::jthread operator_thread([&] {
    server->next_line(); // held
    stop.request_stop();
  });
  check_fails(stoppable, errc::cancelled, {"cancelled"});
  BOOST_TEST(!fs::exists(folder().snapshot(commit) / "config.json"));
}

BOOST_AUTO_TEST_CASE(D_3_two_processes_download_each_file_once) {
  with_two_weight_files();
  serve({{"meet", 2}}); // both find an empty cache before either begins
  pid_t children[2];
  for (pid_t& child : children) {
    child = ::fork();
    BOOST_REQUIRE(child >= 0);
    if (child == 0) {
      const auto outcome = fetch_it(options());
      ::_exit(outcome && is_exact(outcome->snapshot, first_shard)
                      && is_exact(outcome->snapshot, second_shard)
                  ? 0
                  : 1);
    }
  }
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    BOOST_TEST(status == 0);
  }
  BOOST_TEST(server->downloads(first_shard) == ranges{""});
  BOOST_TEST(server->downloads(second_shard) == ranges{""});
  BOOST_TEST(server->downloads("config.json") == ranges{""});
}

BOOST_AUTO_TEST_CASE(D_3_a_killed_download_leaves_no_lock_and_is_resumed) {
  with_one_weight_file();
  serve({{"faults", {{"model.safetensors", {"hold:1500000"}}}}});
  const pid_t child = ::fork();
  BOOST_REQUIRE(child >= 0);
  if (child == 0) {
    ::_exit(fetch_it(options()) ? 0 : 1);
  }
  BOOST_TEST(server->next_line() == "held model.safetensors");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  const auto there = fs::file_size(folder().partial_blob(checksum_of("model.safetensors")));
  const auto got = must_fetch(options());
  BOOST_TEST(is_exact(got.snapshot, "model.safetensors"));
  const auto rest = there == 0 ? std::string() : "bytes=" + std::to_string(there) + "-";
  BOOST_TEST(server->downloads("model.safetensors") == (ranges{"", rest}));
}

BOOST_AUTO_TEST_CASE(D_3_a_writer_without_progress_is_not_waited_for) {
  with_one_weight_file();
  serve();
  const auto checksum = checksum_of("model.safetensors");
  BOOST_REQUIRE(folder().create(commit).has_value());
  const auto held = file_lock::try_lock(folder().lock(checksum));
  BOOST_REQUIRE(held.has_value());
  auto impatient = options();
  impatient.lock_stall = std::chrono::milliseconds(120);
  check_fails(impatient, errc::timed_out, {"another process", checksum + ".lock", "stall_ms=120"});
}

BOOST_AUTO_TEST_SUITE_END()
