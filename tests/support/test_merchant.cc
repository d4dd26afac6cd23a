#include "tests/support/test_merchant.h"

#include <utility>

#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "protocol/broker_merchant_handshake.h"
#include "protocol/clock.h"
#include "protocol/delivery.h"
#include "protocol/order.h"

namespace blindcart::testing {
namespace {

constexpr int64_t kOrderLifetimeMs = 15 * 60'000;

}  // namespace

absl::StatusOr<std::unique_ptr<MerchantLine>> MerchantLine::Connect(
    RawBroker& broker, const crypto::Identity& merchant) {
  auto line = std::unique_ptr<MerchantLine>(new MerchantLine());
  line->link_ = broker.OpenLink(Door::kMerchant);
  RawLink& link = *line->link_;
  protocol::MerchantSide handshake(merchant, broker.identity(), crypto::SystemRandom());
  auto next = handshake.Start();
  for (const bool last : {false, true}) {
    if (!next.ok()) return next.status();
    link.WriteHandshake(*std::move(next));
    const auto message = link.ReadHandshake();
    if (!message.has_value()) return link.AwaitEnd();
    next = last ? handshake.OnConfirm(*message) : handshake.OnChallenge(*message);
  }
  if (!next.ok()) return next.status();
  link.WriteHandshake(*std::move(next));
  auto keys = handshake.TakeKeys();
  if (!keys.ok()) return keys.status();
  link.Establish(*std::move(keys), protocol::Role::kResponder);
  return line;
}

bool MerchantLine::Send(const v1::MerchantToBroker& message) {
  return link_->Send({message.SerializeAsString()});
}

absl::optional<v1::BrokerToMerchant> MerchantLine::Next() {
  const absl::optional<std::string> bytes = link_->Receive();
  v1::BrokerToMerchant message;
  if (!bytes.has_value() || !message.ParseFromString(*bytes)) return absl::nullopt;
  return message;
}

absl::optional<v1::BrokerToMerchant> MerchantLine::Receive() {
  if (waiting_.empty()) return Next();
  v1::BrokerToMerchant message = std::move(waiting_.front());
  waiting_.pop_front();
  return message;
}

v1::OfferOrderResult MerchantLine::Offer(const v1::OfferOrderCall& call) {
  v1::MerchantToBroker message;
  message.set_call_id(next_call_id_++);
  *message.mutable_offer_order() = call;
  if (!Send(message)) return {};
  while (true) {
    absl::optional<v1::BrokerToMerchant> answer = Next();
    if (!answer.has_value()) return {};
    if (answer->call_id() == message.call_id()) return answer->offer_order();
    waiting_.push_back(*std::move(answer));
  }
}

absl::StatusOr<std::unique_ptr<TestMerchant>> TestMerchant::Start(
    RawBroker& broker, const crypto::Identity& merchant) {
  auto shop = std::unique_ptr<TestMerchant>(new TestMerchant(broker, merchant));
  auto line = MerchantLine::Connect(broker, merchant);
  if (!line.ok()) return line.status();
  shop->line_ = *std::move(line);
  shop->keeper_ = std::thread([raw = shop.get()] { raw->Keep(); });
  return shop;
}

TestMerchant::~TestMerchant() {
  line_->link().Cancel();
  if (keeper_.joinable()) keeper_.join();
}

absl::Status TestMerchant::AwaitEnd() {
  if (keeper_.joinable()) keeper_.join();
  return line_->link().AwaitEnd();
}

std::string TestMerchant::Add(const std::string& title, int64_t price_minor,
                              const std::string& content) {
  Goods goods;
  goods.content = content;
  v1::Product& product = goods.product;
  product.set_product_id(crypto::SystemRandom().Bytes(protocol::kProductIdBytes));
  product.set_title(title);
  product.set_price_minor(price_minor);
  product.set_currency("EUR");
  product.set_format("bin");
  product.set_size_bytes(content.size());
  product.set_content_hash(crypto::Sha256(content));
  std::lock_guard<std::mutex> lock(mutex_);
  product.set_version(goods_.size() + 1);
  goods_.push_back(std::move(goods));
  return crypto::HexEncode(goods_.back().product.product_id());
}

void TestMerchant::Lie(Lies lies) {
  std::lock_guard<std::mutex> lock(mutex_);
  lies_ = std::move(lies);
}

void TestMerchant::Keep() {
  while (const absl::optional<v1::BrokerToMerchant> message = line_->Receive()) {
    std::lock_guard<std::mutex> lock(mutex_);
    Handle(*message);
  }
}

void TestMerchant::Handle(const v1::BrokerToMerchant& message) {
  switch (message.body_case()) {
    case v1::BrokerToMerchant::kSessionHello:
      Answer(message.session_hello());
      break;
    case v1::BrokerToMerchant::kSessionFrame:
      OnFrame(message.session_frame());
      break;
    case v1::BrokerToMerchant::kSessionClosed:
      sessions_.erase(message.session_closed().handle());
      break;
    case v1::BrokerToMerchant::kPaymentNotice: {
      v1::MerchantToBroker ack;
      ack.mutable_notice_ack()->set_notice_id(message.payment_notice().notice_id());
      line_->Send(ack);
      break;
    }
    default:
      break;
  }
}

void TestMerchant::Answer(const v1::SessionHello& hello) {
  if (lies_.before_answer != nullptr) lies_.before_answer(*line_, hello);
  Session& session = sessions_[hello.handle()];
  session.handle = hello.handle();
  session.sid = hello.sid();
  session.handshake = std::make_unique<protocol::ShopMerchant>(merchant_, crypto::SystemRandom());
  auto answer = session.handshake->OnHello(hello.sid(), hello.hello());
  if (!answer.ok()) return;
  if (lies_.answer != nullptr) lies_.answer(&*answer);
  v1::MerchantToBroker message;
  message.mutable_session_answer()->set_handle(hello.handle());
  message.mutable_session_answer()->set_answer(answer->SerializeAsString());
  line_->Send(message);
}

void TestMerchant::OnFrame(const v1::SessionFrame& frame) {
  const auto found = sessions_.find(frame.handle());
  v1::ShopWire wire;
  if (found == sessions_.end() || !wire.ParseFromString(frame.frame())) return;
  Session& session = found->second;
  if (session.channel == nullptr) {
    if (!session.handshake->OnFinished(wire.finished()).ok()) return;
    protocol::Channel::Options options;
    options.max_plaintext_bytes = protocol::kMaxRelayedPlaintextBytes;
    options.min_bucket_bytes = 4 * 1024;
    session.channel =
        *protocol::Channel::Create(*session.handshake->TakeKeys(), protocol::Role::kResponder,
                                   protocol::SystemClock(), options);
  }
  const auto messages = session.channel->Open(wire.frame());
  if (!messages.ok()) return;
  for (const std::string& bytes : *messages) {
    v1::ShopRequest request;
    if (!request.ParseFromString(bytes)) return;
    v1::ShopReply reply;
    reply.set_call_id(request.call_id());
    if (request.has_catalogue()) {
      *reply.mutable_catalogue() = Catalogue(request.catalogue().known_version());
      Reply(session, reply);
    } else if (request.has_checkout()) {
      *reply.mutable_checkout() = CheckOut(session, request.checkout());
      Reply(session, reply);
    } else if (request.has_delivery()) {
      Deliver(session, request.call_id(), request.delivery());
    }
  }
}

void TestMerchant::Reply(Session& session, const v1::ShopReply& reply) {
  v1::ShopWire wire;
  session.channel->Seal({reply.SerializeAsString()}, wire.mutable_frame()).IgnoreError();
  v1::MerchantToBroker message;
  message.mutable_session_frame()->set_handle(session.handle);
  message.mutable_session_frame()->set_frame(wire.SerializeAsString());
  line_->Send(message);
}

v1::CataloguePage TestMerchant::Catalogue(uint64_t known_version) {
  v1::CataloguePage page;
  page.set_version(goods_.size());
  for (const Goods& goods : goods_) {
    if (goods.product.version() > known_version) *page.add_products() = goods.product;
  }
  if (lies_.catalogue != nullptr) lies_.catalogue(&page);
  return page;
}

v1::CheckoutResult TestMerchant::CheckOut(const Session& session,
                                          const v1::CheckoutRequest& request) {
  v1::CheckoutResult result;
  size_t index = 0;
  while (index < goods_.size() && goods_[index].product.product_id() != request.product_id()) {
    ++index;
  }
  if (index == goods_.size()) {
    result.set_outcome(v1::CHECKOUT_OUTCOME_NO_SUCH_PRODUCT);
    return result;
  }
  const v1::Product& product = goods_[index].product;
  crypto::RandomSource& random = crypto::SystemRandom();
  result.set_product_id(product.product_id());
  result.set_title(product.title());
  result.set_content_hash(product.content_hash());
  result.set_salt(random.Bytes(protocol::kSaltBytes));
  result.set_size_bytes(product.size_bytes());
  result.set_format(product.format());
  v1::OrderTerms& terms = *result.mutable_terms();
  terms.set_order_id(random.Bytes(protocol::kOrderIdBytes));
  terms.set_sid(session.sid);
  terms.set_price_minor(product.price_minor());
  terms.set_currency(product.currency());
  terms.set_expires_at_ms(protocol::SystemClock().NowUnixMs() + kOrderLifetimeMs);
  if (lies_.terms != nullptr) lies_.terms(&terms);
  terms.set_commitment(protocol::OrderCommitment(
      {result.salt(), result.product_id(), result.title(), result.content_hash(),
       terms.price_minor(), crypto::Sha256(request.order_key())}));
  protocol::SignTerms(merchant_, &terms);

  v1::OfferOrderCall call;
  call.set_handle(session.handle);
  *call.mutable_terms() = terms;
  if (lies_.offer != nullptr) lies_.offer(*line_, &call);
  const v1::OfferOrderResult offered = line_->Offer(call);
  result.set_charge_minor(offered.charge_minor());
  result.set_total_minor(offered.total_minor());
  result.set_outcome(offered.outcome() == v1::OFFER_OUTCOME_ACCEPTED
                         ? v1::CHECKOUT_OUTCOME_ORDERED
                         : v1::CHECKOUT_OUTCOME_BROKER_DECLINED);
  ordered_[terms.order_id()] = index;
  if (lies_.checkout != nullptr) lies_.checkout(&result);
  return result;
}

void TestMerchant::Deliver(Session& session, uint64_t call_id, const v1::DeliveryRequest& request) {
  v1::ShopReply reply;
  reply.set_call_id(call_id);
  v1::DeliveryResult& result = *reply.mutable_delivery();
  const auto order = ordered_.find(request.order_id());
  if (order == ordered_.end()) {
    result.set_outcome(v1::DELIVERY_OUTCOME_NO_SUCH_ORDER);
    Reply(session, reply);
    return;
  }
  const Goods& goods = goods_[order->second];
  const std::string& content = lies_.content.empty() ? goods.content : lies_.content;
  protocol::DeliverySender::Params params;
  params.true_size_bytes = content.size();
  params.padded_size_bytes = *protocol::SizeClasses::Default().ClassFor(content.size());
  params.first_piece = request.first_piece();
  params.order_id = request.order_id();
  params.content_hash =
      lies_.stated_hash.empty() ? goods.product.content_hash() : lies_.stated_hash;
  result.set_outcome(v1::DELIVERY_OUTCOME_COMING);
  result.set_true_size_bytes(params.true_size_bytes);
  result.set_padded_size_bytes(params.padded_size_bytes);
  result.set_piece_count(protocol::PieceCount(params.padded_size_bytes));
  if (lies_.delivery != nullptr) lies_.delivery(&result);
  auto sender =
      protocol::DeliverySender::Create(*session.channel->DeliveryKeys(request.delivery_id()),
                                       params, merchant_, crypto::SystemRandom());
  Reply(session, reply);
  if (!sender.ok()) return;

  std::vector<v1::Frame> frames;
  while (!(*sender)->pieces_done()) {
    const std::string piece =
        content.substr((*sender)->NextContentOffset(), (*sender)->NextContentBytes());
    if (!(*sender)->SealPiece(piece, &frames.emplace_back()).ok()) return;
  }
  if (!(*sender)->SealFinal(&frames.emplace_back()).ok()) return;
  if (lies_.frames != nullptr) lies_.frames(&frames);

  const std::unique_ptr<RawGoods> stream = broker_.SendGoods();
  v1::GoodsMessage message;
  message.mutable_header()->set_delivery_id(request.delivery_id());
  bool going_on = stream->Write(message);
  for (size_t i = 0; going_on && i < frames.size(); ++i) {
    *message.mutable_frame() = std::move(frames[i]);
    going_on = stream->Write(message);
  }
  stream->Finish().IgnoreError();
}

}  // namespace blindcart::testing
