#include "services/agent/broker_mail_transport.h"

#include <utility>

namespace blindcart::agent {

absl::StatusOr<v1::MailResult> BrokerMailTransport::Ask(v1::MailCall call,
                                                        v1::MailResult::KindCase expected) {
  v1::CustomerMessage message;
  *message.mutable_mail() = std::move(call);
  absl::StatusOr<v1::BrokerToCustomer> answer =
      broker_.Call(message, v1::BrokerToCustomer::kMail, OnBreak::kRepeat);
  if (!answer.ok()) return answer.status();
  if (answer->mail().kind_case() != expected) {
    return absl::DataLossError("the broker's answer is not one to what was asked");
  }
  return std::move(*answer->mutable_mail());
}

absl::StatusOr<v1::PublishKeysResult> BrokerMailTransport::PublishKeys(
    const v1::PublishKeysCall& call) {
  v1::MailCall message;
  *message.mutable_publish_keys() = call;
  absl::StatusOr<v1::MailResult> result = Ask(std::move(message), v1::MailResult::kPublishKeys);
  if (!result.ok()) return result.status();
  return result->publish_keys();
}

absl::StatusOr<v1::FetchKeysResult> BrokerMailTransport::FetchKeys(const v1::FetchKeysCall& call) {
  v1::MailCall message;
  *message.mutable_fetch_keys() = call;
  absl::StatusOr<v1::MailResult> result = Ask(std::move(message), v1::MailResult::kFetchKeys);
  if (!result.ok()) return result.status();
  return result->fetch_keys();
}

absl::StatusOr<v1::SendMailResult> BrokerMailTransport::Send(const v1::SendMailCall& call) {
  v1::MailCall message;
  *message.mutable_send() = call;
  absl::StatusOr<v1::MailResult> result = Ask(std::move(message), v1::MailResult::kSend);
  if (!result.ok()) return result.status();
  return result->send();
}

absl::StatusOr<v1::FetchMailResult> BrokerMailTransport::Fetch(const v1::FetchMailCall& call) {
  v1::MailCall message;
  *message.mutable_fetch() = call;
  absl::StatusOr<v1::MailResult> result = Ask(std::move(message), v1::MailResult::kFetch);
  if (!result.ok()) return result.status();
  return std::move(*result->mutable_fetch());
}

absl::Status BrokerMailTransport::Acknowledge(const v1::AcknowledgeMailCall& call) {
  v1::MailCall message;
  *message.mutable_acknowledge() = call;
  return Ask(std::move(message), v1::MailResult::kAcknowledge).status();
}

}  // namespace blindcart::agent
