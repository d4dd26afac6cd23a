// What is under way, so that one thing is not done twice at once: two payments of one order, two
// downloads into one file. Holds no lock while the work runs. Thread-safe.
#ifndef BLINDCART_SERVICES_AGENT_IN_PROGRESS_H_
#define BLINDCART_SERVICES_AGENT_IN_PROGRESS_H_

#include <memory>
#include <mutex>
#include <set>
#include <string>

namespace blindcart::agent {

class InProgress {
 public:
  // Leaves at the end of its life.
  class Entry {
   public:
    Entry(InProgress& all, std::string key) : all_(all), key_(std::move(key)) {}
    ~Entry() {
      std::lock_guard<std::mutex> lock(all_.mutex_);
      all_.keys_.erase(key_);
    }
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;

   private:
    InProgress& all_;
    const std::string key_;
  };

  // Null when `key` is under way already.
  std::unique_ptr<Entry> Enter(const std::string& key) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!keys_.insert(key).second) return nullptr;
    return std::make_unique<Entry>(*this, key);
  }

 private:
  std::mutex mutex_;
  std::set<std::string> keys_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_IN_PROGRESS_H_
