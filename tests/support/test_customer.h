// A customer of whom the test writes every message itself: the real protocol with an enrolled
// customer's keys, without an agent, so that it can be broken at any place. What is not asked to be
// wrong is as the protocol says.
//
// Answers that do not come (the link or the session has ended) are nothing.
// Thread safety: none.
#ifndef BLINDCART_TESTS_SUPPORT_TEST_CUSTOMER_H_
#define BLINDCART_TESTS_SUPPORT_TEST_CUSTOMER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "proto/customer.pb.h"
#include "proto/shop.pb.h"
#include "protocol/channel.h"
#include "tests/support/marketplace.h"
#include "tests/support/raw_broker.h"

namespace blindcart::testing {

// A session with a shop (S3).
struct ShopTalk {
  std::string sid;
  std::string hello;     // The ciphertext that opened it.
  std::string finished;  // To go with the first frame; empty afterwards.
  std::unique_ptr<protocol::Channel> channel;
  uint64_t next_call_id = 1;
};

class TestCustomer {
 public:
  // `spec` must be enrolled with `identity`, which has to outlive the customer, as does `broker`.
  // The customer is logged in when this returns.
  static absl::StatusOr<std::unique_ptr<TestCustomer>> LogIn(RawBroker& broker,
                                                             const crypto::Identity& identity,
                                                             const CustomerSpec& spec);

  RawLink& link() { return *link_; }
  // What it wrote to log in, in order.
  const std::vector<v1::HandshakeMessage>& login_messages() const { return login_messages_; }

  // Sends with a fresh call id unless there is one.
  absl::optional<v1::BrokerToCustomer> Call(v1::CustomerMessage message);
  bool Send(const v1::CustomerMessage& message);

  // The public identity of a shop by its name, from the broker's directory.
  absl::optional<crypto::PublicIdentity> FindShop(const std::string& name);
  // The session is usable when the result is SHOP_STATE_OPEN.
  v1::ShopState OpenShop(const crypto::PublicIdentity& shop, ShopTalk* talk);
  // Sends with a fresh call id.
  absl::optional<v1::ShopReply> Ask(ShopTalk& talk, v1::ShopRequest request);
  // Sends `wire` as it is and waits for the shop's answer or the session's end.
  absl::optional<v1::ShopReply> SendWire(ShopTalk& talk, const v1::ShopWire& wire);
  // `message` sealed as the next of `talk`.
  static v1::ShopWire Seal(ShopTalk& talk, const std::string& message);

  // A payment with this customer's own account and PIN and a fresh request id.
  v1::PayCall NewPayment(const std::string& order_id, int64_t agreed_total_minor) const;
  absl::optional<v1::PayResult> Pay(const v1::PayCall& call);

 private:
  explicit TestCustomer(CustomerSpec spec) : spec_(std::move(spec)) {}
  absl::optional<v1::BrokerToCustomer> Next();

  const CustomerSpec spec_;
  std::unique_ptr<RawLink> link_;
  std::vector<v1::HandshakeMessage> login_messages_;
  std::deque<v1::BrokerToCustomer> pushes_;  // Came while something else was waited for.
  uint64_t next_call_id_ = 1;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_TEST_CUSTOMER_H_
