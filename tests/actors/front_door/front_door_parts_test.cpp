// What the front door is made of, alone: ids of events, names of requests, keys, prompts, the pool.
#include "tests/support/temporary_folder.hpp"

#include "actors/front_door/api_keys.hpp"
#include "actors/front_door/event_id.hpp"
#include "actors/front_door/request_name.hpp"
#include "actors/front_door/request_reading.hpp"
#include "actors/front_door/work_pool.hpp"

#include <boost/test/unit_test.hpp>

#include <latch>
#include <set>

using namespace vdist;
using namespace vdist::actors;
using namespace vdist::testing;

namespace {

config::server_section with_key_file(const std::string& path) {
  config::server_section settings;
  settings.api_key_file = path;
  return settings;
}

} // namespace

BOOST_AUTO_TEST_SUITE(front_door_parts)

BOOST_AUTO_TEST_CASE(an_event_id_comes_back_as_it_was_written) { // I-1
  for (const std::vector<std::uint32_t>& progress :
       {std::vector<std::uint32_t>{0}, {17}, {17, 4, 0}, {4294967295U, 1}}) {
    std::string text;
    append_event_id(text, progress);
    BOOST_REQUIRE(text.starts_with("id: "));
    const auto id = text.substr(4, text.size() - 5);
    const auto again = parse_event_id(id, progress.size());
    BOOST_REQUIRE(again.has_value());
    BOOST_TEST(*again == progress, boost::test_tools::per_element());
    BOOST_TEST(!parse_event_id(id, progress.size() + 1).has_value());
    BOOST_TEST(!parse_event_id(id + "-", progress.size()).has_value());
  }
}

BOOST_AUTO_TEST_CASE(names_come_to_numbers_that_differ_with_every_part) {
  std::set<std::uint64_t> all;
  for (const char* scope : {"", "a", "ab", "b"}) {
    for (const char* name : {"", "a", "b", "ab", "bc", "c"}) {
      for (const std::uint64_t index : {0U, 1U, 127U}) {
        const auto key = client_key_of(scope, name, index);
        BOOST_TEST(key != 0U);
        BOOST_TEST(key == client_key_of(scope, name, index));
        BOOST_TEST(all.insert(key).second, scope << '/' << name << '/' << index);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_drawn_name_is_legal_and_new) {
  const auto one = draw_request_name();
  BOOST_TEST(check_request_name(one).has_value());
  BOOST_TEST(one.size() == 32U);
  BOOST_TEST(one != draw_request_name());
  for (const auto& bad :
       {std::string(), std::string("a b"), std::string("\u00e4"), std::string(256, 'x')}) {
    BOOST_TEST(!check_request_name(bad).has_value(), bad);
  }
}

BOOST_AUTO_TEST_CASE(keys_are_the_lines_of_a_file) {
  const temporary_folder folder;
  const auto path = folder.write("keys", "# ours\n\none\r\n  two  \n").string();
  auto settings = with_key_file(path);
  settings.api_key = config::secret("three");
  const auto keys = api_keys::load(settings);
  BOOST_REQUIRE(keys.has_value());
  BOOST_TEST(*keys->find("Bearer one") == 0U);
  BOOST_TEST(*keys->find("Bearer two") == 1U);
  BOOST_TEST(*keys->find("Bearer three") == 2U);
  BOOST_TEST(!keys->find("Bearer four").has_value());
  BOOST_TEST(!keys->find("").has_value());
  BOOST_TEST(*api_keys().find("") == 0U, "without keys everybody may");
}

BOOST_AUTO_TEST_CASE(a_file_without_keys_is_refused_and_no_key_is_in_the_error) { // K-2
  const temporary_folder folder;
  BOOST_TEST((api_keys::load(with_key_file("/nowhere")).error().code == errc::not_found));
  const auto empty = api_keys::load(with_key_file(folder.write("empty", "# none\n").string()));
  BOOST_TEST((empty.error().code == errc::bad_configuration));
  const auto bad = api_keys::load(with_key_file(folder.write("bad", "good\nse same\n").string()));
  BOOST_TEST((bad.error().code == errc::bad_configuration));
  BOOST_TEST(bad.error().context.find("line 2") != std::string::npos);
  BOOST_TEST(bad.error().context.find("same") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(beyond_loopback_somebody_must_have_decided) {
  config::server_section settings;
  for (const char* host : {"127.0.0.1", "127.1.2.3", "::1", "localhost"}) {
    settings.host = host;
    BOOST_TEST(check_exposure(settings, {}).has_value(), host);
  }
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "example.org", "127.example.org", ""}) {
    settings.host = host;
    BOOST_TEST((check_exposure(settings, {}).error().code == errc::bad_configuration), host);
  }
  settings.insecure = true;
  BOOST_TEST(check_exposure(settings, {}).has_value());
  settings.insecure = false;
  settings.api_key = config::secret("k");
  BOOST_TEST(check_exposure(settings, *api_keys::load(settings)).has_value());
}

BOOST_AUTO_TEST_CASE(a_prompt_ends_with_its_last_message_when_that_goes_on) {
  BOOST_TEST(*cut_behind("user: Hi\nassistant: Sure, <end>", "Sure, ")
             == "user: Hi\nassistant: Sure, ");
  BOOST_TEST(*cut_behind("assistant: Sure,<end>", " Sure, ") == "assistant: Sure,");
  BOOST_TEST(*cut_behind("a b a<end>", "a") == "a b a");
  BOOST_TEST(!cut_behind("nothing", "Sure").has_value());
  BOOST_TEST(!cut_behind("nothing", " ").has_value());
}

BOOST_AUTO_TEST_CASE(a_model_without_a_template_and_one_with_a_bad_one_say_so) {
  const api::openai::chat_prompt chat{.messages = {{.role = "user", .content = "Hi"}}};
  const auto none = tokenize_chat(chat, false, {});
  BOOST_TEST(none.error().status == 400);
  BOOST_TEST(none.error().message.find("the model has none") != std::string::npos);
  served_model broken;
  broken.chat = text::jinja::model_template::of_source("{{ messages }\n");
  const auto bad = tokenize_chat(chat, false, broken);
  BOOST_TEST(bad.error().status == 500);
  BOOST_TEST(bad.error().message.find("line=1") != std::string::npos, bad.error().message);
}

BOOST_AUTO_TEST_CASE(a_template_is_found_in_all_the_places_where_models_have_it) { // M-1
  const temporary_folder folder;
  const auto said = [&folder](const std::string& variables = "{}") {
    const auto text = text::jinja::model_template::load(folder.path()).render(variables);
    return text ? *text : "error: " + text.error().context;
  };
  BOOST_TEST(said().find("the model has none") != std::string::npos);
  folder.write("tokenizer_config.json",
               R"({"bos_token": {"content": "<s>"}, "chat_template": "{{ bos_token }}1"})");
  BOOST_TEST(said() == "<s>1");
  folder.write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]})");
  BOOST_TEST(said() == "d");
  BOOST_TEST(said(R"({"tools": [{}]})") == "t");
  BOOST_TEST(said(R"({"tools": []})") == "d");
  folder.write("chat_template.jinja", "own");
  BOOST_TEST(said() == "own");
  folder.write("chat_template.jinja", "\n{% if %}");
  BOOST_TEST(said().find("line=2") != std::string::npos);
  for (const char* bad : {"{",
                          "[]",
                          R"({"chat_template": 7})",
                          R"({"chat_template": [7]})",
                          R"({"chat_template": [{"name": "default"}]})"}) {
    std::filesystem::remove(folder.path() / "chat_template.jinja");
    folder.write("tokenizer_config.json", bad);
    BOOST_TEST(said().starts_with("error: "), bad);
  }
}

BOOST_AUTO_TEST_CASE(a_pool_refuses_beyond_its_bound_and_drops_what_waits) { // W-1, W-2
  std::latch is_at_it(1);
  std::latch may_go(1);
  int done = 0;
  work_pool pool("test", 1, 1);
  BOOST_TEST(pool.try_add([&] {
    is_at_it.count_down();
    may_go.wait();
    ++done;
  }));
  is_at_it.wait();
  BOOST_TEST(pool.try_add([&done] { done += 100; }));
  BOOST_TEST(!pool.try_add([] {}));
  std::thread stopping([&pool] { pool.stop(); });
  while (pool.try_add([] {})) { // until it has stopped
  }
  may_go.count_down();
  stopping.join();
  BOOST_TEST(done % 100 == 1);
  BOOST_TEST(!pool.try_add([] {}));
}

BOOST_AUTO_TEST_SUITE_END()
