// kernels/cuda/qkv.cu — what happens between the qkv projection and attention: norm of q and k heads, rotation, k and v
// into the paged cache. prepare_qkv does all of it in one kernel; rope and kv_append are the same kernel with less to do.
//
// Heads of one token are numbered q heads, k heads, v heads. The fast kernel gives a head 8, 16 or 32 lanes and a lane
// four pairs of elements: (i, i + rotary_dim / 2) where the head is rotated, behind that the two halves of what is left.
// A head stays in registers: read once, written once. Norm and rotation are float32; k is rounded once, to the cache's
// type. The other kernel takes any head_dim and alignment with a warp per head, element by element.
// Grid: (tokens, blocks of heads); block: 128 threads, 256 for many tokens.
// Bytes: tokens * head_dim * (2 heads q + kv_heads * 2 * (activation + cache)); flops: 6 per rotated, 4 per normed element.
// Architectures: sm_80 and newer; early start on sm_90.
#include "kernels/cuda/chunk.cuh"
#include "kernels/cuda/dependent.cuh"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/reduce.cuh"

namespace vdist::kernels::cuda {

namespace {

constexpr int pairs_per_lane = 4;
constexpr int any_threads = 128; // of the kernel for any shape: four heads

struct heads_task {
  void* q; // [tokens, heads * head_dim], in place
  const void* k;
  const void* v;
  std::int64_t q_stride;
  std::int64_t k_stride;
  std::int64_t v_stride;
  std::int32_t tokens;
  std::int32_t heads; // of q; 0: q is not touched
  std::int32_t head_dim;
  std::int32_t rotary_dim;
  const float* q_norm; // nullptr: none
  const float* k_norm; // nullptr: none
  float eps;
  const float* cos_table;
  const float* sin_table;
  const std::int32_t* positions; // [tokens], for the rotation; nullptr: those of the batch
  paged_kv kv;                   // kv_heads 0: no k, no v, no batch
  sequence_batch batch;
};

enum class head_kind { q, k, v, none };

/// Which head of a token this is, and where its elements lie.
template <class T>
struct head_of {
  head_kind kind = head_kind::none;
  std::int32_t kv_head = 0;
  T* x = nullptr; // [head_dim]; written for q only

  __device__ head_of(const heads_task& task, std::int64_t token, std::int32_t head) {
    const std::int32_t kv_heads = task.kv.kv_heads;
    const auto at = [&task](const void* data, std::int64_t row, std::int32_t number) {
      return const_cast<T*>(static_cast<const T*>(data)) + row
             + static_cast<std::int64_t>(number) * task.head_dim;
    };
    if (head < task.heads) {
      kind = head_kind::q;
      x = at(task.q, token * task.q_stride, head);
    } else if (head < task.heads + kv_heads) {
      kind = head_kind::k;
      kv_head = head - task.heads;
      x = at(task.k, token * task.k_stride, kv_head);
    } else if (head < task.heads + 2 * kv_heads) {
      kind = head_kind::v;
      kv_head = head - task.heads - kv_heads;
      x = at(task.v, token * task.v_stride, kv_head);
    }
  }

  [[nodiscard]] __device__ const float* norm(const heads_task& task) const {
    return kind == head_kind::q ? task.q_norm : kind == head_kind::k ? task.k_norm : nullptr;
  }

  [[nodiscard]] __device__ bool is_cached() const {
    return kind == head_kind::k || kind == head_kind::v;
  }
};

/// Where a token stands.
struct token_place {
  std::int32_t position = -1; // for the rotation; negative: padding
  std::int64_t cache_row = 0; // of kv head 0; a row is head_dim elements
};

/// The last sequence that begins at or before the token.
__device__ __forceinline__ std::int32_t sequence_of(const sequence_batch& batch,
                                                    std::int32_t token) {
  if (batch.tokens == batch.sequences) {
    return token;
  }
  std::int32_t low = 0;
  std::int32_t high = batch.sequences - 1;
  while (low < high) {
    const std::int32_t middle = (low + high + 1) / 2;
    if (batch.query_start[middle] <= token) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

__device__ __forceinline__ token_place find_place(const heads_task& task,
                                                  std::int32_t token,
                                                  bool is_cached) {
  token_place place;
  if (task.positions != nullptr) {
    place.position = task.positions[token];
  }
  const sequence_batch& batch = task.batch;
  if (batch.sequences == 0) { // rope
    return place;
  }
  const std::int32_t sequence = sequence_of(batch, token);
  const std::int32_t first = batch.first_position[sequence];
  const std::int32_t position = first < 0 ? -1 : first + token - batch.query_start[sequence];
  if (task.positions == nullptr || position < 0) {
    place.position = position;
  }
  if (is_cached && place.position >= 0) {
    const std::int64_t table = batch.table_rows != nullptr ? batch.table_rows[sequence] : sequence;
    const std::int64_t block =
        batch.block_tables[table * batch.block_table_stride + position / task.kv.block_size];
    place.cache_row = block * task.kv.kv_heads * task.kv.block_size + position % task.kv.block_size;
  }
  return place;
}

/// The head's row in the cache.
template <class C, class T>
__device__ __forceinline__ C*
cached_row(const heads_task& task, const token_place& place, const head_of<T>& head) {
  const std::int64_t row =
      place.cache_row + static_cast<std::int64_t>(head.kv_head) * task.kv.block_size;
  return static_cast<C*>(head.kind == head_kind::k ? task.kv.keys : task.kv.values)
         + row * task.head_dim;
}

/// (a, b) rotated by the angle of (c, s).
__device__ __forceinline__ void rotate(float& a, float& b, float c, float s) {
  const float left = a;
  a = fmaf(left, c, -(b * s));
  b = fmaf(b, c, left * s);
}

template <class T, class C, int Lanes>
__global__ void __launch_bounds__(256) prepare_heads(const heads_task task) {
  let_successor_start();
  constexpr int N = pairs_per_lane;
  const auto token = static_cast<std::int32_t>(blockIdx.x);
  const auto number = static_cast<std::int32_t>((blockIdx.y * blockDim.x + threadIdx.x) / Lanes);
  const int slot = static_cast<int>(threadIdx.x) % Lanes * N; // the lane's first pair
  const head_of<T> head(task, token, number);
  const int half = task.rotary_dim / 2;
  const bool is_rotated = slot < half && head.kind != head_kind::v;
  const int left = slot < half ? slot : slot + half;
  const int right = left + (slot < half ? half : (task.head_dim - task.rotary_dim) / 2);
  const bool has_pairs = head.kind != head_kind::none && slot < task.head_dim / 2;
  const float* norm = head.norm(task);
  float left_weight[N] = {1.0F, 1.0F, 1.0F, 1.0F};
  float right_weight[N] = {1.0F, 1.0F, 1.0F, 1.0F};
  if (norm != nullptr && has_pairs) {
    load_whole(norm + left, left_weight);
    load_whole(norm + right, right_weight);
  }

  wait_for_predecessor();
  float a[N] = {};
  float b[N] = {};
  if (has_pairs) { // also for padding: its row exists, and the loads need not wait for the position
    load_whole(head.x + left, a);
    load_whole(head.x + right, b);
  }
  const token_place place = find_place(task, token, head.is_cached());

  if (task.q_norm != nullptr || task.k_norm != nullptr) { // the same for all lanes
    float squares = 0.0F;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      squares = fmaf(a[i], a[i], squares);
      squares = fmaf(b[i], b[i], squares);
    }
    squares = sum_lanes<Lanes>(squares);
    if (norm != nullptr) {
      const float scale = 1.0F / sqrtf(squares / static_cast<float>(task.head_dim) + task.eps);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        a[i] = a[i] * scale * left_weight[i];
        b[i] = b[i] * scale * right_weight[i];
      }
    }
  }
  if (!has_pairs || place.position < 0) {
    return;
  }
  if (is_rotated) {
    const std::int64_t angles = static_cast<std::int64_t>(place.position) * half + slot;
    float c[N];
    float s[N];
    load_whole(task.cos_table + angles, c);
    load_whole(task.sin_table + angles, s);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      rotate(a[i], b[i], c[i], s[i]);
    }
  }
  if (head.kind == head_kind::q) {
    store_whole(head.x + left, a);
    store_whole(head.x + right, b);
  } else {
    C* to = cached_row<C>(task, place, head);
    store_whole(to + left, a);
    store_whole(to + right, b);
  }
}

template <class T, class C>
__global__ void __launch_bounds__(any_threads) prepare_heads_of_any_shape(const heads_task task) {
  let_successor_start();
  const auto token = static_cast<std::int32_t>(blockIdx.x);
  const auto number =
      static_cast<std::int32_t>((blockIdx.y * any_threads + threadIdx.x) / warp_lanes);
  const int lane = static_cast<int>(threadIdx.x) % warp_lanes;
  const head_of<T> head(task, token, number);
  wait_for_predecessor();
  if (head.kind == head_kind::none) { // the whole warp
    return;
  }
  const token_place place = find_place(task, token, head.is_cached());
  if (place.position < 0) {
    return;
  }
  const float* norm = head.norm(task);
  float scale = 1.0F;
  if (norm != nullptr) {
    float squares = 0.0F;
    for (int i = lane; i < task.head_dim; i += warp_lanes) {
      const float x = to_float(head.x[i]);
      squares = fmaf(x, x, squares);
    }
    scale = 1.0F / sqrtf(sum_lanes(squares) / static_cast<float>(task.head_dim) + task.eps);
  }
  const auto normed = [&head, norm, scale](int i) {
    const float x = to_float(head.x[i]);
    return norm != nullptr ? x * scale * norm[i] : x;
  };
  C* cached = head.is_cached() ? cached_row<C>(task, place, head) : nullptr;
  const auto put = [&head, cached](int i, float x) {
    if (cached != nullptr) {
      cached[i] = from_float<C>(x);
    } else {
      head.x[i] = from_float<T>(x);
    }
  };
  const int rotary_dim = head.kind == head_kind::v ? 0 : task.rotary_dim;
  const int half = rotary_dim / 2;
  for (int i = lane; i < half; i += warp_lanes) {
    const std::int64_t angle = static_cast<std::int64_t>(place.position) * half + i;
    float a = normed(i);
    float b = normed(i + half);
    rotate(a, b, task.cos_table[angle], task.sin_table[angle]);
    put(i, a);
    put(i + half, b);
  }
  for (int i = rotary_dim + lane; i < task.head_dim; i += warp_lanes) {
    put(i, normed(i));
  }
}

/// Whether every lane's four elements lie in one vector of every array.
bool fits_lanes(const heads_task& task, dtype type) noexcept {
  const int half = task.rotary_dim / 2;
  const int rest = task.head_dim - task.rotary_dim;
  if (task.head_dim > 256 || half % pairs_per_lane != 0 || rest % (2 * pairs_per_lane) != 0) {
    return false;
  }
  const bool is_q_aligned = task.heads == 0 || is_vector_aligned(task.q, task.q_stride, type);
  const bool is_kv_aligned = task.kv.kv_heads == 0
                             || (is_vector_aligned(task.k, task.k_stride, type)
                                 && is_vector_aligned(task.v, task.v_stride, type)
                                 && is_vector_aligned(task.kv.keys, task.head_dim, task.kv.type)
                                 && is_vector_aligned(task.kv.values, task.head_dim, task.kv.type));
  const auto is_table_aligned = [](const float* table) {
    return is_vector_aligned(table, 0, dtype::float32);
  };
  return is_q_aligned && is_kv_aligned && is_table_aligned(task.q_norm)
         && is_table_aligned(task.k_norm) && is_table_aligned(task.cos_table)
         && is_table_aligned(task.sin_table);
}

template <class T, class C>
cudaError_t start(const heads_task& task, bool fits, cudaStream_t stream) noexcept {
  const auto heads = static_cast<unsigned>(task.heads + 2 * task.kv.kv_heads);
  const auto shape_for = [&task, heads](unsigned threads, unsigned lanes) {
    const unsigned heads_per_block = threads / lanes;
    return launch_shape{
        dim3(static_cast<unsigned>(task.tokens), (heads + heads_per_block - 1) / heads_per_block),
        dim3(threads)};
  };
  const unsigned threads = task.tokens < 64 ? 128 : 256;
  if (!fits) {
    return launch(
        prepare_heads_of_any_shape<T, C>, shape_for(any_threads, warp_lanes), stream, task);
  }
  if (task.head_dim <= 64) {
    return launch(prepare_heads<T, C, 8>, shape_for(threads, 8), stream, task);
  }
  if (task.head_dim <= 128) {
    return launch(prepare_heads<T, C, 16>, shape_for(threads, 16), stream, task);
  }
  return launch(prepare_heads<T, C, 32>, shape_for(threads, 32), stream, task);
}

cudaError_t start(const heads_task& task, dtype type, cudaStream_t stream) noexcept {
  if (task.tokens == 0 || task.heads + task.kv.kv_heads == 0) {
    return cudaSuccess;
  }
  const bool fits = fits_lanes(task, type);
  with_type(type, [&](auto x) {
    return with_type(task.kv.type, [&](auto cached) {
      return start<decltype(x), decltype(cached)>(task, fits, stream);
    });
  });
  return cudaPeekAtLastError();
}

} // namespace

cudaError_t rope(const rope_args& args, cudaStream_t stream) noexcept {
  heads_task task{};
  task.q = args.x.data;
  task.q_stride = args.x_stride;
  task.tokens = args.tokens;
  task.heads = args.rotary_dim > 0 ? args.heads : 0;
  task.head_dim = args.head_dim;
  task.rotary_dim = args.rotary_dim;
  task.cos_table = args.cos_table;
  task.sin_table = args.sin_table;
  task.positions = args.positions;
  task.kv.type = args.x.type; // there is no cache: one instance less
  return start(task, args.x.type, stream);
}

cudaError_t kv_append(const kv_append_args& args, cudaStream_t stream) noexcept {
  heads_task task{};
  task.k = args.k.data;
  task.v = args.v.data;
  task.k_stride = args.k_stride;
  task.v_stride = args.v_stride;
  task.tokens = args.batch.tokens;
  task.head_dim = args.kv.head_dim;
  task.kv = args.kv;
  task.batch = args.batch;
  return start(task, args.k.type, stream);
}

cudaError_t prepare_qkv(const qkv_args& args, cudaStream_t stream) noexcept {
  const std::int64_t head_dim = args.kv.head_dim;
  const bool changes_q = args.q_norm != nullptr || args.rotary_dim > 0;
  heads_task task{};
  task.q = args.qkv.data;
  task.k = args.qkv.behind(args.heads * head_dim).data;
  task.v = args.qkv.behind((args.heads + args.kv.kv_heads) * head_dim).data;
  task.q_stride = args.stride;
  task.k_stride = args.stride;
  task.v_stride = args.stride;
  task.tokens = args.batch.tokens;
  task.heads = changes_q ? args.heads : 0;
  task.head_dim = args.kv.head_dim;
  task.rotary_dim = args.rotary_dim;
  task.q_norm = args.q_norm;
  task.k_norm = args.k_norm;
  task.eps = args.eps;
  task.cos_table = args.cos_table;
  task.sin_table = args.sin_table;
  task.positions = args.positions;
  task.kv = args.kv;
  task.batch = args.batch;
  return start(task, args.qkv.type, stream);
}

} // namespace vdist::kernels::cuda
