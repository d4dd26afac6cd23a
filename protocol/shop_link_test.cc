#include "protocol/shop_link.h"

#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace blindcart::protocol {
namespace {

const char kFingerprintHex[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

std::string Fingerprint() {
  std::string bytes;
  for (int i = 0; i < 31; ++i) bytes.push_back(static_cast<char>(i));
  bytes.push_back(static_cast<char>(0xff));
  return bytes;
}

std::string Link(absl::string_view name, absl::string_view address) {
  return absl::StrCat("blindcart:shop/", name, "?broker=", address, "#", kFingerprintHex);
}

TEST(ShopLinkTest, FormatsAsDocumented) {
  const absl::StatusOr<std::string> link =
      FormatShopLink({"quiet-books", "broker.example.org:7443", Fingerprint()});
  ASSERT_TRUE(link.ok()) << link.status();
  EXPECT_EQ(*link, Link("quiet-books", "broker.example.org:7443"));
  const absl::StatusOr<std::string> local =
      FormatShopLink({"a", "unix:/run/a b#c?d%e&\xc3\xa9.sock", Fingerprint()});
  ASSERT_TRUE(local.ok()) << local.status();
  EXPECT_EQ(*local, Link("a", "unix:/run/a%20b%23c%3Fd%25e%26%C3%A9.sock"));
}

TEST(ShopLinkTest, RoundTrips) {
  const std::vector<std::string> addresses = {"broker.example.org:7443",
                                              "127.0.0.1:1",
                                              "localhost:65535",
                                              "[::1]:443",
                                              "[2001:db8::7]:9",
                                              "[::ffff:192.0.2.1]:80",
                                              "my_broker:50051",
                                              "unix:/run/blindcart/broker.sock",
                                              "unix:/tmp/with space/%41/?#&=+.sock",
                                              "unix:/" + std::string(106, 'x')};
  const std::vector<std::string> names = {"a", "0", "-", "quiet-books-2", std::string(64, 'z')};
  for (const std::string& address : addresses) {
    for (const std::string& name : names) {
      const absl::StatusOr<std::string> text = FormatShopLink({name, address, Fingerprint()});
      ASSERT_TRUE(text.ok()) << address << ": " << text.status();
      EXPECT_LE(text->size(), kMaxShopLinkBytes);
      const absl::StatusOr<ShopLink> link = ParseShopLink(*text);
      ASSERT_TRUE(link.ok()) << *text << ": " << link.status();
      EXPECT_EQ(link->name, name);
      EXPECT_EQ(link->broker_address, address);
      EXPECT_EQ(link->fingerprint, Fingerprint());
    }
  }
}

TEST(ShopLinkTest, ParseIsLenientWhereItIsHarmless) {
  const std::string link = Link("shop", "h:1");
  EXPECT_TRUE(ParseShopLink("  \t" + link + "\r\n").ok());
  std::string upper = link;
  for (size_t i = upper.find('#'); i < upper.size(); ++i) upper[i] = absl::ascii_toupper(upper[i]);
  const absl::StatusOr<ShopLink> parsed = ParseShopLink(upper);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->fingerprint, Fingerprint());
  const absl::StatusOr<ShopLink> encoded = ParseShopLink(Link("shop", "unix%3a%2Frun%2fx"));
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_EQ(encoded->broker_address, "unix:/run/x");
}

TEST(ShopLinkTest, RefusesInPlainWords) {
  const std::string good = Link("shop", "host:1");
  const struct {
    std::string link;
    const char* says;
  } kCases[] = {
      {"", "begin with"},
      {"https://example.org/shop", "begin with"},
      {"Blindcart:shop/a?broker=h:1#", "begin with"},
      {"blindcart:shop/a", "#FINGERPRINT"},
      {"blindcart:shop/a?broker=h:1", "#FINGERPRINT"},
      {absl::StrCat("blindcart:shop/a#", kFingerprintHex), "?broker="},
      {Link("", "h:1"), "name"},
      {Link("Shop", "h:1"), "name"},
      {Link("a_b", "h:1"), "name"},
      {Link("a/../b", "h:1"), "name"},
      {Link("\xc3\xa9", "h:1"), "name"},
      {Link(std::string(65, 'a'), "h:1"), "name"},
      {absl::StrCat("blindcart:shop/a?address=h:1#", kFingerprintHex), "broker=ADDRESS"},
      {absl::StrCat("blindcart:shop/a?#", kFingerprintHex), "broker=ADDRESS"},
      {Link("a", ""), "HOST:PORT"},
      {Link("a", "host"), "HOST:PORT"},
      {Link("a", ":1"), "host"},
      {Link("a", "-oProxyCommand:1"), "host"},
      {Link("a", "a..b:1"), "host"},
      {Link("a", "::1:443"), "host"},
      {Link("a", "[::1:443"), "host"},
      {Link("a", "[]:443"), "host"},
      {Link("a", "[gg::]:443"), "host"},
      {Link("a", std::string(254, 'h') + ":1"), "host"},
      {Link("a", "host:"), "port"},
      {Link("a", "host:0"), "port"},
      {Link("a", "host:65536"), "port"},
      {Link("a", "host:000001"), "port"},
      {Link("a", "host:%2B1"), "port"},
      {Link("a", "host:%201"), "port"},
      {Link("a", "host:9999999999"), "port"},
      {Link("a", "unix:"), "absolute"},
      {Link("a", "unix:relative.sock"), "absolute"},
      {Link("a", "unix:/" + std::string(107, 'x')), "107"},
      {Link("a", "unix:/a%00b"), "control"},
      {Link("a", "unix:/a%0Ab"), "control"},
      {Link("a", "unix:/a b"), "%XX"},
      {Link("a", "h:1&extra=1"), "%XX"},
      {Link("a", "h:1%"), "hex digits"},
      {Link("a", "h:1%4"), "hex digits"},
      {Link("a", "h:1%zz"), "hex digits"},
      {good.substr(0, good.size() - 1), "64 hexadecimal"},
      {good + "0", "64 hexadecimal"},
      {good + "00", "64 hexadecimal"},
      {good.substr(0, good.size() - 1) + "g", "64 hexadecimal"},
      {good + "#", "64 hexadecimal"},
      {"blindcart:shop/a?broker=h:1#", "64 hexadecimal"},
      {Link("a", std::string(1024, 'x')), "1024"},
  };
  for (const auto& c : kCases) {
    const absl::StatusOr<ShopLink> parsed = ParseShopLink(c.link);
    ASSERT_FALSE(parsed.ok()) << c.link;
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(parsed.status().message(), c.says))
        << c.link << " gave: " << parsed.status();
  }
}

TEST(ShopLinkTest, FormatRefusesWhatParseWould) {
  EXPECT_FALSE(FormatShopLink({"", "h:1", Fingerprint()}).ok());
  EXPECT_FALSE(FormatShopLink({"A", "h:1", Fingerprint()}).ok());
  EXPECT_FALSE(FormatShopLink({"a", "h", Fingerprint()}).ok());
  EXPECT_FALSE(FormatShopLink({"a", "unix:x", Fingerprint()}).ok());
  EXPECT_FALSE(FormatShopLink({"a", "h:1", Fingerprint().substr(1)}).ok());
}

// Whatever is accepted is a link that says the same when it is written again.
TEST(ShopLinkTest, GarbageIsRefusedOrRoundTrips) {
  std::mt19937 random(20240608);
  const std::vector<std::string> seeds = {Link("quiet-books", "broker.example.org:7443"),
                                          Link("a", "unix:/run/a%20b.sock"),
                                          Link("a", "[::1]:443")};
  int accepted = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string link = seeds[random() % seeds.size()];
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % link.size();
      switch (random() % 4) {
        case 0:
          link[at] = static_cast<char>(random() & 0xff);
          break;
        case 1:
          link.erase(at, 1 + random() % 4);
          break;
        case 2:
          link.insert(at, 1, "%#?:/=[]a0\0\n"[random() % 12]);
          break;
        default:
          link.insert(at, link.substr(random() % link.size(), random() % 20));
      }
      if (link.empty()) link = "#";
    }
    const absl::StatusOr<ShopLink> parsed = ParseShopLink(link);
    if (!parsed.ok()) continue;
    ++accepted;
    const absl::StatusOr<std::string> written = FormatShopLink(*parsed);
    ASSERT_TRUE(written.ok()) << link << ": " << written.status();
    const absl::StatusOr<ShopLink> again = ParseShopLink(*written);
    ASSERT_TRUE(again.ok()) << *written;
    EXPECT_EQ(again->name, parsed->name);
    EXPECT_EQ(again->broker_address, parsed->broker_address);
    EXPECT_EQ(again->fingerprint, parsed->fingerprint);
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace blindcart::protocol
