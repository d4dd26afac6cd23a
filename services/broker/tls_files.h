// How a broker is reached: its TLS key and certificate on disk (data_dir/tls), and the address that its
// card names.
//
// Errors, with words for the operator: InvalidArgument for a host that is none, and those of files.h.
// Thread-safe.
#ifndef BLINDCART_SERVICES_BROKER_TLS_FILES_H_
#define BLINDCART_SERVICES_BROKER_TLS_FILES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/broker/config.h"

namespace blindcart::broker {

// Makes key and certificate, the latter for kBrokerTlsName and `hosts`, and returns the certificate as
// PEM. AlreadyExists when they are there.
absl::StatusOr<std::string> MakeTlsFiles(const DataPaths& paths,
                                         const std::vector<std::string>& hosts);

// Where others reach a broker that listens at `listen`, as far as it can be known; `address` when it
// is given.
std::string PublicAddress(const std::string& address, const std::vector<std::string>& hosts,
                          const std::string& listen);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_TLS_FILES_H_
