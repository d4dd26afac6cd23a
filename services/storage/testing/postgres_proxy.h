// Stands between a store and its PostgreSQL server and cuts the connection at a chosen moment.
//
// Thread safety: all methods from any thread.
#ifndef SERVICES_STORAGE_TESTING_POSTGRES_PROXY_H_
#define SERVICES_STORAGE_TESTING_POSTGRES_PROXY_H_

#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace blindcart::storage::testing {

class PostgresProxy {
 public:
  enum class Cut {
    kBeforeRequest,  // the server never sees the request
    kBeforeAnswer,   // the server has answered, and the answer is lost
  };

  // `server_folder` holds the server's socket.
  static absl::StatusOr<std::unique_ptr<PostgresProxy>> Start(const std::string& server_folder);
  ~PostgresProxy();

  PostgresProxy(const PostgresProxy&) = delete;
  PostgresProxy& operator=(const PostgresProxy&) = delete;

  // Where the proxy's own socket is.
  const std::string& folder() const { return folder_; }

  // The next connection that sends something with `text` in it is cut. Once.
  void CutAt(const std::string& text, Cut cut);
  // Connections cut so far.
  int cuts() const;

 private:
  PostgresProxy(std::string server_folder, std::string folder, int listener)
      : server_folder_(std::move(server_folder)), folder_(std::move(folder)), listener_(listener) {}
  void Accept();
  void Serve(int client);
  // True when the request is the one to cut at.
  bool IsTheOne(const std::string& request, Cut* cut);

  const std::string server_folder_;
  const std::string folder_;
  const int listener_;
  mutable std::mutex mutex_;
  std::string text_;  // under mutex_, as the following; empty: nothing to cut
  Cut cut_ = Cut::kBeforeRequest;
  int cuts_ = 0;
  bool ending_ = false;
  std::vector<int> open_;             // clients' sockets
  std::vector<std::thread> serving_;  // by the accepting thread until it ends
  std::thread accepting_;
};

}  // namespace blindcart::storage::testing

#endif  // SERVICES_STORAGE_TESTING_POSTGRES_PROXY_H_
