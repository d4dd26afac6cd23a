// Gives a session to a link. The link destroys its handler once the stream is done; the session
// lives on as long as work for it is under way elsewhere.
#ifndef BLINDCART_SERVICES_BROKER_SESSION_HANDLER_H_
#define BLINDCART_SERVICES_BROKER_SESSION_HANDLER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "services/common/link.h"

namespace blindcart::broker {

class SessionHandler final : public LinkHandler {
 public:
  explicit SessionHandler(std::shared_ptr<LinkHandler> session) : session_(std::move(session)) {}

  void OnHandshake(const v1::HandshakeMessage& message) override { session_->OnHandshake(message); }
  void OnMessages(std::vector<std::string> messages) override {
    session_->OnMessages(std::move(messages));
  }
  void OnClosed(const absl::Status& status) override { session_->OnClosed(status); }

 private:
  const std::shared_ptr<LinkHandler> session_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_SESSION_HANDLER_H_
