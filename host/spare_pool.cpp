#include "host/spare_pool.hpp"

#include "transport/socket/shared_file.hpp"

#include "runtime/base/log.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

#include "host/standby.hpp"

namespace vdist::host {

namespace {

std::string name_of(std::int32_t rank) {
  return rank == no_rank ? "a spare worker" : fmt::format("the spare of worker {}", rank);
}

} // namespace

result<socket::unique_fd> make_order_file(std::span<const std::byte> order) {
  VDIST_ASSIGN(auto file, socket::make_shared_file("vdist-order", order.size()));
  if (::pwrite(file.get(), order.data(), order.size(), 0) != std::ssize(order)) {
    return fail(errc::io_failed, "supervisor: a worker's order cannot be written");
  }
  return file;
}

spare_pool::spare_pool(std::filesystem::path program, spare_pool_links links)
    : program_(std::move(program)), links_(std::move(links)) {}

void spare_pool::configure(const protocol::host_settings& settings) {
  generic_wanted_ = static_cast<std::size_t>(std::max(settings.standby, 0));
  prepares_ = settings.prepares_spares;
  while (generic_count() > generic_wanted_) {
    end(find(no_rank), "it is not wanted any more");
  }
  if (!prepares_) {
    ranks_.clear();
    for (auto one = spares_.begin(); one != spares_.end();) {
      const auto next = std::next(one);
      if (one->second.rank != no_rank) {
        end(one, "it is not wanted any more");
      }
      one = next;
    }
  }
}

void spare_pool::prepare(const protocol::prepare_spare& wanted) {
  if (wanted.rank < 0 || (!wanted.order.empty() && wanted.order_hash == 0)) {
    log::warn("supervisor: a spare of rank {} makes no sense", wanted.rank);
    return;
  }
  auto& rank = ranks_[wanted.rank];
  const bool is_wanted = prepares_ && !wanted.order.empty();
  const auto present = find(wanted.rank);
  const bool is_there =
      present != spares_.end() && is_wanted && is_usable(*present, wanted.order_hash);
  if (!is_there) {
    rank.due = std::max(rank.due, links_.time->now() + spare_rest); // Y-4
  }
  rank.order = is_wanted ? wanted.order : std::vector<std::byte>();
  rank.order_hash = wanted.order_hash;
  if (present != spares_.end() && !is_there) {
    end(present, "it is prepared for something else");
  }
}

/// Y-2.
result<bool> spare_pool::promote(const protocol::spawn_worker& wanted,
                                 const socket::unique_fd& order) {
  if (const auto known = ranks_.find(wanted.key.rank); known != ranks_.end()) {
    known->second.order.clear();
  }
  if (const auto mine = find(wanted.key.rank); mine != spares_.end()) {
    if (is_usable(*mine, wanted.spare_hash)) {
      return start_as(mine, wanted, order);
    }
    end(mine, "it cannot take the place of its worker");
  }
  for (auto one = find(no_rank); one != spares_.end(); one = find(no_rank)) {
    if (!is_usable(*one, 0)) {
      end(one, "it does not take orders, or its program was replaced");
      continue;
    }
    VDIST_ASSIGN(const bool is_started, start_as(one, wanted, order));
    if (is_started) {
      return true;
    }
  }
  return false;
}

/// False: it does not take orders, and is ended.
result<bool> spare_pool::start_as(spare_map::iterator one,
                                  const protocol::spawn_worker& wanted,
                                  const socket::unique_fd& order) {
  const auto& [number, it] = *one;
  const bool is_prepared = it.rank != no_rank;
  result<void> sent;
  if (is_prepared) {
    sent =
        send_order(it.orders, standby_step::promote, std::array{order.get()}, links_.time->now());
  } else {
    VDIST_ASSIGN(const auto vault, links_.new_vault_client());
    sent = send_order(
        it.orders, standby_step::start, std::array{order.get(), vault.get()}, links_.time->now());
  }
  if (!sent) {
    end(one, "it does not take orders");
    return false;
  }
  links_.children->rename(spare_key(number, it.rank), wanted.key);
  spares_.erase(one);
  generic_due_ = links_.time->now() + spare_rest;
  return true;
}

bool spare_pool::is_usable(const spare_map::value_type& one, std::uint64_t order_hash) const {
  const auto& [number, it] = one;
  const auto* child = links_.children->find(spare_key(number, it.rank));
  const bool is_in_time =
      it.rank == no_rank || it.is_ready || links_.time->now() - it.started < preparing_max;
  return child != nullptr && !it.is_closed && !links_.children->has_died(*child)
         && !child->stopped_since && it.order_hash == (it.rank == no_rank ? 0 : order_hash)
         && is_in_time && it.program == stamp_of(program_);
}

void spare_pool::end(spare_map::iterator one, std::string why) {
  const auto key = spare_key(one->first, one->second.rank);
  spares_.erase(one);
  links_.children->kill(key, std::move(why));
}

void spare_pool::on_lost(const protocol::process_key& key) {
  const auto lost = spares_.find(key.incarnation);
  if (lost == spares_.end()) {
    return; // ended here, or a worker meanwhile
  }
  const auto rank = lost->second.rank;
  spares_.erase(lost);
  if (rank == no_rank) {
    generic_due_ = links_.time->now() + spare_rest;
  } else {
    retry(rank, "it has died");
  }
}

/// Y-3.
void spare_pool::retry(std::int32_t rank, const std::string& why) {
  auto& wanted = ranks_[rank];
  const auto now = links_.time->now();
  if (wanted.order.empty()) {
    return;
  }
  const auto rest = wanted.tries.next(now);
  if (!rest) {
    log::warn("supervisor: {}: {}; after {} tries there will be none",
              name_of(rank),
              why,
              wanted.tries.recent());
    wanted.order.clear();
    return;
  }
  log::warn("supervisor: {}: {} (try={})", name_of(rank), why, wanted.tries.recent());
  wanted.due = now + std::max<duration>(spare_rest, *rest);
}

void spare_pool::forget_all() {
  spares_.clear();
  ranks_.clear();
}

void spare_pool::keep() {
  const auto now = links_.time->now();
  while (generic_count() < generic_wanted_ && now >= generic_due_) {
    if (auto started = start(no_rank); !started) {
      log::warn("supervisor: {}: {}", name_of(no_rank), started.error().context);
      generic_due_ = now + spare_rest;
    }
  }
  for (auto& [rank, wanted] : ranks_) {
    if (wanted.order.empty() || find(rank) != spares_.end() || now < wanted.due
        || has_dying_process(rank)) {
      continue;
    }
    if (auto started = start_prepared(rank, wanted); !started) {
      retry(rank, started.error().context);
    }
  }
}

result<spare_pool::spare_map::iterator> spare_pool::start(std::int32_t rank) {
  VDIST_ASSIGN(auto ends, socket::make_socket_pair());
  const auto number = ++last_number_;
  const auto program = stamp_of(program_); // before: older is safe
  std::vector<std::string> arguments{"--standby-fd", "3"};
  if (rank != no_rank) { // for whoever reads a process list
    arguments.insert(arguments.end(), {"--spare-of", std::to_string(rank)});
  }
  child_spec spec{
      .program = program_, .arguments = std::move(arguments), .descriptors = {ends.second.get()}};
  if (links_.give_store) {
    links_.give_store(spec);
  }
  VDIST_TRY(links_.children->start(spare_key(number, rank), std::move(spec)));
  return spares_
      .emplace(number,
               spare{.rank = rank,
                     .orders = socket::message_socket(std::move(ends.first), *links_.time),
                     .program = program,
                     .started = links_.time->now()})
      .first;
}

result<void> spare_pool::start_prepared(std::int32_t rank, const rank_spare& wanted) {
  VDIST_ASSIGN(const auto order, make_order_file(wanted.order));
  VDIST_ASSIGN(const auto vault, links_.new_vault_client());
  VDIST_ASSIGN(const auto one, start(rank));
  one->second.order_hash = wanted.order_hash;
  auto sent = send_order(one->second.orders,
                         standby_step::prepare,
                         std::array{order.get(), vault.get()},
                         links_.time->now());
  if (!sent) {
    end(one, "it does not take orders");
  }
  return sent;
}

void spare_pool::look() {
  for (auto& [number, one] : spares_) {
    if (one.rank == no_rank || one.is_ready || one.is_closed) {
      continue;
    }
    if (const auto word = one.orders.receive(time_point{}); !word) {
      one.is_closed = word.error().code == errc::closed; // its end is seen elsewhere
      continue;
    }
    const auto now = links_.time->now();
    one.is_ready = true;
    log::debug("supervisor: {} is ready after {} ms",
               name_of(one.rank),
               std::chrono::duration_cast<std::chrono::milliseconds>(now - one.started).count());
    links_.on_ready({.rank = one.rank,
                     .pid = links_.children->pid_of(spare_key(number, one.rank)),
                     .at_ns = std::chrono::nanoseconds(now.time_since_epoch()).count()});
  }
}

void spare_pool::add_descriptors(std::vector<pollfd>& watched) const {
  for (const auto& [number, one] : spares_) {
    if (one.rank != no_rank && !one.is_ready && !one.is_closed) {
      watched.push_back({.fd = one.orders.fd(), .events = POLLIN, .revents = 0});
    }
  }
}

std::optional<time_point> spare_pool::next_start() const {
  std::optional<time_point> next;
  const auto note = [&next](time_point due) {
    next = next ? std::min(*next, due) : due;
  };
  if (generic_count() < generic_wanted_) {
    note(generic_due_);
  }
  for (const auto& [rank, wanted] : ranks_) {
    const bool is_there =
        std::any_of(spares_.begin(), spares_.end(), [rank = rank](const auto& one) {
          return one.second.rank == rank;
        });
    if (!wanted.order.empty() && !is_there
        && !has_dying_process(rank)) { // else its pidfd says when
      note(wanted.due);
    }
  }
  return next;
}

spare_pool::spare_map::iterator spare_pool::find(std::int32_t rank) {
  return std::find_if(
      spares_.begin(), spares_.end(), [rank](const auto& one) { return one.second.rank == rank; });
}

std::size_t spare_pool::generic_count() const {
  return static_cast<std::size_t>(std::count_if(
      spares_.begin(), spares_.end(), [](const auto& one) { return one.second.rank == no_rank; }));
}

bool spare_pool::has_dying_process(std::int32_t rank) const {
  const auto& all = links_.children->all();
  return std::any_of(all.begin(), all.end(), [this, rank](const auto& one) {
    const auto& [key, child] = one;
    const bool is_of_rank = key.role == protocol::process_role::worker
                            && (is_spare(key) ? rank_of_spare(key) : key.rank) == rank;
    return is_of_rank && links_.children->has_died(child);
  });
}

} // namespace vdist::host
