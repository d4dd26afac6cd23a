// A disk that fails on demand, for tests of everything that keeps a SQLite database.
//
// It stands between SQLite and the operating system as the process's default VFS, so code under
// test needs no hook of its own: databases opened after Install() go through it. Source:
// sqlite.org/c3ref/vfs.html.
//
// Thread safety: all methods from any thread.
#ifndef SERVICES_STORAGE_TESTING_FAULT_VFS_H_
#define SERVICES_STORAGE_TESTING_FAULT_VFS_H_

#include <cstdint>

namespace blindcart::storage::testing {

enum class Fault {
  kDiskFull,    // writes fail for lack of space
  kSyncFails,   // fsync reports an error
  kReadFails,   // reads report an error
  kSuddenExit,  // the process ends in the middle of a write, or instead of a sync
};

inline constexpr int kSuddenExitCode = 86;

class FaultVfs {
 public:
  // Makes the failing disk this process's default; further calls do nothing.
  static void Install();

  // The `nth` operation of the fault's kind from now on (1 = the next) fails, and so does every
  // later one until Clear.
  static void FailFrom(Fault fault, int64_t nth);
  static void Clear();
};

}  // namespace blindcart::storage::testing

#endif  // SERVICES_STORAGE_TESTING_FAULT_VFS_H_
