#include "crypto/testing/test_identity.h"

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "crypto/internal/library.h"

namespace blindcart::crypto {

const Identity& TestIdentity(int index) {
  static auto* const mutex = new std::mutex;
  static auto* const identities = new std::map<int, std::unique_ptr<Identity>>;
  const std::lock_guard<std::mutex> lock(*mutex);
  std::unique_ptr<Identity>& identity = (*identities)[index];
  if (identity == nullptr) {
    absl::StatusOr<Identity> generated = Identity::Generate();
    internal::CheckLibrary(generated.ok(), "Identity::Generate");
    identity = std::make_unique<Identity>(*std::move(generated));
  }
  return *identity;
}

}  // namespace blindcart::crypto
