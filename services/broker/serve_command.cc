#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "crypto/certificate_authority.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "services/broker/authority.h"
#include "services/broker/broker_core.h"
#include "services/broker/broker_identity.h"
#include "services/broker/broker_service.h"
#include "services/broker/commands.h"
#include "services/broker/config.h"
#include "services/broker/goods_reactors.h"
#include "services/broker/time_stamping.h"
#include "services/common/drain.h"
#include "services/common/files.h"
#include "services/common/log.h"
#include "services/common/metrics.h"
#include "services/common/metrics_server.h"
#include "services/common/readiness.h"
#include "services/common/reflection.h"
#include "services/common/scheduler.h"
#include "services/common/secret_input.h"
#include "services/common/service_metrics.h"
#include "services/common/transport.h"

namespace blindcart::broker {
namespace {

using protocol::RefusalReason;

// For what is still there after draining.
constexpr int64_t kMinShutdownGraceMs = 200;
constexpr int64_t kMaxShutdownGraceMs = 2'000;
constexpr int64_t kHealthIntervalMs = 500;
constexpr int64_t kReportIntervalMs = 60'000;
constexpr int kWatchIntervalMs = 200;

struct ServeOptions {
  std::string data_dir;
  std::vector<std::string> listen;
  std::string address_file;
  std::string passphrase_file;
};

// Counts refusals in the log when there were new ones.
class RefusalReport {
 public:
  explicit RefusalReport(const protocol::RefusalCounters& counters) : counters_(counters) {}

  void Write() {
    const auto snapshot = counters_.Snapshot();
    if (snapshot == last_) return;
    last_ = snapshot;
    const auto count = [this](RefusalReason reason) {
      return static_cast<int64_t>(counters_.Get(reason));
    };
    LogInfo("refusals", {{"bounds", count(RefusalReason::kBounds)},
                         {"malformed", count(RefusalReason::kMalformed)},
                         {"out_of_order", count(RefusalReason::kOutOfOrder)},
                         {"decryption", count(RefusalReason::kDecryption)},
                         {"identity", count(RefusalReason::kIdentity)},
                         {"challenge", count(RefusalReason::kChallenge)},
                         {"key_exchange", count(RefusalReason::kKeyExchange)},
                         {"signature", count(RefusalReason::kSignature)},
                         {"finished", count(RefusalReason::kFinished)},
                         {"unknown_peer", count(RefusalReason::kUnknownPeer)},
                         {"unknown_session", count(RefusalReason::kUnknownSession)},
                         {"expired", count(RefusalReason::kExpired)},
                         {"mac", count(RefusalReason::kMac)},
                         {"sequence", count(RefusalReason::kSequence)},
                         {"seal", count(RefusalReason::kSeal)},
                         {"padding", count(RefusalReason::kPadding)},
                         {"stale", count(RefusalReason::kStale)},
                         {"password", count(RefusalReason::kPassword)},
                         {"rate_limited", count(RefusalReason::kRateLimited)}});
  }

 private:
  const protocol::RefusalCounters& counters_;
  std::vector<std::pair<std::string, uint64_t>> last_;
};

// Says through the health service how the broker is, and writes the report, for as long as the scheduler
// runs. Nothing here may wait for the database, which would be bad news that comes late.
class Housekeeping {
 public:
  Housekeeping(BrokerCore& broker, const Readiness& readiness, ServerRunner& server,
               Scheduler& scheduler)
      : readiness_(readiness), server_(server), scheduler_(scheduler), report_(broker.counters()) {}

  void Start() {
    scheduler_.RunAfter(kHealthIntervalMs, [this] { Tick(); });
  }
  void WriteReport() { report_.Write(); }

 private:
  void Tick() {
    server_.SetServing(readiness_.ready());
    since_report_ms_ += kHealthIntervalMs;
    if (since_report_ms_ >= kReportIntervalMs) {
      since_report_ms_ = 0;
      report_.Write();
    }
    Start();
  }

  const Readiness& readiness_;
  ServerRunner& server_;
  Scheduler& scheduler_;
  RefusalReport report_;
  int64_t since_report_ms_ = 0;
};

// Does something again and again, with pauses of `pause_ms` that may differ, until its shutdown: on a
// thread of its own, since it waits for the database.
class Chore {
 public:
  Chore(std::function<int64_t()> pause_ms, std::function<void()> work)
      : pause_ms_(std::move(pause_ms)), work_(std::move(work)) {
    Plan();
  }
  void Shutdown() { scheduler_.Shutdown(); }

 private:
  void Plan() {
    scheduler_.RunAfter(pause_ms_(), [this] {
      work_();
      Plan();
    });
  }

  const std::function<int64_t()> pause_ms_;
  const std::function<void()> work_;
  ThreadScheduler scheduler_;
};

// From three to five quarters of `interval_ms`: not all brokers of a market look at the same moment.
int64_t SomewhatRandom(int64_t interval_ms) {
  uint16_t chance = 0;
  const std::string bytes = crypto::SystemRandom().Bytes(sizeof chance);
  std::memcpy(&chance, bytes.data(), sizeof chance);
  return interval_ms * 3 / 4 + interval_ms * chance / (2 * 65'536);
}

absl::StatusOr<ServerRunner::Options> ServerOptions(const v1::BrokerConfig& config) {
  ServerRunner::Options options;
  options.listen.assign(config.listen().begin(), config.listen().end());
  options.plain_tcp_on_loopback = config.allow_plain_tcp_on_loopback();
  options.health_services = {v1::Broker::service_full_name()};
  if (config.reflection()) options.plugins = {&MakeReflection};
  const DataPaths paths(config.data_dir());
  absl::StatusOr<std::string> certificate = ReadFile(paths.tls_certificate);
  if (!certificate.ok()) return certificate.status();
  absl::StatusOr<std::string> key = ReadFile(paths.tls_key);
  if (!key.ok()) return key.status();
  options.tls.certificate_pem = *std::move(certificate);
  options.tls.private_key_pem = *std::move(key);
  return options;
}

absl::Status AnnounceReady(const std::vector<std::string>& addresses,
                           const std::string& address_file) {
  if (!address_file.empty()) {
    const absl::Status written =
        WriteFileAtomically(address_file, absl::StrCat(absl::StrJoin(addresses, "\n"), "\n"), 0644,
                            /*replace=*/true);
    if (!written.ok()) return written;
  }
  for (const std::string& address : addresses) std::cout << "ready address=" << address << "\n";
  std::cout << std::flush;
  return absl::OkStatus();
}

struct Keys {
  crypto::Identity identity;
  protocol::IdentityLineage lineage;
  crypto::CertificateAuthority authority;
  crypto::TimeStampResponder time_stamps;
};

absl::StatusOr<Keys> LoadKeys(const v1::BrokerConfig& config, storage::Store& store,
                              const std::string& passphrase_file) {
  const absl::StatusOr<crypto::SecretBytes> pass_phrase =
      ReadSecret({"pass phrase of the broker's keys", passphrase_file, "--passphrase-file",
                  kPassphraseEnvironment, /*confirm=*/false});
  if (!pass_phrase.ok()) return pass_phrase.status();
  const DataPaths paths(config.data_dir());
  absl::StatusOr<BrokerIdentity> own = LoadBrokerIdentity(paths, store, pass_phrase->view());
  if (!own.ok()) return own.status();
  absl::StatusOr<crypto::CertificateAuthority> authority =
      LoadAuthority(paths, own->identity.public_identity(), pass_phrase->view(), absl::Now(),
                    crypto::SystemRandom());
  if (!authority.ok()) return authority.status();
  absl::StatusOr<crypto::TimeStampResponder> time_stamps =
      LoadTimeStamping(paths, *authority, pass_phrase->view(), absl::Now(), crypto::SystemRandom());
  if (!time_stamps.ok()) return time_stamps.status();
  return Keys{std::move(own->identity), std::move(own->lineage), *std::move(authority),
              *std::move(time_stamps)};
}

absl::Status CheckReach(storage::Store& store) {
  return store.Read([](storage::Transaction& transaction) {
    return transaction.meta().Get(kDecoyIdentityMetaKey).status();
  });
}

// Null when no port is wanted.
absl::StatusOr<std::unique_ptr<MetricsServer>> ServeMetrics(const std::string& listen,
                                                            const BrokerCore& broker,
                                                            const Readiness& readiness) {
  if (listen.empty()) return std::unique_ptr<MetricsServer>();
  MetricsServer::Pages pages;
  pages.metrics = [&broker, &readiness] {
    MetricPage page;
    AddProcessMetrics(page, "broker");
    AddReadinessMetrics(page, readiness);
    broker.AddMetrics(page);
    return page.Text();
  };
  pages.ready = [&readiness] { return readiness.ready(); };
  absl::StatusOr<std::unique_ptr<MetricsServer>> server =
      MetricsServer::Start(listen, std::move(pages));
  if (server.ok()) std::cout << "metrics address=" << (*server)->address() << std::endl;
  return server;
}

// Lets everything under way come to its end, within the configured time.
void Drain(const v1::BrokerConfig& config, BrokerCore& broker, Readiness& readiness,
           ServerRunner& server) {
  using Clock = std::chrono::steady_clock;
  LogInfo("broker.draining");
  const Clock::time_point began = Clock::now();
  const Clock::time_point deadline = began + std::chrono::milliseconds(config.drain_timeout_ms());
  readiness.StartDraining();
  server.StopServing();
  WaitUntilDrained([&broker] { return broker.Drain(); }, deadline);
  const auto milliseconds = [](Clock::duration duration) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  };
  LogInfo("broker.drained",
          {{"took_ms", milliseconds(Clock::now() - began)},
           {"customers_left",
            static_cast<int64_t>(broker.sessions().count(SessionTable::Kind::kCustomer))},
           {"merchants_left",
            static_cast<int64_t>(broker.sessions().count(SessionTable::Kind::kMerchant))},
           {"deliveries_left", static_cast<int64_t>(broker.goods().moving_count())}});
  broker.CloseLinks();
  server.Shutdown(static_cast<int>(std::clamp<int64_t>(milliseconds(deadline - Clock::now()),
                                                       kMinShutdownGraceMs, kMaxShutdownGraceMs)));
}

absl::Status Serve(const ServeOptions& options) {
  absl::StatusOr<OpenedBroker> opened = OpenBroker(options.data_dir);
  if (!opened.ok()) return opened.status();
  v1::BrokerConfig& config = opened->config;
  if (!options.listen.empty()) {
    config.clear_listen();
    for (const std::string& address : options.listen) config.add_listen(address);
    const absl::Status complete = CompleteConfig(&config);
    if (!complete.ok()) return complete;
  }
  absl::Status status = InitLog("broker", config.log_level());
  if (!status.ok()) return status;
  const absl::StatusOr<ServerRunner::Options> server = ServerOptions(config);
  if (!server.ok()) return server.status();
  const absl::StatusOr<Keys> keys = LoadKeys(config, *opened->store, options.passphrase_file);
  if (!keys.ok()) return keys.status();

  // Only now, so that Ctrl-C works at the prompt; and before the first thread.
  BlockTerminationSignals();
  // gRPC's own messages name the addresses of peers.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  Signers signers;
  signers.authority = &keys->authority;
  signers.time_stamps = &keys->time_stamps;
  absl::StatusOr<std::unique_ptr<BrokerCore>> broker =
      BrokerCore::Create(config, keys->identity, *opened->store, protocol::SystemClock(),
                         crypto::SystemRandom(), crypto::Argon2Cost(), signers);
  if (!broker.ok()) return broker.status();
  GoodsDoor::Options door_options;
  door_options.header_timeout_ms = config.limits().handshake_timeout_ms();
  GoodsDoor goods(door_options, (*broker)->goods(), (*broker)->counters(), protocol::SystemClock());
  BrokerService service(**broker, goods, keys->lineage, config.behind_proxy());
  absl::StatusOr<std::unique_ptr<ServerRunner>> runner = ServerRunner::Start(service, *server);
  if (!runner.ok()) return runner.status();
  Readiness readiness([&opened] { return CheckReach(*opened->store); }, protocol::SystemClock());
  const absl::StatusOr<std::unique_ptr<MetricsServer>> metrics =
      ServeMetrics(config.metrics_listen(), **broker, readiness);
  if (!metrics.ok()) return metrics.status();
  // Not before all doors are open: other brokers end for it.
  status = NoteServed(*opened->store, keys->lineage);
  if (!status.ok()) return status;
  ThreadScheduler scheduler;
  Housekeeping housekeeping(**broker, readiness, **runner, scheduler);
  housekeeping.Start();
  Chore sweeping([] { return BrokerCore::kSweepIntervalMs; },
                 [&] {
                   (*broker)->Sweep();
                   goods.Sweep();
                 });
  // For what other brokers leave in the store.
  std::atomic<bool> replaced{false};
  Chore polling([&] { return SomewhatRandom(config.limits().poll_interval_ms()); },
                [&] {
                  (*broker)->Poll();
                  // A database that does not answer is asked again.
                  if (IsReplaced(*opened->store, keys->lineage.current()).value_or(false)) {
                    replaced = true;
                  }
                });
  status = AnnounceReady((*runner)->addresses(), options.address_file);
  if (status.ok()) {
    LogInfo("broker.ready", {{"addresses", static_cast<int64_t>((*runner)->addresses().size())}});
    while (!replaced && !WaitForTerminationSignal(kWatchIntervalMs)) {
    }
    if (replaced) {
      LogWarning("broker.identity_replaced");
      status = absl::FailedPreconditionError(
          "another broker of this market serves with the changed key, so this one, which still had "
          "the one before, has ended. Start it again, with identity/ and broker.card of the other "
          "one");
    }
  }

  Drain(config, **broker, readiness, **runner);
  scheduler.Shutdown();
  sweeping.Shutdown();
  polling.Shutdown();
  housekeeping.WriteReport();
  return status;
}

}  // namespace

void AddServeCommand(CLI::App& app, Run* run) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = app.add_subcommand("serve", "Serve customers and merchants until stopped");
  AddDataDirFlag(*command, &options->data_dir);
  command->add_option("--listen", options->listen,
                      "Instead of the configured addresses; may be repeated");
  command->add_option("--address-file", options->address_file,
                      "Write the addresses in use here, one a line, once ready");
  command->add_option("--passphrase-file", options->passphrase_file,
                      "Pass phrase of the keys [$BLINDCART_PASSPHRASE, else asked for]");
  command->footer(
      "Prints \"ready address=ADDRESS\" for each address (and before it \"metrics "
      "address=ADDRESS\"\n"
      "if that port is wanted). On SIGTERM or Ctrl-C it takes nothing new, finishes what is under\n"
      "way, for drain_timeout_ms at most, and ends; after a second one it waits for nothing.\n"
      "Examples:\n"
      "  broker serve\n"
      "  broker serve --data-dir /srv/broker --listen 127.0.0.1:0 --address-file /run/broker.addr");
  command->callback([options, run] { *run = [options] { return Serve(*options); }; });
}

}  // namespace blindcart::broker
