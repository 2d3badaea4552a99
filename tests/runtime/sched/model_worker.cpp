#include "tests/runtime/sched/model_worker.hpp"

#include <algorithm>
#include <set>
#include <span>
#include <stdexcept>

namespace vdist::testing {

namespace {

constexpr std::uint64_t rubbish = 0xdeadbeef;

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  auto x = a ^ (b + 0x9e3779b97f4a7c15ULL + (a << 6U) + (a >> 2U));
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31U);
}

std::uint64_t extend(std::uint64_t prefix, token_id token) {
  return mix(prefix, static_cast<std::uint64_t>(token) + 1);
}

std::uint64_t hash_of(std::span<const token_id> tokens) {
  std::uint64_t hash = 1;
  for (const auto token : tokens) {
    hash = extend(hash, token);
  }
  return hash;
}

/// The model's only law. `prefix` covers all tokens so far.
token_id sample(std::uint64_t prefix,
                const protocol::sampling_record& sampling,
                std::span<const std::int32_t> bias_ids,
                std::span<const std::int32_t> suppressed,
                std::int32_t generated,
                std::int32_t vocabulary) {
  auto hash = mix(prefix, sampling.seed);
  hash = mix(hash, static_cast<std::uint64_t>(sampling.prompt_tokens));
  for (const auto id : bias_ids) {
    hash = extend(hash, id);
  }
  auto token = static_cast<token_id>(hash % static_cast<std::uint64_t>(vocabulary));
  if (generated < sampling.min_tokens) {
    while (std::find(suppressed.begin(), suppressed.end(), token) != suppressed.end()) {
      token = (token + 1) % vocabulary;
    }
  }
  return token;
}

} // namespace

void require(bool condition, const std::string& text) {
  if (!condition) {
    throw std::runtime_error(text);
  }
}

expected_stream
expected_of(const protocol::request& request, std::int32_t max_model_len, std::int32_t vocabulary) {
  expected_stream stream;
  stream.tokens = request.generated;
  auto tokens = request.prompt;
  tokens.insert(tokens.end(), stream.tokens.begin(), stream.tokens.end());
  auto sampling = request.sampling;
  sampling.prompt_tokens = static_cast<std::int32_t>(request.prompt.size());
  std::set<token_id> stops(request.stop_token_ids.begin(), request.stop_token_ids.end());
  if (!request.ignore_eos) {
    stops.insert(request.eos_ids.begin(), request.eos_ids.end());
  }
  const std::vector<std::int32_t> suppressed(stops.begin(), stops.end());
  std::vector<std::int32_t> bias_ids;
  for (const auto& bias : request.logit_bias) {
    bias_ids.push_back(bias.first);
  }
  while (true) {
    const auto generated = static_cast<std::int32_t>(stream.tokens.size());
    if (generated > sampling.min_tokens && stops.contains(stream.tokens.back())) {
      stream.reason = protocol::finish_reason::stop;
      return stream;
    }
    if (generated >= request.max_tokens
        || tokens.size() >= static_cast<std::size_t>(max_model_len)) {
      stream.reason = protocol::finish_reason::length;
      return stream;
    }
    const auto token =
        sample(hash_of(tokens), sampling, bias_ids, suppressed, generated, vocabulary);
    tokens.push_back(token);
    stream.tokens.push_back(token);
  }
}

model_worker::model_worker(const protocol::plan_limits& limits, std::uint64_t tie_every)
    : limits_(limits),
      tie_every_(tie_every),
      kv_(static_cast<std::size_t>(limits.blocks) * static_cast<std::size_t>(limits.block_size),
          rubbish),
      store_(static_cast<std::size_t>(limits.store_slots)
                 * static_cast<std::size_t>(limits.block_size),
             rubbish) {}

std::vector<std::uint64_t> model_worker::block_at(std::int32_t block) const {
  const auto first = kv_.begin() + static_cast<std::ptrdiff_t>(block) * limits_.block_size;
  return {first, first + limits_.block_size};
}

/// P-11.
void model_worker::load(const protocol::step_plan& plan) {
  for (const auto& copy : plan.loads) {
    const auto is_used = std::any_of(table_.begin(), table_.end(), [&copy](const auto& row) {
      return std::find(row.second.blocks.begin(), row.second.blocks.end(), copy.block)
             != row.second.blocks.end();
    });
    require(!is_used, "P-11: a block that somebody reads is overwritten");
    const auto from = store_.begin() + static_cast<std::ptrdiff_t>(copy.slot) * limits_.block_size;
    std::copy(from,
              from + limits_.block_size,
              kv_.begin() + static_cast<std::ptrdiff_t>(copy.block) * limits_.block_size);
    ++loads_;
  }
}

/// P-10: whatever is in the slot may be gone from now on.
void model_worker::read_saves(const protocol::step_plan& plan, pending_step& step) {
  step.saves = plan.saves;
  for (const auto& copy : plan.saves) {
    const auto data = block_at(copy.block);
    step.saved.insert(step.saved.end(), data.begin(), data.end());
    const auto to = store_.begin() + static_cast<std::ptrdiff_t>(copy.slot) * limits_.block_size;
    std::fill(to, to + limits_.block_size, rubbish);
    ++saves_;
  }
}

/// They have been read; what comes with a later step may push what came with earlier ones into the store.
void model_worker::retire_saves(const pending_step& step) {
  const auto size = static_cast<std::size_t>(limits_.block_size);
  for (std::size_t i = 0; i < step.saves.size(); ++i) {
    const auto first = step.saved.begin() + static_cast<std::ptrdiff_t>(i * size);
    const std::vector<std::uint64_t> data(first, first + limits_.block_size);
    require(data == block_at(step.saves[i].block), "P-10: a block is written while it is saved");
    late_.push_back({step.step, step.saves[i].slot, data});
  }
  require(late_.size() <= static_cast<std::size_t>(limits_.saves_max),
          "P-10: too many blocks are on their way");
  constexpr std::uint64_t lags = 4;
  const auto reached = step.step - std::min(step.step, mix(step.step, 1) % lags);
  for (; !late_.empty() && late_.front().step <= reached; late_.pop_front()) {
    std::copy(late_.front().data.begin(),
              late_.front().data.end(),
              store_.begin()
                  + static_cast<std::ptrdiff_t>(late_.front().slot) * limits_.block_size);
  }
  saved_step_ = std::max(saved_step_, reached);
}

std::uint64_t& model_worker::kv_at(const table_row& row, std::int32_t position) {
  const auto block = row.blocks.at(static_cast<std::size_t>(position / limits_.block_size));
  return kv_.at(
      static_cast<std::size_t>(block * limits_.block_size + position % limits_.block_size));
}

std::uint64_t model_worker::kv_at(const table_row& row, std::int32_t position) const {
  const auto block = row.blocks.at(static_cast<std::size_t>(position / limits_.block_size));
  return kv_.at(
      static_cast<std::size_t>(block * limits_.block_size + position % limits_.block_size));
}

bool model_worker::knows(std::uint64_t request) const {
  return std::any_of(table_.begin(), table_.end(), [request](const auto& row) {
    return row.second.request == request;
  });
}

void model_worker::submit(const protocol::step_plan& plan) {
  const auto verdict = protocol::validate(plan, limits_);
  require(verdict.has_value(), verdict ? "" : verdict.error().context);
  require(!last_step_ || plan.step > *last_step_, "P-2: a step number came twice");
  last_step_ = plan.step;
  for (const auto slot : plan.retired_slots) {
    require(table_.contains(slot), "P-4: an unknown slot is retired");
    require(table_.at(slot).steps == 0, "P-4: a slot is retired while a step computes it");
    table_.erase(slot);
  }
  auto& step = steps_.emplace_back();
  step.step = plan.step;
  step.epoch = plan.epoch;
  load(plan);
  read_saves(plan, step);
  cursor at;
  for (std::size_t i = 0; i < plan.sequences(); ++i) {
    take_in(plan, i, at, step.sequences.emplace_back());
  }
  check_writes_are_private(step);
  for (auto& work : step.sequences) {
    check_context(work, work.first);
    write(work, work.count);
  }
}

void model_worker::take_in(const protocol::step_plan& plan,
                           std::size_t i,
                           cursor& at,
                           planned& out) {
  const auto slot = plan.slots[i];
  const bool is_new = (plan.flags[i] & protocol::flag_new) != 0;
  out.slot = slot;
  out.first = plan.first_position[i];
  out.count = plan.token_counts[i];
  require(is_new != table_.contains(slot), "P-3: new in a used slot, or a diff for an unknown one");
  auto& row = table_[slot];
  ++row.steps;
  if (is_new) {
    row.request = plan.request_ids[i];
    row.written = out.first; // cached or kept: check_context looks
  }
  require(row.request == plan.request_ids[i], "P-3: the slot belongs to another request");
  require(out.first == row.written, "S-1: the chunk does not start where the last step ends");
  for (std::int32_t b = 0; b < plan.block_counts[i]; ++b) {
    row.blocks.push_back(plan.new_blocks.at(at.block++));
  }
  take_tokens(plan, i, at, row);
  row.written = out.first + out.count;
  if (is_new) {
    take_sampling(plan, at, row);
  }
  require(static_cast<std::int32_t>(row.blocks.size()) * limits_.block_size
              >= out.first + out.count,
          "the chunk does not fit the blocks");
  sample_next(plan.flags[i], row, out, plan);
  out.seen = row;
}

void model_worker::take_tokens(const protocol::step_plan& plan,
                               std::size_t i,
                               cursor& at,
                               table_row& row) const {
  const bool is_new = (plan.flags[i] & protocol::flag_new) != 0;
  const auto count = plan.token_counts[i] + (is_new ? plan.first_position[i] : 0);
  for (std::int32_t t = 0; t < count; ++t) {
    auto token = plan.tokens.at(at.token++);
    if (token == protocol::fed_token) {
      require(row.fed.has_value(), "P-8: a token is fed that no step has sampled for it");
      token = *row.fed;
    } else {
      require(!row.fed || *row.fed == token, "P-8: the plan names another token than was sampled");
    }
    row.fed.reset();
    row.tokens.push_back(token);
  }
}

/// A step may run as soon as it is submitted: its tokens are there for the next one.
void model_worker::sample_next(std::uint8_t flags,
                               table_row& row,
                               planned& out,
                               const protocol::step_plan& plan) const {
  if ((flags & protocol::flag_samples) == 0) {
    return;
  }
  const auto generated = static_cast<std::int32_t>(row.tokens.size()) - row.sampling.prompt_tokens;
  auto prefix = hash_of(row.tokens);
  if (tie_every_ > 0 && prefix % tie_every_ == 0) {
    for (std::size_t i = 0; i < plan.sequences(); ++i) {
      prefix =
          mix(mix(prefix, plan.request_ids[i]), static_cast<std::uint64_t>(plan.token_counts[i]));
    }
  }
  out.sampled =
      sample(prefix, row.sampling, row.bias_ids, row.suppressed, generated, limits_.vocabulary);
  if ((flags & protocol::flag_feeds) != 0) {
    row.fed = out.sampled;
  }
}

void model_worker::take_sampling(const protocol::step_plan& plan,
                                 cursor& at,
                                 table_row& row) const {
  row.sampling = plan.sampling.at(at.record++);
  for (std::int32_t b = 0; b < row.sampling.bias_count; ++b) {
    row.bias_ids.push_back(plan.bias_ids.at(at.bias++));
  }
  for (std::int32_t s = 0; s < row.sampling.suppressed_count; ++s) {
    row.suppressed.push_back(plan.suppressed_ids.at(at.suppressed++));
  }
}

void model_worker::check_writes_are_private(const pending_step& step) const {
  for (const auto& work : step.sequences) {
    for (auto p = work.first; p < work.first + work.count; ++p) {
      const auto block = work.seen.blocks[static_cast<std::size_t>(p / limits_.block_size)];
      for (const auto& [slot, row] : table_) {
        const bool is_other = slot != work.slot;
        require(!is_other
                    || std::find(row.blocks.begin(), row.blocks.end(), block) == row.blocks.end(),
                "K-1, K-3: a step writes a block that another running sequence holds");
      }
    }
  }
}

void model_worker::check_context(const planned& work, std::int32_t end) const {
  std::uint64_t prefix = 1;
  for (std::int32_t p = 0; p < end; ++p) {
    prefix = extend(prefix, work.seen.tokens[static_cast<std::size_t>(p)]);
    require(kv_at(work.seen, p) == prefix, "stale or mixed-up KV in the context");
  }
}

void model_worker::write(const planned& work, std::int32_t count) {
  auto prefix = hash_of(std::span(work.seen.tokens).first(static_cast<std::size_t>(work.first)));
  for (auto p = work.first; p < work.first + count; ++p) {
    prefix = extend(prefix, work.seen.tokens[static_cast<std::size_t>(p)]);
    kv_at(work.seen, p) = prefix;
  }
}

void model_worker::retire(protocol::step_result& out) {
  require(!steps_.empty(), "no step is in flight");
  const auto step = std::move(steps_.front());
  steps_.pop_front();
  out.clear();
  out.step = step.step;
  out.epoch = step.epoch;
  retire_saves(step);
  out.saved_step = saved_step_;
  for (const auto& work : step.sequences) {
    check_context(work, work.first + work.count);
    write(work, work.count);
    --table_.at(work.slot).steps;
    if (!work.sampled) {
      continue;
    }
    const auto generated =
        static_cast<std::int32_t>(work.seen.tokens.size()) - work.seen.sampling.prompt_tokens;
    out.slots.push_back(work.slot);
    out.tokens.push_back(*work.sampled);
    // The log probability tells its own token and position, so that a mix-up of rows shows.
    out.logprobs.push_back(-static_cast<float>(out.tokens.back()) - 0.5F);
    out.top_counts.push_back(generated % 3);
    for (std::int32_t t = 0; t < generated % 3; ++t) {
      out.top_ids.push_back(out.tokens.back() + t);
      out.top_logprobs.push_back(-static_cast<float>(t));
    }
  }
}

void model_worker::start_epoch(std::uint64_t seed) {
  for (const auto& step : steps_) {
    for (const auto& work : step.sequences) {
      seed = mix(seed, work.slot);
      const auto done =
          static_cast<std::int32_t>(seed % static_cast<std::uint64_t>(work.count + 1));
      for (auto p = work.first + done; p < work.first + work.count; ++p) {
        kv_at(work.seen, p) = rubbish;
      }
    }
  }
  for (const auto& late : late_) { // some arrive, others do not
    seed = mix(seed, late.step);
    if (seed % 2 == 0) {
      std::copy(late.data.begin(),
                late.data.end(),
                store_.begin() + static_cast<std::ptrdiff_t>(late.slot) * limits_.block_size);
    }
  }
  late_.clear();
  steps_.clear();
  table_.clear();
}

std::vector<model_worker::late_write> model_worker::late_writes() const {
  std::vector<late_write> writes;
  for (const auto& step : steps_) {
    for (const auto& work : step.sequences) {
      auto prefix =
          hash_of(std::span(work.seen.tokens).first(static_cast<std::size_t>(work.first)));
      for (auto p = work.first; p < work.first + work.count; ++p) {
        prefix = extend(prefix, work.seen.tokens[static_cast<std::size_t>(p)]);
        writes.push_back(
            {.request = work.seen.request,
             .block = work.seen.blocks.at(static_cast<std::size_t>(p / limits_.block_size)),
             .offset = p % limits_.block_size,
             .position = p,
             .value = prefix});
      }
    }
  }
  return writes;
}

/// Who shares the block as a prefix has the same there.
void model_worker::check_landing(const late_write& late, const table_row& row) const {
  const auto found = std::find(row.blocks.begin(), row.blocks.end(), late.block);
  if (found == row.blocks.end()) {
    return;
  }
  const auto position = (found - row.blocks.begin()) * limits_.block_size + late.offset;
  if (position < std::ssize(row.tokens)) {
    const auto known = std::span(row.tokens).first(static_cast<std::size_t>(position) + 1);
    require(hash_of(known) == late.value, "K-5: a late write hits KV of others");
  } else {
    require(row.request == late.request && position == late.position,
            "K-5: a late write hits a block of others");
  }
}

void model_worker::land(const late_write& late) {
  for (const auto& [slot, row] : table_) {
    check_landing(late, row);
  }
  kv_.at(static_cast<std::size_t>(late.block * limits_.block_size + late.offset)) = late.value;
}

void model_worker::lose_kv() {
  std::fill(kv_.begin(), kv_.end(), rubbish);
}

} // namespace vdist::testing
