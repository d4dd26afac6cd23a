// Evidence of a purchase, checked anew and offline: each check by its name, so that a person sees
// what holds and what does not. Checks that do not apply yet (nothing paid, nothing downloaded) are
// left out.
//
// Blocks on the file's size. Thread-safe.
#ifndef BLINDCART_SERVICES_AGENT_VERIFY_H_
#define BLINDCART_SERVICES_AGENT_VERIFY_H_

#include <string>
#include <vector>

#include "crypto/identity.h"
#include "services/agent/purchase_store.h"

namespace blindcart::agent {

struct Check {
  std::string name;
  bool ok = false;
  std::string detail;
};

std::vector<Check> VerifyPurchase(const crypto::PublicIdentity& broker,
                                  const crypto::PublicIdentity& merchant,
                                  const PurchaseRecord& purchase);

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_VERIFY_H_
