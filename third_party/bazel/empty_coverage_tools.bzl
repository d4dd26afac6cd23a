"""Stands in for the coverage tools that Bazel would otherwise download for every cc_test."""

_BUILD = """
filegroup(
    name = "coverage_report_generator",
    visibility = ["//visibility:public"],
)
"""

def _empty_coverage_tools_impl(repository_ctx):
    repository_ctx.file("BUILD.bazel", _BUILD, executable = False)

empty_coverage_tools = repository_rule(
    doc = "An empty remote_coverage_tools, so that no test needs the network.",
    implementation = _empty_coverage_tools_impl,
)
