// A merchant of whom the test writes every message itself: the real protocol with an enrolled
// merchant's keys, without the merchant's program. MerchantLine is its link, spoken by hand;
// TestMerchant keeps a shop over one, honestly but for what it is told to lie about.
#ifndef BLINDCART_TESTS_SUPPORT_TEST_MERCHANT_H_
#define BLINDCART_TESTS_SUPPORT_TEST_MERCHANT_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "proto/merchant.pb.h"
#include "proto/shop.pb.h"
#include "protocol/channel.h"
#include "protocol/shop_handshake.h"
#include "tests/support/raw_broker.h"

namespace blindcart::testing {

// Thread safety: none, but link().Cancel() from anywhere.
class MerchantLine {
 public:
  // `merchant` must outlive the line. Standing when this returns.
  static absl::StatusOr<std::unique_ptr<MerchantLine>> Connect(RawBroker& broker,
                                                               const crypto::Identity& merchant);
  RawLink& link() { return *link_; }
  bool Send(const v1::MerchantToBroker& message);
  // Nothing when the link has ended.
  absl::optional<v1::BrokerToMerchant> Receive();
  // Offers and waits for the broker's answer; what else comes meanwhile waits for Receive.
  // UNSPECIFIED when the link ended instead.
  v1::OfferOrderResult Offer(const v1::OfferOrderCall& call);

 private:
  MerchantLine() = default;
  absl::optional<v1::BrokerToMerchant> Next();

  std::unique_ptr<RawLink> link_;
  std::deque<v1::BrokerToMerchant> waiting_;
  uint64_t next_call_id_ = 1;
};

// Thread safety: every method from the test's thread; the shop is kept on a thread of its own, which
// also calls the lies.
class TestMerchant {
 public:
  struct Goods {
    v1::Product product;  // As in the catalogue.
    std::string content;
  };
  // Each changes what goes out; unset: honest.
  struct Lies {
    std::function<void(MerchantLine&, const v1::SessionHello&)> before_answer;
    std::function<void(v1::ShopAnswer*)> answer;
    std::function<void(v1::CataloguePage*)> catalogue;
    std::function<void(v1::OrderTerms*)> terms;  // Before they are signed.
    // With the signed order, before it is offered.
    std::function<void(MerchantLine&, v1::OfferOrderCall*)> offer;
    std::function<void(v1::CheckoutResult*)> checkout;
    std::function<void(v1::DeliveryResult*)> delivery;
    std::function<void(std::vector<v1::Frame>*)> frames;  // The final one last.
    std::string content;                                  // Instead of the goods', as large.
    std::string stated_hash;                              // In the final frame.
  };

  // `broker` and `merchant` must outlive the shop.
  static absl::StatusOr<std::unique_ptr<TestMerchant>> Start(RawBroker& broker,
                                                             const crypto::Identity& merchant);
  ~TestMerchant();

  // Adds to the catalogue; the product's id in hex.
  std::string Add(const std::string& title, int64_t price_minor, const std::string& content);
  // From the next message on, in place of the earlier lies. Waits for the message at hand, so that
  // what earlier lies wrote may be read afterwards.
  void Lie(Lies lies);
  // The status with which the broker ended the link.
  absl::Status AwaitEnd();

 private:
  struct Session {
    std::string handle;
    std::string sid;
    std::unique_ptr<protocol::ShopMerchant> handshake;
    std::unique_ptr<protocol::Channel> channel;
  };

  TestMerchant(RawBroker& broker, const crypto::Identity& merchant)
      : broker_(broker), merchant_(merchant) {}
  void Keep();
  void Handle(const v1::BrokerToMerchant& message);
  void Answer(const v1::SessionHello& hello);
  void OnFrame(const v1::SessionFrame& frame);
  void Reply(Session& session, const v1::ShopReply& reply);
  v1::CataloguePage Catalogue(uint64_t known_version);
  v1::CheckoutResult CheckOut(const Session& session, const v1::CheckoutRequest& request);
  void Deliver(Session& session, uint64_t call_id, const v1::DeliveryRequest& request);

  RawBroker& broker_;
  const crypto::Identity& merchant_;
  std::unique_ptr<MerchantLine> line_;
  std::thread keeper_;

  std::mutex mutex_;  // Held while a message is handled.
  Lies lies_;
  std::vector<Goods> goods_;                 // In the order of their versions, from 1.
  std::map<std::string, Session> sessions_;  // By handle.
  std::map<std::string, size_t> ordered_;    // Order id to goods.
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_TEST_MERCHANT_H_
