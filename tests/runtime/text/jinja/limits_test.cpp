// J-2: templates and contexts that ask for too much are refused, soon and with a place.
#include "tests/runtime/text/jinja/template_fixture.hpp"

#include <pthread.h>

namespace vdist::testing {
namespace {

std::string repeated(std::string_view part, std::size_t times) {
  std::string made;
  for (std::size_t i = 0; i < times; ++i) {
    made += part;
  }
  return made;
}

errc code_of(const std::string& source,
             const ordered_json& context = ordered_json::object(),
             const render_options& options = {}) {
  const auto made = rendered(source, context, options);
  return made ? errc::ok : made.error().code;
}

void check_exhausted(const std::string& source) {
  const auto made = rendered(source);
  BOOST_TEST(!made, source.substr(0, 80));
  if (!made) {
    BOOST_TEST(
        (made.error().code == errc::resource_exhausted || made.error().code == errc::timed_out),
        source.substr(0, 80) << " " << made.error().context);
    BOOST_TEST(made.error().context.find("(line=") != std::string::npos);
  }
}

/// Moves on by a millisecond whenever somebody looks at it.
class running_clock final : public clock {
public:
  [[nodiscard]] time_point now() const override {
    now_ += std::chrono::milliseconds(1);
    return now_;
  }

private:
  mutable time_point now_{};
};

} // namespace

BOOST_AUTO_TEST_CASE(j2_values_that_grow_without_end_are_refused) {
  for (const char* source :
       {"{{ 'a' * 10**9 }}",
        "{{ 'a' * 10**30 }}",
        "{{ [1] * 10**9 }}",
        "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}",
        "{{ ['a' * 10**6] * 1000 | join('x') if false else (['a' * 10**6] * 1000) | join }}",
        "{{ 'a' | center(10**12) }}",
        "{{ 'a'.ljust(10**12) }}",
        "{{ '5'.zfill(10**12) }}",
        "{{ '\t'.expandtabs(10**12) }}",
        "{{ 'a' | indent(10**12) }}",
        "{{ [[[1]]] | tojson(indent=10**12) }}",
        "{{ [1] | batch(10**9, 'x') | list }}",
        "{{ [1] | slice(10**12) | list }}",
        "{% set ns = namespace(s='a') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}"
        "{% endfor %}{{ ns.s }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] %}"
        "{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(100) %}"
        "{% set ns.l = [ns.l, ns.l] %}{% set ns.m = [ns.m, ns.m] %}{% endfor %}"
        "{{ ns.l == ns.m }}"}) {
    check_exhausted(source);
  }
}

BOOST_AUTO_TEST_CASE(j2_work_without_end_is_refused) {
  for (const char* source :
       {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro a(n) %}{{ a(n) }}{{ a(n) }}{% endmacro %}{{ a(1) }}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns.a ~ '' }}",
        "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}"}) {
    check_exhausted(source);
  }
  BOOST_TEST((code_of("{{ range(10**12) }}") == errc::invalid_argument));
  BOOST_TEST((code_of("{{ 10 ** 40 }}") == errc::invalid_argument));
  BOOST_TEST((code_of("{{ 2 ** 10**15 }}") == errc::invalid_argument));
  BOOST_TEST((code_of("{{ '{:1000000000}'.format(1) }}") == errc::invalid_argument));
  BOOST_TEST((code_of("{{ '%1000000000d' % 1 }}") == errc::invalid_argument));
}

BOOST_AUTO_TEST_CASE(j2_search_in_periodic_texts_stays_linear) {
  // A quadratic search would take hours; the limit is far from what a loaded machine needs.
  render_options patient;
  patient.limits.time_max = std::chrono::minutes(1);
  const auto with = [&patient](const std::string& shown_part) {
    return shown("{% set h = 'a' * 500000 %}{% set n = h ~ 'b' ~ h %}" + shown_part,
                 ordered_json::object(),
                 patient);
  };
  BOOST_TEST(with("{{ n in (h * 3) }}") == "False");
  BOOST_TEST(with("{{ (h * 3).rfind(n) }}") == "-1");
  BOOST_TEST(with("{{ (h * 3).split(n) | length }}") == "1");
}

BOOST_AUTO_TEST_CASE(j2_every_limit_is_one_of_the_call) {
  const std::string loop = "{% for i in range(1000) %}{{ i }}{% endfor %}";
  const auto with = [](auto&& change) {
    render_options made;
    change(made.limits);
    return made;
  };
  BOOST_TEST((code_of(loop) == errc::ok));
  BOOST_TEST((code_of(loop, ordered_json::object(), with([](auto& l) { l.steps_max = 1000; }))
              == errc::resource_exhausted));
  BOOST_TEST(
      (code_of(loop, ordered_json::object(), with([](auto& l) { l.memory_bytes_max = 10'000; }))
       == errc::resource_exhausted));
  BOOST_TEST((code_of(loop, ordered_json::object(), with([](auto& l) { l.output_bytes_max = 99; }))
              == errc::resource_exhausted));
  BOOST_TEST((code_of(loop, ordered_json::object(), with([](auto& l) { l.depth_max = 2; }))
              == errc::resource_exhausted));
  const running_clock clock;
  render_options slow;
  slow.clock = &clock;
  slow.limits.time_max = std::chrono::milliseconds(3);
  BOOST_TEST((code_of(loop, ordered_json::object(), slow) == errc::timed_out));
}

BOOST_AUTO_TEST_CASE(j2_sources_nest_as_deep_as_is_allowed) {
  for (const auto& [open, close] :
       std::initializer_list<std::pair<std::string, std::string>>{{"(", ")"},
                                                                  {"[", "]"},
                                                                  {"{1:", "}"},
                                                                  {"not ", ""},
                                                                  {"-", ""},
                                                                  {"f(", ")"},
                                                                  {"a[", "]"},
                                                                  {"1 if 1 else ", ""}}) {
    for (const std::size_t depth : {1000U, 100'000U}) {
      const auto made = chat_template::compile("{{ " + repeated(open, depth) + "1"
                                               + repeated(close, depth) + " }}");
      BOOST_TEST(!made, open);
      BOOST_TEST((made.error().code == errc::resource_exhausted), open);
    }
  }
  for (const std::string chain : {" + 1",
                                  " ~ 1 + 1",
                                  ".a",
                                  "[0]",
                                  "()",
                                  " | string",
                                  " is odd",
                                  " and 1",
                                  " ** 1",
                                  " if 1"}) {
    BOOST_TEST((code_of("{{ 1" + repeated(chain, 100'000) + " }}") != errc::ok), chain);
  }
  BOOST_TEST((code_of(repeated("{% if 1 %}", 5000) + repeated("{% endif %}", 5000))
              == errc::resource_exhausted));
  BOOST_TEST(shown("{{ 1" + repeated(" + 1", 150) + " }}") == "151");
  BOOST_TEST(shown("{{ 'a'" + repeated(" ~ 'a'", 5000) + " | length }}").size() > 4999u);
  BOOST_TEST((chat_template::compile(std::string((1U << 20U) + 1, ' ')).error().code
              == errc::resource_exhausted));
}

BOOST_AUTO_TEST_CASE(j2_the_context_may_nest_as_deep_as_evaluations) {
  ordered_json deep = 1;
  for (int i = 0; i < 5000; ++i) {
    deep = ordered_json::array({std::move(deep)});
  }
  const ordered_json context{{"deep", std::move(deep)}};
  BOOST_TEST((code_of("x", context) == errc::resource_exhausted));
}

namespace {

/// Recursion as deep as the limits allow, on the smallest stack that is promised to suffice.
void* run_deep(void*) {
  static const std::string nested =
      repeated("{% if 1 %}", 90) + "{{ m(x) }}" + repeated("{% endif %}", 90);
  static const std::string call = "{{ " + repeated("[", 90) + "m(x)" + repeated("]", 90) + " }}";
  bool is_refused = true;
  for (const auto& inside : {std::string("{{ m(x) }}"), nested, call}) {
    is_refused = is_refused
                 && code_of("{% macro m(x) %}" + inside + "{% endmacro %}{{ m(1) }}")
                        == errc::resource_exhausted;
  }
  is_refused = is_refused && !chat_template::compile("{{ " + repeated("(", 5000)).has_value()
               && !chat_template::compile(repeated("{% if 1 %}", 5000)).has_value();
  return is_refused ? nullptr : reinterpret_cast<void*>(1);
}

} // namespace

BOOST_AUTO_TEST_CASE(j2_the_promised_stack_suffices) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::size_t times = 4; // frames of sanitizers are larger
#else
  constexpr std::size_t times = 1;
#endif
  pthread_attr_t attributes;
  BOOST_REQUIRE(pthread_attr_init(&attributes) == 0);
  BOOST_REQUIRE(pthread_attr_setstacksize(&attributes, times * text::jinja::stack_bytes_max) == 0);
  pthread_t thread{};
  BOOST_REQUIRE(pthread_create(&thread, &attributes, run_deep, nullptr) == 0);
  void* failed = nullptr;
  pthread_join(thread, &failed);
  pthread_attr_destroy(&attributes);
  BOOST_TEST(failed == nullptr);
}

} // namespace vdist::testing
