// Keeps certificates and revocation list in step with the broker, on a thread of its own: after each
// login, every hour, and when their time has come it fetches the list and renews the certificates.
//
// Thread safety: every method may be called from any thread. Destroy it after Shutdown.
#ifndef BLINDCART_SERVICES_AGENT_CERTIFICATE_KEEPER_H_
#define BLINDCART_SERVICES_AGENT_CERTIFICATE_KEEPER_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "services/agent/broker_session.h"
#include "services/agent/certificates.h"

namespace blindcart::agent {

class CertificateKeeper : public BrokerListener {
 public:
  struct Options {
    // The longest pause. The shortest is min_retry_ms.
    int64_t round_ms = 3'600'000;
    // After a failure: the first of these, doubling to round_ms.
    int64_t min_retry_ms = 1'000;
  };

  // All must outlive the object. Hears of the broker from now on.
  static std::shared_ptr<CertificateKeeper> Start(BrokerSession& broker, Certificates& certificates,
                                                  const protocol::Clock& clock,
                                                  const Options& options);
  ~CertificateKeeper() override;

  // There are new certificates, whose time may come before the next round.
  void RoundSoon();

  void OnConnected() override;
  void OnPush(const v1::BrokerToCustomer&) override {}

  // Lets what is under way end (the broker's session must be shut down by then). Idempotent.
  void Shutdown();

 private:
  CertificateKeeper(BrokerSession& broker, Certificates& certificates, const protocol::Clock& clock,
                    const Options& options);
  void Work();
  absl::Status Round();
  // Until the next round after one that went well.
  int64_t PauseMs();

  BrokerSession& broker_;
  Certificates& certificates_;
  const protocol::Clock& clock_;
  const Options options_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // The rest is used under mutex_.
  std::chrono::steady_clock::time_point next_round_;
  bool closing_ = false;
  std::mutex join_mutex_;  // Makes concurrent Shutdown calls safe; never held with mutex_.
  std::thread thread_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_CERTIFICATE_KEEPER_H_
