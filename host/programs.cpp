#include "host/programs.hpp"

#include <fmt/format.h>
#include <system_error>

namespace vdist::host {

result<std::filesystem::path> find_programs(const std::filesystem::path& configured) {
  if (!configured.empty()) {
    return configured;
  }
  std::error_code failed;
  const auto own = std::filesystem::read_symlink("/proc/self/exe", failed).parent_path();
  const auto beside = own.parent_path() / "bin";
  for (const auto& folder : {own, beside}) {
    if (std::filesystem::exists(folder / "vdist-run", failed)) {
      return folder;
    }
  }
  return fail(errc::not_found,
              fmt::format("programs: vdist-run is neither in {} nor in {} (VDIST_PROGRAMS names "
                          "another folder)",
                          own.string(),
                          beside.string()));
}

} // namespace vdist::host
