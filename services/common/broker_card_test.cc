#include "services/common/broker_card.h"

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "services/common/files.h"

namespace blindcart {
namespace {

v1::BrokerCard Card(int index) {
  const crypto::PublicIdentity& identity = crypto::TestIdentity(index).public_identity();
  v1::BrokerCard card;
  card.set_address("localhost:7443");
  card.set_identity_pem(identity.ToPem());
  card.set_tls_root_pem("root");
  card.set_fingerprint_hex(crypto::HexEncode(identity.fingerprint()));
  return card;
}

std::string Written(const v1::BrokerCard& card) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/broker.card");
  EXPECT_TRUE(WriteFileAtomically(path, ToTextProto(card), 0644, true).ok());
  return path;
}

TEST(BrokerCardTest, LoadsWhatAnOperatorHandsOut) {
  const absl::StatusOr<LoadedBrokerCard> loaded = LoadBrokerCard(Written(Card(0)));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->card.address(), "localhost:7443");
  EXPECT_EQ(loaded->identity.Serialize(), crypto::TestIdentity(0).public_identity().Serialize());
}

TEST(BrokerCardTest, RefusesAnotherIdentityUnderTheOldFingerprint) {
  v1::BrokerCard card = Card(0);
  card.set_identity_pem(Card(1).identity_pem());
  const absl::Status status = LoadBrokerCard(Written(card)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("altered"), absl::string_view::npos);
}

TEST(BrokerCardTest, RefusesWhatIsNoCard) {
  EXPECT_EQ(LoadBrokerCard(::testing::TempDir() + "/missing").status().code(),
            absl::StatusCode::kNotFound);
  v1::BrokerCard card = Card(0);
  card.clear_fingerprint_hex();
  EXPECT_EQ(LoadBrokerCard(Written(card)).status().code(), absl::StatusCode::kInvalidArgument);
  card = Card(0);
  card.set_identity_pem("nonsense");
  EXPECT_EQ(LoadBrokerCard(Written(card)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BrokerCardTest, NamesEveryAddressOfTheMarket) {
  v1::BrokerCard card = Card(0);
  v1::BrokerContact contact;
  contact.set_address("localhost:7443");
  EXPECT_EQ(AddressesOf(contact, card), std::vector<std::string>{"localhost:7443"});
  card.add_further_addresses("two.example:1");
  card.add_further_addresses("localhost:7443");
  card.add_further_addresses("three.example:1");
  ASSERT_TRUE(LoadBrokerCard(Written(card)).ok());
  EXPECT_EQ(AddressesOf(card),
            (std::vector<std::string>{"localhost:7443", "two.example:1", "three.example:1"}));
  contact.set_address("three.example:1");
  EXPECT_EQ(AddressesOf(contact, card),
            (std::vector<std::string>{"three.example:1", "localhost:7443", "two.example:1"}));
  // Through a tunnel, say.
  contact.set_address("localhost:9000");
  EXPECT_EQ(AddressesOf(contact, card), std::vector<std::string>{"localhost:9000"});
  for (int i = 0; i < 20; ++i) card.add_further_addresses(absl::StrCat("host", i, ":1"));
  EXPECT_EQ(LoadBrokerCard(Written(card)).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blindcart
