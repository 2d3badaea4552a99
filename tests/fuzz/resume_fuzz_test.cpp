// What a client sends to get on with its stream: the id of its last event, and the name of its request.
#include "tests/fuzz/fuzz_run.hpp"
#include "tests/fuzz/text_material.hpp"

#include "actors/front_door/event_id.hpp"
#include "actors/front_door/request_name.hpp"

#include <boost/test/unit_test.hpp>

#include <fmt/format.h>

using namespace vdist;
using namespace vdist::actors;
using namespace vdist::testing;
using namespace vdist::testing::fuzz;

namespace {

constexpr std::string_view pieces[] = {"-",
                                       "--",
                                       "0",
                                       "1",
                                       "00",
                                       "4294967295",
                                       "4294967296",
                                       "-1",
                                       "+1",
                                       " ",
                                       "\t",
                                       "\r\n",
                                       "\x7f",
                                       "\xff",
                                       "é",
                                       "0x1",
                                       "1e3",
                                       ""};

using progress = std::vector<std::uint32_t>;

bytes id_of(const progress& made) {
  std::string line;
  append_event_id(line, made);
  return bytes_of(
      std::string_view(line).substr(4, line.size() - 5)); // without "id: " and the end of the line
}

} // namespace

BOOST_AUTO_TEST_SUITE(fuzz_resume)

BOOST_AUTO_TEST_CASE(ids_of_events) { // I-1
  for (const std::size_t choices : {1U, 3U, 128U}) {
    material from{.pieces = text_pieces(pieces)};
    progress numbers(choices, 7);
    from.specimens.push_back(text_specimen(text_of(id_of(numbers))));
    numbers.back() = 0xffffffffU;
    from.specimens.push_back(text_specimen(text_of(id_of(numbers))));
    run(subject_of<progress>(fmt::format("event id of {} choices", choices),
                             std::move(from),
                             {.decode =
                                  [choices](std::span<const std::byte> input) {
                                    return parse_event_id(text_of(input), choices);
                                  },
                              .encode = id_of,
                              .is_same = std::equal_to<>(),
                              .refusal = errc::invalid_argument,
                              .bound = {.fixed = 4096}}));
  }
}

/// What is taken can stand in a header, and comes to a key that is one.
BOOST_AUTO_TEST_CASE(names_of_requests) {
  const std::vector<std::string> names{"one", "7f3a-44", std::string(request_name_bytes_max, 'x')};
  run({.name = "request name",
       .from = text_material(names, pieces),
       .judge = [](std::span<const std::byte> input) {
         const auto name = text_of(input);
         if (const auto taken = check_request_name(name); !taken) {
           return judge_error(taken.error(), errc::invalid_argument);
         }
         const bool is_visible =
             std::all_of(name.begin(), name.end(), [](char c) { return c > 0x20 && c < 0x7f; });
         return is_visible && name.size() <= request_name_bytes_max
                        && client_key_of("scope", name, 0) != 0
                    ? accepted()
                    : wrong("it is no name");
       }});
}

BOOST_AUTO_TEST_SUITE_END()
