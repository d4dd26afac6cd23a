#include "services/agent/serve_command.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <ostream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/certificate.h"
#include "crypto/identity.h"
#include "crypto/key_file.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"
#include "protocol/clock.h"
#include "protocol/refusal.h"
#include "services/agent/agent.h"
#include "services/agent/agent_database.h"
#include "services/agent/agent_service.h"
#include "services/agent/bank_service.h"
#include "services/agent/broker_mail_transport.h"
#include "services/agent/certificate_keeper.h"
#include "services/agent/certificate_store.h"
#include "services/agent/certificates.h"
#include "services/agent/certificates_service.h"
#include "services/agent/config.h"
#include "services/agent/explain_service.h"
#include "services/agent/grpc_goods_stream.h"
#include "services/agent/mail_receiver.h"
#include "services/agent/messages_service.h"
#include "services/agent/messenger.h"
#include "services/agent/narrator.h"
#include "services/agent/notarizer.h"
#include "services/agent/notary_service.h"
#include "services/agent/peer_part.h"
#include "services/agent/purchase_stamps.h"
#include "services/common/broker_card.h"
#include "services/common/files.h"
#include "services/common/follow_broker.h"
#include "services/common/grpc_link.h"
#include "services/common/log.h"
#include "services/common/pinned_broker.h"
#include "services/common/scheduler.h"
#include "services/common/secret_input.h"
#include "services/common/transport.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {
namespace {

constexpr size_t kCallWorkers = 8;
constexpr size_t kMaxWaitingCalls = 64;
constexpr size_t kDownloadWorkers = 4;
constexpr size_t kMaxWaitingDownloads = 16;
constexpr int kGraceMs = 2'000;

// How long a channel that has just failed may take to come up before a login over it is tried.
constexpr int kReconnectMs = 1'500;

// To the broker at one address.
struct BrokerStubs {
  std::shared_ptr<grpc::Channel> link_channel;
  std::unique_ptr<v1::Broker::Stub> link;
  std::unique_ptr<v1::Broker::Stub> goods;  // On a connection of its own.
};

absl::StatusOr<BrokerStubs> Dial(const std::string& address, const v1::BrokerContact& broker,
                                 const v1::BrokerCard& card) {
  const absl::StatusOr<std::shared_ptr<grpc::Channel>> link =
      DialBroker(address, card.tls_root_pem(), broker.plain_tcp(), "link");
  if (!link.ok()) return link.status();
  const absl::StatusOr<std::shared_ptr<grpc::Channel>> goods =
      DialBroker(address, card.tls_root_pem(), broker.plain_tcp(), "goods");
  if (!goods.ok()) return goods.status();
  return BrokerStubs{*link, v1::Broker::NewStub(*link), v1::Broker::NewStub(*goods)};
}

absl::StatusOr<std::vector<BrokerStubs>> DialAll(const std::vector<std::string>& addresses,
                                                 const v1::BrokerContact& broker,
                                                 const v1::BrokerCard& card) {
  std::vector<BrokerStubs> all;
  for (const std::string& address : addresses) {
    absl::StatusOr<BrokerStubs> stubs = Dial(address, broker, card);
    if (!stubs.ok()) return stubs.status();
    all.push_back(*std::move(stubs));
  }
  return all;
}

// A channel that failed waits by itself before it tries again, and fails every call meanwhile. When
// to try is the session's to say, so a dial makes it try now.
void Reconnect(grpc::Channel& channel) {
  if (channel.GetState(/*try_to_connect=*/true) != GRPC_CHANNEL_TRANSIENT_FAILURE) return;
  grpc::experimental::ChannelResetConnectionBackoff(&channel);
  channel.WaitForConnected(std::chrono::system_clock::now() +
                           std::chrono::milliseconds(kReconnectMs));
}

// Links count into it until their streams have ended, which may be after the agent has.
protocol::RefusalCounters& Counters() {
  static auto* const counters = new protocol::RefusalCounters();
  return *counters;
}

// A card of before there were authorities names none.
absl::Status PinAuthorityOf(const v1::BrokerCard& card, CertificateStore& store) {
  if (card.ca_certificate_pem().empty()) return absl::OkStatus();
  const absl::StatusOr<crypto::Certificate> authority =
      crypto::Certificate::ParsePem(card.ca_certificate_pem());
  if (!authority.ok()) {
    return absl::InvalidArgumentError(
        "the broker's card was altered: its certificate authority is none. Ask the broker's "
        "operator for a new card");
  }
  return store.PinAuthority(*authority);
}

}  // namespace

absl::Status ServeAgent(const ServeOptions& options, std::ostream& out) {
  const absl::StatusOr<v1::AgentConfig> config = LoadConfig(options.data_dir);
  if (!config.ok()) return config.status();
  absl::Status status = InitLog("agent", config->log_level());
  if (!status.ok()) return status;
  const DataPaths paths(config->data_dir());
  const absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(config->broker().card_path());
  if (!card.ok()) return card.status();
  const absl::StatusOr<crypto::SecretBytes> pass_phrase = ReadSecret(
      {"pass phrase", options.passphrase_file, "--passphrase-file", kPassphraseEnvironment, false});
  if (!pass_phrase.ok()) return pass_phrase.status();
  const absl::StatusOr<crypto::Identity> identity =
      crypto::LoadIdentity(paths.identity_dir, pass_phrase->view());
  if (!identity.ok()) return identity.status();
  const absl::StatusOr<std::unique_ptr<AgentDatabase>> database =
      AgentDatabase::Open(paths.database);
  if (!database.ok()) return database.status();
  const absl::StatusOr<std::unique_ptr<PinnedBroker>> pinned = PinnedBroker::Open(
      *card, config->broker().card_path(), protocol::SystemClock(),
      [&database](const protocol::IdentityLineage& lineage) {
        return (*database)->PinBroker(lineage.current().fingerprint(), lineage.Former());
      });
  if (!pinned.ok()) return pinned.status();
  if (status.ok()) status = MakePrivateDirectory(config->purchases_dir());
  if (!status.ok()) return status;
  const std::vector<std::string> addresses = AddressesOf(config->broker(), card->card);
  const absl::StatusOr<std::vector<BrokerStubs>> stubs =
      DialAll(addresses, config->broker(), card->card);
  if (!stubs.ok()) return stubs.status();

  ThreadScheduler scheduler;
  WorkerPool calls(kCallWorkers, kMaxWaitingCalls);
  WorkerPool downloads(kDownloadWorkers, kMaxWaitingDownloads);

  const auto peer = std::make_shared<BrokerPeer>();
  peer->customer = &*identity;
  peer->broker = pinned->get();
  peer->random = &crypto::SystemRandom();
  peer->clock = &protocol::SystemClock();
  peer->addresses = addresses.size();
  peer->follow = [&stubs, &pinned](size_t address) -> absl::Status {
    const BrokerStubs& broker = stubs->at(address);
    Reconnect(*broker.link_channel);
    const absl::StatusOr<bool> followed = FollowBroker(*broker.link, **pinned);
    if (followed.ok() && *followed) {
      Narration().Say("login",
                      "the broker has a new key, announced under the one pinned here: pinned");
    }
    return followed.status();
  };
  peer->dial = [&stubs](
                   size_t address,
                   const MakeLinkHandler& make_handler) -> absl::StatusOr<std::shared_ptr<Link>> {
    const BrokerStubs& broker = stubs->at(address);
    Reconnect(*broker.link_channel);
    return DialGrpcLink(*broker.link, LinkKind::kCustomer, make_handler, Counters());
  };
  Agent::Dependencies dependencies;
  dependencies.peer = peer;
  dependencies.database = database->get();
  dependencies.scheduler = &scheduler;
  dependencies.executor = &calls;
  dependencies.fetch = [&stubs](size_t address, const std::string& delivery_id) {
    return FetchGrpcGoods(*stubs->at(address).goods, delivery_id);
  };
  dependencies.purchases_dir = config->purchases_dir();
  dependencies.broker_addresses = addresses;
  Agent agent(dependencies, Agent::Options());
  AgentService service(agent, calls, downloads);
  ExplainService explain(Narration());
  BankService bank(agent.bank(), calls, downloads);
  BrokerMailTransport mail(agent.broker());
  Messenger::Dependencies messaging;
  messaging.identity = &*identity;
  messaging.transport = &mail;
  messaging.database = database->get();
  messaging.random = peer->random;
  messaging.clock = peer->clock;
  Messenger messenger(messaging);
  const std::shared_ptr<MailReceiver> receiver = MailReceiver::Start(agent.broker(), messenger);
  MessagesService messages(messenger, *receiver, calls);
  Notarizer notarizer({&agent.broker(), card->card.ca_certificate_pem(), &crypto::SystemRandom(),
                       &protocol::SystemClock()});
  PurchaseStamps stamps(
      {&agent.purchases(), &notarizer, &crypto::SystemRandom(), config->purchases_dir()});
  NotaryService notary(notarizer, stamps, calls);

  CertificateStore certificate_store(**database, *peer->clock);
  status = PinAuthorityOf(card->card, certificate_store);
  if (!status.ok()) return status;
  Certificates certificates(agent.broker(), certificate_store, *identity, *peer->clock);
  const std::shared_ptr<CertificateKeeper> keeper = CertificateKeeper::Start(
      agent.broker(), certificates, *peer->clock, CertificateKeeper::Options());
  CertificatesService certificates_service(certificates, *keeper, *peer->clock, calls);
  PeerPart peers({&*identity,
                  database->get(),
                  &agent.broker(),
                  &certificates,
                  &scheduler,
                  paths.received_dir,
                  {static_cast<uint64_t>(config->received_per_user_bytes()),
                   static_cast<uint64_t>(config->received_total_bytes())}});

  const std::string socket = options.socket.empty() ? config->socket() : options.socket;
  ServerRunner::Options server_options;
  server_options.listen = {absl::StrCat("unix:", socket)};
  server_options.max_message_bytes = kMaxLocalMessageBytes;
  const std::vector<grpc::Service*> services = {
      &service, &explain, &bank, &messages, &notary, &certificates_service, peers.service()};
  const absl::StatusOr<std::unique_ptr<ServerRunner>> server =
      ServerRunner::Start(services, server_options);
  if (!server.ok()) return server.status();
  out << "ready socket=" << socket << std::endl;
  LogInfo("agent.ready");

  WaitForTerminationSignal();
  LogInfo("agent.stopping");
  // First what workers wait for, then the calls that wait for workers, then the workers.
  agent.Shutdown();
  receiver->Shutdown();
  keeper->Shutdown();
  peers.Shutdown();
  scheduler.Shutdown();
  (*server)->Shutdown(kGraceMs);
  peers.StopWorkers();
  downloads.Shutdown();
  calls.Shutdown();
  return absl::OkStatus();
}

}  // namespace blindcart::agent
