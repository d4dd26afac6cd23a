// The metrics that broker and merchant have in common (docs/operating.md lists all).
//
// Thread-safe.
#ifndef BLINDCART_SERVICES_COMMON_SERVICE_METRICS_H_
#define BLINDCART_SERVICES_COMMON_SERVICE_METRICS_H_

#include "protocol/refusal.h"
#include "services/common/metrics.h"
#include "services/common/readiness.h"
#include "services/common/worker_pool.h"

namespace blindcart {

// Version, age, memory, processor time and open files of this process.
void AddProcessMetrics(MetricPage& page, MetricText service);
void AddReadinessMetrics(MetricPage& page, const Readiness& readiness);
// Every reason, counted or not.
void AddRefusalMetrics(MetricPage& page, const protocol::RefusalCounters& counters);
void AddPoolMetrics(MetricPage& page, MetricText pool, const WorkerPool::Stats& stats);

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_SERVICE_METRICS_H_
