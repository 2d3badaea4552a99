// What the recorded cases cannot say: places of errors, what is refused, threads.
#include "tests/runtime/text/jinja/template_fixture.hpp"

#include <atomic>
#include <thread>

namespace vdist::testing {
namespace {

errc code_of(const std::string& source, const ordered_json& context = ordered_json::object()) {
  const auto made = rendered(source, context);
  return made ? errc::ok : made.error().code;
}

} // namespace

BOOST_AUTO_TEST_CASE(j3_errors_of_the_source_have_a_place) {
  BOOST_TEST(shown("a\n  {{ 1 + }}") == "<chat template: unexpected '}}' (line=2 column=10)>");
  BOOST_TEST(shown("äöü {{ ? }}") == "<chat template: unexpected character '?' (line=1 column=8)>");
  BOOST_TEST(shown("\r\n\r{{ 'x }}") == "<chat template: string without an end (line=3 column=4)>");
  BOOST_TEST(shown("{% if x %}\n{% for %}")
             == "<chat template: expected a name to assign to (line=2 column=8)>");
  BOOST_TEST(shown("{{ '\\ud800' }}")
             == "<chat template: escape of no character in a string (line=1 column=7)>");
  BOOST_TEST(shown("{% if x %}\n")
             == "<chat template: expected the tag 'elif' or 'else' or 'endif', got the end of the "
                "template (line=1 column=11)>");
}

BOOST_AUTO_TEST_CASE(j3_errors_of_a_rendering_have_a_place) {
  BOOST_TEST(shown("{% for x in [1, 0] %}\n{{ 6 // x }}\n{% endfor %}")
             == "<chat template: integer division or modulo by zero (line=2 column=6)>");
  BOOST_TEST(
      shown("{{ (1 + 2) * ('a' + [1][0]) }}")
      == "<chat template: can only concatenate str (not \"int\") to str (line=1 column=19)>");
  // Behind a nested evaluation the place is that of the operation again.
  BOOST_TEST(shown("{{ 'a' + ([1, 2] | length) }}")
             == "<chat template: can only concatenate str (not \"int\") to str (line=1 column=8)>");
  BOOST_TEST(shown("{% macro m(a) %}\n{{ a.b.c }}{% endmacro %}\n\n{{ m({}) }}")
             == "<chat template: 'dict object' has no attribute 'b' (line=2 column=7)>");
  BOOST_TEST(shown("{% set ok = 1 %}\n{{ raise_exception('roles\nmust alternate') }}")
             == "<chat template: roles must alternate (line=2 column=19)>");
  const auto long_one = rendered("{{ raise_exception('ä' * 10**6) }}");
  BOOST_TEST(!long_one);
  BOOST_TEST(long_one.error().context.size() < 1200u);
}

BOOST_AUTO_TEST_CASE(errors_say_whose_fault_it_is) {
  BOOST_TEST((code_of("{{") == errc::corrupt));
  BOOST_TEST((code_of("\xff") == errc::corrupt));
  BOOST_TEST((code_of("{{ 1 + 'a' }}") == errc::invalid_argument));
  BOOST_TEST((code_of("{{ x }}", ordered_json{{"x", "\xff"}}) == errc::invalid_argument));
  BOOST_TEST((code_of("x", ordered_json::array()) == errc::invalid_argument));
}

BOOST_AUTO_TEST_CASE(what_is_left_out_is_refused_by_name) {
  for (const char* source : {"{% include 'x' %}",
                             "{% extends 'x' %}",
                             "{% import 'x' as y %}",
                             "{% from 'x' import y %}",
                             "{% block x %}{% endblock %}",
                             "{% autoescape true %}{% endautoescape %}",
                             "{{ [1] | random }}",
                             "{{ 'a' | wordwrap }}",
                             "{{ 'a' | urlize }}",
                             "{{ 'a' | pprint }}",
                             "{{ lipsum() }}",
                             "{{ '\\N{DASH}' }}"}) {
    BOOST_TEST((code_of(source) == errc::unsupported), source);
  }
}

BOOST_AUTO_TEST_CASE(context_keeps_the_order_of_keys_and_the_kinds_of_numbers) {
  const auto context = ordered_json::parse(
      R"({"d": {"z": 1, "a": 1.0, "m": [null, true, 18446744073709551615, -9223372036854775808]}})");
  BOOST_TEST(
      shown("{{ d }}{{ d | tojson }}", context)
      == "{'z': 1, 'a': 1.0, 'm': [None, True, 18446744073709551615, -9223372036854775808]}"
         R"({"z": 1, "a": 1.0, "m": [null, true, 18446744073709551615, -9223372036854775808]})");
}

BOOST_AUTO_TEST_CASE(variables_of_the_context_hide_functions) {
  BOOST_TEST(shown("{{ range }}{{ namespace is defined }}", {{"range", "mine"}}) == "mineTrue");
  BOOST_TEST(shown("{% set range = 3 %}{{ range }}") == "3");
}

BOOST_AUTO_TEST_CASE(large_dicts_find_their_keys) {
  ordered_json many = ordered_json::object();
  for (int i = 0; i < 300; ++i) {
    many["key" + std::to_string(i)] = i;
  }
  BOOST_TEST(
      shown("{{ d.key0 }} {{ d['key299'] }} {{ 'key300' in d }} {{ d | length }} {{ d == d2 }}",
            {{"d", many}, {"d2", many}})
      == "0 299 False 300 True");
}

BOOST_AUTO_TEST_CASE(integers_leave_their_range_with_an_error) {
  BOOST_TEST(shown("{{ 2 ** 126 + (2 ** 126 - 1) }}") == "170141183460469231731687303715884105727");
  BOOST_TEST(shown("{{ 2 ** 127 }}") == "<chat template: integer out of range (line=1 column=6)>");
  BOOST_TEST(shown("{{ -(-2 ** 126 * 2) }}").find("out of range") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(time_is_that_of_the_options) {
  BOOST_TEST(shown("{{ strftime_now('%d %b %Y %H:%M') }}",
                   ordered_json::object(),
                   {.limits = {}, .now = fixed_time(9, 5)})
             == "26 Jul 2024 09:05");
  BOOST_TEST(shown("{{ strftime_now('%Y') | int > 2000 }}") == "True");
}

BOOST_AUTO_TEST_CASE(j4_threads_render_one_template_at_once) {
  const auto made = chat_template::compile(
      "{% macro m(x) %}<{{ x | upper }}>{% endmacro %}{% set ns = namespace(n=0) %}"
      "{% for x in xs %}{% set ns.n = ns.n + loop.index %}{{ m(x) }}{% endfor %}{{ ns.n }}");
  BOOST_REQUIRE(made);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&made, &wrong, t] {
      const ordered_json context{{"xs", {"é" + std::to_string(t), "b"}}};
      for (int i = 0; i < 200; ++i) {
        const auto text = made->render(context);
        wrong += text && *text == "<É" + std::to_string(t) + "><B>3" ? 0 : 1;
      }
    });
  }
  for (auto& one : threads) {
    one.join();
  }
  BOOST_TEST(wrong == 0);
}

} // namespace vdist::testing
