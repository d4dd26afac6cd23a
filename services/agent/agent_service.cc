#include "services/agent/agent_service.h"

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "crypto/encoding.h"
#include "crypto/secret_bytes.h"
#include "services/agent/agent_messages.h"
#include "services/agent/narrator.h"
#include "services/agent/unary_call.h"
#include "services/agent/verify.h"
#include "services/common/status_conversion.h"

namespace blindcart::agent {
namespace {

// Progress of a download on its way to the caller. A slow reader sees fewer steps, never a queue of
// them. Deletes itself when the call is over and the worker has let go of it.
class ProgressWriter final : public grpc::ServerWriteReactor<v1::DownloadProgress> {
 public:
  void Hold(std::shared_ptr<ProgressWriter> self) { self_ = std::move(self); }

  // False once the caller is gone.
  bool Report(const Progress& progress) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (cancelled_) return false;
    v1::DownloadProgress message;
    message.set_received_bytes(progress.received_bytes);
    message.set_total_bytes(progress.total_bytes);
    message.set_resumed_from_bytes(progress.resumed_from_bytes);
    resumed_from_bytes_ = progress.resumed_from_bytes;
    next_ = std::move(message);
    WriteNextLocked();
    return true;
  }

  void End(const absl::StatusOr<PurchaseRecord>& result) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (result.ok()) {
      v1::DownloadProgress message;
      message.set_received_bytes(result->size_bytes);
      message.set_total_bytes(result->size_bytes);
      message.set_resumed_from_bytes(resumed_from_bytes_);
      message.set_done(true);
      message.set_file_path(result->file_path);
      message.set_content_sha256_hex(crypto::HexEncode(result->content_hash));
      next_ = std::move(message);
    } else {
      next_.reset();
    }
    end_ = result.status();
    WriteNextLocked();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    if (!ok) cancelled_ = true;
    WriteNextLocked();
  }
  void OnCancel() override {
    std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
  }
  void OnDone() override { self_.reset(); }

 private:
  void WriteNextLocked() {
    if (writing_ || finished_) return;
    if (next_.has_value() && !cancelled_) {
      current_ = *std::move(next_);
      next_.reset();
      writing_ = true;
      StartWrite(&current_);
    } else if (end_.has_value()) {
      finished_ = true;
      Finish(ToGrpcStatus(*end_));
    }
  }

  std::shared_ptr<ProgressWriter> self_;  // Until the call is over.
  std::mutex mutex_;
  // The rest is used under mutex_.
  v1::DownloadProgress current_;
  absl::optional<v1::DownloadProgress> next_;
  absl::optional<absl::Status> end_;
  uint64_t resumed_from_bytes_ = 0;
  bool writing_ = false;
  bool finished_ = false;
  bool cancelled_ = false;
};

template <typename Entries>
void AddItems(const std::vector<CatalogueEntry>& entries, Entries* items) {
  for (const CatalogueEntry& entry : entries) *items->Add() = ToMessage(entry);
}

}  // namespace

grpc::ServerUnaryReactor* AgentService::Run(grpc::CallbackServerContext* context,
                                            std::function<absl::Status()> work) {
  return RunUnaryCall(context, calls_, std::move(work));
}

grpc::ServerUnaryReactor* AgentService::Login(grpc::CallbackServerContext* context,
                                              const v1::LoginRequest* request,
                                              v1::LoginReply* reply) {
  return Run(context, [this, request, reply] {
    const crypto::SecretBytes password = crypto::SecretBytes::CopyOf(request->password());
    const absl::Status status = agent_.broker().Login(request->username(), password);
    if (!status.ok()) return status;
    reply->set_username(request->username());
    reply->set_broker_fingerprint_hex(
        crypto::HexEncode(agent_.pinned_broker().current()->fingerprint()));
    return status;
  });
}

grpc::ServerUnaryReactor* AgentService::Logout(grpc::CallbackServerContext* context,
                                               const v1::LogoutRequest* /*request*/,
                                               v1::LogoutReply* /*reply*/) {
  return Run(context, [this] {
    agent_.broker().Logout();
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::Status(grpc::CallbackServerContext* context,
                                               const v1::StatusRequest* /*request*/,
                                               v1::StatusReply* reply) {
  return Run(context, [this, reply] {
    const BrokerSession::State state = agent_.broker().state();
    reply->set_logged_in(state.logged_in);
    reply->set_connected(state.connected);
    reply->set_username(state.username);
    reply->set_own_fingerprint_hex(crypto::HexEncode(agent_.customer_identity().fingerprint()));
    reply->set_broker_address(agent_.broker_address());
    const auto broker = agent_.pinned_broker().lineage();
    reply->set_broker_fingerprint_hex(crypto::HexEncode(broker->current().fingerprint()));
    reply->set_broker_key_changes(broker->counter());
    reply->set_broker_key_followed_at_ms(broker->followed_at_ms());
    reply->set_purchases_dir(agent_.purchases_dir());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::ListShops(grpc::CallbackServerContext* context,
                                                  const v1::ListShopsRequest* /*request*/,
                                                  v1::ListShopsReply* reply) {
  return Run(context, [this, reply] {
    const absl::StatusOr<std::vector<ShopView>> shops = agent_.directory().List();
    if (!shops.ok()) return shops.status();
    for (const ShopView& shop : *shops) *reply->add_shops() = ToMessage(shop);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::AddShop(grpc::CallbackServerContext* context,
                                                const v1::AddShopRequest* request,
                                                v1::AddShopReply* reply) {
  return Run(context, [this, request, reply] {
    const absl::StatusOr<ShopDirectory::Added> added =
        agent_.directory().Add(request->link(), request->accept_new_key());
    if (!added.ok()) return added.status();
    *reply->mutable_shop() = ToMessage(added->shop);
    reply->set_already_known(added->already_known);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::Browse(grpc::CallbackServerContext* context,
                                               const v1::BrowseRequest* request,
                                               v1::BrowseReply* reply) {
  return Run(context, [this, request, reply] {
    const absl::StatusOr<Catalogue::Browsed> browsed = agent_.catalogue().Browse(request->shop());
    if (!browsed.ok()) return browsed.status();
    AddItems(browsed->entries, reply->mutable_items());
    reply->set_warning(browsed->warning);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::Search(grpc::CallbackServerContext* context,
                                               const v1::SearchRequest* request,
                                               v1::SearchReply* reply) {
  return Run(context, [this, request, reply] {
    const absl::StatusOr<std::vector<CatalogueEntry>> found =
        agent_.catalogue().Search(request->text(), request->shop());
    if (!found.ok()) return found.status();
    AddItems(*found, reply->mutable_items());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::Show(grpc::CallbackServerContext* context,
                                             const v1::ShowRequest* request, v1::ShowReply* reply) {
  return Run(context, [this, request, reply] {
    const absl::StatusOr<CatalogueEntry> entry = agent_.catalogue().Find(request->product());
    if (!entry.ok()) return entry.status();
    absl::StatusOr<std::string> picture = agent_.catalogue().Picture(*entry);
    if (!picture.ok()) return picture.status();
    *reply->mutable_item() = ToMessage(*entry);
    reply->set_picture(*std::move(picture));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::Checkout(grpc::CallbackServerContext* context,
                                                 const v1::CheckoutOrderRequest* request,
                                                 v1::PurchaseReply* reply) {
  return Run(context, [this, request, reply] {
    const absl::StatusOr<CatalogueEntry> entry = agent_.catalogue().Find(request->product());
    if (!entry.ok()) return entry.status();
    const absl::StatusOr<Purchases::Ordered> ordered = agent_.purchases().Checkout(*entry);
    if (!ordered.ok()) return ordered.status();
    reply->set_outcome(ordered->outcome);
    if (ordered->purchase.has_value()) {
      *reply->mutable_purchase() = ToMessage(*ordered->purchase);
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::Pay(grpc::CallbackServerContext* context,
                                            const v1::PayRequest* request, v1::PayReply* reply) {
  return Run(context, [this, request, reply] {
    const crypto::SecretBytes pin = crypto::SecretBytes::CopyOf(request->pin());
    const absl::StatusOr<Purchases::Paid> paid = agent_.purchases().Pay(
        request->order(), request->account_number(), pin, request->agreed_total_minor());
    if (!paid.ok()) return paid.status();
    reply->set_outcome(paid->outcome);
    reply->set_retry_after_ms(paid->retry_after_ms);
    *reply->mutable_purchase() = ToMessage(paid->purchase);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::Decline(grpc::CallbackServerContext* context,
                                                const v1::DeclineRequest* request,
                                                v1::PurchaseReply* reply) {
  return Run(context, [this, request, reply] {
    const absl::StatusOr<PurchaseRecord> purchase = agent_.purchases().Decline(request->order());
    if (!purchase.ok()) return purchase.status();
    reply->set_outcome(v1::CHECKOUT_OUTCOME_ORDERED);
    *reply->mutable_purchase() = ToMessage(*purchase);
    return absl::OkStatus();
  });
}

grpc::ServerWriteReactor<v1::DownloadProgress>* AgentService::Download(
    grpc::CallbackServerContext* /*context*/, const v1::DownloadRequest* request) {
  const auto writer = std::make_shared<ProgressWriter>();
  writer->Hold(writer);
  const absl::Status queued =
      downloads_.Run([this, writer, order = request->order(), again = request->again()] {
        writer->End(agent_.downloader().Download(order, again, [&writer](const Progress& progress) {
          return writer->Report(progress);
        }));
      });
  if (!queued.ok()) writer->End(AgentBusy());
  return writer.get();
}

grpc::ServerUnaryReactor* AgentService::ListPurchases(grpc::CallbackServerContext* context,
                                                      const v1::ListPurchasesRequest* /*request*/,
                                                      v1::ListPurchasesReply* reply) {
  return Run(context, [this, reply] {
    const absl::StatusOr<std::vector<PurchaseRecord>> purchases = agent_.purchases().List();
    if (!purchases.ok()) return purchases.status();
    for (const PurchaseRecord& purchase : *purchases) {
      *reply->add_purchases() = ToMessage(purchase);
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::Verify(grpc::CallbackServerContext* context,
                                               const v1::VerifyRequest* request,
                                               v1::VerifyReply* reply) {
  return Run(context, [this, request, reply] {
    const absl::StatusOr<PurchaseRecord> purchase = agent_.purchases().Find(request->order());
    if (!purchase.ok()) return purchase.status();
    const absl::StatusOr<crypto::PublicIdentity> merchant =
        agent_.directory().IdentityOf(purchase->shop_fingerprint);
    if (!merchant.ok()) return merchant.status();
    reply->set_ok(true);
    const auto broker = agent_.pinned_broker().lineage();
    const crypto::PublicIdentity& signer =
        broker->SignerOf(purchase->receipt.value_or(v1::Receipt()), purchase->created_at_ms);
    const std::vector<Check> checks = VerifyPurchase(signer, *merchant, *purchase);
    for (const Check& check : checks) {
      v1::VerifyReply::Check& message = *reply->add_checks();
      message.set_name(check.name);
      message.set_ok(check.ok);
      message.set_detail(check.detail);
      reply->set_ok(reply->ok() && check.ok);
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AgentService::Balance(grpc::CallbackServerContext* context,
                                                const v1::BalanceRequest* /*request*/,
                                                v1::BalanceReply* reply) {
  return Run(context, [this, reply] {
    v1::CustomerMessage message;
    message.mutable_balance();
    Narration().Say("bank", "the balance asked for, sealed under S1");
    const absl::StatusOr<v1::BrokerToCustomer> answer =
        agent_.broker().Call(message, v1::BrokerToCustomer::kBalance, OnBreak::kRepeat);
    if (!answer.ok()) return answer.status();
    reply->set_account_number(answer->balance().account_number());
    reply->set_balance_minor(answer->balance().balance_minor());
    Narration().Say("bank", "the broker's answer opened");
    reply->set_currency(answer->balance().currency());
    return absl::OkStatus();
  });
}

}  // namespace blindcart::agent
