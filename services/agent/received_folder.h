// The folder in which files from direct sessions arrive: what of one sender and of all it may hold,
// which files are on their way into it, and how much reading a sender may cause by what they offer.
//
// Counted is what lies there: who moves files elsewhere makes room. A file on its way counts at its
// full size from the start. Of each sender the latest kMaxUnfinished part files stay, to go on from;
// they give way to a new file of the same sender, the oldest first.
//
// Each offer makes the agent look through the folder, and perhaps hash what is there of the file. That
// is counted against an allowance of the sender, in all of their sessions, which grows again by and by
// and with what they send.
//
// Thread-safe; Enter and IsFull block on the disk.
#ifndef BLINDCART_SERVICES_AGENT_RECEIVED_FOLDER_H_
#define BLINDCART_SERVICES_AGENT_RECEIVED_FOLDER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "proto/peer.pb.h"
#include "protocol/clock.h"

namespace blindcart::agent {

class ReceivedFolder {
 public:
  static constexpr size_t kMaxUnfinished = 4;
  // A file is not taken, or not gone on with, when less than this would be left on the disk.
  static constexpr uint64_t kReserveBytes = 64 * 1024 * 1024;
  // Complete files of one sender, however small.
  static constexpr size_t kMaxFilesPerSender = 1'000;

  // How fast a sender's allowance comes back.
  static constexpr int64_t kReadBytesPerMs = 16 * 1024;
  // What any offer counts for.
  static constexpr int64_t kOfferBytes = 256 * 1024;

  struct Limits {
    uint64_t per_sender_bytes = uint64_t{4} << 30;
    uint64_t total_bytes = uint64_t{16} << 30;
    // What a sender may make the agent read before it has to wait.
    int64_t read_allowance_bytes = int64_t{1} << 30;
  };
  // Complete files of one sender that lie here.
  struct Stored {
    uint64_t bytes = 0;
    size_t files = 0;
  };
  // What is free on the disk that the folder is on.
  using FreeBytes = std::function<uint64_t(const std::string& path)>;

  // A file on its way; it is not once this is gone.
  class Place {
   public:
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    friend class ReceivedFolder;
    Place(ReceivedFolder& folder, std::string part_name)
        : folder_(folder), part_name_(std::move(part_name)) {}
    ReceivedFolder& folder_;
    const std::string part_name_;
  };

  // `path` is made when a file comes. `clock` must outlive the object, and the object every Place.
  ReceivedFolder(std::string path, const Limits& limits, const protocol::Clock& clock,
                 FreeBytes free_bytes = DiskFreeBytes);

  const std::string& path() const { return path_; }
  // Of that sender (hex) and content.
  static std::string PartName(const std::string& sender, const std::string& sha256);

  // Takes a place for a file of that sender, of whom `stored` lies here. ACCEPTED, and `place` is set;
  // else BUSY (it is under way already), OVER_QUOTA or NO_SPACE, and nothing has changed.
  v1::PeerFileVerdict Enter(const std::string& sender, const std::string& sha256,
                            uint64_t size_bytes, const Stored& stored,
                            std::unique_ptr<Place>* place);
  // The disk has filled up meanwhile.
  bool IsFull() const { return free_bytes_(path_) < kReserveBytes; }

  // Counts an offer; false when the sender has to wait.
  bool MayOffer(const std::string& sender);
  void CountRead(const std::string& sender, uint64_t bytes);
  void CountReceived(const std::string& sender, uint64_t bytes);

 private:
  struct UnderWay {
    std::string sender;
    uint64_t size_bytes = 0;
  };
  struct Allowance {
    int64_t bytes = 0;  // Below zero after much was read: the sender has to wait.
    int64_t at_ms = 0;  // Monotonic.
  };

  static uint64_t DiskFreeBytes(const std::string& path);
  // As it is now; forgets those who have all of it.
  Allowance& AllowanceLocked(const std::string& sender);
  void ChangeAllowance(const std::string& sender, int64_t bytes);

  const std::string path_;
  const Limits limits_;
  const protocol::Clock& clock_;
  const FreeBytes free_bytes_;

  std::mutex mutex_;
  std::map<std::string, UnderWay> under_way_;    // By part name; under mutex_.
  std::map<std::string, Allowance> allowances_;  // By sender; under mutex_.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_RECEIVED_FOLDER_H_
