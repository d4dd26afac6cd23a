// Everything that one party holds: its files and the traffic that it can read, to be searched for
// what it must not know. A needle is looked for as it is, in lower- and upper-case hex and in
// base64 (all three alignments), ASCII letters in either case.
//
// Thread safety: none.
#ifndef BLINDCART_TESTS_SUPPORT_HAYSTACK_H_
#define BLINDCART_TESTS_SUPPORT_HAYSTACK_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace blindcart::testing {

class Haystack {
 public:
  // Adds every regular file below `folder` (names too), or one file.
  absl::Status AddPath(const std::string& path);
  void AddBytes(std::string where, std::string bytes);

  // Where `needle` occurs, empty when nowhere. `needle` has to have at least 4 bytes.
  std::vector<std::string> Find(absl::string_view needle) const;
  size_t total_bytes() const { return total_bytes_; }

 private:
  std::vector<std::pair<std::string, std::string>> straws_;
  size_t total_bytes_ = 0;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_HAYSTACK_H_
