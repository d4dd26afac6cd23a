// Certificates for customers (docs/certificates.md): answers certification requests from the
// authority, revokes, hands out the revocation list, and introduces customers whose agents listen for
// direct sessions.
//
// A request is answered only when its name is that of the login and its keys are the enrolled ones:
// the login has proved the RSA key, the request's own signature proves the other. A request that is
// repeated within the hour gets the same pair, a later one a further pair, as a renewal does; a
// customer has at most max_certificates_per_customer that have not expired, revoked ones included, and
// nothing is issued when the revocation list is nearly full, so that nobody can fill it. Whom the
// operator has revoked gets no new ones until the operator lifts that.
//
// Every copy and every revocation is durable before it is answered, and a revocation together with
// the list that names it, unless that is too large to be made (revocation.h). Addresses for direct
// sessions go with the link over which they were announced (listeners.h).
//
// Thread-safe. Answers come once, on the caller's thread or the commit queue's.
#ifndef BLINDCART_SERVICES_BROKER_CERTIFICATES_H_
#define BLINDCART_SERVICES_BROKER_CERTIFICATES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/certificate_authority.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "proto/certificate.pb.h"
#include "protocol/clock.h"
#include "services/broker/customer_bound.h"
#include "services/broker/listeners.h"
#include "services/broker/relay.h"
#include "services/storage/commit_queue.h"
#include "services/storage/store.h"

namespace blindcart::broker {

class Certificates {
 public:
  static constexpr size_t kMaxAddressBytes = storage::kMaxListenerAddressBytes;
  // Calls of one customer's under way to the store; a further one cannot be done now.
  static constexpr int kMaxUnderWay = 8;

  struct Options {
    int64_t lifetime_ms = 0;  // Of a customer's certificate.
    int64_t revocation_list_lifetime_ms = 0;
    int64_t max_per_customer = 0;
  };
  // An error: it could not be done now.
  using Answer = std::function<void(absl::StatusOr<v1::CertificateResult>)>;

  // `authority` null: nothing is issued here. All must outlive the object and every callback of the
  // queue.
  Certificates(const Options& options, const crypto::CertificateAuthority* authority,
               storage::Store& store, storage::CommitQueue& commits, const protocol::Clock& clock,
               crypto::RandomSource& random);

  // Refused() for what no honest agent sends, any other error when it cannot be done now; `answer` is
  // not called then.
  absl::Status Handle(int64_t customer_id, LinkId link_id, const v1::CertificateCall& call,
                      Answer answer);
  // Where customers listen for direct sessions.
  Listeners& listeners() { return listeners_; }

 private:
  absl::Status Request(int64_t customer_id, const v1::RequestCertificateCall& call, Answer answer);
  absl::Status Revoke(int64_t customer_id, Answer answer);
  absl::Status FetchRevocationList(int64_t customer_id, Answer answer);
  absl::Status Announce(int64_t customer_id, LinkId link_id, const v1::AnnounceAddressCall& call,
                        Answer answer);
  absl::Status FindPeer(const v1::FindPeerCall& call, const Answer& answer);

  absl::Status IssuePair(storage::Transaction& transaction, const storage::Customer& customer,
                         int64_t now_ms, v1::RequestCertificateResult* result);
  // Whether `live`, in the order of issue, ends with a good pair of that name and these keys that was
  // issued only just now; then it is the result.
  bool FindRecentPair(const std::vector<storage::IssuedCertificate>& live,
                      const std::string& username, const crypto::PublicIdentity& identity,
                      int64_t now_ms, v1::RequestCertificateResult* result) const;
  absl::Status MakeListIfDue(storage::Transaction& transaction);
  // Runs `job` of the customer's, which fills its argument in, and answers once that is durable.
  absl::Status Commit(
      int64_t customer_id,
      std::function<absl::Status(storage::Transaction&, v1::CertificateResult&)> job,
      Answer answer);

  const Options options_;
  const crypto::CertificateAuthority* const authority_;
  storage::Store& store_;
  storage::CommitQueue& commits_;
  const protocol::Clock& clock_;
  crypto::RandomSource& random_;
  Listeners listeners_;
  CustomerBound under_way_{kMaxUnderWay};
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_CERTIFICATES_H_
