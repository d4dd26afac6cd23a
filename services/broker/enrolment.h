// Enrolling customers and merchants, and the accounts that every broker has. Done by the operator
// over the store, also while the broker serves: it reads them from the store at each login.
//
// Errors, with words for the operator: InvalidArgument for a value out of bounds, AlreadyExists for
// one that is taken. All or nothing. Thread-safe.
#ifndef BLINDCART_SERVICES_BROKER_ENROLMENT_H_
#define BLINDCART_SERVICES_BROKER_ENROLMENT_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "crypto/password_record.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"
#include "services/storage/store.h"

namespace blindcart::broker {

inline constexpr size_t kMinPasswordBytes = 8;
inline constexpr size_t kMinPinBytes = 4;

struct NewCustomer {
  std::string username;
  std::string identity_pem;
  std::string account_number;
  crypto::SecretBytes password;
  crypto::SecretBytes pin;
  int64_t opening_balance_minor = 0;  // From the external account.
};

struct NewMerchant {
  std::string name;
  std::string identity_pem;
  std::string account_number;
};

struct Enroller {
  storage::Store& store;
  std::string currency;
  int64_t now_ms = 0;
  crypto::RandomSource& random;
  crypto::Argon2Cost cost = crypto::Argon2Cost();
};

// The broker's own account and the external one, and the decoy identity (public; its private key is
// never kept). Once per database.
absl::Status PrepareStore(const Enroller& enroller, const std::string& broker_account_number,
                          const crypto::PublicIdentity& decoy);

// Both give the fingerprint of the identity enrolled, 32 bytes.
absl::StatusOr<std::string> EnrolCustomer(const Enroller& enroller, const NewCustomer& customer);
absl::StatusOr<std::string> EnrolMerchant(const Enroller& enroller, const NewMerchant& merchant);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_ENROLMENT_H_
