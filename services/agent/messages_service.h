// The messages' part of the agent's local API (proto/agent_messages.proto): translates, and nothing
// more. Thread-safe; everything handed in must outlive the server that it is registered with.
#ifndef BLINDCART_SERVICES_AGENT_MESSAGES_SERVICE_H_
#define BLINDCART_SERVICES_AGENT_MESSAGES_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include "proto/agent_messages.grpc.pb.h"
#include "services/agent/mail_receiver.h"
#include "services/agent/messenger.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {

class MessagesService final : public v1::AgentMessages::CallbackService {
 public:
  MessagesService(Messenger& messenger, MailReceiver& receiver, Executor& calls)
      : messenger_(messenger), receiver_(receiver), calls_(calls) {}

  grpc::ServerUnaryReactor* Send(grpc::CallbackServerContext* context,
                                 const v1::SendMessageRequest* request,
                                 v1::SendMessageReply* reply) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListMessagesRequest* request,
                                 v1::ListMessagesReply* reply) override;
  grpc::ServerUnaryReactor* Read(grpc::CallbackServerContext* context,
                                 const v1::ReadMessageRequest* request,
                                 v1::ReadMessageReply* reply) override;
  grpc::ServerUnaryReactor* MarkRead(grpc::CallbackServerContext* context,
                                     const v1::MarkReadRequest* request,
                                     v1::MarkReadReply* reply) override;
  grpc::ServerWriteReactor<v1::WatchMessagesEvent>* Watch(
      grpc::CallbackServerContext* context, const v1::WatchMessagesRequest* request) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const v1::DeleteMessagesRequest* request,
                                   v1::DeleteMessagesReply* reply) override;
  grpc::ServerUnaryReactor* ListContacts(grpc::CallbackServerContext* context,
                                         const v1::ListContactsRequest* request,
                                         v1::ListContactsReply* reply) override;
  grpc::ServerUnaryReactor* GetContact(grpc::CallbackServerContext* context,
                                       const v1::ContactRequest* request,
                                       v1::Contact* reply) override;
  grpc::ServerUnaryReactor* VerifyContact(grpc::CallbackServerContext* context,
                                          const v1::VerifyContactRequest* request,
                                          v1::Contact* reply) override;
  grpc::ServerUnaryReactor* AcceptContact(grpc::CallbackServerContext* context,
                                          const v1::AcceptContactRequest* request,
                                          v1::Contact* reply) override;
  grpc::ServerUnaryReactor* KeepContact(grpc::CallbackServerContext* context,
                                        const v1::ContactRequest* request,
                                        v1::Contact* reply) override;
  grpc::ServerUnaryReactor* BlockContact(grpc::CallbackServerContext* context,
                                         const v1::ContactRequest* request,
                                         v1::Contact* reply) override;
  grpc::ServerUnaryReactor* UnblockContact(grpc::CallbackServerContext* context,
                                           const v1::ContactRequest* request,
                                           v1::Contact* reply) override;

 private:
  absl::Status SendNow(const v1::SendMessageRequest& request, v1::SendMessageReply* reply);

  Messenger& messenger_;
  MailReceiver& receiver_;
  Executor& calls_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_MESSAGES_SERVICE_H_
