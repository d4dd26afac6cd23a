// The two example shops of the demo: what they sell and, made at start, the goods themselves.
#ifndef BLINDCART_DEPLOY_DEMO_EXAMPLE_SHOP_H_
#define BLINDCART_DEPLOY_DEMO_EXAMPLE_SHOP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/support/marketplace.h"

namespace blindcart::demo {

struct ExampleProduct {
  const char* title;
  const char* description;
  const char* price;
  const char* format;
  uint64_t size_bytes;
  bool has_picture;
  int stock;  // 0: unlimited.
};

struct ExampleShop {
  const char* name;
  const char* account;
  std::vector<ExampleProduct> products;
};

const std::vector<ExampleShop>& ExampleShops();

// Writes a product's goods (and picture) below `folder`. The goods are a readable heading and then
// bytes that do not compress.
absl::StatusOr<testing::ProductSpec> MakeGoods(const std::string& folder,
                                               const ExampleProduct& product);

}  // namespace blindcart::demo

#endif  // BLINDCART_DEPLOY_DEMO_EXAMPLE_SHOP_H_
