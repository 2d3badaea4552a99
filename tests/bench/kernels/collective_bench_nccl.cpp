#include "tests/bench/kernels/collective_bench_nccl.hpp"

#include <algorithm>
#include <cstdlib>
#include <dlfcn.h>
#include <stdexcept>

namespace vdist::kernels::bench {

namespace {

using tensor::nccl_code;

// Of nccl.h.
constexpr int bfloat16_type = 9;
constexpr int symmetric_window = 0x01; // NCCL_WIN_COLL_SYMMETRIC

template <class Function>
void find(void* library, Function& into, const char* name) {
  into = reinterpret_cast<Function>(dlsym(library, name));
}

bool has_windows(const nccl_library& nccl) {
  return nccl.mem_alloc != nullptr && nccl.mem_free != nullptr && nccl.window_register != nullptr
         && nccl.window_deregister != nullptr;
}

} // namespace

std::unique_ptr<nccl_library> load_nccl_library(std::string& why) {
  (void)setenv("NCCL_NVLS_ENABLE", "0", 1); // whatever the environment says
  const char* const path = std::getenv("VDIST_NCCL_SO_PATH");
  auto api = tensor::load_nccl(path == nullptr ? "" : path);
  if (!api) {
    why = api.error().context;
    return nullptr;
  }
  auto made = std::make_unique<nccl_library>();
  made->api = std::move(api).value();
  // Loaded already: the same library again.
  void* const library = dlopen(made->api.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    why = dlerror();
    return nullptr;
  }
  find(library, made->destroy, "ncclCommDestroy");
  find(library, made->mem_alloc, "ncclMemAlloc");
  find(library, made->mem_free, "ncclMemFree");
  find(library, made->window_register, "ncclCommWindowRegister");
  find(library, made->window_deregister, "ncclCommWindowDeregister");
  if (made->destroy == nullptr) {
    why = "load nccl: it has no ncclCommDestroy (path=" + made->api.path + ")";
    return nullptr;
  }
  return made;
}

nccl_ranks::nccl_ranks(const nccl_library& nccl,
                       const cuda_driver& driver,
                       cuda_module& module,
                       std::size_t ranks,
                       std::size_t bytes)
    : nccl_(nccl), driver_(driver), module_(module), bytes_(bytes), ranks_(ranks) {
  tensor::nccl_unique_id id;
  check(nccl_.api.get_unique_id(&id), "nccl invite", ranks_.front());
  for (std::size_t r = 0; r < ranks; ++r) {
    auto& mine = ranks_[r];
    mine.device = static_cast<std::int32_t>(r);
    std::string why;
    mine.plain = module_.allocate(mine.device, bytes_, why);
    if (mine.plain == nullptr) {
      throw std::runtime_error(why);
    }
  }
  run_together(ranks, [this, &id](std::size_t r, meeting&) { open(ranks_[r], id); });
  if (!has_windows(nccl_)) {
    why_not_symmetric_ = "this NCCL has no windows";
    return;
  }
  try {
    run_together(ranks, [this](std::size_t r, meeting&) { open_memory(ranks_[r]); });
    run_together(ranks, [this](std::size_t r, meeting&) { open_window(ranks_[r]); });
  } catch (const std::runtime_error& cause) {
    why_not_symmetric_ = cause.what();
    return;
  }
  if (std::any_of(
          ranks_.begin(), ranks_.end(), [](const rank& mine) { return mine.window == nullptr; })) {
    why_not_symmetric_ = "NCCL gives no symmetric window for these devices";
  }
}

nccl_ranks::~nccl_ranks() {
  run_together(ranks_.size(), [this](std::size_t r, meeting&) { close(ranks_[r]); });
  for (auto& mine : ranks_) {
    if (!is_broken_) { // freeing waits for the device
      module_.release(mine.device, mine.plain);
    }
  }
}

double nccl_ranks::measure(const nccl_trial& trial, const pace& how_often) {
  round_times seconds(ranks_.size());
  try {
    run_together(ranks_.size(), [&](std::size_t r, meeting& together) {
      auto& mine = ranks_[r];
      use(mine);
      check_data(trial, mine, together);
      seconds[r] = time_rounds(trial, how_often, mine, together);
    });
  } catch (...) {
    is_broken_ = true;
    throw;
  }
  return median_round(seconds);
}

/// The calling thread's device, and with it the driver's context, becomes the rank's.
void nccl_ranks::use(const rank& mine) {
  std::string why;
  (void)module_.use_device(mine.device, why);
}

void nccl_ranks::check(nccl_code code, const char* operation, const rank& mine) const {
  if (code != nccl_code::success) {
    const char* const detail = nccl_.api.last_error(mine.comm);
    throw std::runtime_error(
        std::string(operation) + ": " + nccl_.api.error_string(code) + "; "
        + (detail != nullptr && *detail != '\0' ? detail : "NCCL_DEBUG=WARN tells more")
        + " (device=" + std::to_string(mine.device) + ")");
  }
}

void nccl_ranks::open(rank& mine, const tensor::nccl_unique_id& id) {
  use(mine);
  mine.stream = driver_.make_stream();
  mine.first = driver_.make_event();
  mine.last = driver_.make_event();
  tensor::nccl_config
      config; // calls return when they are done: one that may be late takes a thread of its own
  check(nccl_.api.init_rank(&mine.comm, static_cast<int>(ranks_.size()), id, mine.device, &config),
        "nccl join",
        mine);
}

void nccl_ranks::open_memory(rank& mine) {
  use(mine);
  check(nccl_.mem_alloc(&mine.symmetric, bytes_), "nccl allocate", mine);
}

/// Of all ranks together.
void nccl_ranks::open_window(rank& mine) {
  use(mine);
  check(nccl_.window_register(mine.comm, mine.symmetric, bytes_, &mine.window, symmetric_window),
        "nccl register a window",
        mine);
}

void nccl_ranks::close(rank& mine) noexcept {
  use(mine);
  if (is_broken_) {
    if (mine.comm != nullptr) {
      (void)nccl_.api.abort(mine.comm);
    }
    return; // what its device still does may use streams and memory: they end with the process
  }
  if (mine.window != nullptr) {
    (void)nccl_.window_deregister(mine.comm, mine.window);
  }
  if (mine.comm != nullptr) {
    (void)nccl_.destroy(mine.comm);
  }
  if (mine.symmetric != nullptr) {
    (void)nccl_.mem_free(mine.symmetric);
  }
  try {
    driver_.destroy_event(mine.first);
    driver_.destroy_event(mine.last);
    driver_.destroy_stream(mine.stream);
  } catch (const std::exception&) {
    (void)0; // nothing is measured any more, and the process may end with them
  }
}

/// Everything on the rank's stream has run.
void nccl_ranks::finish(const rank& mine) const {
  driver_.record_event(mine.last, mine.stream);
  driver_.wait(mine.last, rank_patience);
}

void nccl_ranks::call(const nccl_trial& trial, const rank& mine) const {
  void* const data = trial.is_symmetric ? mine.symmetric : mine.plain;
  const int type = trial.type == dtype::bfloat16 ? bfloat16_type : tensor::nccl_float32;
  check(nccl_.api.all_reduce(data,
                             data,
                             trial.bytes / size_of(trial.type),
                             type,
                             tensor::nccl_sum,
                             mine.comm,
                             mine.stream),
        "nccl all_reduce",
        mine);
}

void nccl_ranks::check_data(const nccl_trial& trial, const rank& mine, meeting& together) const {
  void* const data = trial.is_symmetric ? mine.symmetric : mine.plain;
  const auto input = stored_values(trial.type, trial.bytes, static_cast<std::size_t>(mine.device));
  const auto wanted = stored_sums(trial.type, trial.bytes, ranks_.size());
  std::vector<std::byte> got(trial.bytes);
  driver_.copy_in(data, input.data(), input.size(), mine.stream);
  finish(mine);
  together.arrive_and_wait();
  call(trial, mine);
  finish(mine);
  driver_.copy_out(got.data(), data, got.size(), mine.stream);
  driver_.fill_zero(data, bytes_, mine.stream);
  finish(mine);
  if (got != wanted) {
    throw std::runtime_error("nccl all_reduce: the data is wrong (device="
                             + std::to_string(mine.device) + " bytes=" + std::to_string(trial.bytes)
                             + ")");
  }
}

std::vector<double> nccl_ranks::time_rounds(const nccl_trial& trial,
                                            const pace& how_often,
                                            const rank& mine,
                                            meeting& together) const {
  const auto call_all = [&] {
    for (int i = 0; i < how_often.calls; ++i) {
      call(trial, mine);
    }
  };
  driver_handle recorded = nullptr;
  if (trial.is_recorded) {
    driver_.begin_recording(mine.stream);
    call_all();
    recorded = driver_.end_recording(mine.stream);
  }
  const auto run = [&](int pieces) {
    for (int i = 0; i < pieces; ++i) {
      if (recorded != nullptr) {
        driver_.launch(recorded, mine.stream);
      } else {
        call_all();
      }
    }
  };
  together.arrive_and_wait(); // nobody records any more
  run(1);
  finish(mine);
  std::vector<double> seconds;
  for (int round = 0; round < how_often.rounds; ++round) {
    together.arrive_and_wait();
    run(pace::lead);
    driver_.record_event(mine.first, mine.stream);
    run(how_often.pieces);
    finish(mine);
    seconds.push_back(driver_.seconds_between(mine.first, mine.last)
                      / (how_often.calls * how_often.pieces));
  }
  together.arrive_and_wait(); // nobody's device waits for a rank that frees
  if (recorded != nullptr) {
    driver_.destroy_recording(recorded);
  }
  return seconds;
}

} // namespace vdist::kernels::bench
