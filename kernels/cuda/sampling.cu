// kernels/cuda/sampling.cu — logits to tokens: kernels/sampling/sampling.hpp.
//
// Three kernels, one after the other; each row decides on the device what it needs of them. A row is cut into slices.
//   survey  (slices, rows): largest logit with its id, smallest finite logit, NaN, per slice; empties the row's bins.
//   weigh   (slices, rows): greedy rows are done here. Other rows weigh their candidates: the sum of each slice (draw in
//                           order of the ids), or count and mass of 2048 bins over falling logit (top_k, min_p, top_p).
//   pick    (rows):         finds the token by prefix sums over slices or bins; inside of a bin by radix descent over
//                           (falling logit, rising id), eleven bits at a time.
// G-1 A mass is exp((logit - largest) / temperature), computed in double and rounded to a multiple of 2^-42. Sums of these
//     are 64-bit integers: exact, so no order of adding, no partition and no atomic can change a bit of them. A candidate
//     lighter than 2^-43 of the heaviest has no mass; all of those together are less than 3e-8 of the row.
// G-2 Every cut is the same question: the first candidate, in order, at which a running sum reaches a target. top_k asks it
//     of counts, top_p and the draw of masses. The draw's target, floor(u * mass) + 1, is computed without rounding.
// G-3 Bins are equal steps of logit between the largest and the smallest that has mass, so one bin holds few candidates
//     whatever the temperature; pick copies them to shared memory. Where they are too many (equal logits), pick reads the
//     row instead, slower and with the same result.
// G-4 The workspace carries nothing from call to call.
// Vocabulary: at most 2^18, by the width of the sums in shared memory.
// Grid: as above, about 264 slices in all; block: 256 threads (survey, weigh), 1024 (pick).
// Bytes: 4 * vocabulary per row and pass: two passes greedy or by id, up to five with all cuts. Flops: one double exp per
// candidate that has mass.
// Architectures: sm_80 and newer; early start on sm_90.
#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/reduce.cuh"
#include "kernels/sampling/sampling.hpp"

#include <algorithm>
#include <cfloat>
#include <cstdint>

namespace vdist::kernels::cuda {

namespace {

using mass_sum = unsigned long long; // multiples of 2^-42; what 64-bit atomics take

constexpr int slice_threads = 256;
constexpr int pick_threads = 1024;
constexpr int slices_max = 128;
constexpr int slice_elements_min = 2048;
constexpr int blocks_wanted = 264; // two per multiprocessor of an H100 or H200
constexpr int bins = 2048;
static_assert(bins == 2 * pick_threads); // each thread of pick has two neighbouring ones
constexpr int bin_bits = 11;
constexpr int part_bits =
    14; // a mass is added to a bin in three parts; 2^18 of each fit into 32 bits
constexpr unsigned part_mask = (1U << part_bits) - 1;
constexpr int id_bits = 22;          // of a place in the order
constexpr int list_entries = 1536;   // candidates of one bin in shared memory
constexpr double mass_unit = 0x1p42; // steps of mass in 1
constexpr mass_sum mass_max = (1ULL << 42) - 1;
constexpr double weightless = -29.9; // ln(2^-43) and a little
constexpr double bin_range =
    30.5; // what bins cover at most, in units of the temperature; beyond: no mass

/// What one slice of a row holds.
struct alignas(16) slice_facts {
  float largest;
  std::int32_t largest_id; // the smallest id of the largest
  float smallest;          // above -infinity
  std::int32_t has_nan;
};

/// Workspace of one row.
struct row_space {
  slice_facts facts[slices_max];
  mass_sum slice_mass[slices_max]; // rows that are drawn in order of the ids
  mass_sum bin_mass[bins];         // rows that are cut
  std::uint32_t bin_count[bins];
};

struct sample_task {
  sample_args args;
  row_space* space; // [rows]
  std::int32_t slices;
  std::int32_t slice_elements; // multiple of 4
};

// ---------------------------------------------------------------------------------------------- the generator

/// The first 53 bits of philox(position, seed), model/sampling/philox.hpp: u = bits * 2^-53.
__device__ std::uint64_t random_bits(std::uint64_t seed, std::uint64_t position) {
  std::uint32_t c0 = static_cast<std::uint32_t>(position);
  std::uint32_t c1 = static_cast<std::uint32_t>(position >> 32);
  std::uint32_t c2 = 0;
  std::uint32_t c3 = 0;
  std::uint32_t k0 = static_cast<std::uint32_t>(seed);
  std::uint32_t k1 = static_cast<std::uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * c0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(p1);
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return ((static_cast<std::uint64_t>(c0) << 32) | c1) >> 11;
}

/// The running mass at which the draw stops: the first above u * mass.
__device__ __forceinline__ mass_sum draw_target(const sampling_row& wanted, mass_sum mass) {
  const mass_sum random = random_bits(wanted.seed, wanted.position);
  return ((__umul64hi(random, mass) << 11) | ((random * mass) >> 53)) + 1;
}

// ---------------------------------------------------------------------------------------------- what a row wants

enum class row_kind : std::int32_t {
  settled,  // the token is known: greedy, NaN, an infinite logit
  by_id,    // drawn from all candidates in order of their ids
  in_order, // cut, and drawn in order of falling logits
};

struct row_rule {
  row_kind kind;
  std::int32_t token; // of a settled row
  float largest;
  float bins_per_logit;
  double inverse_temperature;
  double floor;        // of the logits that min_p keeps
  std::uint32_t limit; // how many candidates top_k keeps
};

__device__ __forceinline__ void keep_first(slice_facts& kept, const slice_facts& other) {
  const bool is_before = other.largest > kept.largest
                         || (other.largest == kept.largest && other.largest_id < kept.largest_id);
  kept.largest = is_before ? other.largest : kept.largest;
  kept.largest_id = is_before ? other.largest_id : kept.largest_id;
  kept.smallest = fminf(kept.smallest, other.smallest);
  kept.has_nan |= other.has_nan;
}

/// Of all lanes of a warp, in every lane.
__device__ __forceinline__ slice_facts merge_lanes(slice_facts facts) {
#pragma unroll
  for (int distance = warp_lanes / 2; distance > 0; distance /= 2) {
    slice_facts other;
    other.largest = __shfl_xor_sync(all_lanes, facts.largest, distance);
    other.largest_id = __shfl_xor_sync(all_lanes, facts.largest_id, distance);
    other.smallest = __shfl_xor_sync(all_lanes, facts.smallest, distance);
    other.has_nan = __shfl_xor_sync(all_lanes, facts.has_nan, distance);
    keep_first(facts, other);
  }
  return facts;
}

__device__ __forceinline__ slice_facts no_facts() {
  return {-INFINITY, INT32_MAX, INFINITY, 0};
}

/// Whether the draw is from candidates in order of their logits, as model/sampling/sampler.cpp has it.
__device__ __forceinline__ bool is_cut(const sampling_row& wanted, std::int32_t vocabulary) {
  return (wanted.top_k > 0 && wanted.top_k < vocabulary) || wanted.min_p > 0 || wanted.top_p < 1;
}

__device__ row_rule make_rule(const sampling_row& wanted,
                              const slice_facts& facts,
                              std::int32_t vocabulary) {
  row_rule rule{};
  rule.kind = row_kind::settled;
  rule.token = facts.has_nan != 0 ? -1 : facts.largest_id;
  rule.largest = facts.largest;
  if (facts.has_nan != 0 || !(wanted.temperature > 0) || isinf(facts.largest)) {
    return rule;
  }
  const double largest = facts.largest;
  rule.inverse_temperature = 1.0 / static_cast<double>(wanted.temperature);
  rule.floor = -INFINITY;
  rule.limit = wanted.top_k > 0 ? static_cast<std::uint32_t>(wanted.top_k) : UINT32_MAX;
  rule.kind = is_cut(wanted, vocabulary) ? row_kind::in_order : row_kind::by_id;
  if (wanted.min_p > 0) {
    rule.floor = largest + log(static_cast<double>(wanted.min_p)) / rule.inverse_temperature;
    if (rule.floor > largest) { // min_p above 1: one candidate all the same
      rule.floor = largest;
      rule.limit = 1;
    }
  }
  const double range =
      fmin(bin_range, (largest - static_cast<double>(facts.smallest)) * rule.inverse_temperature);
  const double steps = (bins - 1) / range * rule.inverse_temperature;
  rule.bins_per_logit = range > 0 ? static_cast<float>(fmin(static_cast<double>(FLT_MAX), steps))
                                  : 1.0F; // one logit alone, perhaps zeros of both signs
  return rule;
}

/// The rule of this block's row, in every thread. The whole block calls it, once.
__device__ __forceinline__ row_rule find_rule(const sample_task& task,
                                              const sampling_row& wanted,
                                              row_rule& shared) {
  if (threadIdx.x < warp_lanes) {
    const row_space& space = task.space[blockIdx.y];
    slice_facts facts = no_facts();
    for (int i = static_cast<int>(threadIdx.x); i < task.slices; i += warp_lanes) {
      keep_first(facts, space.facts[i]);
    }
    facts = merge_lanes(facts);
    if (threadIdx.x == 0) {
      shared = make_rule(wanted, facts, task.args.vocabulary);
    }
  }
  __syncthreads();
  return shared;
}

__device__ __forceinline__ void
put_token(const sample_args& args, std::int32_t row, std::int32_t slot, std::int32_t token) {
  args.tokens[row] = token;
  if (args.fed != nullptr) {
    args.fed[slot] = token >= 0 ? token : 0;
  }
}

// ---------------------------------------------------------------------------------------------- candidates

/// G-1. Multiplication and subtraction are not fused, here as on the host.
__device__ __forceinline__ mass_sum mass_of(const row_rule& rule, float logit) {
  if (logit == rule.largest) {
    return mass_max;
  }
  const double x = __dmul_rn(static_cast<double>(logit) - static_cast<double>(rule.largest),
                             rule.inverse_temperature);
  if (x < weightless) {
    return 0;
  }
  const mass_sum mass = __double2ull_rn(exp(x) * mass_unit);
  return mass < mass_max ? mass : mass_max;
}

/// The mass of a candidate of a row that is cut; 0 where min_p drops it.
__device__ __forceinline__ mass_sum kept_mass_of(const row_rule& rule, float logit) {
  return static_cast<double>(logit) >= rule.floor ? mass_of(rule, logit) : 0;
}

/// Rises as the logit falls. Its whole part is the bin; the last bin has everything beyond.
__device__ __forceinline__ float bin_place_of(const row_rule& rule, float logit) {
  return (rule.largest - logit) * rule.bins_per_logit;
}

__device__ __forceinline__ int bin_of(const row_rule& rule, float logit) {
  return static_cast<int>(fminf(bin_place_of(rule, logit), static_cast<float>(bins - 1)));
}

/// The candidate's place in the order: rises with falling logit, then with the id. Zeros of both signs are equal.
__device__ __forceinline__ std::uint64_t place_of(float logit, std::int32_t id) {
  const std::uint32_t bits = __float_as_uint(logit + 0.0F);
  const std::uint32_t rising = (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
  return (static_cast<std::uint64_t>(~rising) << id_bits) | static_cast<std::uint32_t>(id);
}

__device__ __forceinline__ float logit_at(std::uint64_t place) {
  const std::uint32_t rising = ~static_cast<std::uint32_t>(place >> id_bits);
  return __uint_as_float((rising >> 31) != 0 ? rising & 0x7fffffffU : ~rising);
}

__device__ __forceinline__ std::int32_t id_at(std::uint64_t place) {
  return static_cast<std::int32_t>(place & ((1U << id_bits) - 1));
}

/// Calls f(logit, id) for the elements [first, last) of the row that this thread has. `first` is a multiple of 4. All
/// loads of a round come before the first call, which may write what the compiler cannot tell from the row.
template <class F>
__device__ __forceinline__ void for_each_logit(const float* row, int first, int last, const F& f) {
  constexpr int loads = 4;
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  if (reinterpret_cast<std::uintptr_t>(row) % 16 == 0) {
    const int whole = first + (last - first) / 4 * 4;
    const int step = threads * 4;
    for (int i = first + thread * 4; i < whole; i += loads * step) {
      float4 v[loads];
#pragma unroll
      for (int k = 0; k < loads; ++k) {
        if (i + k * step < whole) {
          v[k] = *reinterpret_cast<const float4*>(row + i + k * step);
        }
      }
#pragma unroll
      for (int k = 0; k < loads; ++k) {
        const int id = i + k * step;
        if (id < whole) {
          f(v[k].x, id);
          f(v[k].y, id + 1);
          f(v[k].z, id + 2);
          f(v[k].w, id + 3);
        }
      }
    }
    first = whole;
  }
  for (int i = first + thread; i < last; i += loads * threads) {
    float v[loads];
#pragma unroll
    for (int k = 0; k < loads; ++k) {
      if (i + k * threads < last) {
        v[k] = row[i + k * threads];
      }
    }
#pragma unroll
    for (int k = 0; k < loads; ++k) {
      if (i + k * threads < last) {
        f(v[k], i + k * threads);
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------- bins

/// Candidates taken together.
struct weight {
  mass_sum mass;
  std::uint32_t count;

  __device__ weight operator+(const weight& other) const {
    return {mass + other.mass, count + other.count};
  }

  [[nodiscard]] __device__ mass_sum measured(bool by_count) const {
    return by_count ? count : mass;
  }
};

/// Bins in shared memory, added to by 32-bit atomics, which shared memory has in hardware.
struct bin_counters {
  std::uint32_t count[bins];
  std::uint32_t parts[3][bins];

  __device__ void clear() {
    for (int i = static_cast<int>(threadIdx.x); i < bins; i += static_cast<int>(blockDim.x)) {
      count[i] = 0;
      parts[0][i] = 0;
      parts[1][i] = 0;
      parts[2][i] = 0;
    }
  }

  __device__ weight at(int i) const {
    const mass_sum low = parts[0][i];
    const mass_sum middle = parts[1][i];
    const mass_sum high = parts[2][i];
    return {low + (middle << part_bits) + (high << (2 * part_bits)), count[i]};
  }

  /// The whole warp calls it; lanes without mass add nothing. One lane adds for all where all have the same bin, so that
  /// many equal logits do not queue up.
  __device__ void add(int bin, mass_sum mass) {
    const unsigned adding = __ballot_sync(all_lanes, mass != 0);
    if (adding == 0) {
      return;
    }
    auto low = static_cast<std::uint32_t>(mass) & part_mask;
    auto middle = static_cast<std::uint32_t>(mass >> part_bits) & part_mask;
    auto high = static_cast<std::uint32_t>(mass >> (2 * part_bits));
    std::uint32_t number = 1;
    bool is_adding = mass != 0;
    const int leader = __ffs(static_cast<int>(adding)) - 1;
    const int leaders_bin = __shfl_sync(all_lanes, bin, leader);
    if (__all_sync(all_lanes, mass == 0 || bin == leaders_bin) != 0) {
      low = __reduce_add_sync(all_lanes, low);
      middle = __reduce_add_sync(all_lanes, middle);
      high = __reduce_add_sync(all_lanes, high);
      number = static_cast<std::uint32_t>(__popc(adding));
      is_adding = static_cast<int>(threadIdx.x) % warp_lanes == leader;
    }
    if (is_adding) {
      atomicAdd(&count[bin], number);
      atomicAdd(&parts[0][bin], low);
      atomicAdd(&parts[1][bin], middle);
      atomicAdd(&parts[2][bin], high);
    }
  }
};

// ---------------------------------------------------------------------------------------------- survey, weigh

__global__ void __launch_bounds__(slice_threads) survey(const sample_task task) {
  let_successor_start();
  __shared__ slice_facts by_warp[slice_threads / warp_lanes];
  const auto row = static_cast<std::int32_t>(blockIdx.y);
  const auto slice = static_cast<std::int32_t>(blockIdx.x);
  wait_for_predecessor();
  const sampling_row wanted = task.args.wanted[row];
  if (wanted.slot < 0) {
    return;
  }
  row_space& space = task.space[row];
  if (wanted.temperature > 0 && is_cut(wanted, task.args.vocabulary)) {
    for (int i = slice * slice_threads + static_cast<int>(threadIdx.x); i < bins;
         i += task.slices * slice_threads) {
      space.bin_mass[i] = 0;
      space.bin_count[i] = 0;
    }
  }
  slice_facts facts = no_facts();
  const std::int32_t first = slice * task.slice_elements;
  const std::int32_t last = min(first + task.slice_elements, task.args.vocabulary);
  for_each_logit(
      task.args.logits + row * task.args.logits_stride, first, last, [&facts](float logit, int id) {
        const bool is_before =
            logit > facts.largest || (logit == facts.largest && id < facts.largest_id);
        facts.largest = is_before ? logit : facts.largest;
        facts.largest_id = is_before ? id : facts.largest_id;
        facts.smallest = logit > -INFINITY ? fminf(facts.smallest, logit) : facts.smallest;
        facts.has_nan |= static_cast<std::int32_t>(isnan(logit));
      });
  facts = merge_lanes(facts);
  if (threadIdx.x % warp_lanes == 0) {
    by_warp[threadIdx.x / warp_lanes] = facts;
  }
  __syncthreads();
  if (threadIdx.x < warp_lanes) {
    facts =
        merge_lanes(threadIdx.x < slice_threads / warp_lanes ? by_warp[threadIdx.x] : no_facts());
    if (threadIdx.x == 0) {
      space.facts[slice] = facts;
    }
  }
}

/// The mass of a slice, for rows drawn in order of the ids.
__device__ void weigh_slice(
    const sample_task& task, const row_rule& rule, const float* logits, int first, int last) {
  __shared__ mass_sum scratch[block_warps_max];
  mass_sum mass = 0;
  for_each_logit(
      logits, first, last, [&mass, &rule](float logit, int) { mass += mass_of(rule, logit); });
  mass = sum_block(mass, scratch);
  if (threadIdx.x == 0) {
    task.space[blockIdx.y].slice_mass[blockIdx.x] = mass;
  }
}

/// A slice's share of the bins.
__device__ void
fill_bins(const sample_task& task, const row_rule& rule, const float* logits, int first, int last) {
  __shared__ bin_counters counters;
  counters.clear();
  __syncthreads();
  // All lanes go round equally often, because add() is for whole warps. A few loads are under way at a time.
  constexpr int loads = 4;
  for (int i = first + static_cast<int>(threadIdx.x); i < last + static_cast<int>(threadIdx.x);
       i += loads * slice_threads) {
    float logit[loads];
#pragma unroll
    for (int k = 0; k < loads; ++k) {
      const int id = i + k * slice_threads;
      logit[k] = id < last ? logits[id] : -INFINITY;
    }
#pragma unroll
    for (int k = 0; k < loads; ++k) {
      counters.add(bin_of(rule, logit[k]), kept_mass_of(rule, logit[k]));
    }
  }
  __syncthreads();
  row_space& space = task.space[blockIdx.y];
  for (int i = static_cast<int>(threadIdx.x); i < bins; i += slice_threads) {
    const weight w = counters.at(i);
    if (w.count != 0) {
      atomicAdd(&space.bin_mass[i], w.mass);
      atomicAdd(&space.bin_count[i], w.count);
    }
  }
}

__global__ void __launch_bounds__(slice_threads) weigh(const sample_task task) {
  let_successor_start();
  __shared__ row_rule shared_rule;
  const auto row = static_cast<std::int32_t>(blockIdx.y);
  wait_for_predecessor();
  const sampling_row wanted = task.args.wanted[row];
  if (wanted.slot < 0) {
    return;
  }
  const row_rule rule = find_rule(task, wanted, shared_rule);
  if (rule.kind == row_kind::settled) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
      put_token(task.args, row, wanted.slot, rule.token);
    }
    return;
  }
  const float* logits = task.args.logits + row * task.args.logits_stride;
  const int first = static_cast<int>(blockIdx.x) * task.slice_elements;
  const int last = min(first + task.slice_elements, task.args.vocabulary);
  if (rule.kind == row_kind::by_id) {
    weigh_slice(task, rule, logits, first, last);
  } else {
    fill_bins(task, rule, logits, first, last);
  }
}

// ---------------------------------------------------------------------------------------------- pick

/// Two neighbouring bins of each thread, with what lies before them.
struct scanned_bins {
  weight first;
  weight second;
  weight before;
  weight total;
};

/// The bin in which a running sum reaches a target.
struct found_bin {
  int bin;
  weight before;
  weight inside;
};

struct pick_scratch {
  bin_counters counters;
  std::uint64_t list[list_entries]; // places of the candidates of one bin, in any order
  std::uint32_t listed;
  weight warp_totals[pick_threads / warp_lanes];
  found_bin found;
  std::uint64_t place;
  row_rule rule;
};

__device__ __forceinline__ weight sum_before_lane(weight mine) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
  weight sum = mine;
#pragma unroll
  for (int distance = 1; distance < warp_lanes; distance *= 2) {
    const weight other = {__shfl_up_sync(all_lanes, sum.mass, distance),
                          __shfl_up_sync(all_lanes, sum.count, distance)};
    if (lane >= distance) {
      sum = sum + other;
    }
  }
  return {sum.mass - mine.mass, sum.count - mine.count};
}

/// Prefix sums over the two bins of each of the block's threads.
__device__ scanned_bins scan_bins(weight first, weight second, pick_scratch& s) {
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
  const int warp = static_cast<int>(threadIdx.x) / warp_lanes;
  const weight mine = first + second;
  const weight before_lane = sum_before_lane(mine);
  __syncthreads(); // the scratch of the last call has been read
  if (lane == warp_lanes - 1) {
    s.warp_totals[warp] = before_lane + mine;
  }
  __syncthreads();
  const weight of_warp = s.warp_totals[lane];
  const weight before_warp = sum_before_lane(of_warp);
  const weight through_warp = before_warp + of_warp;
  const weight before = {__shfl_sync(all_lanes, before_warp.mass, warp),
                         __shfl_sync(all_lanes, before_warp.count, warp)};
  const weight total = {__shfl_sync(all_lanes, through_warp.mass, warp_lanes - 1),
                        __shfl_sync(all_lanes, through_warp.count, warp_lanes - 1)};
  return {first, second, before + before_lane, total};
}

/// G-2: the first bin through which the sum is at least `target`; 1 <= target <= the sum of all bins.
__device__ found_bin find_bin(const scanned_bins& mine,
                              mass_sum target,
                              bool by_count,
                              pick_scratch& s) {
  const weight between = mine.before + mine.first;
  const weight after = between + mine.second;
  const int bin = static_cast<int>(threadIdx.x) * 2;
  if (mine.before.measured(by_count) < target && target <= after.measured(by_count)) {
    const bool is_first = target <= between.measured(by_count);
    s.found = is_first ? found_bin{bin, mine.before, mine.first}
                       : found_bin{bin + 1, between, mine.second};
  }
  __syncthreads();
  const found_bin found = s.found;
  __syncthreads(); // before it is overwritten
  return found;
}

/// Draws from all candidates in order of their ids: the slice, a run of it, …, the element.
__device__ std::int32_t draw_by_id(const sample_task& task,
                                   const sampling_row& wanted,
                                   const row_rule& rule,
                                   const float* logits,
                                   pick_scratch& s) {
  const row_space& space = task.space[blockIdx.y];
  const int bin = static_cast<int>(threadIdx.x) * 2;
  const auto slice = [&space, &task](int i) {
    return weight{i < task.slices ? space.slice_mass[i] : 0, 0};
  };
  scanned_bins scanned = scan_bins(slice(bin), slice(bin + 1), s);
  mass_sum target = draw_target(wanted, scanned.total.mass);
  found_bin found = find_bin(scanned, target, false, s);
  int first = found.bin * task.slice_elements;
  int last = min(first + task.slice_elements, task.args.vocabulary);
  while (last - first > 1) {
    target -= found.before.mass;
    const int width = (last - first + bins - 1) / bins;
    const auto run = [logits, first, last, width, &rule](int i) {
      weight sum = {0, 0};
      const int begin = first + i * width;
      for (int id = begin; id < min(begin + width, last); ++id) {
        sum.mass += mass_of(rule, logits[id]);
      }
      return sum;
    };
    scanned = scan_bins(run(bin), run(bin + 1), s);
    found = find_bin(scanned, target, false, s);
    first += found.bin * width;
    last = min(first + width, last);
  }
  return first;
}

/// The candidates of one bin: in shared memory, or where they are too many for it, the row itself.
struct bin_source {
  const float* logits;
  std::int32_t vocabulary;
  std::int32_t bin = -1;
  bool is_listed = false;
  std::int32_t entries = 0; // of the list, or of the row
};

/// Turns to another bin. `most` bounds the candidates in it that have mass.
__device__ void
turn_to(bin_source& source, int bin, std::uint32_t most, const row_rule& rule, pick_scratch& s) {
  if (source.bin == bin) {
    return;
  }
  source.bin = bin;
  source.is_listed = false;
  source.entries = source.vocabulary;
  if (most > list_entries) {
    return;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    s.listed = 0;
  }
  __syncthreads();
  const auto from = static_cast<float>(bin);
  const float to = bin == bins - 1 ? INFINITY : from + 1.0F; // infinite places have no mass
  for_each_logit(source.logits, 0, source.vocabulary, [&rule, &s, from, to](float logit, int id) {
    const float place = bin_place_of(rule, logit);
    if (place >= from && place < to) {
      const std::uint32_t entry = atomicAdd(&s.listed, 1U);
      if (entry < list_entries) {
        s.list[entry] = place_of(logit, id);
      }
    }
  });
  __syncthreads();
  if (s.listed <= list_entries) { // else candidates without mass share the bin
    source.is_listed = true;
    source.entries = static_cast<std::int32_t>(s.listed);
  }
}

/// Calls f(place, mass) for the candidates of the bin; the whole block goes round equally often, with mass 0 where a thread
/// has none.
template <class F>
__device__ __forceinline__ void for_each_candidate(const bin_source& source,
                                                   const row_rule& rule,
                                                   const pick_scratch& s,
                                                   const F& f) {
  for (std::int32_t i = 0; i < source.entries; i += pick_threads) {
    const std::int32_t entry = i + static_cast<std::int32_t>(threadIdx.x);
    std::uint64_t place = 0;
    mass_sum mass = 0;
    if (entry < source.entries) {
      const float logit = source.is_listed ? logit_at(s.list[entry]) : source.logits[entry];
      if (source.is_listed || bin_of(rule, logit) == source.bin) {
        place = source.is_listed ? s.list[entry] : place_of(logit, entry);
        mass = kept_mass_of(rule, logit);
      }
    }
    f(place, mass);
  }
}

/// A candidate, with everything up to it.
struct cut {
  std::uint64_t place;
  mass_sum through;
};

/// The first candidate of the bin at which the running sum, `before` included, reaches `target`.
__device__ cut find_candidate(const bin_source& source,
                              const row_rule& rule,
                              weight before,
                              mass_sum target,
                              bool by_count,
                              pick_scratch& s) {
  std::uint64_t known = 0; // the upper bits of its place
  int shift = 32 + id_bits;
  for (;;) {
    const int upper = shift;
    const int width =
        min(bin_bits,
            shift > id_bits ? shift - id_bits : shift); // logit and id apart: 11, 11, 10, 11, 11
    shift -= width;
    __syncthreads();
    s.counters.clear();
    __syncthreads();
    for_each_candidate(source, rule, s, [&](std::uint64_t place, mass_sum mass) {
      const auto digit = static_cast<int>((place >> shift) & ((1U << width) - 1));
      s.counters.add(digit, (place >> upper) == known ? mass : 0);
    });
    __syncthreads();
    const int bin = static_cast<int>(threadIdx.x) * 2;
    const scanned_bins scanned = scan_bins(s.counters.at(bin), s.counters.at(bin + 1), s);
    const found_bin found = find_bin(scanned, target - before.measured(by_count), by_count, s);
    known = (known << width) | static_cast<std::uint64_t>(found.bin);
    before = before + found.before;
    if (found.inside.count == 1 || shift == 0) {
      for_each_candidate(source, rule, s, [&](std::uint64_t place, mass_sum mass) {
        if (mass != 0 && (place >> shift) == known) {
          s.place = place;
        }
      });
      __syncthreads();
      return {s.place, before.mass + found.inside.mass};
    }
  }
}

/// Draws from what top_k, min_p and top_p leave, in order of falling logits.
__device__ std::int32_t draw_in_order(const sample_task& task,
                                      const sampling_row& wanted,
                                      const row_rule& rule,
                                      const float* logits,
                                      pick_scratch& s) {
  const row_space& space = task.space[blockIdx.y];
  const int bin = static_cast<int>(threadIdx.x) * 2;
  const scanned_bins scanned = scan_bins({space.bin_mass[bin], space.bin_count[bin]},
                                         {space.bin_mass[bin + 1], space.bin_count[bin + 1]},
                                         s);
  bin_source source{logits, task.args.vocabulary};

  enum { top_k, top_p, draw, steps }; // min_p has no step: what it drops was never counted

  cut last = {0, scanned.total.mass};
  for (int step = top_k; step < steps; ++step) {
    mass_sum target = 0;
    if (step == top_k) {
      target = rule.limit < scanned.total.count ? rule.limit : 0;
    } else if (step == top_p) {
      const double share = static_cast<double>(wanted.top_p) * __ull2double_rn(last.through);
      target = wanted.top_p < 1 ? __double2ull_ru(fmax(share, 1.0)) : 0;
    } else {
      target = draw_target(wanted, last.through);
    }
    if (target != 0) { // the same for all threads
      const bool by_count = step == top_k;
      const found_bin found = find_bin(scanned, target, by_count, s);
      turn_to(source, found.bin, found.inside.count, rule, s);
      last = find_candidate(source, rule, found.before, target, by_count, s);
    }
  }
  return id_at(last.place);
}

__global__ void __launch_bounds__(pick_threads) pick(const sample_task task) {
  let_successor_start();
  __shared__ pick_scratch s;
  const auto row = static_cast<std::int32_t>(blockIdx.y);
  wait_for_predecessor();
  const sampling_row wanted = task.args.wanted[row];
  if (wanted.slot < 0) {
    return;
  }
  const row_rule rule = find_rule(task, wanted, s.rule);
  if (rule.kind == row_kind::settled) {
    return;
  }
  const float* logits = task.args.logits + row * task.args.logits_stride;
  const std::int32_t token = rule.kind == row_kind::by_id
                                 ? draw_by_id(task, wanted, rule, logits, s)
                                 : draw_in_order(task, wanted, rule, logits, s);
  if (threadIdx.x == 0) {
    put_token(task.args, row, wanted.slot, token);
  }
}

} // namespace

std::size_t sample_workspace_bytes(std::int32_t rows_max, std::int32_t /*vocabulary*/) noexcept {
  return static_cast<std::size_t>(rows_max) * sizeof(row_space);
}

cudaError_t sample(const sample_args& args, void* workspace, cudaStream_t stream) noexcept {
  if (args.rows == 0) {
    return cudaSuccess;
  }
  // Few rows: many slices. The result does not depend on it (G-1).
  const std::int32_t wanted = std::clamp(blocks_wanted / args.rows, 1, slices_max);
  const std::int32_t even = (args.vocabulary + wanted - 1) / wanted;
  const std::int32_t slice_elements = std::max((even + 3) / 4 * 4, slice_elements_min);
  const std::int32_t slices = (args.vocabulary + slice_elements - 1) / slice_elements;
  const sample_task task{args, static_cast<row_space*>(workspace), slices, slice_elements};
  const dim3 slice_grid(static_cast<unsigned>(slices), static_cast<unsigned>(args.rows));
  launch(survey, {slice_grid, dim3(slice_threads)}, stream, task);
  launch(weigh, {slice_grid, dim3(slice_threads)}, stream, task);
  launch(pick, {dim3(1, static_cast<unsigned>(args.rows)), dim3(pick_threads)}, stream, task);
  return cudaPeekAtLastError();
}

} // namespace vdist::kernels::cuda
