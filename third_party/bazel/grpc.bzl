"""C++ code for .proto files, made by the system's protoc and gRPC plugin."""

load("@rules_cc//cc:defs.bzl", "cc_library")

_ProtoSourcesInfo = provider(
    doc = "The .proto files of a library and of everything it imports.",
    fields = {"transitive": "depset of File"},
)

def _generated_cc_impl(ctx):
    sources = depset(
        ctx.files.srcs,
        transitive = [dep[_ProtoSourcesInfo].transitive for dep in ctx.attr.deps],
    )
    arguments = ctx.actions.args()
    arguments.add("--proto_path=.")
    arguments.add(ctx.bin_dir.path, format = "--cpp_out=%s")
    tools = []
    if ctx.attr.grpc:
        arguments.add(ctx.executable._grpc_plugin, format = "--plugin=protoc-gen-grpc=%s")
        arguments.add(ctx.bin_dir.path, format = "--grpc_out=%s")
        tools.append(ctx.executable._grpc_plugin)
    arguments.add_all(ctx.files.srcs)
    ctx.actions.run(
        executable = ctx.executable._protoc,
        arguments = [arguments],
        inputs = sources,
        tools = tools,
        outputs = ctx.outputs.outs,
        mnemonic = "ProtocCc",
        progress_message = "Generating C++ for %s" % ctx.label,
    )
    return [
        DefaultInfo(files = depset(ctx.outputs.outs)),
        _ProtoSourcesInfo(transitive = sources),
    ]

_generated_cc = rule(
    implementation = _generated_cc_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = [".proto"], mandatory = True),
        "deps": attr.label_list(providers = [_ProtoSourcesInfo]),
        "grpc": attr.bool(mandatory = True),
        "outs": attr.output_list(mandatory = True),
        "_protoc": attr.label(
            default = "//third_party/bazel:protoc",
            allow_single_file = True,
            cfg = "exec",
            executable = True,
        ),
        "_grpc_plugin": attr.label(
            default = "//third_party/bazel:grpc_cpp_plugin",
            allow_single_file = True,
            cfg = "exec",
            executable = True,
        ),
    },
)

def _generated(label):
    """The label of the generated sources that belong to a blindcart_proto_library."""
    if ":" in label:
        return label + "_generated"
    return "%s:%s_generated" % (label, label.split("/")[-1])

def blindcart_proto_library(name, srcs, deps = [], grpc = False, visibility = None):
    """A cc_library of the messages, and with `grpc` also the services, of .proto files.

    Sources include the result from the workspace root: "proto/order.pb.h", "proto/order.grpc.pb.h".

    Args:
      name: the cc_library.
      srcs: .proto files of this package, by file name.
      deps: other blindcart_proto_library targets whose files these import.
      grpc: whether to make the services' stubs too.
      visibility: as everywhere.
    """
    suffixes = [".pb"] + ([".grpc.pb"] if grpc else [])
    stems = [src[:-len(".proto")] + suffix for src in srcs for suffix in suffixes]
    headers = [stem + ".h" for stem in stems]
    sources = [stem + ".cc" for stem in stems]
    _generated_cc(
        name = name + "_generated",
        srcs = srcs,
        outs = headers + sources,
        deps = [_generated(dep) for dep in deps],
        grpc = grpc,
        visibility = visibility,
    )
    cc_library(
        name = name,
        srcs = sources,
        hdrs = headers,
        copts = ["-w"],
        visibility = visibility,
        deps = deps + ["//third_party:protobuf"] + (["//third_party:grpc"] if grpc else []),
    )
