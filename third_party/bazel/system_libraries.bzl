"""Libraries that the system installed, as cc_library targets, by way of pkg-config.

The headers lie where the compiler looks by itself, so a target carries only what pkg-config says:
definitions and the shared libraries to link. It also defines the library's version, for one
purpose: Bazel does not see files under /usr, so without it an upgraded library would be served
stale objects from the disk cache.
"""

_TARGET = """
cc_library(
    name = "{name}",
    defines = {defines},
    linkopts = {linkopts},
)
"""

def _pkg_config(repository_ctx, pkg_config, arguments, package):
    result = repository_ctx.execute([pkg_config] + arguments + [package])
    if result.return_code != 0:
        fail("pkg-config does not know %s: run ./setup.sh\n%s" % (package, result.stderr))
    return [word for word in result.stdout.replace("\n", " ").split(" ") if word]

def _target(repository_ctx, pkg_config, name, package):
    version = _pkg_config(repository_ctx, pkg_config, ["--modversion"], package)[0]
    compile_flags = _pkg_config(repository_ctx, pkg_config, ["--cflags-only-other"], package)
    defines = [flag[2:] for flag in compile_flags if flag.startswith("-D")]
    defines.append("BLINDCART_SYSTEM_%s=\"%s\"" % (name.upper(), version))

    # Abseil and gRPC name dozens of libraries, most of which a given binary does not need.
    link_flags = _pkg_config(repository_ctx, pkg_config, ["--libs"], package)
    linkopts = []
    if link_flags:
        linkopts = ["-Wl,--push-state,--as-needed"] + link_flags + ["-Wl,--pop-state"]
    return _TARGET.format(name = name, defines = repr(defines), linkopts = repr(linkopts))

def _system_libraries_impl(repository_ctx):
    pkg_config = repository_ctx.which("pkg-config")
    if pkg_config == None:
        fail("pkg-config is missing: run ./setup.sh")
    build = "package(default_visibility = [\"@//third_party:__subpackages__\"])\n"
    for name, package in sorted(repository_ctx.attr.packages.items()):
        build += _target(repository_ctx, pkg_config, name, package)
    repository_ctx.file("BUILD.bazel", build, executable = False)

system_libraries = repository_rule(
    doc = "One cc_library per pkg-config package.",
    implementation = _system_libraries_impl,
    attrs = {
        "packages": attr.string_dict(
            doc = "Target name to pkg-config package.",
            mandatory = True,
        ),
    },
    configure = True,
    environ = ["PATH", "PKG_CONFIG_PATH"],
    local = True,
)
