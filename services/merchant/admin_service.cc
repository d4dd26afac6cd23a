#include "services/merchant/admin_service.h"

#include <memory>
#include <mutex>

#include "services/common/status_conversion.h"

namespace blindcart::merchant {
namespace {

// Writes the newest progress whenever the last write is through, then the result.
class AddProductReactor : public grpc::ServerWriteReactor<v1::AddProductProgress> {
 public:
  void Keep(std::shared_ptr<AddProductReactor> self) { self_ = std::move(self); }

  // False once the caller has gone away.
  bool Progress(uint64_t copied_bytes, uint64_t total_bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    next_.set_copied_bytes(copied_bytes);
    next_.set_total_bytes(total_bytes);
    has_next_ = true;
    WriteNextLocked();
    return !cancelled_;
  }

  void End(absl::StatusOr<v1::AddProductReply> reply) {
    std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    if (reply.ok()) {
      next_.set_copied_bytes(reply->size_bytes());
      next_.set_total_bytes(reply->size_bytes());
      *next_.mutable_done() = *std::move(reply);
      has_next_ = true;
    } else {
      status_ = reply.status();
      has_next_ = false;
    }
    WriteNextLocked();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    if (!ok) {
      cancelled_ = true;
      has_next_ = false;
    }
    WriteNextLocked();
  }
  void OnCancel() override {
    std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
  }
  void OnDone() override { self_.reset(); }

 private:
  void WriteNextLocked() {
    if (writing_) return;
    if (has_next_) {
      has_next_ = false;
      writing_ = true;
      current_ = next_;
      StartWrite(&current_);
    } else if (ended_) {
      Finish(ToGrpcStatus(status_));
    }
  }

  std::shared_ptr<AddProductReactor> self_;  // Until the call is done.
  std::mutex mutex_;
  v1::AddProductProgress current_;
  v1::AddProductProgress next_;
  bool has_next_ = false;
  bool writing_ = false;
  bool ended_ = false;
  bool cancelled_ = false;
  absl::Status status_;
};

template <typename Reply>
absl::Status Store(absl::StatusOr<Reply> result, Reply* reply) {
  if (!result.ok()) return result.status();
  *reply = *std::move(result);
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* AdminService::Run(grpc::CallbackServerContext* context,
                                            std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status accepted =
      executor_.Run([reactor, work = std::move(work)] { reactor->Finish(ToGrpcStatus(work())); });
  if (!accepted.ok()) reactor->Finish(ToGrpcStatus(accepted));
  return reactor;
}

grpc::ServerWriteReactor<v1::AddProductProgress>* AdminService::AddProduct(
    grpc::CallbackServerContext*, const v1::AddProductRequest* request) {
  auto reactor = std::make_shared<AddProductReactor>();
  reactor->Keep(reactor);
  AddProductReactor* const raw = reactor.get();
  const absl::Status accepted = executor_.Run([this, reactor, request = *request] {
    reactor->End(admin_.AddProduct(request, [&reactor](uint64_t copied, uint64_t total) {
      return reactor->Progress(copied, total);
    }));
  });
  if (!accepted.ok()) reactor->End(accepted);
  return raw;
}

grpc::ServerUnaryReactor* AdminService::ListProducts(grpc::CallbackServerContext* context,
                                                     const v1::ListProductsRequest* request,
                                                     v1::ListProductsReply* reply) {
  return Run(context,
             [this, request, reply] { return Store(admin_.ListProducts(*request), reply); });
}

grpc::ServerUnaryReactor* AdminService::RemoveProduct(grpc::CallbackServerContext* context,
                                                      const v1::RemoveProductRequest* request,
                                                      v1::RemoveProductReply*) {
  return Run(context, [this, request] { return admin_.RemoveProduct(*request); });
}

grpc::ServerUnaryReactor* AdminService::ListOrders(grpc::CallbackServerContext* context,
                                                   const v1::ListOrdersRequest* request,
                                                   v1::ListOrdersReply* reply) {
  return Run(context, [this, request, reply] { return Store(admin_.ListOrders(*request), reply); });
}

grpc::ServerUnaryReactor* AdminService::Status(grpc::CallbackServerContext* context,
                                               const v1::MerchantStatusRequest*,
                                               v1::MerchantStatusReply* reply) {
  return Run(context, [this, reply] {
    *reply = status_();
    return absl::OkStatus();
  });
}

}  // namespace blindcart::merchant
