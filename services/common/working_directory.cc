#include "services/common/working_directory.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace blindcart {

void EnterInvocationDirectory() {
  const char* folder = std::getenv("BUILD_WORKING_DIRECTORY");
  if (folder != nullptr && folder[0] != '\0' && chdir(folder) != 0) {
    std::perror("cannot enter the folder named by BUILD_WORKING_DIRECTORY");
  }
}

}  // namespace blindcart
