// The notary's key and certificate on disk (docs/notary.md): data_dir/notary with the key (RSA-4096,
// encrypted under the broker's pass phrase) and the certificate for time stamping that the broker's
// authority issued.
//
// Made by `broker init`. A broker that was made before there was a notary gets one when it is next
// served. The certificate is made anew, for the same key, when half of its life is over and another
// would last longer, and when it is not this authority's.
//
// Errors, with words for the operator: as crypto/key_file.h; FailedPrecondition when the certificate
// is there without the key. Call before there are threads that do the same.
#ifndef BLINDCART_SERVICES_BROKER_TIME_STAMPING_H_
#define BLINDCART_SERVICES_BROKER_TIME_STAMPING_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "crypto/certificate_authority.h"
#include "crypto/random.h"
#include "crypto/time_stamp.h"
#include "services/broker/config.h"

namespace blindcart::broker {

// A token can be verified until its certificate ends; that is never after the authority's.
inline constexpr absl::Duration kTimeStampingLifetime = absl::Hours(24 * 3650);

// Writes a new key, and its certificate as of `now`. AlreadyExists when they are there.
absl::StatusOr<crypto::TimeStampResponder> MakeTimeStamping(
    const DataPaths& paths, const crypto::TimeStampKey& key,
    const crypto::CertificateAuthority& authority, absl::string_view pass_phrase, absl::Time now,
    crypto::RandomSource& random);

// Reads them; makes what is missing (a key takes seconds) and what is to be made anew.
absl::StatusOr<crypto::TimeStampResponder> LoadTimeStamping(
    const DataPaths& paths, const crypto::CertificateAuthority& authority,
    absl::string_view pass_phrase, absl::Time now, crypto::RandomSource& random);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_TIME_STAMPING_H_
