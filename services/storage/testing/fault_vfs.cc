#include "services/storage/testing/fault_vfs.h"

#include <sqlite3.h>
#include <unistd.h>

#include <atomic>

namespace blindcart::storage::testing {
namespace {

enum class Operation { kRead, kWrite, kSync };

std::atomic<bool> armed{false};
std::atomic<Fault> armed_fault{Fault::kDiskFull};
std::atomic<int64_t> remaining{0};

bool Concerns(Fault fault, Operation operation) {
  switch (fault) {
    case Fault::kDiskFull:
      return operation == Operation::kWrite;
    case Fault::kSyncFails:
      return operation == Operation::kSync;
    case Fault::kReadFails:
      return operation == Operation::kRead;
    case Fault::kSuddenExit:
      return operation != Operation::kRead;
  }
  return false;
}

// Is this operation to fail?
bool Strikes(Operation operation) {
  return armed && Concerns(armed_fault, operation) && --remaining <= 0;
}

sqlite3_vfs* real_vfs = nullptr;

// SQLite allocates szOsFile bytes for each open file; the real one's state follows ours.
struct FaultFile {
  sqlite3_file base;
  sqlite3_file* real;
};

sqlite3_file* RealFile(sqlite3_file* file) { return reinterpret_cast<FaultFile*>(file)->real; }

int Close(sqlite3_file* file) { return RealFile(file)->pMethods->xClose(RealFile(file)); }

int Read(sqlite3_file* file, void* data, int size, sqlite3_int64 offset) {
  if (Strikes(Operation::kRead)) return SQLITE_IOERR_READ;
  return RealFile(file)->pMethods->xRead(RealFile(file), data, size, offset);
}

int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  sqlite3_file* const real = RealFile(file);
  if (Strikes(Operation::kWrite)) {
    if (armed_fault != Fault::kSuddenExit) return SQLITE_FULL;
    real->pMethods->xWrite(real, data, size / 2, offset);
    _exit(kSuddenExitCode);
  }
  return real->pMethods->xWrite(real, data, size, offset);
}

int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  return RealFile(file)->pMethods->xTruncate(RealFile(file), size);
}

int Sync(sqlite3_file* file, int flags) {
  if (Strikes(Operation::kSync)) {
    if (armed_fault != Fault::kSuddenExit) return SQLITE_IOERR_FSYNC;
    _exit(kSuddenExitCode);
  }
  return RealFile(file)->pMethods->xSync(RealFile(file), flags);
}

int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  return RealFile(file)->pMethods->xFileSize(RealFile(file), size);
}

int Lock(sqlite3_file* file, int level) {
  return RealFile(file)->pMethods->xLock(RealFile(file), level);
}

int Unlock(sqlite3_file* file, int level) {
  return RealFile(file)->pMethods->xUnlock(RealFile(file), level);
}

int CheckReservedLock(sqlite3_file* file, int* result) {
  return RealFile(file)->pMethods->xCheckReservedLock(RealFile(file), result);
}

int FileControl(sqlite3_file* file, int operation, void* argument) {
  return RealFile(file)->pMethods->xFileControl(RealFile(file), operation, argument);
}

int SectorSize(sqlite3_file* file) { return RealFile(file)->pMethods->xSectorSize(RealFile(file)); }

int DeviceCharacteristics(sqlite3_file* file) {
  return RealFile(file)->pMethods->xDeviceCharacteristics(RealFile(file));
}

int ShmMap(sqlite3_file* file, int page, int page_size, int extend, void volatile** data) {
  return RealFile(file)->pMethods->xShmMap(RealFile(file), page, page_size, extend, data);
}

int ShmLock(sqlite3_file* file, int offset, int count, int flags) {
  return RealFile(file)->pMethods->xShmLock(RealFile(file), offset, count, flags);
}

void ShmBarrier(sqlite3_file* file) { RealFile(file)->pMethods->xShmBarrier(RealFile(file)); }

int ShmUnmap(sqlite3_file* file, int remove) {
  return RealFile(file)->pMethods->xShmUnmap(RealFile(file), remove);
}

// Version 2: without the memory-mapped reads of version 3, which would pass the faults by.
const sqlite3_io_methods kMethods = {
    2,
    Close,
    Read,
    Write,
    Truncate,
    Sync,
    FileSize,
    Lock,
    Unlock,
    CheckReservedLock,
    FileControl,
    SectorSize,
    DeviceCharacteristics,
    ShmMap,
    ShmLock,
    ShmBarrier,
    ShmUnmap,
    nullptr,
    nullptr,
};

int Open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  auto* fault_file = reinterpret_cast<FaultFile*>(file);
  fault_file->real = reinterpret_cast<sqlite3_file*>(fault_file + 1);
  const int result = real_vfs->xOpen(real_vfs, name, fault_file->real, flags, out_flags);
  // SQLite calls xClose exactly when pMethods is set.
  file->pMethods = fault_file->real->pMethods != nullptr ? &kMethods : nullptr;
  return result;
}

}  // namespace

void FaultVfs::Install() {
  static const bool installed = [] {
    real_vfs = sqlite3_vfs_find(nullptr);
    static sqlite3_vfs fault_vfs = *real_vfs;
    fault_vfs.pNext = nullptr;
    fault_vfs.zName = "fault";
    fault_vfs.szOsFile = static_cast<int>(sizeof(FaultFile)) + real_vfs->szOsFile;
    fault_vfs.xOpen = Open;
    return sqlite3_vfs_register(&fault_vfs, 1) == SQLITE_OK;
  }();
  static_cast<void>(installed);
}

void FaultVfs::FailFrom(Fault fault, int64_t nth) {
  armed_fault = fault;
  remaining = nth;
  armed = true;
}

void FaultVfs::Clear() { armed = false; }

}  // namespace blindcart::storage::testing
