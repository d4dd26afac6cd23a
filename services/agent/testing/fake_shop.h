// A shop for the agent's tests: the real protocol machines over a few products in memory, with
// handles for making it lie. Not thread-safe: the fake broker serialises its calls.
#ifndef BLINDCART_SERVICES_AGENT_TESTING_FAKE_SHOP_H_
#define BLINDCART_SERVICES_AGENT_TESTING_FAKE_SHOP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "crypto/identity.h"
#include "crypto/random.h"
#include "proto/shop.pb.h"
#include "protocol/channel.h"
#include "protocol/clock.h"
#include "protocol/shop_handshake.h"

namespace blindcart::agent::testing {

class FakeShop {
 public:
  FakeShop(std::string name, const crypto::Identity& identity, crypto::RandomSource& random,
           const protocol::Clock& clock);

  // Charge and total of an order that the broker took, or nothing when it did not.
  using Offer = std::function<bool(const v1::OrderTerms& terms, int64_t* charge_minor)>;
  // Where the frames of a delivery go.
  // `last`: no frame follows.
  using Deliver = std::function<void(const std::string& delivery_id, v1::Frame frame, bool last)>;
  void Connect(Offer offer, Deliver deliver) {
    offer_ = std::move(offer);
    deliver_ = std::move(deliver);
  }

  // Adds a product with that content and returns its id.
  std::string AddProduct(const std::string& title, int64_t price_minor, const std::string& content);
  // The product as the catalogue tells it; changes show with the next version.
  v1::Product& product(const std::string& product_id);
  void Touch(const std::string& product_id);

  v1::ShopAnswer OnHello(const std::string& sid, const std::string& ciphertext);
  // A serialised ShopWire in, and the answer's out; empty when there is none.
  std::string OnFrame(const std::string& sid, const std::string& frame);

  const std::string& name() const { return name_; }
  const crypto::Identity& identity() const { return identity_; }

  // Handles.
  bool online = true;
  bool silent = false;  // Takes requests and answers none.
  std::function<void(const v1::ShopRequest& request, v1::ShopReply* reply)> alter_reply;
  std::map<std::string, std::string> contents;  // By product id; what is really delivered.
  std::vector<v1::ShopRequest> requests;
  int sessions = 0;
  int page_size = 100;

 private:
  struct Session {
    std::unique_ptr<protocol::ShopMerchant> handshake;
    std::unique_ptr<protocol::Channel> channel;
  };
  struct Order {
    v1::CheckoutResult result;
    std::string order_key;
  };

  v1::ShopReply Answer(Session& session, const std::string& sid, const v1::ShopRequest& request);
  void Catalogue(const v1::CatalogueRequest& request, v1::CataloguePage* page);
  void Checkout(const std::string& sid, const v1::CheckoutRequest& request,
                v1::CheckoutResult* result);
  void Delivery(Session& session, const v1::DeliveryRequest& request, v1::DeliveryResult* result,
                std::function<void()>* then);

  const std::string name_;
  const crypto::Identity& identity_;
  crypto::RandomSource& random_;
  const protocol::Clock& clock_;
  Offer offer_;
  Deliver deliver_;
  uint64_t version_ = 0;
  std::map<std::string, v1::Product> products_;
  std::map<std::string, Session> sessions_;
  std::map<std::string, Order> orders_;  // By request id.
  std::function<void()> after_reply_;
};

}  // namespace blindcart::agent::testing

#endif  // BLINDCART_SERVICES_AGENT_TESTING_FAKE_SHOP_H_
