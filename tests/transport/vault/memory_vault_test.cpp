#include "transport/vault/memory_vault.hpp"

#include "tests/transport/vault/vault_conformance.hpp"

namespace {

std::shared_ptr<vdist::vault::vault> make_memory_vault(std::size_t limit_bytes) {
  return std::make_shared<vdist::vault::memory_vault>(limit_bytes);
}

} // namespace

VDIST_VAULT_CONFORMANCE(memory_vault_suite, make_memory_vault)
