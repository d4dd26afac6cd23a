// Use cases' values as messages of the local API (proto/agent.proto). Pure functions.
#ifndef BLINDCART_SERVICES_AGENT_AGENT_MESSAGES_H_
#define BLINDCART_SERVICES_AGENT_AGENT_MESSAGES_H_

#include "proto/agent.pb.h"
#include "services/agent/purchase_store.h"
#include "services/agent/shop_directory.h"
#include "services/agent/shop_store.h"

namespace blindcart::agent {

v1::Shop ToMessage(const ShopView& shop);
v1::CatalogueItem ToMessage(const CatalogueEntry& entry);
v1::Purchase ToMessage(const PurchaseRecord& purchase);

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_AGENT_MESSAGES_H_
