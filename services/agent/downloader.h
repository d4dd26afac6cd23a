// Delivery of what was bought (docs/protocol.md section 6): fetches the sealed pieces, checks each,
// grows a temporary file in the purchases folder, and puts it in its place once the whole content is
// the ordered one. After a break it goes on with the next piece, having digested anew what is there.
//
// Errors, with words for people: NotFound, FailedPrecondition (not paid; under way already),
// Unavailable (broken off; what came is kept), Cancelled (the caller stopped it; likewise), DataLoss
// (pieces altered, or content that is not the ordered one: it is removed), ResourceExhausted (disk
// full), and those of shop_session.h.
// Thread-safe; Download blocks as long as the content takes.
#ifndef BLINDCART_SERVICES_AGENT_DOWNLOADER_H_
#define BLINDCART_SERVICES_AGENT_DOWNLOADER_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "protocol/delivery.h"
#include "services/agent/goods_stream.h"
#include "services/agent/in_progress.h"
#include "services/agent/part_file.h"
#include "services/agent/purchase_store.h"
#include "services/agent/purchases.h"
#include "services/agent/shop_directory.h"
#include "services/agent/shop_session.h"

namespace blindcart::agent {

struct Progress {
  uint64_t received_bytes = 0;  // Of content, what was resumed included.
  uint64_t total_bytes = 0;
  uint64_t resumed_from_bytes = 0;
};
// Called after every piece; false stops the download.
using OnProgress = std::function<bool(const Progress&)>;

class Downloader {
 public:
  struct Dependencies {  // All must outlive the object.
    ShopDirectory* directory = nullptr;
    ShopConnector* connector = nullptr;
    Purchases* purchases = nullptr;
    PurchaseStore* store = nullptr;
    crypto::RandomSource* random = nullptr;
    FetchGoods fetch;
    std::string purchases_dir;  // Exists.
  };
  struct Options {
    int64_t open_timeout_ms = 20'000;
    int64_t piece_timeout_ms = 30'000;
    uint64_t pieces_per_sync = 64;  // 16 MiB: what a crash can cost.
  };

  Downloader(const Dependencies& dependencies, const Options& options)
      : use_(dependencies), options_(options) {}

  // Fetches what `order` bought and returns the purchase with its file's path. A file that is there
  // and is the ordered content is not fetched once more unless `again`; then under another name.
  absl::StatusOr<PurchaseRecord> Download(absl::string_view order, bool again,
                                          const OnProgress& on_progress);

  // Breaks off what is under way and takes no more; idempotent.
  void Shutdown();

 private:
  struct Attempt;
  absl::Status FetchOnce(const crypto::PublicIdentity& merchant, Attempt& attempt);
  absl::Status FetchIn(ShopSession& session, const crypto::PublicIdentity& merchant,
                       Attempt& attempt);
  absl::Status Receive(GoodsStream& stream, protocol::DeliveryReceiver& receiver, PartFile& part,
                       Attempt& attempt);
  absl::Status Finish(const protocol::DeliveryReceiver& receiver, PartFile& part, Attempt& attempt);
  absl::Status AskShop(ShopSession& session, const std::string& delivery_id, const Attempt& attempt,
                       v1::DeliveryResult* result);
  absl::Status SaveProgress(PartFile& part, const Attempt& attempt);

  const Dependencies use_;
  const Options options_;
  InProgress in_progress_;

  std::mutex mutex_;
  std::set<GoodsStream*> streams_;  // Under mutex_.
  bool shut_down_ = false;          // Under mutex_.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_DOWNLOADER_H_
