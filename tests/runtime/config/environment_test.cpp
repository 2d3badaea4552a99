#include "runtime/config/environment.hpp"

#include <boost/test/unit_test.hpp>

#include <map>
#include <sstream>
#include <string>

using namespace vdist::config;

namespace {

environment of(const std::map<std::string, std::string>& variables) {
  return read_environment([&variables](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string cache_of(const std::map<std::string, std::string>& variables) {
  const auto cache = hugging_face_cache(of(variables));
  return cache ? cache->string() : "none";
}

} // namespace

BOOST_AUTO_TEST_SUITE(environment_variables)

BOOST_AUTO_TEST_CASE(the_cache_is_found_by_the_most_specific_variable) {
  BOOST_TEST(cache_of({}) == "none");
  BOOST_TEST(cache_of({{"HOME", "/h"}}) == "/h/.cache/huggingface/hub");
  BOOST_TEST(cache_of({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}}) == "/x/huggingface/hub");
  BOOST_TEST(cache_of({{"HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}, {"HF_HOME", "/f"}}) == "/f/hub");
  BOOST_TEST(cache_of({{"HF_HOME", "/f"}, {"HF_HUB_CACHE", "/c"}}) == "/c");
  BOOST_TEST(cache_of({{"HOME", "/h"}, {"HF_HOME", ""}}) == "/h/.cache/huggingface/hub");
}

BOOST_AUTO_TEST_CASE(the_token_is_kept_and_never_printed) {
  const environment env = of({{"HF_TOKEN", "hf_sesame"}, {"VDIST_NCCL_SO_PATH", "/n.so"}});
  BOOST_TEST(env.hf_token.reveal() == "hf_sesame");
  BOOST_TEST(env.nccl_so_path == "/n.so");
  std::ostringstream out;
  out << env.hf_token;
  BOOST_TEST(out.str().find("sesame") == std::string::npos);
  BOOST_TEST(of({}).hf_token.is_empty());
}

BOOST_AUTO_TEST_CASE(the_model_host_has_a_default_and_is_left_alone_when_told_so) {
  BOOST_TEST(of({}).hf_endpoint == "https://huggingface.co");
  BOOST_TEST(of({{"HF_ENDPOINT", ""}}).hf_endpoint == "https://huggingface.co");
  BOOST_TEST(of({{"HF_ENDPOINT", "http://mirror:8080"}}).hf_endpoint == "http://mirror:8080");
  for (const char* word : {"1", "true", "YES", "On"}) {
    BOOST_TEST(of({{"HF_HUB_OFFLINE", word}}).is_hf_offline);
  }
  for (const char* word : {"", "0", "false", "no", "2"}) {
    BOOST_TEST(!of({{"HF_HUB_OFFLINE", word}}).is_hf_offline);
  }
  BOOST_TEST(!of({}).is_hf_offline);
}

BOOST_AUTO_TEST_CASE(the_process_environment_can_be_read) {
  BOOST_CHECK_NO_THROW(static_cast<void>(read_environment()));
}

BOOST_AUTO_TEST_SUITE_END()
