// A PostgreSQL server of a test's own: a fresh cluster in a temporary folder, reached by a Unix
// socket in it and nothing else, with any user trusted. Ends with the object, and also when the
// test's process dies in whatever way.
//
// PostgreSQL refuses to run as root; under root the server runs as the user "nobody" of a user
// namespace of its own.
//
// Thread safety: one thread at a time, which must outlive the server (the kernel ties it to it).
#ifndef SERVICES_STORAGE_TESTING_POSTGRES_SERVER_H_
#define SERVICES_STORAGE_TESTING_POSTGRES_SERVER_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blindcart::storage::testing {

class PostgresServer {
 public:
  // Makes the cluster and starts it. kNotFound without Debian's server package (./setup.sh).
  static absl::StatusOr<std::unique_ptr<PostgresServer>> Start();
  ~PostgresServer();

  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  // A new database, empty or a copy of the one at `model`, to which nobody may be connected; its
  // address. It goes with the server.
  absl::StatusOr<std::string> CreateDatabase(const std::string& model = "");
  // Of a database and a user, both in plain lower-case letters and digits.
  std::string Url(const std::string& database, const std::string& user = "owner") const;
  // Holds the socket.
  const std::string& folder() const { return folder_; }

  // As the owner, outside any transaction.
  static absl::Status Execute(const std::string& url, const std::string& sql);

  // Ends it at once, as a crash would (SIGQUIT to the postmaster), and starts it again.
  void Crash();
  absl::Status StartAgain();

 private:
  PostgresServer(std::string programs, std::string folder)
      : programs_(std::move(programs)), folder_(std::move(folder)) {}
  absl::Status Launch();

  const std::string programs_;  // folder of initdb and postgres
  const std::string folder_;
  pid_t pid_ = -1;
  int databases_ = 0;
};

}  // namespace blindcart::storage::testing

#endif  // SERVICES_STORAGE_TESTING_POSTGRES_SERVER_H_
