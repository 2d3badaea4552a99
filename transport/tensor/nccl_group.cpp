#include "transport/tensor/nccl_group.hpp"

#include <fmt/format.h>
#include <system_error>
#include <thread>
#include <utility>

namespace vdist::tensor {

namespace {

/// NCCL rings no bell: its state is looked at this often.
constexpr frame::wait_settings polling{.spin_budget = std::chrono::microseconds(200),
                                       .slice_max = std::chrono::milliseconds(1)};

const char* causes_of(nccl_code code) {
  switch (code) {
  case nccl_code::cuda_error:
    return "the driver is older than this library needs, or no device memory is left (0.5 GiB per "
           "group)";
  case nccl_code::system_error:
    return "/dev/shm is too small, or no network interface fits (NCCL_SOCKET_IFNAME)";
  case nccl_code::invalid_usage:
    return "two ranks on one device, or libraries of different versions";
  case nccl_code::remote_error:
    return "another rank has died or cannot be reached";
  case nccl_code::in_progress:
    return "a rank has not come, or a firewall lies between";
  default:
    return "NCCL_DEBUG=WARN tells more";
  }
}

} // namespace

result<nccl_invitation> make_nccl_invitation(const nccl_api& api, epoch now) {
  nccl_invitation out{.version = api.version, .of = now};
  const auto code = api.get_unique_id(&out.id);
  if (code != nccl_code::success) {
    return fail(errc::internal,
                fmt::format("nccl invite: {}; {}", api.error_string(code), causes_of(code)));
  }
  return out;
}

nccl_group::nccl_group(const nccl_api& api, nccl_group_settings settings, const clock& time)
    : api_(api), settings_(std::move(settings)), waits_(polling, time) {}

nccl_group::~nccl_group() {
  abort();
}

result<std::unique_ptr<nccl_group>> nccl_group::join(const nccl_api& api,
                                                     const nccl_invitation& invitation,
                                                     nccl_group_settings settings,
                                                     const clock& time) {
  std::unique_ptr<nccl_group> made(new nccl_group(api, std::move(settings), time));
  VDIST_TRY(made->open(invitation));
  VDIST_TRY(made->test());
  return made;
}

result<void> nccl_group::open(const nccl_invitation& invitation) {
  if (invitation.version != api_.version) {
    return fail(errc::unsupported,
                fmt::format("nccl join: ranks have different versions (rank={} host={} mine={} "
                            "rank_0={} path={})",
                            settings_.rank,
                            settings_.host,
                            nccl_version_text(api_.version),
                            nccl_version_text(invitation.version),
                            api_.path));
  }
  if (invitation.of != settings_.now) {
    return fail(errc::stale,
                fmt::format("nccl join: the invitation is of another epoch (rank={} epoch={} "
                            "invitation={})",
                            settings_.rank,
                            settings_.now.value,
                            invitation.of.value));
  }
  nccl_config config;
  config.blocking = 0;
  config.split_share = 0;
  const auto code = api_.init_rank(&comm_, settings_.size, invitation.id, settings_.rank, &config);
  return settle("nccl join", code);
}

result<void> nccl_group::test() {
  const auto mine = static_cast<float>(settings_.rank);
  VDIST_TRY(settings_.write(settings_.scratch, &mine, sizeof mine));
  VDIST_TRY(settle("nccl test",
                   api_.all_reduce(settings_.scratch,
                                   settings_.scratch,
                                   1,
                                   nccl_float32,
                                   nccl_sum,
                                   comm_,
                                   settings_.stream)));
  float sum = -1;
  VDIST_TRY(settings_.read(&sum, settings_.scratch, sizeof sum));
  const auto wanted = static_cast<float>(settings_.size * (settings_.size - 1) / 2);
  if (sum != wanted) {
    return fail(
        errc::corrupt,
        fmt::format("nccl test: the sum of all ranks is wrong; a broken link? (rank={} host={} "
                    "sum={} wanted={})",
                    settings_.rank,
                    settings_.host,
                    sum,
                    wanted));
  }
  return {};
}

error nccl_group::describe(const char* operation, nccl_code code) const {
  const char* const detail = comm_ != nullptr ? api_.last_error(comm_) : nullptr;
  return fail(
      code == nccl_code::in_progress ? errc::timed_out : errc::io_failed,
      fmt::format("{}: {}{}{}; {} (rank={} size={} host={} epoch={} version={})",
                  operation,
                  code == nccl_code::in_progress ? "it takes too long" : api_.error_string(code),
                  detail != nullptr && *detail != '\0' ? ": " : "",
                  detail != nullptr ? detail : "",
                  causes_of(code),
                  settings_.rank,
                  settings_.size,
                  settings_.host,
                  settings_.now.value,
                  nccl_version_text(api_.version)));
}

result<void> nccl_group::settle(const char* operation, nccl_code code) {
  if (code == nccl_code::success || code == nccl_code::in_progress) {
    frame::bell nobody;
    const auto is_settled = [this, &code] {
      if (code == nccl_code::in_progress
          && api_.get_async_error(comm_, &code) != nccl_code::success) {
        code = nccl_code::internal_error;
      }
      return code != nccl_code::in_progress;
    };
    const frame::wait_bounds bounds{.deadline = waits_.now() + settings_.timeout,
                                    .stop = settings_.stop,
                                    .mine = settings_.now,
                                    .expected_at = {}};
    if (waits_.wait(nobody, is_settled, bounds) == frame::wait_status::aborted) {
      abort();
      return fail(errc::aborted,
                  fmt::format("{}: the epoch is over (epoch={} rank={})",
                              operation,
                              settings_.now.value,
                              settings_.rank));
    }
  }
  if (code == nccl_code::success) {
    return {};
  }
  auto failure = describe(operation, code);
  abort(); // after any error the communicator is of no use
  return failure;
}

result<void> nccl_group::all_gather(const void* in, void* out, std::size_t bytes) {
  if (comm_ == nullptr) {
    return fail(errc::aborted, "nccl all_gather: the group was aborted");
  }
  return settle("nccl all_gather",
                api_.all_gather(in, out, bytes, nccl_bytes, comm_, settings_.stream));
}

result<void> nccl_group::broadcast(void* data, std::size_t bytes, std::int32_t root) {
  if (comm_ == nullptr) {
    return fail(errc::aborted, "nccl broadcast: the group was aborted");
  }
  return settle("nccl broadcast",
                api_.broadcast(data, data, bytes, nccl_bytes, root, comm_, settings_.stream));
}

result<void> nccl_group::all_to_all(const void* in, void* out, std::size_t bytes) {
  if (comm_ == nullptr) {
    return fail(errc::aborted, "nccl all_to_all: the group was aborted");
  }
  const auto* from = static_cast<const std::byte*>(in);
  auto* to = static_cast<std::byte*>(out);
  auto code = api_.group_start();
  for (int r = 0; r < settings_.size && code == nccl_code::success; ++r) {
    const auto at = static_cast<std::size_t>(r) * bytes;
    code = api_.send(from + at, bytes, nccl_bytes, r, comm_, settings_.stream);
    if (code == nccl_code::success) {
      code = api_.recv(to + at, bytes, nccl_bytes, r, comm_, settings_.stream);
    }
  }
  const auto ended = api_.group_end(); // also after an error: the group is the thread's
  return settle("nccl all_to_all", code == nccl_code::success ? ended : code);
}

void nccl_group::abort() noexcept {
  if (comm_ == nullptr) {
    return;
  }
  const auto comm = std::exchange(comm_, nullptr);
  try {
    std::thread([comm, end = api_.abort] { (void)end(comm); }).detach(); // L-2
  } catch (const std::system_error&) {
    (void)0; // no thread to be had: the communicator ends with the process
  }
}

} // namespace vdist::tensor
