#include "services/storage/store_metrics.h"

namespace blindcart::storage {

void AddCommitMetrics(MetricPage& page, const CommitStats& stats, size_t waiting) {
  page.AddGauge("blindcart_commit_queue_length", "Changes that wait for a commit.",
                static_cast<double>(waiting));
  page.AddHistogram("blindcart_commit_jobs", "Changes in one durable commit.", stats.jobs);
  page.AddHistogram("blindcart_commit_seconds", "What a durable commit takes.", stats.seconds);
  page.AddCounter("blindcart_commits_failed_total", "Commits of which nothing has happened.",
                  static_cast<double>(stats.failed.load()));
  page.AddCounter("blindcart_commit_jobs_refused_total", "Changes that found the queue full.",
                  static_cast<double>(stats.refused.load()));
}

void AddConnectionMetrics(MetricPage& page, const StoreConnections& connections) {
  page.AddGauge("blindcart_store_connections_limit", "Connections to the database at most.",
                connections.limit);
  page.AddGauge("blindcart_store_connections", "Open connections to the database.",
                connections.in_use, {{"state", "in_use"}});
  page.AddGauge("blindcart_store_connections", "Open connections to the database.",
                connections.open - connections.in_use, {{"state", "idle"}});
  page.AddGauge("blindcart_store_waiting", "Callers that wait for a connection.",
                connections.waiting);
}

}  // namespace blindcart::storage
