#include "services/common/service_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "services/common/version.h"

namespace blindcart {
namespace {

double ProcessorSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double ResidentBytes() {
  std::FILE* const file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long pages[2] = {0, 0};  // NOLINT(google-runtime-int): what the format says
  const int read = std::fscanf(file, "%ld %ld", &pages[0], &pages[1]);  // NOLINT(cert-err34-c)
  std::fclose(file);
  return read == 2 ? static_cast<double>(pages[1]) * static_cast<double>(sysconf(_SC_PAGESIZE)) : 0;
}

double OpenFiles() {
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  int count = -3;  // ".", ".." and the folder itself.
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

// Since the program was loaded.
const std::chrono::steady_clock::time_point kLoaded = std::chrono::steady_clock::now();

}  // namespace

void AddProcessMetrics(MetricPage& page, MetricText service) {
  page.AddGauge("blindcart_build_info", "Always 1; the labels say which program this is.", 1,
                {{"service", service}, {"version", kVersion}});
  const std::chrono::duration<double> up = std::chrono::steady_clock::now() - kLoaded;
  page.AddGauge("blindcart_uptime_seconds", "Since the program was started.", up.count());
  page.AddCounter("process_cpu_seconds_total", "Processor time used.", ProcessorSeconds());
  page.AddGauge("process_resident_memory_bytes", "Memory held.", ResidentBytes());
  page.AddGauge("process_open_fds", "Open files and sockets.", OpenFiles());
}

void AddReadinessMetrics(MetricPage& page, const Readiness& readiness) {
  page.AddGauge("blindcart_ready", "1 when work may be sent here.", readiness.ready() ? 1 : 0);
  page.AddGauge("blindcart_draining", "1 once the service has been told to stop.",
                readiness.draining() ? 1 : 0);
}

void AddRefusalMetrics(MetricPage& page, const protocol::RefusalCounters& counters) {
  using protocol::RefusalReason;
  for (int i = static_cast<int>(RefusalReason::kNone) + 1;
       i < static_cast<int>(RefusalReason::kCount); ++i) {
    const auto reason = static_cast<RefusalReason>(i);
    // Apart, these two would tell whoever reads metrics which usernames there are: a login without
    // the customer's key ends in the one for a name that is known, and in the other for one that is not.
    if (reason == RefusalReason::kUnknownPeer) continue;
    uint64_t count = counters.Get(reason);
    if (reason == RefusalReason::kFinished) count += counters.Get(RefusalReason::kUnknownPeer);
    page.AddCounter("blindcart_refusals_total", "What was refused, by why; nobody outside is told.",
                    static_cast<double>(count),
                    {{"reason", MetricText::OfProgram(protocol::RefusalReasonName(reason))}});
  }
}

void AddPoolMetrics(MetricPage& page, MetricText pool, const WorkerPool::Stats& stats) {
  const MetricPage::Labels labels = {{"pool", pool}};
  page.AddGauge("blindcart_pool_threads", "Threads of a worker pool.",
                static_cast<double>(stats.threads), labels);
  page.AddGauge("blindcart_pool_running", "Tasks that run.", static_cast<double>(stats.running),
                labels);
  page.AddGauge("blindcart_pool_waiting", "Tasks that wait for a thread.",
                static_cast<double>(stats.waiting), labels);
  page.AddCounter("blindcart_pool_refused_total", "Tasks that found the queue full.",
                  static_cast<double>(stats.refused), labels);
}

}  // namespace blindcart
