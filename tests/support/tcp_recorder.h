// A network observer: a TCP proxy on loopback that passes bytes on as they are and keeps them, until
// it is told to cut the connections.
//
// Thread safety: Bytes, CutAfter and cuts may be called from any thread.
#ifndef BLINDCART_TESTS_SUPPORT_TCP_RECORDER_H_
#define BLINDCART_TESTS_SUPPORT_TCP_RECORDER_H_

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"

namespace blindcart::testing {

class TcpRecorder {
 public:
  // `upstream` is "127.0.0.1:PORT".
  static absl::StatusOr<std::unique_ptr<TcpRecorder>> Start(const std::string& upstream);
  ~TcpRecorder();
  TcpRecorder(const TcpRecorder&) = delete;
  TcpRecorder& operator=(const TcpRecorder&) = delete;

  // "127.0.0.1:PORT", where to connect instead.
  const std::string& address() const { return address_; }
  // All that was seen so far, both ways.
  std::string Bytes() const;
  // Breaks every connection once, when that many bytes more have passed, both ways together. New
  // ones are let through.
  void CutAfter(size_t more_bytes);
  // How often it has.
  int cuts() const;

 private:
  TcpRecorder() = default;
  void Run();

  int upstream_port_ = 0;
  int listener_ = -1;
  int stop_[2] = {-1, -1};
  std::string address_;
  mutable std::mutex mutex_;
  std::string bytes_;
  size_t cut_at_ = 0;  // Under mutex_, as cuts_: of bytes_'s size; 0: never.
  int cuts_ = 0;
  std::thread thread_;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_TCP_RECORDER_H_
