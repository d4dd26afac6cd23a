"""Programs of the system that build actions run, as labels."""

def _system_tools_impl(repository_ctx):
    for program, package in repository_ctx.attr.programs.items():
        path = repository_ctx.which(program)
        if path == None:
            fail("%s is missing: run ./setup.sh (package %s)" % (program, package))
        repository_ctx.symlink(path, program)
    repository_ctx.file(
        "BUILD.bazel",
        "exports_files(%r, visibility = [\"@//third_party:__subpackages__\"])\n" %
        sorted(repository_ctx.attr.programs.keys()),
        executable = False,
    )

system_tools = repository_rule(
    doc = "One file label per program found on the path.",
    implementation = _system_tools_impl,
    attrs = {
        "programs": attr.string_dict(
            doc = "Program name to the Debian package that installs it.",
            mandatory = True,
        ),
    },
    configure = True,
    environ = ["PATH"],
    local = True,
)
