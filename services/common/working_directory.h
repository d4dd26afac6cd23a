// `bazel run` starts a program in a folder of its own; paths on the command line mean the folder
// where the person typed. Call first thing in main. Not thread-safe (changes the process's folder).
#ifndef BLINDCART_SERVICES_COMMON_WORKING_DIRECTORY_H_
#define BLINDCART_SERVICES_COMMON_WORKING_DIRECTORY_H_

namespace blindcart {

// Goes to $BUILD_WORKING_DIRECTORY when it is set and can be entered; otherwise stays.
void EnterInvocationDirectory();

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_WORKING_DIRECTORY_H_
