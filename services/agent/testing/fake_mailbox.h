// A broker's mailbox in memory, with the real one's contract (mail_transport.h), that tests can make
// fail, forget, alter and lie. Thread-safe; hooks are called with the lock held.
#ifndef BLINDCART_SERVICES_AGENT_TESTING_FAKE_MAILBOX_H_
#define BLINDCART_SERVICES_AGENT_TESTING_FAKE_MAILBOX_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "crypto/identity.h"
#include "services/agent/mail_transport.h"

namespace blindcart::agent::testing {

class FakeMailbox {
 public:
  static constexpr int kItemsPerPage = 3;

  // Also for a user who enrols again with another identity.
  void Enrol(const std::string& username, const crypto::PublicIdentity& identity);
  // Must not outlive the mailbox.
  std::unique_ptr<MailTransport> TransportFor(const std::string& username);

  // Another mailbox that holds the same, without hooks.
  std::unique_ptr<FakeMailbox> Clone();

  // Called with the asking user and the call's name ("publish", "keys", "send", "fetch",
  // "acknowledge"). An error of `before` means that the call never arrived, one of `after` that its
  // answer is lost.
  std::function<absl::Status(const std::string& user, const std::string& call)> before;
  std::function<absl::Status(const std::string& user, const std::string& call)> after;
  // What the broker hands out instead of what it was given.
  std::function<void(v1::FetchKeysResult*)> alter_keys;
  std::function<void(v1::MailItem*)> alter_mail;
  v1::SendMailOutcome send_outcome = v1::SEND_MAIL_OUTCOME_STORED;  // Others: nothing is stored.

  // Mail that waits, and all that was ever stored.
  std::vector<v1::MailItem> Waiting(const std::string& username);
  std::vector<v1::MailItem> all_mail() const { return all_mail_; }
  // Puts this mail into the mailbox, under a new number.
  void Put(const std::string& username, v1::MailItem item);
  // As if it had expired.
  void Remove(const std::string& username, uint64_t mail_number);
  size_t OneTimePreKeysLeft(const std::string& username);
  void DropOneTimePreKeys(const std::string& username);
  const std::vector<v1::SendMailCall>& sent() const { return sent_; }
  const std::vector<v1::PublishKeysCall>& published() const { return published_; }

 private:
  class Transport;
  struct User {
    std::string identity;
    v1::FetchKeysResult keys;  // Without one-time pre-keys.
    std::vector<v1::OneTimePreKey> one_time;
    std::vector<v1::MailItem> mail;
  };

  std::mutex mutex_;
  std::map<std::string, User> users_;
  uint64_t next_number_ = 1;
  std::vector<v1::MailItem> all_mail_;
  std::vector<v1::SendMailCall> sent_;
  std::vector<v1::PublishKeysCall> published_;
};

}  // namespace blindcart::agent::testing

#endif  // BLINDCART_SERVICES_AGENT_TESTING_FAKE_MAILBOX_H_
