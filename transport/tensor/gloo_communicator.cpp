#include "transport/tensor/gloo_communicator.hpp"

#include "transport/tensor/arguments.hpp"
#include "transport/tensor/epoch_member.hpp"
#include "transport/tensor/fence_watch.hpp"
#include "transport/tensor/gloo_mesh.hpp"
#include "transport/tensor/shared_rendezvous.hpp"
#include "transport/tensor/tree_sum.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <vector>

namespace vdist::tensor {

namespace {

std::size_t card_bytes(std::int32_t size) {
  return static_cast<std::size_t>(size) * gloo_address_bytes;
}

/// First message between two ranks.
struct greeting {
  std::uint32_t magic = 0x76646773;
  std::uint32_t epoch = 0;
  std::int32_t from = 0;
  std::int32_t to = 0;

  bool operator==(const greeting&) const = default;
};

class gloo_communicator final : public communicator {
public:
  gloo_communicator(std::shared_ptr<gloo::transport::Device> device,
                    shared_rendezvous rendezvous,
                    const gloo_communicator_settings& settings,
                    const frame::wait_policy& waits)
      : settings_(settings),
        ranks_(static_cast<std::size_t>(settings.size)),
        me_(static_cast<std::size_t>(settings.rank)),
        waits_(waits),
        member_(waits, settings.timeout, settings.stop),
        device_(std::move(device)),
        rendezvous_(rendezvous) {
    sends_.reserve(ranks_);
    receives_.reserve(ranks_);
  }

  std::int32_t rank() const noexcept override { return settings_.rank; }

  std::int32_t size() const noexcept override { return settings_.size; }

  result<void> start_epoch(epoch next) override {
    VDIST_TRY(rendezvous_.claim(next)); // before the connections end: peers look who is beyond
    is_connected_ = false;
    watch_.reset();
    mesh_.reset();
    VDIST_TRY(member_.keep(listen(next)));
    member_.enter(next);
    return {};
  }

  result<void> all_reduce_sum(std::span<float> data) override {
    VDIST_TRY(begin("all_reduce_sum", data.size_bytes()));
    const bool is_small = data.size() <= settings_.one_shot_floats_max;
    const auto begin_of = [&](std::size_t r) {
      return data.size() * r / ranks_;
    };
    const auto share = [&](std::size_t r) {
      return is_small ? data : data.subspan(begin_of(r), begin_of(r + 1) - begin_of(r));
    };
    sums_.resize(share(me_).size());
    VDIST_TRY(sum_parts(share, sums_));
    std::copy(sums_.begin(), sums_.end(), share(me_).begin());
    if (is_small) {
      return {};
    }
    for (std::size_t r = 0; r < ranks_; ++r) {
      add_messages(r, std::as_bytes(share(me_)), std::as_writable_bytes(share(r)));
    }
    return transfer();
  }

  result<void> reduce_scatter_sum(std::span<const float> in, std::span<float> out) override {
    VDIST_TRY(check_parts_fit("reduce_scatter_sum", out.size(), in.size(), ranks_));
    VDIST_TRY(begin("reduce_scatter_sum", in.size_bytes()));
    const auto part = [&](std::size_t r) {
      return in.subspan(r * out.size(), out.size());
    };
    return sum_parts(part, out);
  }

  /// A message per row: it comes to its place without a copy.
  result<void>
  all_gather(std::span<const float> in, std::span<float> out, std::size_t rows) override {
    VDIST_TRY(check_gather(in.size(), out.size(), rows, ranks_));
    VDIST_TRY(begin("all_gather", out.size_bytes()));
    for (std::size_t row = 0; row < rows; ++row) {
      const std::size_t part = in.size() / rows;
      const auto mine = in.subspan(row * part, part);
      const auto place = [&](std::size_t r) {
        return out.subspan((row * ranks_ + r) * part, part);
      };
      for (std::size_t r = 0; r < ranks_; ++r) {
        add_messages(r, std::as_bytes(mine), std::as_writable_bytes(place(r)));
      }
      std::copy(mine.begin(), mine.end(), place(me_).begin());
    }
    return transfer();
  }

  result<void> all_to_all(std::span<const std::byte> in, std::span<std::byte> out) override {
    VDIST_TRY(check_parts_fit("all_to_all", in.size() / ranks_, in.size(), ranks_));
    VDIST_TRY(check_parts_fit("all_to_all", in.size() / ranks_, out.size(), ranks_));
    VDIST_TRY(begin("all_to_all", in.size()));
    const equal_parts parts(in.size() / ranks_, settings_.size);
    return exchange_parts({in, parts.view(), out, parts.view()});
  }

  result<void> all_to_all_v(std::span<const std::byte> in,
                            const rank_parts& in_parts,
                            std::span<std::byte> out,
                            const rank_parts& out_parts) override {
    const all_to_all_arguments given{in, in_parts, out, out_parts};
    VDIST_TRY(check_all_to_all(given, settings_.rank, settings_.size));
    VDIST_TRY(begin("all_to_all_v", in.size()));
    return exchange_parts(given);
  }

  result<void> broadcast(std::span<std::byte> data, std::int32_t root) override {
    VDIST_TRY(check_root("broadcast", root, settings_.size));
    VDIST_TRY(begin("broadcast", data.size()));
    if (root != settings_.rank) {
      receives_.push_back({root, data});
      return transfer();
    }
    for (std::size_t r = 0; r < ranks_; ++r) {
      add_messages(r, data, {});
    }
    return transfer();
  }

  result<void> barrier() override {
    VDIST_TRY(begin("barrier", 0));
    return meet();
  }

  result<void> send(std::span<const std::byte> data, std::int32_t to) override {
    VDIST_TRY(check_peer("send", to, settings_.rank, settings_.size));
    VDIST_TRY(begin("send", data.size()));
    sends_.push_back({to, data});
    return transfer(gloo_stream::point_to_point);
  }

  result<void> recv(std::span<std::byte> data, std::int32_t from) override {
    VDIST_TRY(check_peer("recv", from, settings_.rank, settings_.size));
    VDIST_TRY(begin("recv", data.size()));
    receives_.push_back({from, data});
    return transfer(gloo_stream::point_to_point);
  }

private:
  result<void> listen(epoch next) {
    VDIST_ASSIGN(mesh_,
                 gloo_mesh::listen(device_, settings_.rank, settings_.size, settings_.timeout));
    if (settings_.stop != nullptr) {
      watch_ = std::make_unique<fence_watch>(
          waits_, *settings_.stop, next, [mesh = mesh_.get()] { mesh->abort(); });
    }
    mesh_->write_addresses(rendezvous_.my_card());
    return rendezvous_.publish();
  }

  result<void> begin(std::string_view operation, std::size_t bytes) {
    VDIST_TRY(member_.begin(operation, bytes));
    sends_.clear();
    receives_.clear();
    return is_connected_ ? result<void>{} : connect();
  }

  /// All addresses first: a connection then waits only for a peer that is connecting, too.
  result<void> connect() {
    const auto& context = member_.context();
    std::array<std::span<const std::byte>, group_ranks_max> cards;
    for (std::size_t r = 0; r < ranks_; ++r) {
      if (r != me_) {
        auto card = rendezvous_.card_of(static_cast<std::int32_t>(r), context);
        VDIST_TRY(card ? result<void>{} : finish(card.error()));
        cards[r] = *card;
      }
    }
    for (std::size_t r = 0; r < ranks_; ++r) {
      if (r != me_) {
        VDIST_TRY(finish(mesh_->connect(static_cast<std::int32_t>(r), cards[r], context)));
      }
    }
    VDIST_TRY(meet());
    is_connected_ = true;
    return {};
  }

  /// Exchanges greetings with everybody.
  result<void> meet() {
    std::array<greeting, group_ranks_max> mine;
    std::array<greeting, group_ranks_max> theirs;
    const auto now = member_.now().value;
    for (std::size_t r = 0; r < ranks_; ++r) {
      mine[r] = {.epoch = now, .from = settings_.rank, .to = static_cast<std::int32_t>(r)};
      add_messages(r,
                   std::as_bytes(std::span(&mine[r], 1)),
                   std::as_writable_bytes(std::span(&theirs[r], 1)));
    }
    VDIST_TRY(transfer());
    for (std::size_t r = 0; r < ranks_; ++r) {
      const greeting wanted{
          .epoch = now, .from = static_cast<std::int32_t>(r), .to = settings_.rank};
      if (r != me_ && theirs[r] != wanted) {
        return finish(
            fail(errc::corrupt,
                 fmt::format("{}: somebody else answers for rank {} (epoch={} its_epoch={} "
                             "its_rank={})",
                             member_.context().operation,
                             r,
                             now,
                             theirs[r].epoch,
                             theirs[r].from)));
      }
    }
    return {};
  }

  /// What goes to and comes from rank r in the coming transfer; nothing for this rank itself.
  void add_messages(std::size_t r, std::span<const std::byte> send, std::span<std::byte> receive) {
    if (r != me_) {
      sends_.push_back({static_cast<std::int32_t>(r), send});
      receives_.push_back({static_cast<std::int32_t>(r), receive});
    }
  }

  result<void> transfer(gloo_stream stream = gloo_stream::collectives) {
    auto outcome = finish(mesh_->transfer(sends_, receives_, stream, member_.context()));
    sends_.clear();
    receives_.clear();
    return outcome;
  }

  /// Passes `outcome` on. A failure ends the connections: the peers need not wait, and Gloo's thread
  /// does not spin over bytes that nobody takes any more. A lost connection means that the epoch is
  /// over when somebody has gone on.
  result<void> finish(result<void> outcome) {
    if (!outcome) [[unlikely]] {
      mesh_->close();
      if (outcome.error().code == errc::closed && rendezvous_.is_anybody_beyond(member_.now())) {
        outcome = fenced(member_.context(), settings_.rank);
      }
    }
    return member_.keep(std::move(outcome));
  }

  /// sums = over all ranks, what they have as part(rank()), which is what this rank sums. part(r) is
  /// what rank r sums.
  template <class Part>
  result<void> sum_parts(const Part& part, std::span<float> sums) {
    parts_.resize(sums.size() * ranks_);
    std::array<const float*, group_ranks_max> list;
    for (std::size_t r = 0; r < ranks_; ++r) {
      const auto theirs = std::span(parts_).subspan(r * sums.size(), sums.size());
      add_messages(r, std::as_bytes(part(r)), std::as_writable_bytes(theirs));
      list[r] = r == me_ ? part(r).data() : theirs.data();
    }
    VDIST_TRY(transfer());
    tree_sum(std::span(list).first(ranks_), 0, sums.size(), sums.data());
    return {};
  }

  result<void> exchange_parts(const all_to_all_arguments& given) {
    const auto in_part = [&given](std::size_t r) {
      return given.in.subspan(given.in_parts.offsets[r], given.in_parts.counts[r]);
    };
    const auto out_part = [&given](std::size_t r) {
      return given.out.subspan(given.out_parts.offsets[r], given.out_parts.counts[r]);
    };
    for (std::size_t r = 0; r < ranks_; ++r) {
      add_messages(r, in_part(r), out_part(r));
    }
    std::copy(in_part(me_).begin(), in_part(me_).end(), out_part(me_).begin());
    return transfer();
  }

  const gloo_communicator_settings settings_;
  const std::size_t ranks_;
  const std::size_t me_;
  const frame::wait_policy waits_;
  epoch_member member_;
  const std::shared_ptr<gloo::transport::Device> device_; // shared with Gloo's contexts
  shared_rendezvous rendezvous_;
  std::unique_ptr<gloo_mesh> mesh_;    // of the present epoch
  std::unique_ptr<fence_watch> watch_; // calls mesh_
  bool is_connected_ = false;
  std::vector<outgoing_message> sends_; // of the coming transfer
  std::vector<incoming_message> receives_;
  std::vector<float> parts_; // to be summed; grows to the largest operation
  std::vector<float> sums_;  // of an all_reduce_sum
};

} // namespace

std::size_t gloo_rendezvous_bytes(std::int32_t size) {
  return shared_rendezvous::region_bytes(size, card_bytes(size));
}

result<std::unique_ptr<communicator>>
make_gloo_communicator(std::span<std::byte> rendezvous,
                       const gloo_communicator_settings& settings,
                       const frame::wait_policy& waits) {
  VDIST_TRY(check_place("gloo communicator", settings.rank, settings.size));
  VDIST_ASSIGN(
      auto cards,
      shared_rendezvous::join(rendezvous, settings.rank, settings.size, card_bytes(settings.size)));
  VDIST_ASSIGN(auto device, make_gloo_device(settings.address));
  return std::unique_ptr<communicator>(
      std::make_unique<gloo_communicator>(std::move(device), cards, settings, waits));
}

} // namespace vdist::tensor
