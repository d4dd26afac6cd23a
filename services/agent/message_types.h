// Messages and contacts as the agent keeps and shows them. Values; ids are the agent's own rows and
// mean nothing outside its database.
#ifndef BLINDCART_SERVICES_AGENT_MESSAGE_TYPES_H_
#define BLINDCART_SERVICES_AGENT_MESSAGE_TYPES_H_

#include <cstdint>
#include <string>

namespace blindcart::agent {

enum class MessageKind {
  kText = 1,
  kFile = 2,
  kNotice = 3,      // Written by this agent itself about the contact; never travelled.
  kUnreadable = 4,  // Tells the contact's agent what could not be read; not shown to people.
};

// Stored as these numbers: they never change.
enum class MessageState {
  kReceived = 1,
  kQueued = 2,       // Outgoing; the broker has not confirmed that it stored it.
  kSent = 3,         // The broker stored it for the recipient.
  kUndelivered = 4,  // The recipient's agent could not read it.
  kNoRecipient = 5,  // No such user, or one who has published no keys; not sent.
  kMailboxFull = 6,  // The recipient's mailbox is full; not sent.
  kRefused = 7,      // Not sent: the recipient's identity changed, or its keys are not authentic.
};

struct MessageRecord {
  int64_t id = 0;
  std::string contact;  // Username of the other one.
  bool outgoing = false;
  std::string message_id;  // 16 bytes.
  MessageKind kind = MessageKind::kText;
  MessageState state = MessageState::kReceived;
  std::string body;          // Text, a file's content, or a notice's words; cut in lists.
  std::string file_name;     // Of a file: as the sender wrote it, to be cleaned before any use.
  int64_t size_bytes = 0;    // Of the whole body.
  std::string reply_to;      // message_id of what this answers, or empty.
  int64_t sent_at_ms = 0;    // By the sender's clock.
  int64_t stored_at_ms = 0;  // When it came into this database.
  bool read = false;
  bool first_contact = false;     // The contact's identity was pinned when this came.
  bool contact_verified = false;  // Its safety number has been compared by now.
};

struct ContactRecord {
  std::string username;
  // Of the pinned identity, 32 bytes; empty for a blocked user who is no contact.
  std::string fingerprint;
  bool verified = false;  // The safety number was compared.
  int64_t first_seen_ms = 0;
  bool by_mail = false;  // Pinned because mail came; the user has done nothing for it.
  // Of the identity that showed up in place of the pinned one and waits for the user's decision;
  // empty when none does.
  std::string offered_fingerprint;
  std::string safety_number;          // With the pinned identity.
  std::string offered_safety_number;  // With the offered one, or empty.
  bool blocked = false;               // Its mail is dropped unseen; so much was:
  int64_t dropped_messages = 0;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_MESSAGE_TYPES_H_
