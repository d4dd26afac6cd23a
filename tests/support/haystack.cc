#include "tests/support/haystack.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace blindcart::testing {
namespace {

// The base64 digits of `needle` that do not depend on what stands before and after it, when it
// begins at a byte that is `shift` after a multiple of three.
std::string Base64Core(absl::string_view needle, size_t shift) {
  std::string encoded;
  absl::Base64Escape(std::string(shift, 'x') + std::string(needle), &encoded);
  const size_t first = (shift * 8 + 5) / 6;
  const size_t last = (shift + needle.size()) * 8 / 6;
  return encoded.substr(first, last - first);
}

std::vector<std::string> Spellings(absl::string_view needle) {
  std::vector<std::string> spellings = {std::string(needle), absl::AsciiStrToLower(needle),
                                        absl::AsciiStrToUpper(needle)};
  const std::string hex = absl::BytesToHexString(needle);
  spellings.push_back(hex);
  spellings.push_back(absl::AsciiStrToUpper(hex));
  for (size_t shift = 0; shift < 3; ++shift) spellings.push_back(Base64Core(needle, shift));
  std::sort(spellings.begin(), spellings.end());
  spellings.erase(std::unique(spellings.begin(), spellings.end()), spellings.end());
  return spellings;
}

}  // namespace

absl::Status Haystack::AddPath(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    for (auto entry = fs::recursive_directory_iterator(path, error);
         entry != fs::recursive_directory_iterator(); entry.increment(error)) {
      AddBytes(absl::StrCat("the name of ", entry->path().string()), entry->path().filename());
      if (!entry->is_regular_file(error)) continue;
      const absl::Status added = AddPath(entry->path().string());
      if (!added.ok()) return added;
    }
    if (error) return absl::UnavailableError(absl::StrCat(path, ": ", error.message()));
    return absl::OkStatus();
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot open ", path));
  AddBytes(path, std::string(std::istreambuf_iterator<char>(file), {}));
  return absl::OkStatus();
}

void Haystack::AddBytes(std::string where, std::string bytes) {
  total_bytes_ += bytes.size();
  straws_.emplace_back(std::move(where), std::move(bytes));
}

std::vector<std::string> Haystack::Find(absl::string_view needle) const {
  std::vector<std::string> found;
  const std::vector<std::string> spellings = Spellings(needle);
  for (const auto& [where, bytes] : straws_) {
    for (const std::string& spelling : spellings) {
      if (bytes.find(spelling) != std::string::npos) {
        found.push_back(where);
        break;
      }
    }
  }
  return found;
}

}  // namespace blindcart::testing
