// Compares with what the Hugging Face library did, as recorded by tests/golden/text/record.py.
#include "tests/runtime/text/tokenizer_fixture.hpp"

#include "runtime/text/detokenizer.hpp"

#include <map>

namespace vdist::text {
namespace {

using nlohmann::json;

void check_sample(const std::shared_ptr<const tokenizer>& t,
                  const std::string& name,
                  const json& sample) {
  const auto ids = sample["ids"].get<std::vector<token_id>>();
  if (sample.contains("text")) {
    const auto encoded =
        t->encode(sample["text"].get<std::string>(),
                  sample["add"].get<bool>() ? special_tokens::add : special_tokens::omit);
    BOOST_REQUIRE(encoded.has_value());
    BOOST_CHECK_MESSAGE(*encoded == ids,
                        name << ": got " << json(*encoded).dump() << " for " << sample.dump());
    return;
  }
  const std::string decoded = t->decode(
      ids, sample["skip"].get<bool>() ? special_tokens_output::skip : special_tokens_output::keep);
  BOOST_CHECK_MESSAGE(decoded == sample["decoded"].get<std::string>(),
                      name << ": got " << json(decoded).dump() << " for " << sample.dump());
}

} // namespace

BOOST_AUTO_TEST_CASE(t1_encodes_and_decodes_as_the_recorded_library) {
  const std::map<std::string, json> bases = {{"bytes", testing::golden_base("bytes")},
                                             {"characters", testing::golden_base("characters")}};
  std::istringstream lines(testing::read_file(testing::golden_dir() / "oracle.jsonl"));
  std::shared_ptr<const tokenizer> current;
  std::string name;
  std::size_t samples = 0;
  for (std::string line; std::getline(lines, line);) {
    const json entry = json::parse(line);
    if (entry.contains("case")) {
      name = entry["case"];
      current =
          testing::require_tokenizer(testing::patched(bases.at(entry["base"]), entry["patch"]));
    } else if (!entry.contains("library")) {
      BOOST_REQUIRE(current != nullptr);
      check_sample(current, name, entry);
      ++samples;
    }
  }
  BOOST_TEST(samples > 800u);
}

} // namespace vdist::text
