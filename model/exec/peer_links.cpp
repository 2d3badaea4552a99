#include "model/exec/peer_links.hpp"

#include <utility>

namespace vdist::exec {

namespace {

/// Index of a peer_exchange region of its owner.
constexpr std::uint32_t group_region = 0;
constexpr std::uint32_t sending_region = 1;   // of the pipe to the next stage
constexpr std::uint32_t receiving_region = 2; // of the pipe from the previous one

std::size_t group_bytes(const topology::shard& place) {
  return kernels::group_layout(place.tensor_size).region_bytes();
}

std::size_t pipe_bytes() {
  return kernels::pipe_layout().region_bytes();
}

} // namespace

std::size_t peer_exchange_bytes(const topology::shard& place) {
  return (place.tensor_size > 1 ? group_bytes(place) : 0)
         + (place.is_first_stage() ? 0 : pipe_bytes()) + (place.is_last_stage() ? 0 : pipe_bytes());
}

peer_links::peer_links(kernels::backend& device,
                       vault::vault& memory,
                       const topology::shard& place,
                       rank_id rank,
                       const peer_link_settings& settings)
    : device_(device),
      vault_(memory),
      place_(place),
      rank_(rank),
      settings_(settings),
      tester_(device.queue(), rank.value, place.tensor_size, settings.wait + settings.quiesce) {}

peer_links::~peer_links() = default;

result<std::unique_ptr<peer_links>> peer_links::make(kernels::backend& device,
                                                     vault::vault& memory,
                                                     const topology::shard& place,
                                                     rank_id rank,
                                                     const peer_link_settings& settings) {
  std::unique_ptr<peer_links> made(new peer_links(device, memory, place, rank, settings));
  VDIST_TRY(made->make_own_regions());
  return made;
}

result<std::byte*> peer_links::map(rank_id owner, std::uint32_t index, std::size_t bytes) {
  VDIST_ASSIGN(
      auto region,
      vault_.map({.rank = owner, .kind = vault::region_kind::peer_exchange, .index = index},
                 bytes));
  holds_.push_back(std::move(region.hold));
  return region.memory.data();
}

result<void> peer_links::make_own_regions() {
  if (place_.tensor_size > 1) {
    VDIST_TRY(map(rank_, group_region, group_bytes(place_)));
  }
  if (!place_.is_last_stage()) {
    VDIST_TRY(map(rank_, sending_region, pipe_bytes()));
  }
  if (!place_.is_first_stage()) {
    VDIST_TRY(map(rank_, receiving_region, pipe_bytes()));
  }
  return {};
}

device_link_settings peer_links::link_settings() const {
  return {.group = {.are_mapped = settings_.are_mapped, .wait = settings_.wait},
          .quiesce = settings_.quiesce,
          .stop = settings_.stop,
          .waits = settings_.waits};
}

result<void> peer_links::join() {
  VDIST_TRY(join_group());
  if (!place_.is_first_stage()) {
    VDIST_ASSIGN(from_previous_, join_pipe(rank_id(rank_.value - place_.tensor_size), rank_));
  }
  if (!place_.is_last_stage()) {
    VDIST_ASSIGN(to_next_, join_pipe(rank_, rank_id(rank_.value + place_.tensor_size)));
  }
  has_joined_ = true;
  return {};
}

result<void> peer_links::join_group() {
  if (place_.tensor_size == 1) {
    return {};
  }
  auto settings = link_settings();
  settings.group.rank = place_.tensor_rank;
  settings.group.ranks = place_.tensor_size;
  settings.group.layout = kernels::group_layout(place_.tensor_size);
  for (std::int32_t r = 0; r < place_.tensor_size; ++r) {
    const rank_id owner(rank_.value - place_.tensor_rank + r);
    VDIST_ASSIGN(settings.group.regions.at(static_cast<std::size_t>(r)),
                 map(owner, group_region, group_bytes(place_)));
  }
  VDIST_ASSIGN(group_, make_device_communicator(device_, settings));
  return {};
}

result<std::unique_ptr<device_pipe>> peer_links::join_pipe(rank_id sender, rank_id receiver) {
  auto settings = link_settings();
  settings.group.rank = sender == rank_ ? 0 : 1;
  settings.group.ranks = 2;
  settings.group.layout = kernels::pipe_layout();
  VDIST_ASSIGN(settings.group.regions[0], map(sender, sending_region, pipe_bytes()));
  VDIST_ASSIGN(settings.group.regions[1], map(receiver, receiving_region, pipe_bytes()));
  return make_device_pipe(device_, settings);
}

/// Ranks that this one meets. A device region that is ready was made and zeroed by its rank.
bool peer_links::have_all_loaded() const {
  const auto has_loaded = [this](std::int32_t rank) {
    return vault_.ready_hash({.rank = rank_id(rank), .kind = vault::region_kind::weights})
        .has_value();
  };
  const auto first = rank_.value - place_.tensor_rank;
  for (std::int32_t r = 0; r < place_.tensor_size; ++r) {
    if (!has_loaded(first + r)) {
      return false;
    }
  }
  return (place_.is_first_stage() || has_loaded(rank_.value - place_.tensor_size))
         && (place_.is_last_stage() || has_loaded(rank_.value + place_.tensor_size));
}

result<bool> peer_links::prepare_recording() {
  if (!has_joined_ && !have_all_loaded()) {
    return false;
  }
  if (!has_joined_) {
    VDIST_TRY(join());
  }
  if (group_) {
    group_->allow_recording();
  }
  for (auto* pipe : {from_previous_.get(), to_next_.get()}) {
    if (pipe != nullptr) {
      pipe->allow_recording();
    }
  }
  return true;
}

result<void> peer_links::start_epoch(epoch now) {
  if (!has_joined_) {
    VDIST_TRY(join());
  }
  if (group_) {
    VDIST_TRY(group_->start_epoch(now));
  }
  for (auto* pipe : {from_previous_.get(), to_next_.get()}) {
    if (pipe != nullptr) {
      VDIST_TRY(pipe->start_epoch(now));
    }
  }
  return test(now);
}

void peer_links::leave() const noexcept {
  if (group_) {
    group_->leave();
  }
  for (const auto* pipe : {from_previous_.get(), to_next_.get()}) {
    if (pipe != nullptr) {
      pipe->leave();
    }
  }
}

/// In an order that cannot circle: a stage waits for the one before only.
result<void> peer_links::test(epoch now) {
  if (group_) {
    VDIST_TRY(tester_.test_group(*group_, now));
  }
  if (from_previous_) {
    VDIST_TRY(tester_.test_receiving(*from_previous_, rank_.value - place_.tensor_size, now));
  }
  return to_next_ ? tester_.test_sending(*to_next_, now) : result<void>();
}

device_waits peer_links::waits() const noexcept {
  device_waits all;
  const auto put = [&all](std::size_t at, const tensor::peer_wait& said, std::int32_t rank) {
    all[at] = {.rank = rank, .beat = said.beat, .operation = said.operation};
  };
  if (group_) {
    const auto said = group_->waiting();
    put(0, said, rank_.value - place_.tensor_rank + said.peer);
  }
  if (from_previous_) {
    put(1, from_previous_->waiting(), rank_.value - place_.tensor_size);
  }
  if (to_next_) {
    put(2, to_next_->waiting(), rank_.value + place_.tensor_size);
  }
  return all;
}

peers peer_links::links() const {
  return {.group = group_.get(),
          .from_previous = from_previous_.get(),
          .to_next = to_next_.get(),
          .are_enqueued = true};
}

} // namespace vdist::exec
