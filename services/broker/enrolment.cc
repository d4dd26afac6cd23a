#include "services/broker/enrolment.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "protocol/login_handshake.h"
#include "protocol/shop_link.h"
#include "services/broker/config.h"
#include "services/ledger/ledger.h"

namespace blindcart::broker {
namespace {

absl::StatusOr<crypto::PublicIdentity> ParseIdentity(const std::string& pem) {
  absl::StatusOr<crypto::PublicIdentity> identity = crypto::PublicIdentity::ParsePem(pem);
  if (!identity.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the identity file is none: ", identity.status().message(),
                     "; it is the one that `agent init` or `merchant init` wrote"));
  }
  return identity;
}

absl::Status CheckAccountNumber(const std::string& number) {
  if (IsValidAccountNumber(number)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", number,
      "\" is no account number: write 1 to 34 capital letters, digits and '-', such as 1001"));
}

// A unique value that is taken, in words.
absl::Status Taken(absl::string_view what) {
  return absl::AlreadyExistsError(absl::StrCat(what, " is already enrolled; choose another"));
}

template <typename T>
absl::Status RefuseIfFound(const absl::StatusOr<T>& found, absl::string_view what) {
  if (found.ok()) return Taken(what);
  return absl::IsNotFound(found.status()) ? absl::OkStatus() : found.status();
}

// A key is one party's: whoever is handed the wrong file would else enrol somebody who can never log in.
absl::Status RefuseKnownIdentity(storage::Transaction& transaction,
                                 const std::string& fingerprint) {
  const absl::Status customer = RefuseIfFound(
      transaction.customers().FindByFingerprint(fingerprint), "this identity (a customer's)");
  if (!customer.ok()) return customer;
  return RefuseIfFound(transaction.merchants().FindByFingerprint(fingerprint),
                       "this identity (a merchant's)");
}

absl::StatusOr<int64_t> OpenAccount(storage::Transaction& transaction, const Enroller& enroller,
                                    const std::string& number, storage::AccountKind kind,
                                    const std::string& pin_record) {
  const absl::Status is_free =
      RefuseIfFound(transaction.accounts().FindByNumber(number), absl::StrCat("account ", number));
  if (!is_free.ok()) return is_free;
  storage::Account account;
  account.number = number;
  account.kind = kind;
  account.currency = enroller.currency;
  account.pin_record = pin_record;
  return transaction.accounts().Insert(account);
}

}  // namespace

absl::Status PrepareStore(const Enroller& enroller, const std::string& broker_account_number,
                          const crypto::PublicIdentity& decoy) {
  return enroller.store.Write([&](storage::Transaction& transaction) {
    for (const auto& [number, kind] :
         {std::pair(broker_account_number, storage::AccountKind::kBroker),
          std::pair(std::string(kExternalAccountNumber), storage::AccountKind::kExternal)}) {
      const absl::StatusOr<int64_t> opened = OpenAccount(transaction, enroller, number, kind, "");
      if (!opened.ok()) return opened.status();
    }
    return transaction.meta().Set(kDecoyIdentityMetaKey, decoy.Serialize());
  });
}

absl::StatusOr<std::string> EnrolCustomer(const Enroller& enroller, const NewCustomer& customer) {
  if (!protocol::IsValidUsername(customer.username)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", customer.username,
                     "\" is no user name: write 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning "
                     "with a letter or digit"));
  }
  const absl::Status number = CheckAccountNumber(customer.account_number);
  if (!number.ok()) return number;
  if (customer.password.size() < kMinPasswordBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the password is too short: at least ", kMinPasswordBytes, " characters"));
  }
  if (customer.pin.size() < kMinPinBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the PIN is too short: at least ", kMinPinBytes, " characters"));
  }
  if (customer.opening_balance_minor < 0) {
    return absl::InvalidArgumentError("the opening balance is below zero");
  }
  const absl::StatusOr<crypto::PublicIdentity> identity = ParseIdentity(customer.identity_pem);
  if (!identity.ok()) return identity.status();
  const absl::StatusOr<std::string> password_record = crypto::MakePasswordRecord(
      crypto::PasswordHash(customer.username, customer.password.view()).view(), enroller.random,
      enroller.cost);
  if (!password_record.ok()) return password_record.status();
  const absl::StatusOr<std::string> pin_record = crypto::MakePasswordRecord(
      crypto::PinHash(customer.account_number, customer.pin.view()).view(), enroller.random,
      enroller.cost);
  if (!pin_record.ok()) return pin_record.status();

  const absl::Status written = enroller.store.Write([&](storage::Transaction& transaction) {
    const absl::Status name =
        RefuseIfFound(transaction.customers().FindByUsername(customer.username), customer.username);
    if (!name.ok()) return name;
    const absl::Status key = RefuseKnownIdentity(transaction, identity->fingerprint());
    if (!key.ok()) return key;
    const absl::StatusOr<int64_t> account =
        OpenAccount(transaction, enroller, customer.account_number, storage::AccountKind::kCustomer,
                    *pin_record);
    if (!account.ok()) return account.status();
    storage::Customer row;
    row.username = customer.username;
    row.identity = identity->Serialize();
    row.fingerprint = identity->fingerprint();
    row.password_record = *password_record;
    row.account_id = *account;
    row.created_at_ms = enroller.now_ms;
    const absl::StatusOr<int64_t> inserted = transaction.customers().Insert(row);
    if (!inserted.ok()) return inserted.status();
    if (customer.opening_balance_minor == 0) return absl::OkStatus();
    const absl::StatusOr<storage::Account> external =
        transaction.accounts().FindSystem(storage::AccountKind::kExternal, enroller.currency);
    if (!external.ok()) return external.status();
    ledger::CashMovement deposit;
    deposit.transfer_id = enroller.random.Bytes(storage::kTransferIdBytes);
    deposit.account_id = *account;
    deposit.external_account_id = external->id;
    deposit.amount_minor = customer.opening_balance_minor;
    deposit.created_at_ms = enroller.now_ms;
    return ledger::Deposit(transaction, deposit);
  });
  if (!written.ok()) return written;
  return identity->fingerprint();
}

absl::StatusOr<std::string> EnrolMerchant(const Enroller& enroller, const NewMerchant& merchant) {
  if (!protocol::IsValidShopName(merchant.name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", merchant.name, "\" is no shop name: write 1 to ",
                     protocol::kMaxShopNameBytes, " of a-z, 0-9 and '-'"));
  }
  const absl::Status number = CheckAccountNumber(merchant.account_number);
  if (!number.ok()) return number;
  const absl::StatusOr<crypto::PublicIdentity> identity = ParseIdentity(merchant.identity_pem);
  if (!identity.ok()) return identity.status();
  const absl::Status written = enroller.store.Write([&](storage::Transaction& transaction) {
    const absl::Status name =
        RefuseIfFound(transaction.merchants().FindByName(merchant.name), merchant.name);
    if (!name.ok()) return name;
    const absl::Status key = RefuseKnownIdentity(transaction, identity->fingerprint());
    if (!key.ok()) return key;
    const absl::StatusOr<int64_t> account = OpenAccount(
        transaction, enroller, merchant.account_number, storage::AccountKind::kMerchant, "");
    if (!account.ok()) return account.status();
    storage::Merchant row;
    row.name = merchant.name;
    row.identity = identity->Serialize();
    row.fingerprint = identity->fingerprint();
    row.account_id = *account;
    return transaction.merchants().Insert(row).status();
  });
  if (!written.ok()) return written;
  return identity->fingerprint();
}

}  // namespace blindcart::broker
