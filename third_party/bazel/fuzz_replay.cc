// The main() of a fuzz target that is built without libFuzzer: feeds every file named on the
// command line, and mutations of it, to LLVMFuzzerTestOneInput. The mutations are the same in every
// run, so that a failure can be repeated.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kMutationsPerFile = 2000;
constexpr int kMaxChangesPerMutation = 4;

void Run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

// Changes, inserts or removes a byte, or cuts the end off.
void Mutate(std::mt19937& random, std::string& input) {
  const size_t position = random() % (input.size() + 1);
  const char byte = static_cast<char>(random());
  switch (random() % 4) {
    case 0:
      if (position < input.size()) input[position] = byte;
      break;
    case 1:
      input.insert(position, 1, byte);
      break;
    case 2:
      if (position < input.size()) input.erase(position, 1);
      break;
    default:
      input.resize(position);
      break;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "Usage: %s CORPUS_FILE...\n", argv[0]);
    return 1;
  }
  std::mt19937 random(20220623);
  Run("");
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "cannot read %s\n", argv[i]);
      return 1;
    }
    const std::string seed{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    Run(seed);
    for (int n = 0; n < kMutationsPerFile; ++n) {
      std::string input = seed;
      const int changes = 1 + static_cast<int>(random() % kMaxChangesPerMutation);
      for (int change = 0; change < changes; ++change) Mutate(random, input);
      Run(input);
    }
  }
  std::printf("%d files, %d inputs\n", argc - 1, 1 + (argc - 1) * (1 + kMutationsPerFile));
  return 0;
}
