// The mailbox (mail_transport.h) over the session with the broker. Every call may be repeated when the
// link breaks before its answer: the broker takes each key, message and acknowledgement once.
#ifndef BLINDCART_SERVICES_AGENT_BROKER_MAIL_TRANSPORT_H_
#define BLINDCART_SERVICES_AGENT_BROKER_MAIL_TRANSPORT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/mail.pb.h"
#include "services/agent/broker_session.h"
#include "services/agent/mail_transport.h"

namespace blindcart::agent {

class BrokerMailTransport : public MailTransport {
 public:
  // `broker` must outlive the object.
  explicit BrokerMailTransport(BrokerSession& broker) : broker_(broker) {}

  std::string username() const override { return broker_.state().username; }
  absl::StatusOr<v1::PublishKeysResult> PublishKeys(const v1::PublishKeysCall& call) override;
  absl::StatusOr<v1::FetchKeysResult> FetchKeys(const v1::FetchKeysCall& call) override;
  absl::StatusOr<v1::SendMailResult> Send(const v1::SendMailCall& call) override;
  absl::StatusOr<v1::FetchMailResult> Fetch(const v1::FetchMailCall& call) override;
  absl::Status Acknowledge(const v1::AcknowledgeMailCall& call) override;

 private:
  // DataLoss for an answer of another kind than `expected`.
  absl::StatusOr<v1::MailResult> Ask(v1::MailCall call, v1::MailResult::KindCase expected);

  BrokerSession& broker_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_BROKER_MAIL_TRANSPORT_H_
