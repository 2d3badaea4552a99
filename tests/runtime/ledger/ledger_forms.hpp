// tests/runtime/ledger/ledger_forms.hpp — both forms of the ledger behind one face, and the memory
// that a shared one lies in.
#pragma once

#include "runtime/ledger/memory_ledger.hpp"
#include "runtime/ledger/shared_ledger.hpp"

#include <boost/mpl/list.hpp>
#include <boost/test/unit_test.hpp>

#include <stdexcept>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace vdist::testing {

/// Shared memory without a name, as the supervisor process makes it. Children inherit the mapping.
class shared_memory {
public:
  explicit shared_memory(std::size_t bytes)
      : bytes_(bytes), descriptor_(memfd_create("ledger", MFD_CLOEXEC)) {
    if (descriptor_ < 0 || ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) {
      throw std::runtime_error("no shared memory");
    }
    base_ = map(PROT_READ | PROT_WRITE);
    read_only_ = map(PROT_READ);
  }

  shared_memory(const shared_memory&) = delete;
  shared_memory& operator=(const shared_memory&) = delete;

  ~shared_memory() {
    munmap(base_, bytes_);
    munmap(read_only_, bytes_);
    close(descriptor_);
  }

  [[nodiscard]] std::span<std::byte> span() const {
    return {static_cast<std::byte*>(base_), bytes_};
  }

  /// The same bytes at another address, where a write would end the process.
  [[nodiscard]] std::span<const std::byte> read_only() const {
    return {static_cast<const std::byte*>(read_only_), bytes_};
  }

  /// Bytes of memory that are really there.
  [[nodiscard]] std::size_t touched() const {
    struct stat status {};

    fstat(descriptor_, &status);
    return static_cast<std::size_t>(status.st_blocks) * 512;
  }

private:
  [[nodiscard]] void* map(int protection) const {
    void* at = mmap(nullptr, bytes_, protection, MAP_SHARED, descriptor_, 0);
    if (at == MAP_FAILED) {
      throw std::runtime_error("shared memory cannot be mapped");
    }
    return at;
  }

  std::size_t bytes_;
  int descriptor_;
  void* base_ = nullptr;
  void* read_only_ = nullptr;
};

inline std::unique_ptr<ledger::shared_ledger> opened(std::span<std::byte> region,
                                                     const clock* time = nullptr) {
  auto journal = ledger::open_ledger(region, time);
  BOOST_REQUIRE_MESSAGE(journal.has_value(), (journal ? "" : journal.error().context));
  return std::move(journal).value();
}

class memory_form {
public:
  explicit memory_form(const ledger::ledger_limits& limits = {}, const clock* time = nullptr)
      : journal_(limits, time) {}

  ledger::ledger& operator*() { return journal_; }

  ledger::ledger* operator->() { return &journal_; }

private:
  ledger::memory_ledger journal_;
};

class shared_form {
public:
  explicit shared_form(const ledger::ledger_limits& limits = {}, const clock* time = nullptr)
      : time_(time), memory_(ledger::ledger_bytes(limits)) {
    BOOST_REQUIRE(ledger::format_ledger(memory_.span(), limits).has_value());
    reopen();
  }

  /// The writer ends without a word and a successor takes over.
  void reopen() {
    journal_.reset();
    journal_ = opened(memory_.span(), time_);
  }

  [[nodiscard]] const shared_memory& memory() const { return memory_; }

  ledger::ledger& operator*() { return *journal_; }

  ledger::ledger* operator->() { return journal_.get(); }

private:
  const clock* time_;
  shared_memory memory_;
  std::unique_ptr<ledger::shared_ledger> journal_;
};

using ledger_forms = boost::mpl::list<memory_form, shared_form>;

inline protocol::request make_request(std::uint64_t id, std::int32_t max_tokens = 8) {
  protocol::request request;
  request.id = request_id(id);
  request.arrival = id;
  request.prompt = {1, 2, 3};
  request.max_tokens = max_tokens;
  return request;
}

inline errc code_of(const result<void>& outcome) {
  return outcome ? errc::ok : outcome.error().code;
}

inline errc commit(ledger::ledger& journal,
                   const std::vector<ledger::committed_token>& tokens,
                   const std::vector<ledger::finished_request>& finished = {}) {
  return code_of(journal.commit(tokens, finished));
}

} // namespace vdist::testing

BOOST_TEST_DONT_PRINT_LOG_VALUE(vdist::errc)
BOOST_TEST_DONT_PRINT_LOG_VALUE(vdist::protocol::finish_reason)
