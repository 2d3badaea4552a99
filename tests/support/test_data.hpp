// tests/support/test_data.hpp — finds the optional test data (real tokenizers, configs, weights, books).
// The data is not part of the product: where it is missing, tests that need it are skipped, visibly.
#pragma once

#include <boost/test/tree/decorator.hpp>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace vdist::testing {

/// The folder that holds configs/, tokenizers/, tokenization_golden/, weights/ …: $VDIST_TEST_DATA,
/// else build/test-data.
inline std::optional<std::filesystem::path> test_data_dir() {
  const char* from_environment = std::getenv("VDIST_TEST_DATA");
  std::filesystem::path dir = from_environment != nullptr && *from_environment != '\0'
                                  ? std::filesystem::path(from_environment)
                                  : std::filesystem::path(VDIST_SOURCE_DIR) / "build" / "test-data";
  if (std::filesystem::is_directory(dir / "configs")) {
    return dir;
  }
  return std::nullopt;
}

/// BOOST_AUTO_TEST_CASE(name, *needs_test_data()): skips the case where the data is missing.
inline auto needs_test_data() {
  return boost::unit_test::precondition(+[](boost::unit_test::test_unit_id) {
    boost::test_tools::assertion_result has_data(test_data_dir().has_value());
    has_data.message() << "test data is missing; set VDIST_TEST_DATA";
    return has_data;
  });
}

} // namespace vdist::testing
