"""Fuzz targets that are also ordinary tests."""

load("@rules_cc//cc:defs.bzl", "cc_test")

def blindcart_fuzz_test(name, srcs, corpus, deps, size = "small"):
    """A program around LLVMFuzzerTestOneInput.

    With --config=fuzz it is a libFuzzer binary. Otherwise it is a test that feeds the corpus and
    some thousand mutations of it, the same ones in every run, to the function.

    Args:
      name: the test.
      srcs: sources that define LLVMFuzzerTestOneInput.
      corpus: files to start from.
      deps: what the sources use.
      size: as for every test.
    """
    cc_test(
        name = name,
        size = size,
        srcs = srcs,
        args = select({
            "//third_party/bazel:libfuzzer": [],
            "//conditions:default": ["$(locations %s)" % source for source in corpus],
        }),
        data = corpus,
        linkopts = select({
            "//third_party/bazel:libfuzzer": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        deps = deps + select({
            "//third_party/bazel:libfuzzer": [],
            "//conditions:default": ["//third_party/bazel:fuzz_replay"],
        }),
    )
