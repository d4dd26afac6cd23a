#include "services/agent/testing/fake_shop.h"

#include <algorithm>
#include <utility>

#include "crypto/hash.h"
#include "gtest/gtest.h"
#include "protocol/delivery.h"
#include "protocol/order.h"

namespace blindcart::agent::testing {

FakeShop::FakeShop(std::string name, const crypto::Identity& identity, crypto::RandomSource& random,
                   const protocol::Clock& clock)
    : name_(std::move(name)), identity_(identity), random_(random), clock_(clock) {}

std::string FakeShop::AddProduct(const std::string& title, int64_t price_minor,
                                 const std::string& content) {
  v1::Product product;
  product.set_product_id(random_.Bytes(protocol::kProductIdBytes));
  product.set_version(++version_);
  product.set_title(title);
  product.set_description("About " + title);
  product.set_price_minor(price_minor);
  product.set_currency("EUR");
  product.set_format("txt");
  product.set_size_bytes(content.size());
  product.set_content_hash(crypto::Sha256(content));
  contents[product.product_id()] = content;
  products_[product.product_id()] = product;
  return product.product_id();
}

v1::Product& FakeShop::product(const std::string& product_id) { return products_.at(product_id); }

void FakeShop::Touch(const std::string& product_id) {
  products_.at(product_id).set_version(++version_);
}

v1::ShopAnswer FakeShop::OnHello(const std::string& sid, const std::string& ciphertext) {
  ++sessions;
  Session& session = sessions_[sid];
  session.handshake = std::make_unique<protocol::ShopMerchant>(identity_, random_);
  absl::StatusOr<v1::ShopAnswer> answer = session.handshake->OnHello(sid, ciphertext);
  EXPECT_TRUE(answer.ok()) << answer.status();
  return answer.ok() ? *std::move(answer) : v1::ShopAnswer();
}

std::string FakeShop::OnFrame(const std::string& sid, const std::string& frame) {
  Session& session = sessions_.at(sid);
  v1::ShopWire wire;
  EXPECT_TRUE(wire.ParseFromString(frame));
  if (session.channel == nullptr) {
    const absl::Status finished = session.handshake->OnFinished(wire.finished());
    EXPECT_TRUE(finished.ok()) << finished;
    absl::StatusOr<protocol::SessionKeys> keys = session.handshake->TakeKeys();
    if (!keys.ok()) return "";
    protocol::Channel::Options options;
    options.min_bucket_bytes = 4 * 1024;
    options.max_plaintext_bytes = protocol::kMaxRelayedPlaintextBytes;
    session.channel =
        *protocol::Channel::Create(*std::move(keys), protocol::Role::kResponder, clock_, options);
  }
  // A request takes the first bucket, whatever it asks for.
  EXPECT_EQ(wire.frame().ciphertext().size(), 1024u + 16u);
  absl::StatusOr<std::vector<std::string>> messages = session.channel->Open(wire.frame());
  EXPECT_TRUE(messages.ok()) << messages.status();
  if (!messages.ok() || messages->size() != 1) return "";
  v1::ShopRequest request;
  EXPECT_TRUE(request.ParseFromString(messages->front()));
  requests.push_back(request);
  v1::ShopReply reply = Answer(session, sid, request);
  if (alter_reply) alter_reply(request, &reply);
  if (silent) return "";
  v1::ShopWire answer;
  const std::string bytes = reply.SerializeAsString();
  const absl::Status sealed = session.channel->Seal({bytes}, answer.mutable_frame());
  EXPECT_TRUE(sealed.ok()) << sealed;
  if (after_reply_) std::exchange(after_reply_, nullptr)();
  return answer.SerializeAsString();
}

v1::ShopReply FakeShop::Answer(Session& session, const std::string& sid,
                               const v1::ShopRequest& request) {
  v1::ShopReply reply;
  reply.set_call_id(request.call_id());
  if (request.has_catalogue()) Catalogue(request.catalogue(), reply.mutable_catalogue());
  if (request.has_checkout()) Checkout(sid, request.checkout(), reply.mutable_checkout());
  if (request.has_delivery()) {
    Delivery(session, request.delivery(), reply.mutable_delivery(), &after_reply_);
  }
  return reply;
}

void FakeShop::Catalogue(const v1::CatalogueRequest& request, v1::CataloguePage* page) {
  std::vector<const v1::Product*> changed;
  for (const auto& [id, product] : products_) {
    if (product.version() > request.known_version()) changed.push_back(&product);
  }
  std::sort(changed.begin(), changed.end(),
            [](const v1::Product* a, const v1::Product* b) { return a->version() < b->version(); });
  page->set_version(version_);
  for (const v1::Product* product : changed) {
    if (page->products_size() == page_size) {
      page->set_more(true);
      page->set_version(page->products(page_size - 1).version());
      break;
    }
    v1::Product* entry = page->add_products();
    *entry = *product;
    if (product->removed()) {
      entry->Clear();
      entry->set_product_id(product->product_id());
      entry->set_version(product->version());
      entry->set_removed(true);
    }
  }
}

void FakeShop::Checkout(const std::string& sid, const v1::CheckoutRequest& request,
                        v1::CheckoutResult* result) {
  const auto known = orders_.find(request.request_id());
  if (known != orders_.end()) {
    *result = known->second.result;
    return;
  }
  for (const auto& [id, order] : orders_) {
    if (order.order_key == request.order_key()) {
      result->set_outcome(v1::CHECKOUT_OUTCOME_ORDER_KEY_USED);
      return;
    }
  }
  const v1::Product& product = products_.at(request.product_id());
  if (product.sold_out()) {
    result->set_outcome(v1::CHECKOUT_OUTCOME_SOLD_OUT);
    return;
  }
  result->set_outcome(v1::CHECKOUT_OUTCOME_ORDERED);
  result->set_product_id(product.product_id());
  result->set_title(product.title());
  result->set_content_hash(product.content_hash());
  result->set_salt(random_.Bytes(protocol::kSaltBytes));
  result->set_size_bytes(product.size_bytes());
  result->set_format(product.format());
  v1::OrderTerms& terms = *result->mutable_terms();
  terms.set_order_id(random_.Bytes(protocol::kOrderIdBytes));
  terms.set_sid(sid);
  terms.set_price_minor(product.price_minor());
  terms.set_currency(product.currency());
  terms.set_expires_at_ms(clock_.NowUnixMs() + 15 * 60'000);
  const std::string key_hash = crypto::Sha256(request.order_key());
  protocol::CommitmentInput input;
  input.salt = result->salt();
  input.product_id = result->product_id();
  input.title = result->title();
  input.content_hash = result->content_hash();
  input.price_minor = terms.price_minor();
  input.order_key_hash = key_hash;
  terms.set_commitment(protocol::OrderCommitment(input));
  protocol::SignTerms(identity_, &terms);
  int64_t charge_minor = 0;
  if (!offer_(terms, &charge_minor)) {
    result->Clear();
    result->set_outcome(v1::CHECKOUT_OUTCOME_BROKER_DECLINED);
    return;
  }
  result->set_charge_minor(charge_minor);
  result->set_total_minor(terms.price_minor() + charge_minor);
  orders_[request.request_id()] = {*result, request.order_key()};
}

void FakeShop::Delivery(Session& session, const v1::DeliveryRequest& request,
                        v1::DeliveryResult* result, std::function<void()>* then) {
  const Order* order = nullptr;
  for (const auto& [id, candidate] : orders_) {
    if (candidate.result.terms().order_id() == request.order_id() &&
        candidate.order_key == request.order_key()) {
      order = &candidate;
    }
  }
  if (order == nullptr) {
    result->set_outcome(v1::DELIVERY_OUTCOME_NO_SUCH_ORDER);
    return;
  }
  if (request.receipt().order_id() != request.order_id()) {
    result->set_outcome(v1::DELIVERY_OUTCOME_NOT_PAID);
    return;
  }
  const std::string content = contents.at(order->result.product_id());
  protocol::DeliverySender::Params params;
  params.true_size_bytes = content.size();
  params.padded_size_bytes = *protocol::SizeClasses::Default().ClassFor(content.size());
  params.first_piece = request.first_piece();
  params.order_id = request.order_id();
  params.content_hash = order->result.content_hash();
  result->set_outcome(v1::DELIVERY_OUTCOME_COMING);
  result->set_true_size_bytes(params.true_size_bytes);
  result->set_padded_size_bytes(params.padded_size_bytes);
  result->set_piece_count(protocol::PieceCount(params.padded_size_bytes));
  absl::StatusOr<protocol::SessionKeys> keys = session.channel->DeliveryKeys(request.delivery_id());
  ASSERT_TRUE(keys.ok());
  absl::StatusOr<std::unique_ptr<protocol::DeliverySender>> created =
      protocol::DeliverySender::Create(*std::move(keys), params, identity_, random_);
  ASSERT_TRUE(created.ok()) << created.status();
  const std::shared_ptr<protocol::DeliverySender> sender = *std::move(created);
  *then = [this, sender, content, id = request.delivery_id()] {
    while (!sender->pieces_done()) {
      v1::Frame frame;
      const size_t size = sender->NextContentBytes();
      const absl::string_view piece =
          size == 0 ? absl::string_view()
                    : absl::string_view(content).substr(sender->NextContentOffset(), size);
      ASSERT_TRUE(sender->SealPiece(piece, &frame).ok());
      deliver_(id, std::move(frame), /*last=*/false);
    }
    v1::Frame last;
    ASSERT_TRUE(sender->SealFinal(&last).ok());
    deliver_(id, std::move(last), /*last=*/true);
  };
}

}  // namespace blindcart::agent::testing
