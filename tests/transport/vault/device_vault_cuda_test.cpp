// Memory of a GPU in the program vdist-vault: found again by a successor at the same address, zero when it is new, free
// when it is released. Everything that touches CUDA runs in children: a fork of a process with CUDA has none.
#include "tests/transport/vault/vault_children.hpp"
#include "tests/transport/vault/vault_fixture.hpp"

#include "model/exec/device_regions.hpp"

#include "kernels/cuda_module.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <sys/wait.h>

using namespace vdist;
using namespace vdist::vault;
using namespace vdist::testing;

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20U;
constexpr std::size_t bytes = 256 * mebibyte + 100; // no whole granules
constexpr std::size_t free_tolerance = 64 * mebibyte;
constexpr std::chrono::seconds device_patience{60};

constexpr region_key weights_key{rank_id(0), region_kind::weights, 0};
constexpr region_key words_key{rank_id(0), region_kind::control, 0};

std::byte pattern_at(std::size_t place) {
  return static_cast<std::byte>((place * 2654435761U) >> 13U);
}

/// What a child found out; zeros when it failed on the way.
struct finding {
  report mapped;
  std::uint64_t free_bytes = 0;
  std::uint64_t matches = 0; // bytes as they should be
};

void tell_finding(const socket::message_socket& parent, const finding& told) {
  static_cast<void>(parent.send(std::as_bytes(std::span(&told, 1)), {}, vault_patience()));
}

/// Bytes of device memory, copied to the host and back by a backend's queue.
class device_copier {
public:
  device_copier() {
    std::string why;
    if (auto* module = kernels::load_cuda_module(why)) {
      backend_ = module->make_backend({.max_positions = 16, .max_tokens = 16}, why);
    }
  }

  bool write(std::span<std::byte> device, std::span<const std::byte> from) {
    if (backend_ == nullptr) {
      return false;
    }
    backend_->queue().copy_in(device.data(), from.data(), from.size());
    return wait();
  }

  std::vector<std::byte> read(std::span<const std::byte> device) {
    if (backend_ == nullptr) {
      return {};
    }
    std::vector<std::byte> content(device.size());
    backend_->queue().copy_out(content.data(), device.data(), device.size());
    return wait() ? content : std::vector<std::byte>{};
  }

private:
  bool wait() { return backend_->queue().wait(backend_->queue().mark(), device_patience); }

  std::unique_ptr<kernels::backend> backend_;
};

std::vector<std::byte> whole_pattern() {
  std::vector<std::byte> content(bytes);
  for (std::size_t i = 0; i < bytes; ++i) {
    content[i] = pattern_at(i);
  }
  return content;
}

std::uint64_t count_pattern(std::span<const std::byte> content) {
  std::uint64_t matches = 0;
  for (std::size_t i = 0; i < content.size(); ++i) {
    matches += content[i] == pattern_at(i) ? 1U : 0U;
  }
  return matches;
}

std::uint64_t count_zeros(std::span<const std::byte> content) {
  return static_cast<std::uint64_t>(std::count(content.begin(), content.end(), std::byte{0}));
}

/// Maps, counts the zeros, writes the pattern and says so.
void write_weights(vault_client& client, const socket::message_socket& parent) {
  device_copier copier;
  const auto mapped = client.map(weights_key, bytes);
  finding told{.mapped = report_of(mapped)};
  if (mapped) {
    told.matches = count_zeros(copier.read(mapped->memory));
    const bool is_written = copier.write(mapped->memory, whole_pattern());
    told.mapped.ready_hash = is_written && client.mark_ready(weights_key, 4711) ? 1 : 0;
  }
  tell_finding(parent, told);
  wait_for_go(parent); // never: it is killed with everything mapped
}

/// Maps and counts what is left of the pattern.
void read_weights(vault_client& client, const socket::message_socket& parent) {
  device_copier copier;
  const auto mapped = client.map(weights_key, bytes);
  finding told{.mapped = report_of(mapped)};
  if (mapped) {
    told.matches = count_pattern(copier.read(mapped->memory));
  }
  tell_finding(parent, told);
  wait_for_go(parent);
}

/// A child on device 0 and what it found; killed with the object.
class device_child {
public:
  template <class Work>
  device_child(const vault_host& host, const Work& work)
      : child_(host, work, exec::access_to_devices(0, [](rank_id) { return 0; })) {}

  [[nodiscard]] finding read() const { return child_.read<finding>(); }

  void go() const { child_.go(); }

  void kill_now() { child_.kill_now(); }

private:
  child_process child_;
};

std::uint64_t free_bytes_now(const vault_host& host) {
  const device_child observer(host, [](vault_client&, const socket::message_socket& parent) {
    std::string why;
    auto* module = kernels::load_cuda_module(why);
    const auto facts = module != nullptr ? module->facts_of(0, why) : kernels::device_facts{};
    tell_finding(parent, {.free_bytes = facts.free_bytes});
    wait_for_go(parent);
  });
  return observer.read().free_bytes;
}

bool is_close(std::uint64_t first, std::uint64_t second) {
  return std::max(first, second) - std::min(first, second) <= free_tolerance;
}

/// As tests/kernels/cuda/cuda_fixture.hpp has it, but asked in a child.
boost::test_tools::assertion_result has_gpu(boost::unit_test::test_unit_id) {
  const pid_t child = fork();
  if (child == 0) {
    std::string why;
    _exit(kernels::load_cuda_module(why) != nullptr ? 0 : 1);
  }
  if (wait_for(child) == 0) {
    return true;
  }
  const char* required = std::getenv("VDIST_REQUIRE_GPUS");
  boost::test_tools::assertion_result skipped(required != nullptr && *required != '\0'
                                              && *required != '0');
  skipped.message() << "no GPU";
  return skipped;
}

} // namespace

BOOST_AUTO_TEST_SUITE(device_vault_cuda_suite, *boost::unit_test::precondition(has_gpu))

BOOST_AUTO_TEST_CASE(
    a_killed_process_leaves_its_weights_on_the_gpu_and_release_frees_them) { // V-1 to V-3, D-1
  const server_process server;
  const auto control = server.make_client(); // maps nothing of a device
  BOOST_REQUIRE(control->map(words_key, 4096));
  {
    // The driver of the vault's process has started: what it takes once is not counted.
    device_child first(server, write_weights);
    BOOST_REQUIRE(first.read().mapped.is_mapped == 1U);
    first.kill_now();
    BOOST_REQUIRE(control->release(weights_key));
  }
  const auto free_before = free_bytes_now(server);
  finding written;
  {
    device_child worker(server, write_weights);
    written = worker.read();
    worker.kill_now();
  }
  BOOST_TEST(written.mapped.is_new == 1U);
  BOOST_TEST(written.matches == bytes); // zeros, though the memory was in use before (D-2)
  BOOST_TEST(written.mapped.ready_hash == 1U);
  BOOST_TEST(written.mapped.address >= device_window_base);
  BOOST_TEST(is_close(free_bytes_now(server) + bytes, free_before)); // kept without any mapping
  for (int life = 0; life < 3; ++life) {
    device_child successor(server, read_weights);
    const auto found = successor.read();
    successor.kill_now();
    BOOST_TEST(found.mapped.is_mapped == 1U);
    BOOST_TEST(found.mapped.is_new == 0U);
    BOOST_TEST(found.mapped.ready_hash == 4711U);
    BOOST_TEST(found.mapped.address == written.mapped.address);
    BOOST_TEST(found.matches == bytes);
  }
  BOOST_REQUIRE(control->release(weights_key));
  BOOST_TEST(is_close(free_bytes_now(server), free_before));
}

BOOST_AUTO_TEST_CASE(a_mapping_outlives_release_and_vault_and_then_the_memory_is_free) { // V-1, D-1
  const server_process observed; // only to have observers that no case of this one disturbs
  const auto free_before = free_bytes_now(observed);
  {
    server_process server;
    device_child worker(server, [](vault_client& client, const socket::message_socket& parent) {
      device_copier copier;
      const auto mapped = client.map(weights_key, bytes);
      finding told{.mapped = report_of(mapped)};
      const bool is_written = mapped && copier.write(mapped->memory, whole_pattern());
      told.matches = is_written && client.release(weights_key) ? 1 : 0;
      tell_finding(parent, told);
      wait_for_go(parent);
      told.matches = mapped ? count_pattern(copier.read(mapped->memory)) : 0;
      tell_finding(parent, told);
      wait_for_go(parent);
    });
    BOOST_TEST(worker.read().matches == 1U);
    BOOST_REQUIRE(kill(server.pid(), SIGKILL) == 0);
    BOOST_TEST(server.wait() == -SIGKILL);
    worker.go();
    BOOST_TEST(worker.read().matches == bytes);
  }
  BOOST_TEST(is_close(free_bytes_now(observed), free_before));
}

BOOST_AUTO_TEST_CASE(host_memory_and_taken_addresses_are_not_mapped) { // D-3
  const server_process server;
  const device_child child(server, [](vault_client& client, const socket::message_socket& parent) {
    finding told;
    std::string why;
    auto* module = kernels::load_cuda_module(why);
    const auto file = socket::make_shared_file("test", bytes);
    const auto mapped = client.map(weights_key, bytes);
    if (module != nullptr && file && mapped) {
      const auto at = reinterpret_cast<std::uintptr_t>(mapped->memory.data());
      const socket::unique_fd memory(module->create_shareable(0, bytes, why));
      const bool is_refused =
          module->map_shared(file->get(), 0, bytes, device_window_base + (bytes << 4U), why)
              == nullptr
          && why == "the descriptor is not of a device's memory"
          && module->map_shared(memory.get(), 0, bytes, at, why) == nullptr
          && module->create_shareable(device_max, bytes, why) < 0
          && module->create_shareable(0, std::size_t{1} << 50U, why) < 0;
      const auto close_on_exec = fcntl(memory.get(), F_GETFD);
      told.matches = is_refused && close_on_exec == FD_CLOEXEC ? 1 : 0;
    }
    tell_finding(parent, told);
    wait_for_go(parent);
  });
  BOOST_TEST(child.read().matches == 1U);
}

BOOST_AUTO_TEST_CASE(a_gpu_without_room_is_resource_exhausted_and_harms_nobody) { // H-1
  const server_process server;
  const device_child child(server, [](vault_client& client, const socket::message_socket& parent) {
    const auto refused = client.map(weights_key, std::size_t{8} << 40U);
    const bool is_clear = !refused && refused.error().code == errc::resource_exhausted
                          && refused.error().context.find("cuda: device 0: ") != std::string::npos;
    const bool goes_on = client.map(weights_key, bytes) && client.map(words_key, 4096);
    tell_finding(parent, {.matches = is_clear && goes_on ? 1U : 0U});
    wait_for_go(parent);
  });
  BOOST_TEST(child.read().matches == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
