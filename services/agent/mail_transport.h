// The broker's mailbox as the messenger sees it: five calls that block until they are answered. What
// pushes mail hands it to Messenger::OnPush.
//
// Errors: as BrokerSession::Call (Unauthenticated: not logged in; Unavailable; DataLoss).
// Thread safety: implementations must be safe to call from any thread but a network one.
#ifndef BLINDCART_SERVICES_AGENT_MAIL_TRANSPORT_H_
#define BLINDCART_SERVICES_AGENT_MAIL_TRANSPORT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/mail.pb.h"

namespace blindcart::agent {

class MailTransport {
 public:
  virtual ~MailTransport() = default;

  // Who is logged in; empty when nobody is.
  virtual std::string username() const = 0;

  // An identity key other than the published one makes the broker drop every one-time pre-key that
  // it still holds: they belong to the old one. A one-time pre-key that the broker was given once
  // (by id) is never given out twice.
  virtual absl::StatusOr<v1::PublishKeysResult> PublishKeys(const v1::PublishKeysCall& call) = 0;
  virtual absl::StatusOr<v1::FetchKeysResult> FetchKeys(const v1::FetchKeysCall& call) = 0;
  // Repeated on a break: the broker stores a message_id once.
  virtual absl::StatusOr<v1::SendMailResult> Send(const v1::SendMailCall& call) = 0;
  virtual absl::StatusOr<v1::FetchMailResult> Fetch(const v1::FetchMailCall& call) = 0;
  virtual absl::Status Acknowledge(const v1::AcknowledgeMailCall& call) = 0;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_MAIL_TRANSPORT_H_
