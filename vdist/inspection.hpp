// vdist/inspection.hpp — a look into a model: what it is made of and who holds which part of it, and what a layer puts out while
// the engine runs. Made by engine::model() and engine::watch_layer() (engine.hpp).
//
//   auto model = engine->model();
//   for (const auto& parameter : model->parameters) { … parameter.name, parameter.shape, parameter.shards … }
//
//   auto watch = engine->watch_layer({.layer = 5, .rank = 2});
//   auto stream = engine->generate({.prompt = "Once upon a time"});
//   while (auto row = watch->next(1s)) { … row->request_id == stream->request_id(0), row->position, row->values … }
//
// I-1 The shards of a parameter on the ranks of one copy of the model cover it; where they overlap, the ranks hold copies.
// I-2 A shard is the whole parameter, or a range of it along one axis.
// I-3 No token depends on a watch, and no step waits for who reads it: rows that find no room beside those that wait are dropped
//     and counted in lost().
// I-4 A watch goes on when workers die. Of each token that a step computes, the row comes or is counted in lost(); a step that
//     runs again sends its rows again, on a CPU with the same values, and `epoch` and `step` tell which is which.
// I-5 The rows of a step are there before its tokens can be read: when a stream has ended, next(0s) gives them all.
// I-6 Tokens that no step computes have no row: those of a prompt that were found in the prefix cache
//     (scheduler.prefix_cache), and the last one of a sequence. Steps planned before the watch began may run without it.
// I-7 A watch may outlive its engine. From the moment that the engine begins to close, whoever waits and whoever asks gets
//     `closed`; rows that were not read by then are gone, lost() keeps its number.
//
// A watched step of a GPU is not replayed from a recording, and its host waits for the layer: it is slower. On a CPU the cost is
// one copy of each row.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vdist/expected.hpp"

namespace vdist {

namespace embedding { // not for users
class engine_core;
class watch_state;
} // namespace embedding

inline namespace v0 {

/// What one rank holds of a parameter. A rank has several of one where it reads parts of a fused tensor: q, k and v.
struct parameter_shard {
  std::int32_t rank = 0;   // global
  std::string weight = {}; // of the rank, that has it (weight_description::name)
  /// Along which it is cut: 0 rows, 1 columns; nullopt: it is the whole.
  std::optional<std::int32_t> axis = {};
  std::int64_t offset = 0;              // of its first row or column in the parameter
  std::vector<std::int64_t> shape = {}; // its own
};

/// A tensor of the checkpoint, under its name there.
struct parameter_description {
  std::string name = {};
  std::optional<std::int32_t> layer = {}; // that reads it; nullopt: embedding, final norm or head
  /// [out_features, in_features], or [size]; whatever the file's layout.
  std::vector<std::int64_t> shape = {};
  std::string dtype = {};                   // as ranks keep it: "float32", "bfloat16", …
  std::uint64_t bytes = 0;                  // of the whole, as ranks keep it
  std::vector<parameter_shard> shards = {}; // by rank
};

/// A tensor in the memory of a rank: a parameter, a shard of one, or several that one operation reads.
struct weight_description {
  std::string name = {};                // of vdist's own: "layers.3.attention.qkv"
  std::vector<std::int64_t> shape = {}; // padding included
  std::string dtype = {};
  std::uint64_t bytes = 0;
  std::int64_t padding_rows = 0; // at its end, of no parameter
};

struct rank_description {
  std::int32_t rank = 0;
  std::int32_t replica = 0;     // copy of the model
  std::int32_t stage = 0;       // of the pipeline
  std::int32_t tensor = 0;      // rank within its tensor group
  std::int32_t device = 0;      // index on its host
  std::int32_t first_layer = 0; // that it has, with
  std::int32_t layers = 0;      // … so many of them
  std::uint64_t weight_bytes = 0;
  std::uint64_t kv_bytes_per_block = 0; // a block is scheduler.block_size tokens
  std::uint64_t activation_bytes = 0;
  std::vector<weight_description> weights = {}; // empty for a simulated model
};

struct layer_description {
  std::int32_t layer = 0;
  std::int32_t stage = 0;
  std::vector<std::int32_t> ranks = {}; // that have it, of all copies of the model, rising
};

struct model_description {
  std::string name = {};
  std::string architecture = {}; // "llama", …; "sim": a simulated model, which has no parameters
  std::string dtype = {};        // of matrices; norms and biases are float32
  std::int32_t hidden = 0;       // width of the residual stream
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0; // 0: simulated
  std::int32_t intermediate = 0;
  std::int32_t vocabulary = 0;
  std::int32_t max_model_len = 0;                     // tokens of prompt and output
  std::uint64_t parameter_count = 0;                  // numbers in all parameters, each once
  std::uint64_t parameter_bytes = 0;                  // sum of parameter_description::bytes
  std::vector<layer_description> layers = {};         // all, by number
  std::vector<parameter_description> parameters = {}; // in the order of stages and layers
  std::vector<rank_description> ranks = {};           // all, by number
};

/// layer_watch_request::layer: what layer 0 reads.
inline constexpr std::int32_t embedding_output = -1;

struct layer_watch_request {
  std::int32_t layer = 0; // of the whole model, from 0; or embedding_output
  std::int32_t rank = 0;  // global; has the layer (layer_description::ranks)
  /// 2 … 65535 rows that wait for their reader. With scheduler.max_batch_tokens at least, one whole step finds room. Bounds the
  /// memory: rows_max * (hidden * 4 + 256) bytes, and once more in the worker.
  std::int32_t rows_max = 1024;
};

/// The residual stream behind a layer, for one token.
struct layer_row {
  std::uint64_t request_id = 0; // stream::request_id()
  std::int32_t position = 0;    // of the token in its sequence, from 0, the prompt first
  std::int32_t layer = 0;
  std::uint64_t step = 0;
  std::uint32_t epoch = 0;        // of the rank's copy of the model; each recovery begins a new one
  std::vector<float> values = {}; // [hidden]
};

/// The rows of one layer on one rank, from watch_layer() until this is destroyed.
class layer_watch {
public:
  layer_watch(layer_watch&&) noexcept; // the moved-from watch may be destroyed or assigned to
  layer_watch& operator=(layer_watch&&) noexcept; // as the destructor, then takes over
  /// The worker stops copying with its next step, and the rank may be watched anew. By the reader: not while next() runs.
  ~layer_watch();

  /// The oldest row that was not read, in the order of steps. By one reader at a time. Errors: timed_out (none came within
  /// `timeout`, ask again; 0 or less only looks), closed (I-7), corrupt (one row was damaged; the next call goes on behind it).
  [[nodiscard]] expected<layer_row> next(std::chrono::nanoseconds timeout);

  /// Rows that were computed and will not come (I-3). Any thread, also while next() waits; never blocks for it.
  [[nodiscard]] std::uint64_t lost() const noexcept;

private:
  friend class embedding::engine_core;
  explicit layer_watch(std::shared_ptr<embedding::watch_state> state) noexcept;

  std::shared_ptr<embedding::watch_state> state_; // null: moved from
};

} // namespace v0
} // namespace vdist
