// The metrics of a store and of the queue before it (docs/operating.md lists all). Thread-safe.
#ifndef SERVICES_STORAGE_STORE_METRICS_H_
#define SERVICES_STORAGE_STORE_METRICS_H_

#include <cstddef>

#include "services/common/metrics.h"
#include "services/storage/commit_stats.h"
#include "services/storage/store.h"

namespace blindcart::storage {

// `waiting`: jobs in the queue at this moment.
void AddCommitMetrics(MetricPage& page, const CommitStats& stats, size_t waiting);
void AddConnectionMetrics(MetricPage& page, const StoreConnections& connections);

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_STORE_METRICS_H_
