#include "services/broker/broker_core.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/broker/config.h"
#include "services/broker/customer_session.h"
#include "services/broker/merchant_session.h"
#include "services/common/service_metrics.h"
#include "services/storage/store_metrics.h"

namespace blindcart::broker {
namespace {

// Each time stamp takes a worker some 6 ms; a queue of this length empties within a second.
constexpr size_t kNotaryWorkers = 2;
constexpr size_t kMaxNotaryQueue = 256;

SessionTable::Options SessionOptions(const v1::BrokerLimits& limits) {
  SessionTable::Options options;
  options.max_customer_links = static_cast<size_t>(limits.max_customer_links());
  options.max_merchant_links = static_cast<size_t>(limits.max_merchant_links());
  options.max_links_per_customer = static_cast<size_t>(limits.max_links_per_customer());
  return options;
}

Relay::Options RelayOptions(const v1::BrokerLimits& limits) {
  Relay::Options options;
  options.max_sessions_per_customer = limits.max_shop_sessions_per_customer();
  options.answer_timeout_ms = limits.shop_answer_timeout_ms();
  return options;
}

GoodsRelay::Options GoodsOptions(const v1::BrokerLimits& limits) {
  GoodsRelay::Options options;
  options.max_per_customer = limits.max_deliveries_per_customer();
  return options;
}

Orders::Options OrderOptions(const v1::BrokerConfig& config) {
  Orders::Options options;
  options.currency = config.currency();
  options.charge = ChargeRuleOf(config);
  options.max_lifetime_ms = config.limits().max_order_lifetime_ms();
  return options;
}

Payments::Options PaymentOptions(const v1::BrokerConfig& config, crypto::RandomSource& random,
                                 const crypto::Argon2Cost& cost) {
  Payments::Options options;
  options.free_pin_failures = config.limits().max_pin_failures();
  options.decoy_pin_record = crypto::MakeDecoyPasswordRecord(random, cost);
  return options;
}

Certificates::Options CertificateOptions(const v1::BrokerLimits& limits) {
  Certificates::Options options;
  options.lifetime_ms = limits.certificate_lifetime_ms();
  options.revocation_list_lifetime_ms = limits.revocation_list_lifetime_ms();
  options.max_per_customer = limits.max_certificates_per_customer();
  return options;
}

Mail::Options MailOptions(const v1::BrokerLimits& limits) {
  Mail::Options options;
  options.max_items = limits.max_mailbox_messages();
  options.max_bytes = limits.max_mailbox_bytes();
  options.lifetime_ms = limits.mail_lifetime_ms();
  options.sender.messages_per_day = limits.max_sent_messages_per_day();
  options.sender.bytes_per_day = limits.max_sent_bytes_per_day();
  return options;
}

Bank::Options BankOptions(const v1::BrokerConfig& config) {
  Bank::Options options;
  options.customers_may_deposit = config.customers_may_deposit();
  return options;
}

absl::Status CheckStore(const v1::BrokerConfig& config, storage::Store& store,
                        std::string* decoy_identity) {
  return store.Read([&](storage::Transaction& transaction) -> absl::Status {
    const absl::StatusOr<storage::Account> broker =
        transaction.accounts().FindSystem(storage::AccountKind::kBroker, config.currency());
    if (!broker.ok() || broker->number != config.broker_account_number()) {
      return absl::FailedPreconditionError(
          absl::StrCat("the database has no broker's account ", config.broker_account_number(),
                       " in ", config.currency(),
                       "; currency and broker_account_number stay as `broker init` set them"));
    }
    absl::StatusOr<std::string> decoy = transaction.meta().Get(kDecoyIdentityMetaKey);
    if (!decoy.ok() || !crypto::PublicIdentity::Parse(*decoy).ok()) {
      return absl::FailedPreconditionError(
          "the database is not one that `broker init` made: it lacks the decoy identity");
    }
    *decoy_identity = *std::move(decoy);
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<BrokerCore>> BrokerCore::Create(
    const v1::BrokerConfig& config, const crypto::Identity& identity, storage::Store& store,
    const protocol::Clock& clock, crypto::RandomSource& random, const crypto::Argon2Cost& cost,
    const Signers& signers) {
  std::string decoy_identity;
  const absl::Status fits = CheckStore(config, store, &decoy_identity);
  if (!fits.ok()) return fits;
  const absl::StatusOr<Notary::History> notary_history = Notary::ReadHistory(store);
  if (!notary_history.ok()) return notary_history.status();
  absl::StatusOr<std::unique_ptr<storage::CommitQueue>> commits =
      storage::CommitQueue::Create(store, storage::CommitQueue::Options());
  if (!commits.ok()) return commits.status();
  return std::unique_ptr<BrokerCore>(new BrokerCore(config, identity, store, clock, random, cost,
                                                    signers, std::move(decoy_identity),
                                                    *notary_history, *std::move(commits)));
}

BrokerCore::BrokerCore(const v1::BrokerConfig& config, const crypto::Identity& identity,
                       storage::Store& store, const protocol::Clock& clock,
                       crypto::RandomSource& random, const crypto::Argon2Cost& cost,
                       const Signers& signers, std::string decoy_identity,
                       const Notary::History& notary_history,
                       std::unique_ptr<storage::CommitQueue> commits)
    : decoy_identity_(std::move(decoy_identity)),
      store_(store),
      customer_calls_(*v1::CustomerMessage::descriptor()->FindOneofByName("body")),
      merchant_calls_(*v1::MerchantToBroker::descriptor()->FindOneofByName("body")),
      sources_(clock),
      sessions_(SessionOptions(config.limits())),
      relay_(RelayOptions(config.limits()), clock, random),
      goods_(GoodsOptions(config.limits()), clock),
      commits_(std::move(commits)),
      password_workers_(static_cast<size_t>(config.limits().password_workers()),
                        static_cast<size_t>(config.limits().password_queue())),
      notary_workers_(kNotaryWorkers, kMaxNotaryQueue),
      notices_(store, *commits_, clock),
      orders_(OrderOptions(config), store, *commits_, notices_, clock),
      payments_(PaymentOptions(config, random, cost), identity, store, *commits_, password_workers_,
                notices_, clock),
      bank_(BankOptions(config), store, *commits_, clock),
      mail_(MailOptions(config.limits()), store, *commits_, clock),
      certificates_(CertificateOptions(config.limits()), signers.authority, store, *commits_, clock,
                    random),
      notary_(Notary::Options(), notary_history, signers.time_stamps, *commits_, notary_workers_,
              clock),
      parts_{identity,
             decoy_identity_,
             store,
             *commits_,
             password_workers_,
             sources_,
             sessions_,
             relay_,
             orders_,
             payments_,
             bank_,
             notices_,
             goods_,
             mail_,
             certificates_,
             notary_,
             clock,
             random,
             counters_,
             customer_calls_,
             merchant_calls_,
             config.limits().handshake_timeout_ms()} {}

BrokerCore::~BrokerCore() {
  // Work under way reaches into everything else, so it ends first: checks and signatures, then
  // commits.
  password_workers_.Shutdown();
  notary_workers_.Shutdown();
  commits_->Shutdown();
}

std::unique_ptr<LinkHandler> BrokerCore::AcceptCustomer(std::shared_ptr<Link> link,
                                                        std::string source) {
  return CustomerSession::Accept(parts_, std::move(link), std::move(source));
}

std::unique_ptr<LinkHandler> BrokerCore::AcceptMerchant(std::shared_ptr<Link> link,
                                                        std::string source) {
  return MerchantSession::Accept(parts_, std::move(link), std::move(source));
}

void BrokerCore::Sweep() {
  sessions_.Sweep();
  relay_.Sweep();
  orders_.Sweep();
  notices_.Sweep();
  goods_.Sweep();
  mail_.Sweep();
  certificates_.listeners().Sweep();
  notary_.Sweep();
}

void BrokerCore::Poll() {
  notices_.Poll();
  mail_.pushes().Poll();
}

void BrokerCore::CloseLinks() {
  sessions_.CloseAll(absl::UnavailableError("the broker is shutting down"));
}

bool BrokerCore::Drain() {
  using Kind = SessionTable::Kind;
  const absl::Status going = absl::UnavailableError("the broker is shutting down");
  sessions_.StopAdding();
  sessions_.Drain(Kind::kCustomer, going);
  // Until then customers may still wait for merchants.
  if (sessions_.count(Kind::kCustomer) > 0) return false;
  sessions_.Drain(Kind::kMerchant, going);
  return sessions_.count(Kind::kMerchant) == 0 && goods_.moving_count() == 0;
}

void BrokerCore::AddMetrics(MetricPage& page) const {
  AddRefusalMetrics(page, counters_);
  customer_calls_.AddTo(page, "customer");
  merchant_calls_.AddTo(page, "merchant");
  AddPoolMetrics(page, "password", password_workers_.stats());
  AddPoolMetrics(page, "notary", notary_workers_.stats());
  storage::AddCommitMetrics(page, commits_->stats(), commits_->waiting());
  storage::AddConnectionMetrics(page, store_.Connections());

  constexpr char kLinksHelp[] = "Links that stand or are being made.";
  page.AddGauge("blindcart_broker_links", kLinksHelp,
                static_cast<double>(sessions_.count(SessionTable::Kind::kCustomer)),
                {{"kind", "customer"}});
  page.AddGauge("blindcart_broker_links", kLinksHelp,
                static_cast<double>(sessions_.count(SessionTable::Kind::kMerchant)),
                {{"kind", "merchant"}});
  page.AddGauge("blindcart_broker_shop_sessions", "Sessions between customers and merchants.",
                static_cast<double>(relay_.session_count()));
  page.AddHistogram("blindcart_broker_shop_open_seconds",
                    "From a customer's wish for a session until the merchant's answer.",
                    relay_.open_seconds());
  page.AddGauge("blindcart_broker_deliveries", "Deliveries that are open.",
                static_cast<double>(goods_.open_count()));
  page.AddGauge("blindcart_broker_deliveries_moving", "Those of them that have both ends.",
                static_cast<double>(goods_.moving_count()));
  page.AddGauge("blindcart_broker_notices_under_way",
                "Notices to connected merchants that they have not acknowledged.",
                static_cast<double>(notices_.under_way_count()));
  page.AddGauge("blindcart_broker_mail_calls_under_way",
                "Calls about mail that wait for the store.",
                static_cast<double>(mail_.under_way_count()));
  page.AddGauge("blindcart_broker_mail_bytes_under_way", "Bytes of messages that they carry.",
                static_cast<double>(mail_.bytes_under_way()));
}

}  // namespace blindcart::broker
