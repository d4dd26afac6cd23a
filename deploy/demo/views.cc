#include "deploy/demo/views.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "google/protobuf/message.h"
#include "proto/broker.pb.h"
#include "proto/customer.pb.h"
#include "proto/merchant.pb.h"

namespace blindcart::demo {
namespace {

using testing::Leg;
using testing::Recorded;

// The name of the field that is set in `message`'s only oneof.
std::string KindOf(const google::protobuf::Message& message) {
  const auto* oneof = message.GetDescriptor()->oneof_decl(0);
  const auto* field = message.GetReflection()->GetOneofFieldDescriptor(message, oneof);
  return field == nullptr ? "?" : field->name();
}

template <typename Message>
std::string KindIn(const std::string& bytes) {
  Message message;
  return message.ParseFromString(bytes) ? KindOf(message) : "?";
}

std::string Describe(const Recorded& recorded) {
  switch (recorded.leg) {
    case Leg::kFromCustomer:
      return absl::StrCat("customer -> broker    ", KindIn<v1::CustomerMessage>(recorded.bytes));
    case Leg::kToCustomer:
      return absl::StrCat("broker   -> customer  ", KindIn<v1::BrokerToCustomer>(recorded.bytes));
    case Leg::kFromMerchant:
      return absl::StrCat("merchant -> broker    ", KindIn<v1::MerchantToBroker>(recorded.bytes));
    case Leg::kToMerchant:
      return absl::StrCat("broker   -> merchant  ", KindIn<v1::BrokerToMerchant>(recorded.bytes));
    case Leg::kGoods:
      return absl::StrCat("goods, merchant -> customer  ",
                          KindIn<v1::GoodsMessage>(recorded.bytes));
  }
  return "?";
}

}  // namespace

std::string SideBySide(const std::vector<Fact>& facts, const std::vector<Party>& parties) {
  std::string table = absl::StrFormat("  %-26s", "");
  for (const Party& party : parties) absl::StrAppendFormat(&table, "  %-26s", party.name);
  absl::StrAppend(&table, "\n");
  for (const Fact& fact : facts) {
    absl::StrAppendFormat(&table, "  %-26s", fact.name);
    for (const Party& party : parties) {
      const bool known = !party.holds->Find(fact.needle).empty();
      std::string value = fact.value;
      if (value.size() > 26) value = value.substr(0, 23) + "...";
      absl::StrAppendFormat(&table, "  %-26s", known ? value : "-");
    }
    absl::StrAppend(&table, "\n");
  }
  absl::StrAppendFormat(&table, "  %-26s", "(searched for it in)");
  for (const Party& party : parties) {
    absl::StrAppendFormat(&table, "  %-26s",
                          absl::StrCat(party.holds->total_bytes() / 1024, " KiB of its own"));
  }
  return absl::StrCat(table, "\n");
}

std::string BrokerTraffic(const std::vector<Recorded>& recorded) {
  std::string text;
  for (size_t i = 0; i < recorded.size();) {
    // A run of the same kind and size is one line.
    const std::string line = Describe(recorded[i]);
    size_t run = 1;
    while (i + run < recorded.size() && Describe(recorded[i + run]) == line &&
           recorded[i + run].bytes.size() == recorded[i].bytes.size()) {
      ++run;
    }
    absl::StrAppendFormat(&text, "  %-44s %8u bytes%s\n", line, recorded[i].bytes.size(),
                          run > 1 ? absl::StrCat("  x ", run) : "");
    i += run;
  }
  return text;
}

}  // namespace blindcart::demo
