#include "services/merchant/shop_server.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/random.h"
#include "protocol/clock.h"
#include "protocol/refusal.h"
#include "services/catalog/goods_store.h"
#include "services/common/drain.h"
#include "services/common/follow_broker.h"
#include "services/common/grpc_link.h"
#include "services/common/log.h"
#include "services/common/metrics.h"
#include "services/common/metrics_server.h"
#include "services/common/pinned_broker.h"
#include "services/common/readiness.h"
#include "services/common/reflection.h"
#include "services/common/scheduler.h"
#include "services/common/service_metrics.h"
#include "services/common/transport.h"
#include "services/common/worker_pool.h"
#include "services/merchant/admin_service.h"
#include "services/merchant/broker_conversation.h"
#include "services/merchant/checkout.h"
#include "services/merchant/config.h"
#include "services/merchant/goods_sender.h"
#include "services/merchant/grpc_goods.h"
#include "services/merchant/link_client.h"
#include "services/merchant/payments.h"
#include "services/merchant/shop_admin.h"
#include "services/merchant/shop_database.h"
#include "services/merchant/shop_service.h"
#include "services/merchant/shop_sessions.h"
#include "services/storage/store_metrics.h"

namespace blindcart::merchant {
namespace {

constexpr size_t kMaxSessionsPerLink = 10'000;
constexpr size_t kWorkers = 4;
constexpr size_t kMaxWaitingWork = 8192;
constexpr size_t kReaders = 4;
constexpr size_t kAdminWorkers = 2;
constexpr size_t kMaxWaitingAdminWork = 64;
constexpr size_t kAskers = 1;
constexpr size_t kMaxWaitingQuestions = 16;  // As many as brokers.
constexpr int64_t kSweepMs = 5'000;
constexpr int kSweepsPerReport = 12;  // Once a minute.
constexpr int kShutdownGraceMs = 1'000;
constexpr int64_t kHealthMs = 500;  // How often the health service is told.

// A broker at one address.
struct BrokerEnd {
  std::string address;
  PinnedBroker* pinned;
  std::unique_ptr<v1::Broker::Stub> link_stub;
  std::shared_ptr<GoodsTransport> goods_transport;
  std::shared_ptr<LinkClient> client;
  std::mutex mutex;
  std::weak_ptr<BrokerConversation> conversation;  // The latest link's.

  explicit BrokerEnd(PinnedBroker* pinned) : pinned(pinned) {}
  std::shared_ptr<BrokerConversation> Conversation() {
    std::lock_guard<std::mutex> lock(mutex);
    return conversation.lock();
  }
  // Whether this end or another one of the same broker was the first to hear of its new identity.
  void CloseUnlessCurrent() {
    if (const auto open = Conversation()) open->CloseUnless(*pinned->current());
  }
};

// Holds a data folder for one server at a time, for as long as the process lives or until destruction.
class FolderLock {
 public:
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(const std::string& folder) {
    const std::string path = absl::StrCat(folder, "/merchant.lock");
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
    auto lock = std::unique_ptr<FolderLock>(new FolderLock(fd));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      return absl::AlreadyExistsError(
          absl::StrCat("the shop in ", folder, " is running already; stop it first"));
    }
    return lock;
  }
  ~FolderLock() { close(fd_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  const int fd_;
};

std::vector<const PinnedBroker*> Pointers(
    const std::vector<std::unique_ptr<PinnedBroker>>& brokers) {
  std::vector<const PinnedBroker*> pointers;
  for (const std::unique_ptr<PinnedBroker>& broker : brokers) pointers.push_back(broker.get());
  return pointers;
}

}  // namespace

// Members in the order of dependence: what stands lower uses what stands above.
struct ShopServer::State {
  State(const v1::MerchantConfig& config, crypto::Identity own,
        std::unique_ptr<FolderLock> taken_lock, std::unique_ptr<ShopDatabase> opened_database,
        std::unique_ptr<catalog::GoodsStore> opened_goods,
        std::vector<std::unique_ptr<PinnedBroker>> pinned)
      : lock(std::move(taken_lock)),
        name(config.name()),
        socket_path(config.admin_socket()),
        drain_timeout_ms(config.drain_timeout_ms()),
        identity(std::move(own)),
        workers(kWorkers, kMaxWaitingWork),
        readers(kReaders, static_cast<size_t>(config.max_deliveries())),
        admin_workers(kAdminWorkers, kMaxWaitingAdminWork),
        askers(kAskers, kMaxWaitingQuestions),
        pinned_brokers(std::move(pinned)),
        database(std::move(opened_database)),
        goods(std::move(opened_goods)),
        checkout(*database, identity, protocol::SystemClock(), crypto::SystemRandom(),
                 config.order_lifetime_ms()),
        payments(*database, identity.public_identity(), Pointers(pinned_brokers),
                 protocol::SystemClock()),
        shop(*database, *goods, checkout, payments, workers, SizeClassesOf(config)),
        sender(readers, protocol::SystemClock(), identity, crypto::SystemRandom(),
               static_cast<size_t>(config.max_deliveries())),
        admin(*database, *goods, crypto::SystemRandom(), MaxContentBytes(config)),
        admin_service(
            admin, [this] { return Report(); }, admin_workers),
        readiness([this] { return CheckDatabase(); }, protocol::SystemClock()) {}

  absl::Status AddBroker(const std::string& address, bool plain_tcp, const v1::BrokerCard& card,
                         PinnedBroker* pinned);
  void Follow(BrokerEnd& end);
  void Sweep(int count);
  v1::MerchantStatusReply Report();
  void ReportRefusals();
  absl::Status CheckDatabase();
  void TellHealth();
  size_t OpenSessions() const;
  std::string Metrics();

  const std::unique_ptr<FolderLock> lock;
  const std::string name;
  const std::string socket_path;
  const int64_t drain_timeout_ms;
  const crypto::Identity identity;
  protocol::RefusalCounters refusals;
  WorkerPool workers;
  WorkerPool readers;
  WorkerPool admin_workers;
  WorkerPool askers;  // Of brokers, whether their identity has changed.
  const std::vector<std::unique_ptr<PinnedBroker>> pinned_brokers;  // As configured.
  ThreadScheduler scheduler;
  const std::unique_ptr<ShopDatabase> database;
  const std::unique_ptr<catalog::GoodsStore> goods;
  Checkout checkout;
  Payments payments;
  ShopService shop;
  GoodsSender sender;
  ShopAdmin admin;
  AdminService admin_service;
  Readiness readiness;
  std::vector<std::unique_ptr<BrokerEnd>> brokers;
  std::unique_ptr<ServerRunner> runner;
  std::unique_ptr<MetricsServer> metrics_server;  // Null when no port is wanted.
  uint64_t reported_refusals = 0;                 // The scheduler's alone.
  bool stopped = false;
};

absl::Status ShopServer::State::AddBroker(const std::string& address, bool plain_tcp,
                                          const v1::BrokerCard& card, PinnedBroker* pinned) {
  for (const std::unique_ptr<BrokerEnd>& known : brokers) {
    // Two cards of one market, or one card twice: a second link would only push the first one out.
    if (known->address == address &&
        known->pinned->current()->fingerprint() == pinned->current()->fingerprint()) {
      return absl::OkStatus();
    }
  }
  auto broker = std::make_unique<BrokerEnd>(pinned);
  broker->address = address;
  absl::StatusOr<std::shared_ptr<grpc::Channel>> link =
      DialBroker(address, card.tls_root_pem(), plain_tcp, "link");
  if (!link.ok()) return link.status();
  absl::StatusOr<std::shared_ptr<grpc::Channel>> bulk =
      DialBroker(address, card.tls_root_pem(), plain_tcp, "goods");
  if (!bulk.ok()) return bulk.status();
  broker->link_stub = v1::Broker::NewStub(*link);
  broker->goods_transport = std::make_shared<GrpcGoodsTransport>(v1::Broker::NewStub(*bulk));

  BrokerEnd* const end = broker.get();
  const ShopSessions::Deps deps = {
      identity, crypto::SystemRandom(), protocol::SystemClock(), refusals, workers, shop,
      sender,   end->goods_transport,   kMaxSessionsPerLink};
  broker->client = LinkClient::Create(
      [this, end](const AcceptLink& make_handler) {
        // Beside the handshake, which must not wait for it: what it brings is for the next one.
        askers.Run([this, end] { Follow(*end); }).IgnoreError();
        return DialGrpcLink(*end->link_stub, LinkKind::kMerchant, make_handler, refusals);
      },
      [end, deps](std::shared_ptr<Link> made, std::function<void()> established) {
        std::shared_ptr<BrokerConversation> conversation = BrokerConversation::Start(
            std::move(made), deps, end->pinned->current(), std::move(established));
        {
          std::lock_guard<std::mutex> lock(end->mutex);
          end->conversation = conversation;
        }
        // Another end may have followed the broker in between, and not have seen this one.
        end->CloseUnlessCurrent();
        return conversation->MakeHandler();
      },
      scheduler, protocol::SystemClock(), crypto::SystemRandom());
  brokers.push_back(std::move(broker));
  return absl::OkStatus();
}

void ShopServer::State::Follow(BrokerEnd& end) {
  if (!FollowBroker(*end.link_stub, *end.pinned).value_or(false)) return;
  for (const std::unique_ptr<BrokerEnd>& broker : brokers) broker->CloseUnlessCurrent();
}

void ShopServer::State::Sweep(int count) {
  for (const std::unique_ptr<BrokerEnd>& broker : brokers) {
    if (const auto conversation = broker->Conversation()) conversation->Sweep();
  }
  sender.Sweep();
  if (count % kSweepsPerReport == 0) {
    payments.ExpireUnconfirmed();
    ReportRefusals();
  }
  scheduler.RunAfter(kSweepMs, [this, count] { Sweep(count + 1); });
}

void ShopServer::State::ReportRefusals() {
  uint64_t total = 0;
  for (const auto& [reason, times] : refusals.Snapshot()) total += times;
  if (total == reported_refusals) return;
  reported_refusals = total;
  using Reason = protocol::RefusalReason;
  const auto count = [this](Reason reason) { return static_cast<int64_t>(refusals.Get(reason)); };
  LogInfo("refusals", {{"bounds", count(Reason::kBounds)},
                       {"malformed", count(Reason::kMalformed)},
                       {"out_of_order", count(Reason::kOutOfOrder)},
                       {"decryption", count(Reason::kDecryption)},
                       {"identity", count(Reason::kIdentity)},
                       {"challenge", count(Reason::kChallenge)},
                       {"key_exchange", count(Reason::kKeyExchange)},
                       {"signature", count(Reason::kSignature)},
                       {"finished", count(Reason::kFinished)},
                       {"expired", count(Reason::kExpired)},
                       {"mac", count(Reason::kMac)},
                       {"sequence", count(Reason::kSequence)},
                       {"seal", count(Reason::kSeal)},
                       {"padding", count(Reason::kPadding)},
                       {"stale", count(Reason::kStale)},
                       {"rate_limited", count(Reason::kRateLimited)},
                       {"unknown_orders", payments.counters().unknown_orders},
                       {"bad_receipts", payments.counters().bad_receipts},
                       {"contradictions", payments.counters().contradictions},
                       {"oversold", payments.counters().oversold}});
}

v1::MerchantStatusReply ShopServer::State::Report() {
  v1::MerchantStatusReply report;
  report.set_name(name);
  report.set_own_fingerprint_hex(crypto::HexEncode(identity.public_identity().fingerprint()));
  for (const std::unique_ptr<BrokerEnd>& broker : brokers) {
    v1::BrokerLinkStatus* status = report.add_brokers();
    status->set_address(broker->address);
    status->set_connected(broker->client->connected());
    const auto lineage = broker->pinned->lineage();
    status->set_fingerprint_hex(crypto::HexEncode(lineage->current().fingerprint()));
    status->set_key_followed_at_ms(lineage->followed_at_ms());
  }
  report.set_open_sessions(static_cast<int64_t>(OpenSessions()));
  report.set_running_deliveries(static_cast<int64_t>(sender.active()));
  return report;
}

absl::Status ShopServer::State::CheckDatabase() {
  return database->Read([](storage::SqliteDatabase& reader) {
    return reader.Prepare("SELECT version FROM catalogue").Step().status();
  });
}

void ShopServer::State::TellHealth() {
  runner->SetServing(readiness.ready());
  scheduler.RunAfter(kHealthMs, [this] { TellHealth(); });
}

size_t ShopServer::State::OpenSessions() const {
  size_t count = 0;
  for (const std::unique_ptr<BrokerEnd>& broker : brokers) {
    if (const auto conversation = broker->Conversation()) count += conversation->sessions().size();
  }
  return count;
}

std::string ShopServer::State::Metrics() {
  MetricPage page;
  AddProcessMetrics(page, "merchant");
  AddReadinessMetrics(page, readiness);
  AddRefusalMetrics(page, refusals);
  shop.calls().AddTo(page, "shop");
  AddPoolMetrics(page, "workers", workers.stats());
  AddPoolMetrics(page, "readers", readers.stats());
  AddPoolMetrics(page, "admin", admin_workers.stats());
  storage::AddCommitMetrics(page, database->stats(), database->waiting());
  int connected = 0;
  for (const std::unique_ptr<BrokerEnd>& broker : brokers) connected += broker->client->connected();
  const int configured = static_cast<int>(brokers.size());
  page.AddGauge("blindcart_merchant_broker_links", "Links to the configured brokers.", connected,
                {{"state", "up"}});
  page.AddGauge("blindcart_merchant_broker_links", "Links to the configured brokers.",
                configured - connected, {{"state", "down"}});
  page.AddGauge("blindcart_merchant_sessions", "Sessions with nameless customers.",
                static_cast<double>(OpenSessions()));
  page.AddGauge("blindcart_merchant_deliveries", "Deliveries that run.",
                static_cast<double>(sender.active()));
  const PaymentCounters& counters = payments.counters();
  const auto anomaly = [&page](MetricText kind, int64_t count) {
    page.AddCounter("blindcart_merchant_payment_anomalies_total",
                    "What a healthy pair of merchant and broker never counts.",
                    static_cast<double>(count), {{"kind", kind}});
  };
  anomaly("unknown_order", counters.unknown_orders);
  anomaly("bad_receipt", counters.bad_receipts);
  anomaly("contradiction", counters.contradictions);
  anomaly("oversold", counters.oversold);
  return page.Text();
}

absl::StatusOr<std::unique_ptr<ShopServer>> ShopServer::Start(const v1::MerchantConfig& config,
                                                              crypto::Identity identity,
                                                              std::vector<LoadedBrokerCard> cards) {
  const DataPaths paths(config.data_dir());
  absl::StatusOr<std::unique_ptr<FolderLock>> lock = FolderLock::Take(config.data_dir());
  if (!lock.ok()) return lock.status();
  absl::StatusOr<std::unique_ptr<ShopDatabase>> database = ShopDatabase::Open(paths.database);
  if (!database.ok()) {
    return absl::Status(database.status().code(),
                        absl::StrCat(paths.database, ": ", database.status().message()));
  }
  absl::StatusOr<std::unique_ptr<catalog::GoodsStore>> goods =
      catalog::GoodsStore::Open(paths.goods_dir);
  if (!goods.ok()) return goods.status();
  std::vector<std::unique_ptr<PinnedBroker>> pinned;
  for (int i = 0; i < config.brokers_size(); ++i) {
    const std::string& card_path = config.brokers(i).card_path();
    std::error_code error;
    const std::string pinned_path = std::filesystem::absolute(card_path, error).lexically_normal();
    absl::StatusOr<std::unique_ptr<PinnedBroker>> broker = PinnedBroker::Open(
        cards[static_cast<size_t>(i)], card_path, protocol::SystemClock(),
        // The database outlives those who follow.
        [database = database->get(), pinned_path](const protocol::IdentityLineage& lineage) {
          return database->PinBroker(pinned_path, lineage.current().fingerprint(),
                                     lineage.Former());
        });
    if (!broker.ok()) return broker.status();
    pinned.push_back(*std::move(broker));
  }
  auto state = std::make_unique<State>(config, std::move(identity), *std::move(lock),
                                       *std::move(database), *std::move(goods), std::move(pinned));
  for (int i = 0; i < config.brokers_size(); ++i) {
    const size_t at = static_cast<size_t>(i);
    for (const std::string& address : AddressesOf(config.brokers(i), cards[at].card)) {
      const absl::Status added = state->AddBroker(address, config.brokers(i).plain_tcp(),
                                                  cards[at].card, state->pinned_brokers[at].get());
      if (!added.ok()) return added;
    }
  }
  ServerRunner::Options options;
  options.listen = {absl::StrCat("unix:", config.admin_socket())};
  options.health_services = {v1::MerchantAdmin::service_full_name()};
  if (config.reflection()) options.plugins = {&MakeReflection};
  absl::StatusOr<std::unique_ptr<ServerRunner>> runner =
      ServerRunner::Start(state->admin_service, options);
  if (!runner.ok()) return runner.status();
  state->runner = *std::move(runner);
  State* const raw = state.get();
  if (!config.metrics_listen().empty()) {
    absl::StatusOr<std::unique_ptr<MetricsServer>> metrics_server = MetricsServer::Start(
        config.metrics_listen(),
        {[raw] { return raw->Metrics(); }, [raw] { return raw->readiness.ready(); }});
    if (!metrics_server.ok()) return metrics_server.status();
    state->metrics_server = *std::move(metrics_server);
  }
  for (const std::unique_ptr<BrokerEnd>& broker : state->brokers) broker->client->Start();
  state->scheduler.RunAfter(kSweepMs, [raw] { raw->Sweep(1); });
  raw->TellHealth();
  return std::unique_ptr<ShopServer>(new ShopServer(std::move(state)));
}

ShopServer::ShopServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

ShopServer::~ShopServer() { Stop(); }

const std::string& ShopServer::socket_path() const { return state_->socket_path; }

std::string ShopServer::metrics_address() const {
  return state_->metrics_server == nullptr ? "" : state_->metrics_server->address();
}

void ShopServer::Drain() {
  State& state = *state_;
  LogInfo("shop.draining");
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(state.drain_timeout_ms);
  state.readiness.StartDraining();
  state.runner->StopServing();
  state.shop.Close();
  // Checkouts need the links; deliveries run beside them.
  const bool answered =
      WaitUntilDrained([&state] { return state.shop.calls().under_way() == 0; }, deadline);
  for (const std::unique_ptr<BrokerEnd>& broker : state.brokers) broker->client->Stop();
  if (answered) WaitUntilDrained([&state] { return state.sender.active() == 0; }, deadline);
  LogInfo("shop.drained", {{"deliveries_left", static_cast<int64_t>(state.sender.active())}});
}

void ShopServer::Stop() {
  State& state = *state_;
  if (state.stopped) return;
  state.stopped = true;
  state.metrics_server.reset();
  state.runner->Shutdown(kShutdownGraceMs);
  state.admin_workers.Shutdown();
  for (const std::unique_ptr<BrokerEnd>& broker : state.brokers) broker->client->Stop();
  state.scheduler.Shutdown();
  state.askers.Shutdown();
  // What was accepted is finished: first what reads, then what it still had to write.
  state.workers.Shutdown();
  state.database->Shutdown();
  state.ReportRefusals();
}

}  // namespace blindcart::merchant
