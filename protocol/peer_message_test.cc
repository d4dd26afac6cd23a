#include "protocol/peer_message.h"

#include <functional>
#include <string>

#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "proto/peer.pb.h"
#include "protocol/testing/flip_bit.h"

namespace blindcart::protocol {
namespace {

using crypto::TestIdentity;
using v1::PeerMessage;

const std::string kId(kPeerIdBytes, 'i');
const std::string kHash(32, 'h');

PeerMessage Text(const std::string& text) {
  PeerMessage message;
  message.mutable_text()->set_message_id(kId);
  message.mutable_text()->set_text(text);
  return message;
}

PeerMessage Offer() {
  PeerMessage message;
  message.mutable_file_offer()->set_transfer_id(kId);
  message.mutable_file_offer()->set_name("letter.txt");
  message.mutable_file_offer()->set_size_bytes(12);
  message.mutable_file_offer()->set_sha256(kHash);
  return message;
}

PeerMessage Piece() {
  PeerMessage message;
  message.mutable_file_piece()->set_transfer_id(kId);
  message.mutable_file_piece()->set_offset_bytes(kPeerPieceBytes);
  message.mutable_file_piece()->set_content(std::string(kPeerPieceBytes, 'c'));
  return message;
}

PeerMessage End() {
  PeerMessage message;
  message.mutable_file_end()->set_transfer_id(kId);
  message.mutable_file_end()->set_sha256(kHash);
  message.mutable_file_end()->set_signature(std::string(64, 's'));
  return message;
}

bool Parses(const PeerMessage& message) {
  return ParsePeerMessage(message.SerializeAsString()).ok();
}

TEST(PeerMessageTest, TakesEveryKind) {
  for (const PeerMessage& message : {Text("two\nlines"), Offer(), Piece(), End()}) {
    const auto parsed = ParsePeerMessage(message.SerializeAsString());
    ASSERT_TRUE(parsed.ok()) << message.ShortDebugString();
    EXPECT_EQ(parsed->SerializeAsString(), message.SerializeAsString());
  }
  PeerMessage message;
  message.mutable_bye();
  EXPECT_TRUE(Parses(message));
  message.mutable_text_received()->set_message_id(kId);
  EXPECT_TRUE(Parses(message));
  message.mutable_file_received()->set_transfer_id(kId);
  EXPECT_TRUE(Parses(message));
  message.mutable_file_stopped()->set_transfer_id(kId);
  EXPECT_TRUE(Parses(message));
  message.mutable_file_answer()->set_transfer_id(kId);
  message.mutable_file_answer()->set_verdict(v1::PEER_FILE_VERDICT_ACCEPTED);
  EXPECT_TRUE(Parses(message));
  message.mutable_file_result()->set_transfer_id(kId);
  message.mutable_file_result()->set_verdict(v1::PEER_FILE_VERDICT_DAMAGED);
  EXPECT_TRUE(Parses(message));
}

TEST(PeerMessageTest, RefusesWhatIsOutOfBounds) {
  EXPECT_FALSE(ParsePeerMessage("").ok());
  EXPECT_FALSE(Parses(Text("")));
  EXPECT_FALSE(Parses(Text(std::string(kMaxPeerTextBytes + 1, 'x'))));
  EXPECT_TRUE(Parses(Text(std::string(kMaxPeerTextBytes, 'x'))));
  EXPECT_FALSE(Parses(Text("\x1b[2J")));
  EXPECT_FALSE(
      Parses(Text("a\xe2\x80\xae"
                  "b")))
      << "a bidirectional override";
  const std::function<void(v1::PeerFileOffer*)> offers[] = {
      [](v1::PeerFileOffer* offer) { offer->set_transfer_id("short"); },
      [](v1::PeerFileOffer* offer) { offer->clear_name(); },
      [](v1::PeerFileOffer* offer) { offer->set_name(std::string(256, 'n')); },
      [](v1::PeerFileOffer* offer) { offer->set_name("two\nlines"); },
      [](v1::PeerFileOffer* offer) { offer->set_size_bytes(kMaxPeerFileBytes + 1); },
      [](v1::PeerFileOffer* offer) { offer->set_sha256("short"); },
  };
  for (const auto& change : offers) {
    PeerMessage message = Offer();
    change(message.mutable_file_offer());
    EXPECT_FALSE(Parses(message)) << message.ShortDebugString();
  }
  PeerMessage piece = Piece();
  piece.mutable_file_piece()->mutable_content()->push_back('c');
  EXPECT_FALSE(Parses(piece));
  piece.mutable_file_piece()->clear_content();
  EXPECT_FALSE(Parses(piece));
  PeerMessage end = End();
  end.mutable_file_end()->set_signature("short");
  EXPECT_FALSE(Parses(end));
  PeerMessage answer;
  answer.mutable_file_answer()->set_transfer_id(kId);
  EXPECT_FALSE(Parses(answer)) << "no verdict";
  answer.mutable_file_answer()->set_verdict(static_cast<v1::PeerFileVerdict>(77));
  EXPECT_FALSE(Parses(answer));
}

TEST(PeerMessageTest, RefusesWhatOurWriterWouldNotWrite) {
  const std::string text = Text("once").SerializeAsString();
  EXPECT_FALSE(ParsePeerMessage(text + text).ok()) << "a field that stands twice";
  EXPECT_FALSE(ParsePeerMessage(text + std::string("\xf8\x07\x01", 3)).ok()) << "an unknown field";
  EXPECT_FALSE(ParsePeerMessage(text.substr(0, text.size() - 1)).ok());
}

TEST(PeerMessageTest, PiecesCoverAFile) {
  EXPECT_EQ(PeerPieceBytesAt(0, 0), 0u);
  EXPECT_EQ(PeerPieceBytesAt(0, 1), 1u);
  EXPECT_EQ(PeerPieceBytesAt(0, kPeerPieceBytes), kPeerPieceBytes);
  EXPECT_EQ(PeerPieceBytesAt(kPeerPieceBytes, kPeerPieceBytes + 5), 5u);
  EXPECT_EQ(PeerPieceBytesAt(kPeerPieceBytes + 5, kPeerPieceBytes + 5), 0u);
}

TEST(PeerMessageTest, ASignatureStandsForOneFileFromOneToAnother) {
  const crypto::Identity& sender = TestIdentity(0);
  const std::string& receiver = TestIdentity(1).public_identity().fingerprint();
  const PeerFile file{"letter.txt", 12, kHash};
  const std::string signature = SignPeerFile(sender, receiver, file);
  const auto verify = [&](const PeerFile& claimed, const std::string& to, const std::string& by) {
    return VerifyPeerFile(sender.public_identity(), to, claimed, by).ok();
  };
  EXPECT_TRUE(verify(file, receiver, signature));
  EXPECT_FALSE(verify({"letter.txt2", 12, kHash}, receiver, signature));
  EXPECT_FALSE(verify({"letter.txt", 13, kHash}, receiver, signature));
  EXPECT_FALSE(verify({"letter.txt", 12, std::string(32, 'j')}, receiver, signature));
  EXPECT_FALSE(verify(file, sender.public_identity().fingerprint(), signature));
  EXPECT_FALSE(VerifyPeerFile(TestIdentity(1).public_identity(), receiver, file, signature).ok());
  for (size_t at = 0; at < signature.size(); ++at) {
    std::string flipped = signature;
    FlipBit(flipped, at);
    EXPECT_FALSE(verify(file, receiver, flipped)) << at;
  }
}

}  // namespace
}  // namespace blindcart::protocol
