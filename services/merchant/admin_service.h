// The merchant's local API over gRPC (proto/merchant_admin.proto): a thin adapter that runs the use
// cases of shop_admin.h on an executor, since they wait for the disk.
#ifndef BLINDCART_SERVICES_MERCHANT_ADMIN_SERVICE_H_
#define BLINDCART_SERVICES_MERCHANT_ADMIN_SERVICE_H_

#include <functional>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "proto/merchant_admin.grpc.pb.h"
#include "services/common/worker_pool.h"
#include "services/merchant/shop_admin.h"

namespace blindcart::merchant {

class AdminService : public v1::MerchantAdmin::CallbackService {
 public:
  using StatusReport = std::function<v1::MerchantStatusReply()>;

  // All must outlive the service; `executor` must have finished before the service goes.
  AdminService(ShopAdmin& admin, StatusReport status, Executor& executor)
      : admin_(admin), status_(std::move(status)), executor_(executor) {}

  grpc::ServerWriteReactor<v1::AddProductProgress>* AddProduct(
      grpc::CallbackServerContext* context, const v1::AddProductRequest* request) override;
  grpc::ServerUnaryReactor* ListProducts(grpc::CallbackServerContext* context,
                                         const v1::ListProductsRequest* request,
                                         v1::ListProductsReply* reply) override;
  grpc::ServerUnaryReactor* RemoveProduct(grpc::CallbackServerContext* context,
                                          const v1::RemoveProductRequest* request,
                                          v1::RemoveProductReply* reply) override;
  grpc::ServerUnaryReactor* ListOrders(grpc::CallbackServerContext* context,
                                       const v1::ListOrdersRequest* request,
                                       v1::ListOrdersReply* reply) override;
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context,
                                   const v1::MerchantStatusRequest* request,
                                   v1::MerchantStatusReply* reply) override;

 private:
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context,
                                std::function<absl::Status()> work);

  ShopAdmin& admin_;
  const StatusReport status_;
  Executor& executor_;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_ADMIN_SERVICE_H_
