#include "services/storage/testing/postgres_server.h"

#include <fcntl.h>
#include <postgresql/libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace blindcart::storage::testing {
namespace {

constexpr char kVersions[] = "/usr/lib/postgresql";
constexpr char kUnprivileged[] = "nobody";
constexpr int kStartMs = 60'000;
constexpr int kPollMs = 20;

// The newest version that is installed.
absl::StatusOr<std::string> FindPrograms() {
  int newest = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kVersions, error)) {
    if (!std::filesystem::exists(entry.path() / "bin/initdb")) continue;
    newest = std::max(newest, std::atoi(entry.path().filename().c_str()));
  }
  if (newest == 0) {
    return absl::NotFoundError("no PostgreSQL server in /usr/lib/postgresql: run ./setup.sh");
  }
  return absl::StrCat(kVersions, "/", newest, "/bin");
}

// What lets the server run under root: in a user namespace where root's number stands for that of a
// user without rights, to whom root's files belong. By a program, because a process with more than
// one thread, as the sanitizers make it, cannot do it itself.
absl::StatusOr<std::vector<std::string>> Disguise() {
  std::vector<std::string> command;
  if (geteuid() == 0) {
    const passwd* nobody = getpwnam(kUnprivileged);
    if (nobody == nullptr) return absl::NotFoundError("there is no user \"nobody\"");
    command = {"/usr/bin/unshare", "--user", absl::StrCat("--map-user=", nobody->pw_uid),
               absl::StrCat("--map-group=", nobody->pw_gid)};
  }
  // After the change of rights, which clears it. The cluster's other processes end with the first.
  command.insert(command.end(), {"/usr/bin/setpriv", "--pdeathsig", "KILL"});
  return command;
}

// A child that dies with this process; its output goes to `log`.
absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& program, const std::string& log) {
  absl::StatusOr<std::vector<std::string>> command = Disguise();
  if (!command.ok()) return command.status();
  command->insert(command->end(), program.begin(), program.end());
  std::vector<char*> arguments;
  for (std::string& argument : *command) arguments.push_back(&argument[0]);
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) return absl::ErrnoToStatus(errno, "no further process");
  if (child > 0) return child;
  // Nothing may be allocated from here on.
  const int output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (output < 0 || input < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) {
    _exit(126);
  }
  execv(arguments.front(), arguments.data());
  _exit(127);
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PostgresServer>> PostgresServer::Start() {
  absl::StatusOr<std::string> programs = FindPrograms();
  if (!programs.ok()) return programs.status();
  // Not in TEST_TMPDIR: a socket's path has to be short.
  std::string folder = "/tmp/blindcart-pg-XXXXXX";
  if (mkdtemp(&folder[0]) == nullptr) return absl::ErrnoToStatus(errno, "no temporary folder");
  std::unique_ptr<PostgresServer> server(new PostgresServer(*std::move(programs), folder));
  const absl::StatusOr<pid_t> initdb =
      Spawn({server->programs_ + "/initdb", "--pgdata", folder + "/data", "--username", "owner",
             "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"},
            folder + "/log");
  int ended = 0;
  if (!initdb.ok() || waitpid(*initdb, &ended, 0) != *initdb || ended != 0) {
    return absl::InternalError(
        absl::StrCat("initdb failed: ", initdb.status().message(), ReadAll(folder + "/log")));
  }
  // fsync protects against the machine's crash, which no test causes; the server's own it survives.
  std::ofstream(folder + "/data/postgresql.conf", std::ios::app)
      << "listen_addresses = ''\nunix_socket_directories = '" << folder
      << "'\nfsync = off\nmax_connections = 100\nautovacuum = off\ndeadlock_timeout = "
         "200ms\nshared_buffers = 32MB\n"
         "dynamic_shared_memory_type = mmap\n";
  const absl::Status launched = server->Launch();
  if (!launched.ok()) return launched;
  return server;
}

PostgresServer::~PostgresServer() {
  Crash();
  std::error_code error;
  std::filesystem::remove_all(folder_, error);
}

absl::Status PostgresServer::Launch() {
  const absl::StatusOr<pid_t> started =
      Spawn({programs_ + "/postgres", "-D", folder_ + "/data"}, folder_ + "/log");
  if (!started.ok()) return started.status();
  pid_ = *started;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kStartMs);
  const std::string url = Url("postgres");
  while (PQping(url.c_str()) != PQPING_OK) {
    int ended = 0;
    const bool gone = waitpid(pid_, &ended, WNOHANG) == pid_;
    if (gone) pid_ = -1;
    if (gone || std::chrono::steady_clock::now() > deadline) {
      return absl::UnavailableError(
          absl::StrCat("the server did not start: ", ReadAll(folder_ + "/log")));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
  }
  return absl::OkStatus();
}

std::string PostgresServer::Url(const std::string& database, const std::string& user) const {
  return absl::StrCat("postgres:///", database, "?host=", folder_, "&user=", user);
}

absl::StatusOr<std::string> PostgresServer::CreateDatabase(const std::string& model) {
  const std::string name = absl::StrCat("test", ++databases_);
  std::string sql = absl::StrCat("CREATE DATABASE ", name);
  if (!model.empty()) {
    const size_t begin = model.find("///") + 3;
    absl::StrAppend(&sql, " TEMPLATE ", model.substr(begin, model.find('?') - begin));
  }
  const absl::Status created = Execute(Url("postgres"), sql);
  if (!created.ok()) return created;
  return Url(name);
}

absl::Status PostgresServer::Execute(const std::string& url, const std::string& sql) {
  PGconn* const connection = PQconnectdb(url.c_str());
  PGresult* const result = PQexec(connection, sql.c_str());
  absl::Status status;
  if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK) {
    status = absl::UnavailableError(PQerrorMessage(connection));
  }
  PQclear(result);
  PQfinish(connection);
  return status;
}

void PostgresServer::Crash() {
  if (pid_ < 0) return;
  kill(pid_, SIGQUIT);
  int ended = 0;
  waitpid(pid_, &ended, 0);
  pid_ = -1;
}

absl::Status PostgresServer::StartAgain() { return Launch(); }

}  // namespace blindcart::storage::testing
