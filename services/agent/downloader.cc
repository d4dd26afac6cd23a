#include "services/agent/downloader.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "protocol/file_name.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {
namespace {

// A broker that dies breaks goods and link at almost the same moment.
constexpr int64_t kLinkBreaksWithinMs = 500;

// The broker tells the shop that the delivery ended well when this end has ended well, too: a stream
// that is cancelled behind its last frame looks to the shop like a delivery that broke off.
constexpr int64_t kStreamEndsWithinMs = 5'000;

std::string PartName(const PurchaseRecord& purchase) {
  return absl::StrCat(".", crypto::HexEncode(purchase.order_id), ".part");
}

absl::Status BrokenOff() {
  return absl::UnavailableError(
      "the download broke off. What came so far is kept; download again to go on from there");
}

// The piece from which a download can go on. The last piece with content is always fetched, so that
// the shop never has to deliver from beyond the content's end.
uint64_t FirstPiece(const PurchaseRecord& purchase) {
  if (purchase.size_bytes == 0) return 0;
  return std::min(purchase.pieces_done, (purchase.size_bytes - 1) / protocol::kPieceBytes);
}

}  // namespace

// One download, over as many sessions as it takes.
struct Downloader::Attempt {
  PurchaseRecord purchase;
  const OnProgress* on_progress = nullptr;
  uint64_t first_piece = 0;  // Of the fetch at hand.
  uint64_t pieces = 0;       // Received in the fetch at hand.
  bool from_start = false;   // What had been there was no good: begin anew.
};

absl::StatusOr<PurchaseRecord> Downloader::Download(absl::string_view order, bool again,
                                                    const OnProgress& on_progress) {
  absl::StatusOr<PurchaseRecord> purchase = use_.purchases->Find(order);
  if (!purchase.ok()) return purchase.status();
  const std::unique_ptr<InProgress::Entry> alone = in_progress_.Enter(purchase->order_id);
  if (alone == nullptr) {
    return absl::FailedPreconditionError("that order is being downloaded already");
  }
  if (!purchase->receipt.has_value() && !purchase->pay_request_id.empty()) {
    purchase = use_.purchases->Refresh(*purchase);
    if (!purchase.ok()) return purchase.status();
  }
  if (!purchase->receipt.has_value()) {
    return absl::FailedPreconditionError("the order is not paid. Pay it first: blindcart pay");
  }
  if (!again && !purchase->file_path.empty()) {
    const absl::StatusOr<FileDigest> digest = DigestFile(purchase->file_path);
    if (digest.ok() && digest->sha256 == purchase->content_hash) return purchase;
  }
  const absl::StatusOr<crypto::PublicIdentity> merchant =
      use_.directory->IdentityOf(purchase->shop_fingerprint);
  if (!merchant.ok()) return merchant.status();

  Attempt attempt;
  attempt.purchase = *std::move(purchase);
  attempt.on_progress = &on_progress;
  while (true) {
    const bool was_from_start = attempt.from_start;
    const absl::StatusOr<PurchaseRecord> before = use_.store->Get(attempt.purchase.id);
    if (!before.ok()) return before.status();
    const absl::Status status = FetchOnce(*merchant, attempt);
    if (status.ok()) return use_.store->Get(attempt.purchase.id);
    const bool begin_anew = attempt.from_start && !was_from_start;
    // Only a fetch that moved the next one's beginning is followed by another, so this ends.
    const absl::StatusOr<PurchaseRecord> now = use_.store->Get(attempt.purchase.id);
    const bool go_on =
        absl::IsUnavailable(status) && now.ok() && FirstPiece(*now) > FirstPiece(*before);
    if (!begin_anew && !go_on) return status;
  }
}

absl::Status Downloader::FetchOnce(const crypto::PublicIdentity& merchant, Attempt& attempt) {
  return use_.connector->WithSession(
      merchant, [&](ShopSession& session) { return FetchIn(session, merchant, attempt); });
}

absl::Status Downloader::FetchIn(ShopSession& session, const crypto::PublicIdentity& merchant,
                                 Attempt& attempt) {
  absl::StatusOr<PurchaseRecord> purchase = use_.store->Get(attempt.purchase.id);
  if (!purchase.ok()) return purchase.status();
  attempt.purchase = *std::move(purchase);
  attempt.pieces = 0;

  absl::StatusOr<PartFile> part = PartFile::Open(use_.purchases_dir, PartName(attempt.purchase));
  if (!part.ok()) return part.status();
  attempt.first_piece = FirstPiece(attempt.purchase);
  absl::StatusOr<crypto::Sha256Hasher> hasher =
      part->KeepFirst(attempt.first_piece * protocol::kPieceBytes);
  if (absl::IsOutOfRange(hasher.status())) {
    attempt.first_piece = 0;
    hasher = crypto::Sha256Hasher();
  }
  if (!hasher.ok()) return hasher.status();

  const std::string delivery_id = use_.random->Bytes(protocol::kDeliveryIdBytes);
  absl::StatusOr<protocol::SessionKeys> keys = session.DeliveryKeys(delivery_id);
  if (!keys.ok()) return keys.status();
  v1::CustomerMessage message;
  message.mutable_open_delivery()->set_sid(session.sid());
  message.mutable_open_delivery()->set_delivery_id(delivery_id);
  const absl::StatusOr<v1::BrokerToCustomer> opened =
      session.link().Call(message, v1::BrokerToCustomer::kOpenDelivery, options_.open_timeout_ms);
  if (absl::IsDataLoss(opened.status())) return opened.status();
  if (!opened.ok()) return BrokenOff();
  if (!opened->open_delivery().ok()) {
    return absl::UnavailableError(
        "the broker does not take this download now: too many are open. Wait for one to end and "
        "try again");
  }

  const std::unique_ptr<GoodsStream> stream = use_.fetch(session.link().address(), delivery_id);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (shut_down_) return absl::CancelledError("the agent ends");
    streams_.insert(stream.get());
  }
  const auto forget = absl::MakeCleanup([&] {
    std::lock_guard<std::mutex> lock(mutex_);
    streams_.erase(stream.get());
  });

  v1::DeliveryResult result;
  const absl::Status asked = AskShop(session, delivery_id, attempt, &result);
  if (!asked.ok()) {
    if (absl::IsOutOfRange(asked)) {
      // The shop cannot go on from there.
      const absl::Status forgotten = use_.store->SetPiecesDone(attempt.purchase.id, 0);
      if (!forgotten.ok()) return forgotten;
      attempt.from_start = true;
      return absl::DataLossError(asked.message());
    }
    return asked;
  }
  protocol::DeliveryReceiver::Params params;
  params.true_size_bytes = result.true_size_bytes();
  params.padded_size_bytes = result.padded_size_bytes();
  params.first_piece = attempt.first_piece;
  params.order_id = attempt.purchase.order_id;
  params.expected_hash = attempt.purchase.content_hash;
  const absl::StatusOr<std::unique_ptr<protocol::DeliveryReceiver>> receiver =
      protocol::DeliveryReceiver::Create(*std::move(keys), std::move(params), merchant,
                                         *std::move(hasher));
  if (!receiver.ok()) {
    return absl::DataLossError("what the shop says about the delivery makes no sense");
  }
  Narration().Say(
      "delivery",
      attempt.first_piece > 0
          ? "the shop delivers the rest, in pieces sealed under keys of this delivery's own"
          : "the shop delivers, in pieces sealed under keys of this delivery's own");
  const absl::Status received = Receive(*stream, **receiver, *part, attempt);
  if (!received.ok()) {
    // With a broken link the shop's connector goes on over the next one.
    if (absl::IsUnavailable(received)) session.link().AwaitClosed(kLinkBreaksWithinMs);
    // What came was checked piece by piece, so it is kept whatever ended it.
    const absl::Status saved = SaveProgress(*part, attempt);
    return saved.ok() ? received : saved;
  }
  return Finish(**receiver, *part, attempt);
}

absl::Status Downloader::AskShop(ShopSession& session, const std::string& delivery_id,
                                 const Attempt& attempt, v1::DeliveryResult* result) {
  v1::ShopRequest request;
  v1::DeliveryRequest& delivery = *request.mutable_delivery();
  delivery.set_order_id(attempt.purchase.order_id);
  delivery.set_order_key(attempt.purchase.order_key);
  delivery.set_first_piece(attempt.first_piece);
  delivery.set_delivery_id(delivery_id);
  *delivery.mutable_receipt() = *attempt.purchase.receipt;
  Narration().Say("delivery", "order key and receipt shown to the shop, sealed under S3");
  absl::StatusOr<v1::ShopReply> reply = session.Call(request, v1::ShopReply::kDelivery);
  if (!reply.ok()) return reply.status();
  *result = std::move(*reply->mutable_delivery());
  switch (result->outcome()) {
    case v1::DELIVERY_OUTCOME_COMING:
      break;
    case v1::DELIVERY_OUTCOME_NO_SUCH_ORDER:
      return absl::DataLossError(
          "the shop denies the order, which it signed. Your receipt and its signature are kept "
          "(blindcart verify): talk to the shop's owner");
    case v1::DELIVERY_OUTCOME_NOT_PAID:
      return absl::DataLossError(
          "the shop says that the order is not paid, though it was shown the broker's receipt. "
          "Both are kept (blindcart verify): talk to the shop's owner");
    case v1::DELIVERY_OUTCOME_UNAVAILABLE:
      return absl::UnavailableError(
          "the shop does not have the content at hand now. Try again later, or ask its owner");
    case v1::DELIVERY_OUTCOME_BUSY:
      return absl::UnavailableError("the shop is busy with other deliveries. Try again later");
    case v1::DELIVERY_OUTCOME_BAD_OFFSET:
      return absl::OutOfRangeError("the shop does not deliver from the piece asked for");
    default:
      return absl::DataLossError("the shop's answer about the delivery makes no sense");
  }
  if (result->true_size_bytes() != attempt.purchase.size_bytes) {
    return absl::DataLossError("the shop announces content of another size than was ordered");
  }
  if (!protocol::IsValidSizeClass(result->padded_size_bytes()) ||
      result->padded_size_bytes() < result->true_size_bytes() ||
      result->piece_count() != protocol::PieceCount(result->padded_size_bytes())) {
    return absl::DataLossError("what the shop says about the delivery makes no sense");
  }
  return absl::OkStatus();
}

absl::Status Downloader::Receive(GoodsStream& stream, protocol::DeliveryReceiver& receiver,
                                 PartFile& part, Attempt& attempt) {
  Progress progress;
  progress.total_bytes = attempt.purchase.size_bytes;
  progress.resumed_from_bytes = attempt.first_piece * protocol::kPieceBytes;
  progress.received_bytes = progress.resumed_from_bytes;
  v1::Frame frame;
  while (true) {
    if (*attempt.on_progress != nullptr && !(*attempt.on_progress)(progress)) {
      return absl::CancelledError("the download was stopped. What came so far is kept");
    }
    const absl::StatusOr<bool> next = stream.Next(&frame, options_.piece_timeout_ms);
    if (!next.ok() || !*next) return BrokenOff();
    const absl::StatusOr<absl::string_view> content = receiver.Open(frame);
    if (!content.ok()) {
      return absl::DataLossError(
          "a piece of the delivery failed its check: it was altered on its way. It was not "
          "accepted; download again to go on from there");
    }
    if (receiver.finished()) {
      // All is here, whatever becomes of the stream.
      stream.Next(&frame, kStreamEndsWithinMs).IgnoreError();
      return absl::OkStatus();
    }
    const absl::Status written = part.Append(*content);
    if (!written.ok()) return written;
    progress.received_bytes += content->size();
    ++attempt.pieces;
    if (attempt.pieces % options_.pieces_per_sync == 0) {
      const absl::Status saved = SaveProgress(part, attempt);
      if (!saved.ok()) return saved;
    }
  }
}

absl::Status Downloader::Finish(const protocol::DeliveryReceiver& receiver, PartFile& part,
                                Attempt& attempt) {
  Narration().Say("delivery", "every piece came in order and passed its check");
  const absl::Status verdict = receiver.Verdict();
  if (!verdict.ok()) {
    Narration().Say("delivery", "but it is not what was ordered: removed");
    const absl::Status removed = part.Remove();
    if (!removed.ok()) return removed;
    const absl::Status forgotten = use_.store->SetPiecesDone(attempt.purchase.id, 0);
    if (!forgotten.ok()) return forgotten;
    // The earlier pieces may have been damaged on this disk: then a whole delivery tells.
    if (attempt.first_piece > 0) attempt.from_start = true;
    return absl::DataLossError(
        absl::StrCat("what the shop delivered is not what was ordered: ", verdict.message(),
                     ". It was removed. Your receipt and the shop's signature on the order are "
                     "kept (blindcart verify): talk to the shop's owner"));
  }
  Narration().Say("delivery",
                  "the content's hash is the one that was ordered, and the shop signed for it");
  const absl::StatusOr<std::string> path =
      part.Publish(protocol::CleanFileName(attempt.purchase.title, attempt.purchase.format));
  if (!path.ok()) return path.status();
  return use_.store->SaveDelivery(attempt.purchase.id, *path, receiver.signature());
}

absl::Status Downloader::SaveProgress(PartFile& part, const Attempt& attempt) {
  const absl::Status synced = part.Sync();
  if (!synced.ok()) return synced;
  return use_.store->SetPiecesDone(attempt.purchase.id, attempt.first_piece + attempt.pieces);
}

void Downloader::Shutdown() {
  std::lock_guard<std::mutex> lock(mutex_);
  shut_down_ = true;
  for (GoodsStream* stream : streams_) stream->Cancel();
}

}  // namespace blindcart::agent
