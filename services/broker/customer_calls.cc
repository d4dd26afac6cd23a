#include "services/broker/customer_calls.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "protocol/delivery.h"
#include "protocol/order.h"
#include "protocol/refusal.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kMerchantsPerRead = 256;

void Reply(const std::shared_ptr<Link>& link, const CustomerCalls::Asked& asked,
           v1::BrokerToCustomer message) {
  message.set_call_id(asked.call_id);
  link->Send(message.SerializeAsString()).IgnoreError();
}

v1::ShopEntry EntryOf(const storage::Merchant& merchant, Relay& relay) {
  v1::ShopEntry entry;
  entry.set_name(merchant.name);
  entry.set_identity(merchant.identity);
  entry.set_online(relay.IsOnline(merchant.id));
  return entry;
}

}  // namespace

CustomerCalls::CustomerCalls(const Parts& parts, Relay::CustomerEnd end)
    : parts_(parts), end_(std::move(end)) {}

absl::Status CustomerCalls::Handle(std::string serialized) {
  v1::CustomerMessage message;
  if (!message.ParseFromString(serialized)) return protocol::Refused();
  crypto::Wipe(serialized);  // It may have held a PIN's hash.
  Asked asked;
  asked.under_way = parts_.customer_calls.Begin(message.body_case(), under_way_);
  if (message.has_shop_frame()) {
    return parts_.relay.FromCustomer(end_.link_id, std::move(*message.mutable_shop_frame()));
  }
  asked.call_id = message.call_id();
  if (asked.call_id == 0) return protocol::Refused();
  v1::BrokerToCustomer reply;
  absl::Status status;
  switch (message.body_case()) {
    case v1::CustomerMessage::kOpenShop:
      return OpenShop(asked, message.open_shop());
    case v1::CustomerMessage::kPay:
      return Pay(asked, std::move(*message.mutable_pay()));
    case v1::CustomerMessage::kBank:
      return BankCall(asked, message.bank());
    case v1::CustomerMessage::kMail:
      return Mail(asked, std::move(*message.mutable_mail()));
    case v1::CustomerMessage::kCertificate:
      return Certificate(asked, message.certificate());
    case v1::CustomerMessage::kNotary:
      return parts_.notary.Stamp(end_.customer_id, std::move(*message.mutable_notary()),
                                 [link = end_.link, asked](v1::NotaryResult result) {
                                   v1::BrokerToCustomer stamped;
                                   *stamped.mutable_notary() = std::move(result);
                                   Reply(link, asked, std::move(stamped));
                                 });
    case v1::CustomerMessage::kDecline:
      return Decline(asked, message.decline());
    case v1::CustomerMessage::kCloseShop:
      parts_.relay.CloseShop(end_.link_id, message.close_shop().sid());
      reply.mutable_close_shop();
      break;
    case v1::CustomerMessage::kListShops:
      status = ListShops(message.list_shops(), reply.mutable_list_shops());
      break;
    case v1::CustomerMessage::kGetShop:
      status = GetShop(message.get_shop(), reply.mutable_get_shop());
      break;
    case v1::CustomerMessage::kGetOrder:
      status = GetOrder(message.get_order(), reply.mutable_get_order());
      break;
    case v1::CustomerMessage::kOpenDelivery:
      status = OpenDelivery(message.open_delivery(), reply.mutable_open_delivery());
      break;
    case v1::CustomerMessage::kBalance:
      status = Balance(reply.mutable_balance());
      break;
    case v1::CustomerMessage::kLogin:
    case v1::CustomerMessage::kShopFrame:
    case v1::CustomerMessage::BODY_NOT_SET:
      return protocol::Refused();
  }
  if (!status.ok()) return status;
  Reply(end_.link, asked, std::move(reply));
  return absl::OkStatus();
}

bool CustomerCalls::busy() const {
  return *under_way_ > 0 || parts_.relay.HasUnanswered(end_.link_id);
}

absl::Status CustomerCalls::OpenShop(const Asked& asked, const v1::OpenShopCall& call) {
  if (call.merchant_fingerprint().size() != crypto::kFingerprintBytes) return protocol::Refused();
  absl::StatusOr<storage::Merchant> merchant;
  const absl::Status read = parts_.store.Read([&](storage::Transaction& transaction) {
    merchant = transaction.merchants().FindByFingerprint(call.merchant_fingerprint());
    return absl::OkStatus();
  });
  if (read.ok() && merchant.ok()) {
    return parts_.relay.OpenShop(end_, asked.call_id, merchant->id, call);
  }
  v1::BrokerToCustomer reply;
  reply.mutable_open_shop()->set_state(read.ok() && absl::IsNotFound(merchant.status())
                                           ? v1::SHOP_STATE_UNKNOWN
                                           : v1::SHOP_STATE_NO_ANSWER);
  Reply(end_.link, asked, std::move(reply));
  return absl::OkStatus();
}

absl::Status CustomerCalls::Pay(const Asked& asked, v1::PayCall call) {
  return parts_.payments.Pay(end_.customer_id, std::move(call),
                             [link = end_.link, asked](v1::PayResult result) {
                               v1::BrokerToCustomer reply;
                               *reply.mutable_pay() = std::move(result);
                               Reply(link, asked, std::move(reply));
                             });
}

absl::Status CustomerCalls::BankCall(const Asked& asked, const v1::BankCall& call) {
  switch (call.kind_case()) {
    case v1::BankCall::kDeposit:
      return Cash(asked, Bank::Direction::kDeposit, call.deposit());
    case v1::BankCall::kWithdraw:
      return Cash(asked, Bank::Direction::kWithdraw, call.withdraw());
    case v1::BankCall::kStatement: {
      absl::StatusOr<v1::StatementResult> statement =
          parts_.bank.Statement(end_.customer_id, call.statement());
      if (!statement.ok()) return statement.status();
      v1::BrokerToCustomer reply;
      *reply.mutable_bank()->mutable_statement() = *std::move(statement);
      Reply(end_.link, asked, std::move(reply));
      return absl::OkStatus();
    }
    case v1::BankCall::KIND_NOT_SET:
      break;
  }
  return protocol::Refused();
}

absl::Status CustomerCalls::Cash(const Asked& asked, Bank::Direction direction,
                                 const v1::CashCall& call) {
  return parts_.bank.Cash(end_.customer_id, direction, call,
                          [link = end_.link, asked,
                           &counters = parts_.counters](absl::StatusOr<v1::CashResult> result) {
                            if (!result.ok()) {
                              counters.Add(protocol::RefusalReason::kMalformed);
                              return link->Close(protocol::Refused());
                            }
                            v1::BrokerToCustomer reply;
                            *reply.mutable_bank()->mutable_cash() = *std::move(result);
                            Reply(link, asked, std::move(reply));
                          });
}

absl::Status CustomerCalls::Certificate(const Asked& asked, const v1::CertificateCall& call) {
  return parts_.certificates.Handle(
      end_.customer_id, end_.link_id, call,
      [link = end_.link, asked](absl::StatusOr<v1::CertificateResult> result) {
        if (!result.ok()) {
          // There is no room for it in the answer; the agent asks again over its next link.
          return link->Close(absl::UnavailableError("the store cannot be written now"));
        }
        v1::BrokerToCustomer reply;
        *reply.mutable_certificate() = *std::move(result);
        Reply(link, asked, std::move(reply));
      });
}

absl::Status CustomerCalls::Mail(const Asked& asked, v1::MailCall call) {
  return parts_.mail.Handle(end_.customer_id, std::move(call),
                            [link = end_.link, asked](absl::StatusOr<v1::MailResult> result) {
                              // There is no answer that says so: the agent comes back and asks again.
                              if (!result.ok())
                                return link->Close(absl::UnavailableError("the store is busy"));
                              v1::BrokerToCustomer reply;
                              *reply.mutable_mail() = *std::move(result);
                              Reply(link, asked, std::move(reply));
                            });
}

absl::Status CustomerCalls::Decline(const Asked& asked, const v1::DeclineCall& call) {
  if (call.order_id().size() != protocol::kOrderIdBytes) return protocol::Refused();
  parts_.orders.Decline(end_.customer_id, call.order_id(),
                        [link = end_.link, asked](v1::DeclineResult result) {
                          v1::BrokerToCustomer reply;
                          *reply.mutable_decline() = std::move(result);
                          Reply(link, asked, std::move(reply));
                        });
  return absl::OkStatus();
}

absl::Status CustomerCalls::OpenDelivery(const v1::OpenDeliveryCall& call,
                                         v1::OpenDeliveryResult* result) {
  if (call.delivery_id().size() != protocol::kDeliveryIdBytes ||
      call.sid().size() != protocol::kSessionIdBytes) {
    return protocol::Refused();
  }
  result->set_ok(parts_.relay.MerchantOf(end_.link_id, call.sid()).has_value() &&
                 parts_.goods.Open(end_.customer_id, call.delivery_id()));
  return absl::OkStatus();
}

absl::Status CustomerCalls::GetOrder(const v1::GetOrderCall& call, v1::GetOrderResult* result) {
  if (call.order_id().size() != protocol::kOrderIdBytes) return protocol::Refused();
  absl::StatusOr<v1::GetOrderResult> order = parts_.orders.Get(end_.customer_id, call.order_id());
  if (!order.ok()) return order.status();
  *result = *std::move(order);
  return absl::OkStatus();
}

absl::Status CustomerCalls::ListShops(const v1::ListShopsCall& call, v1::ListShopsResult* result) {
  if (call.after_name().size() > storage::kMaxNameBytes) return protocol::Refused();
  // The first of those after the name; never more than a page and one in memory.
  std::vector<storage::Merchant> page;
  const auto by_name = [](const storage::Merchant& a, const storage::Merchant& b) {
    return a.name < b.name;
  };
  const absl::Status read = parts_.store.Read([&](storage::Transaction& transaction) {
    page.clear();
    int64_t after_id = 0;
    while (true) {
      absl::StatusOr<std::vector<storage::Merchant>> merchants =
          transaction.merchants().List(after_id, kMerchantsPerRead);
      if (!merchants.ok()) return merchants.status();
      if (merchants->empty()) return absl::OkStatus();
      after_id = merchants->back().id;
      for (storage::Merchant& merchant : *merchants) {
        if (merchant.name <= call.after_name()) continue;
        page.insert(std::upper_bound(page.begin(), page.end(), merchant, by_name),
                    std::move(merchant));
        if (page.size() > kShopsPerPage + 1) page.pop_back();
      }
    }
  });
  if (!read.ok()) return read;
  result->set_more(page.size() > kShopsPerPage);
  if (result->more()) page.pop_back();
  for (const storage::Merchant& merchant : page) {
    *result->add_shops() = EntryOf(merchant, parts_.relay);
  }
  return absl::OkStatus();
}

absl::Status CustomerCalls::GetShop(const v1::GetShopCall& call, v1::GetShopResult* result) {
  if (call.name().size() > storage::kMaxNameBytes ||
      (call.by_case() == v1::GetShopCall::kFingerprint &&
       call.fingerprint().size() != crypto::kFingerprintBytes) ||
      call.by_case() == v1::GetShopCall::BY_NOT_SET) {
    return protocol::Refused();
  }
  return parts_.store.Read([&](storage::Transaction& transaction) {
    const absl::StatusOr<storage::Merchant> merchant =
        call.by_case() == v1::GetShopCall::kName
            ? transaction.merchants().FindByName(call.name())
            : transaction.merchants().FindByFingerprint(call.fingerprint());
    if (absl::IsNotFound(merchant.status())) return absl::OkStatus();
    if (!merchant.ok()) return merchant.status();
    *result->mutable_shop() = EntryOf(*merchant, parts_.relay);
    return absl::OkStatus();
  });
}

absl::Status CustomerCalls::Balance(v1::BalanceResult* result) {
  return parts_.store.Read([&](storage::Transaction& transaction) {
    const absl::StatusOr<storage::Customer> customer =
        transaction.customers().Get(end_.customer_id);
    if (!customer.ok()) return customer.status();
    const absl::StatusOr<storage::Account> account =
        transaction.accounts().Get(customer->account_id);
    if (!account.ok()) return account.status();
    result->set_account_number(account->number);
    result->set_balance_minor(account->balance_minor);
    result->set_currency(account->currency);
    return absl::OkStatus();
  });
}

}  // namespace blindcart::broker
