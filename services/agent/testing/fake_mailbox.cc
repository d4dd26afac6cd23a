#include "services/agent/testing/fake_mailbox.h"

#include <algorithm>
#include <utility>

namespace blindcart::agent::testing {

class FakeMailbox::Transport : public MailTransport {
 public:
  Transport(FakeMailbox& box, std::string username) : box_(box), username_(std::move(username)) {}

  std::string username() const override { return username_; }

  absl::StatusOr<v1::PublishKeysResult> PublishKeys(const v1::PublishKeysCall& call) override {
    return Call<v1::PublishKeysResult>("publish", [&](User& own, v1::PublishKeysResult* result) {
      box_.published_.push_back(call);
      if (!call.identity_key().empty()) {
        if (call.identity_key() != own.keys.identity_key()) own.one_time.clear();
        own.keys.set_identity_key(call.identity_key());
        own.keys.set_identity_key_signature(call.identity_key_signature());
        own.keys.set_public_identity(own.identity);
        own.keys.set_found(true);
      }
      if (call.has_signed_pre_key()) *own.keys.mutable_signed_pre_key() = call.signed_pre_key();
      for (const v1::OneTimePreKey& key : call.one_time_pre_keys()) own.one_time.push_back(key);
      result->set_one_time_pre_keys_left(static_cast<uint32_t>(own.one_time.size()));
    });
  }

  absl::StatusOr<v1::FetchKeysResult> FetchKeys(const v1::FetchKeysCall& call) override {
    return Call<v1::FetchKeysResult>("keys", [&](User&, v1::FetchKeysResult* result) {
      const auto found = box_.users_.find(call.username());
      if (found == box_.users_.end()) return;
      *result = found->second.keys;
      std::vector<v1::OneTimePreKey>& one_time = found->second.one_time;
      if (result->found() && !call.identity_only() && !one_time.empty()) {
        *result->mutable_one_time_pre_key() = one_time.front();
        one_time.erase(one_time.begin());
      }
      if (box_.alter_keys) box_.alter_keys(result);
    });
  }

  absl::StatusOr<v1::SendMailResult> Send(const v1::SendMailCall& call) override {
    return Call<v1::SendMailResult>("send", [&](User&, v1::SendMailResult* result) {
      box_.sent_.push_back(call);
      result->set_outcome(box_.send_outcome);
      if (box_.send_outcome != v1::SEND_MAIL_OUTCOME_STORED) return;
      const auto found = box_.users_.find(call.recipient());
      if (found == box_.users_.end()) {
        result->set_outcome(v1::SEND_MAIL_OUTCOME_NO_RECIPIENT);
        return;
      }
      for (const v1::MailItem& item : found->second.mail) {
        if (item.message_id() == call.message_id() && item.sender() == username_) return;
      }
      v1::MailItem item;
      item.set_mail_number(box_.next_number_++);
      item.set_message_id(call.message_id());
      item.set_sender(username_);
      item.set_stored_at_ms(1);
      item.set_sealed(call.sealed());
      found->second.mail.push_back(item);
      box_.all_mail_.push_back(item);
    });
  }

  absl::StatusOr<v1::FetchMailResult> Fetch(const v1::FetchMailCall& call) override {
    return Call<v1::FetchMailResult>("fetch", [&](User& own, v1::FetchMailResult* result) {
      for (const v1::MailItem& item : own.mail) {
        if (item.mail_number() <= call.after_number()) continue;
        if (result->items_size() == kItemsPerPage) {
          result->set_more(true);
          return;
        }
        *result->add_items() = item;
        if (box_.alter_mail) box_.alter_mail(result->mutable_items(result->items_size() - 1));
      }
    });
  }

  absl::Status Acknowledge(const v1::AcknowledgeMailCall& call) override {
    return Call<v1::AcknowledgeMailResult>(
               "acknowledge",
               [&](User& own, v1::AcknowledgeMailResult*) {
                 own.mail.erase(std::remove_if(own.mail.begin(), own.mail.end(),
                                               [&](const v1::MailItem& item) {
                                                 const auto& numbers = call.mail_numbers();
                                                 return std::find(numbers.begin(), numbers.end(),
                                                                  item.mail_number()) !=
                                                        numbers.end();
                                               }),
                                own.mail.end());
               })
        .status();
  }

 private:
  template <typename Result, typename Body>
  absl::StatusOr<Result> Call(const std::string& name, Body body) {
    std::lock_guard<std::mutex> lock(box_.mutex_);
    if (box_.before) {
      const absl::Status arrived = box_.before(username_, name);
      if (!arrived.ok()) return arrived;
    }
    Result result;
    body(box_.users_[username_], &result);
    if (box_.after) {
      const absl::Status answered = box_.after(username_, name);
      if (!answered.ok()) return answered;
    }
    return result;
  }

  FakeMailbox& box_;
  const std::string username_;
};

void FakeMailbox::Enrol(const std::string& username, const crypto::PublicIdentity& identity) {
  std::lock_guard<std::mutex> lock(mutex_);
  users_[username].identity = identity.Serialize();
}

std::unique_ptr<MailTransport> FakeMailbox::TransportFor(const std::string& username) {
  return std::make_unique<Transport>(*this, username);
}

std::unique_ptr<FakeMailbox> FakeMailbox::Clone() {
  std::lock_guard<std::mutex> lock(mutex_);
  auto clone = std::make_unique<FakeMailbox>();
  clone->users_ = users_;
  clone->next_number_ = next_number_;
  clone->all_mail_ = all_mail_;
  clone->sent_ = sent_;
  clone->published_ = published_;
  return clone;
}

std::vector<v1::MailItem> FakeMailbox::Waiting(const std::string& username) {
  std::lock_guard<std::mutex> lock(mutex_);
  return users_[username].mail;
}

void FakeMailbox::Put(const std::string& username, v1::MailItem item) {
  std::lock_guard<std::mutex> lock(mutex_);
  item.set_mail_number(next_number_++);
  users_[username].mail.push_back(std::move(item));
}

void FakeMailbox::Remove(const std::string& username, uint64_t mail_number) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<v1::MailItem>& mail = users_[username].mail;
  mail.erase(
      std::remove_if(mail.begin(), mail.end(),
                     [&](const v1::MailItem& item) { return item.mail_number() == mail_number; }),
      mail.end());
}

size_t FakeMailbox::OneTimePreKeysLeft(const std::string& username) {
  std::lock_guard<std::mutex> lock(mutex_);
  return users_[username].one_time.size();
}

void FakeMailbox::DropOneTimePreKeys(const std::string& username) {
  std::lock_guard<std::mutex> lock(mutex_);
  users_[username].one_time.clear();
}

}  // namespace blindcart::agent::testing
