#include "model/hub/listing.hpp"

#include <boost/test/unit_test.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace {

using namespace vdist;
using namespace vdist::hub;
using nlohmann::json;

const std::string commit(40, 'c');

json answer(const std::vector<std::string>& files) {
  json siblings = json::array();
  for (const std::string& file : files) {
    siblings.push_back({{"rfilename", file}, {"lfs", {{"sha256", "x"}, {"deep", {{"er", 1}}}}}});
  }
  return {{"sha", commit}, {"siblings", siblings}, {"cardData", {{"tags", {"a", "b"}}}}};
}

errc code_of(std::string_view text) {
  const auto listed = parse_listing(text);
  return listed ? errc::ok : listed.error().code;
}

using names = std::vector<std::string>;

} // namespace

BOOST_AUTO_TEST_CASE(a_listing_has_the_files_of_the_top_folder) {
  const auto listed = parse_listing(answer({"config.json", "onnx/model.onnx", ".x", "b c"}).dump());
  BOOST_REQUIRE(listed.has_value());
  BOOST_TEST(listed->commit == commit);
  BOOST_TEST(listed->files == (names{"config.json", ".x", "b c"}));
}

BOOST_AUTO_TEST_CASE(what_is_no_listing_is_corrupt) {
  for (const std::string& text :
       {std::string(),
        std::string("["),
        std::string("[]"),
        std::string("null"),
        std::string("{}"),
        std::string(R"({"sha":7,"siblings":[]})"),
        std::string(R"({"sha":"main","siblings":[]})"),
        fmt::format(R"({{"sha":"{}"}})", commit),
        fmt::format(R"({{"sha":"../{}","siblings":[]}})", commit.substr(3)),
        fmt::format(R"({{"sha":"{}","siblings":{{}}}})", commit),
        fmt::format(R"({{"sha":"{}","siblings":[7]}})", commit),
        fmt::format(R"({{"sha":"{}","siblings":[{{}}]}})", commit),
        std::string(2'000'000, '['),
        std::string("{\"sha\":\"\xFF\"}")}) {
    BOOST_TEST((code_of(text) == errc::corrupt), text.substr(0, 80));
  }
  BOOST_TEST((code_of(answer({}).dump()) == errc::ok));
}

BOOST_AUTO_TEST_CASE(a_name_that_leads_out_of_the_repository_refuses_the_listing) {
  for (const std::string& name : {std::string("../outside"),
                                  std::string("a/../../outside"),
                                  std::string("a/.."),
                                  std::string("."),
                                  std::string("/etc/passwd"),
                                  std::string("a//b"),
                                  std::string("a/"),
                                  std::string("a\\b"),
                                  std::string(),
                                  std::string("a\nb"),
                                  std::string("a\0b", 3),
                                  std::string(1'025, 'a')}) {
    BOOST_TEST((code_of(answer({"config.json", name}).dump()) == errc::corrupt), name);
  }
}

BOOST_AUTO_TEST_CASE(a_listing_cut_anywhere_is_corrupt_and_nothing_worse) {
  const std::string text = answer({"config.json", "a/b"}).dump();
  for (std::size_t length = 0; length < text.size(); ++length) {
    BOOST_TEST((code_of(text.substr(0, length)) == errc::corrupt));
  }
}

BOOST_AUTO_TEST_CASE(only_what_serving_reads_is_chosen) {
  const names small{"config.json",
                    "generation_config.json",
                    "tokenizer.json",
                    "tokenizer_config.json",
                    "vocab.json",
                    "merges.txt",
                    "chat_template.jinja"};
  names there = small;
  for (const char* other : {"README.md", "pytorch_model.bin", "model.gguf", "other.safetensors"}) {
    there.emplace_back(other);
  }
  BOOST_TEST(*choose_files({commit, there}, content::without_weights) == small);
  BOOST_TEST((choose_files({commit, there}, content::everything).error().code == errc::not_found));
  names chosen = small;
  there.emplace_back("model.safetensors.index.json");
  chosen.emplace_back("model.safetensors.index.json");
  BOOST_TEST(*choose_files({commit, there}, content::everything) == chosen);
  there.emplace_back("model.safetensors"); // it is read rather than the index
  chosen.back() = "model.safetensors";
  BOOST_TEST(*choose_files({commit, there}, content::everything) == chosen);
  there.erase(there.begin());
  BOOST_TEST((choose_files({commit, there}, content::everything).error().code == errc::not_found));
}

BOOST_AUTO_TEST_CASE(an_index_names_each_file_once) {
  const auto files = parse_weight_index(R"({"weight_map":{"x":"b","y":"a","z":"b"}})");
  BOOST_REQUIRE(files.has_value());
  BOOST_TEST(*files == (names{"a", "b"}));
  for (const char* text : {"",
                           "{}",
                           R"({"weight_map":[]})",
                           R"({"weight_map":{}})",
                           R"({"weight_map":{"x":1}})",
                           R"({"weight_map":{"x":"../a"}})",
                           R"({"weight_map":{"x":""}})",
                           R"({"weight_map":{"x":["a"]}})"}) {
    BOOST_TEST(!parse_weight_index(text).has_value(), text);
  }
  json many;
  for (std::size_t i = 0; i <= weight_files_max; ++i) {
    many["weight_map"][std::to_string(i)] = std::to_string(i);
  }
  BOOST_TEST(!parse_weight_index(many.dump()).has_value());
}
