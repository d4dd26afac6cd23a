// The mailboxes' part of store_contract_test.h, to be instantiated beside it.
#ifndef SERVICES_STORAGE_MAILBOXES_CONTRACT_TEST_H_
#define SERVICES_STORAGE_MAILBOXES_CONTRACT_TEST_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "services/storage/store_contract_test.h"

namespace blindcart::storage {

class MailboxesContractTest : public StoreContractTest {
 protected:
  void SetUp() override;

  template <typename Call>
  absl::Status Write(Call call) {
    return store_->Write([&](Transaction& t) -> absl::Status { return call(t); });
  }
  template <typename Value, typename Call>
  absl::StatusOr<Value> Read(Call call) {
    absl::StatusOr<Value> value = absl::UnknownError("the body did not run");
    const absl::Status read = store_->Read([&](Transaction& t) {
      value = call(t.mailboxes());
      return absl::OkStatus();
    });
    if (!read.ok()) return read;
    return value;
  }

  MailKeys Keys(int64_t customer, int64_t seed) {
    MailKeys keys;
    keys.customer_id = customer;
    keys.identity_key = testing::SampleBytes(seed, kMailKeyBytes);
    keys.identity_key_signature = testing::SampleBytes(seed + 1, kMailSignatureBytes);
    keys.signed_pre_key_id = seed + 2;
    keys.signed_pre_key = testing::SampleBytes(seed + 3, kMailKeyBytes);
    keys.signed_pre_key_signature = testing::SampleBytes(seed + 4, kMailSignatureBytes);
    return keys;
  }
  absl::Status SetKeys(const MailKeys& keys) {
    return Write([&](Transaction& t) { return t.mailboxes().SetKeys(keys); });
  }
  absl::Status AddPreKey(int64_t customer, int64_t id) {
    return Write([&](Transaction& t) {
      return t.mailboxes().AddPreKey(customer, {id, testing::SampleBytes(id, kMailKeyBytes)});
    });
  }
  // The id taken, or 0 when none is left.
  int64_t TakePreKey(int64_t customer) {
    int64_t id = 0;
    EXPECT_TRUE(Write([&](Transaction& t) {
                  const absl::StatusOr<MailPreKey> taken = t.mailboxes().TakePreKey(customer);
                  if (absl::IsNotFound(taken.status())) return absl::OkStatus();
                  if (!taken.ok()) return taken.status();
                  id = taken->id;
                  EXPECT_EQ(taken->key, testing::SampleBytes(id, kMailKeyBytes));
                  return absl::OkStatus();
                }).ok());
    return id;
  }
  int64_t CountPreKeys(int64_t customer) {
    return *Read<int64_t>([&](Mailboxes& m) { return m.CountPreKeys(customer); });
  }

  Mail MakeMail(int64_t sender, int64_t recipient, int64_t seed, const std::string& sealed) {
    Mail mail;
    mail.sender_id = sender;
    mail.recipient_id = recipient;
    mail.message_id = testing::SampleBytes(seed, kMessageIdBytes);
    mail.sealed = sealed;
    mail.stored_at_ms = 1'000;
    mail.expires_at_ms = 5'000;
    return mail;
  }
  absl::StatusOr<int64_t> Append(const Mail& mail) {
    absl::StatusOr<int64_t> number = absl::UnknownError("the body did not run");
    const absl::Status written = Write([&](Transaction& t) {
      number = t.mailboxes().Append(mail);
      return number.status();
    });
    if (!written.ok()) return written;
    return number;
  }
  std::vector<std::string> List(int64_t recipient, int64_t after = 0, int64_t limit = 100) {
    std::vector<std::string> sealed;
    const std::vector<Mail> mails =
        *Read<std::vector<Mail>>([&](Mailboxes& m) { return m.List(recipient, after, limit); });
    for (const Mail& mail : mails) sealed.push_back(mail.sealed);
    return sealed;
  }
  std::pair<int64_t, int64_t> Use(int64_t recipient) {
    const MailboxUse use = *Read<MailboxUse>([&](Mailboxes& m) { return m.Use(recipient); });
    return {use.items, use.bytes};
  }
  int64_t RemoveExpired(int64_t now_ms, int64_t limit = 100) {
    int64_t removed = -1;
    EXPECT_TRUE(Write([&](Transaction& t) {
                  const absl::StatusOr<int64_t> count = t.mailboxes().RemoveExpired(now_ms, limit);
                  if (count.ok()) removed = *count;
                  return count.status();
                }).ok());
    return removed;
  }

  int64_t alice_ = 0;
  int64_t bob_ = 0;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_MAILBOXES_CONTRACT_TEST_H_
