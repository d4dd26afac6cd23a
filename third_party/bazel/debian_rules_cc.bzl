"""Makes Debian 12's rules_cc loadable by Debian 12's Bazel.

The packaged rules_cc (0.0.4) loads `use_cpp_toolchain`, which the packaged Bazel (4.2.3) does not
have yet. This repository is a copy of the package in which the call is replaced by what it means.
"""

_PACKAGED = "/usr/share/bazel/rules/cc"

_PATCHED_FILES = [
    "cc/private/rules_impl/cc_flags_supplier.bzl",
    "cc/private/rules_impl/compiler_flag.bzl",
]

def _debian_rules_cc_impl(repository_ctx):
    if not repository_ctx.path(_PACKAGED + "/WORKSPACE").exists:
        fail("%s is missing: run ./setup.sh (package bazel-rules-cc)" % _PACKAGED)
    result = repository_ctx.execute(["cp", "-R", _PACKAGED + "/.", "."])
    if result.return_code != 0:
        fail("copying %s failed: %s" % (_PACKAGED, result.stderr))
    for name in _PATCHED_FILES:
        text = repository_ctx.read(name)
        text = text.replace(
            "toolchains = use_cpp_toolchain()",
            "toolchains = [\"@bazel_tools//tools/cpp:toolchain_type\"]",
        )
        text = text.replace(", \"use_cpp_toolchain\"", "")
        repository_ctx.file(name, text, executable = False)

debian_rules_cc = repository_rule(
    doc = "A copy of Debian's rules_cc that the packaged Bazel can load.",
    implementation = _debian_rules_cc_impl,
    local = True,
)
