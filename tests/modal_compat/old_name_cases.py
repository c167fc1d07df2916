"""Each old name as a program has it, and the same program in today's names."""

HEAD = "import modal\n\napp = modal.App('shop')\n\n"


def function(options: str, decorators: str = "") -> str:
    return f"{HEAD}@app.function({options})\n{decorators}def f(x=1):\n    return x\n"


def hooks(enter: str, exit_: str) -> str:
    return f"{HEAD}@app.cls()\nclass Model:\n{enter}{exit_}    @modal.method()\n    def f(self):\n        return self.x\n"


_LOOK = "import modal\n\nresult = modal.{}({})\n"
_FILE = 'modal.Mount.from_local_file("a.txt", remote_path="/data/a.txt")'
_IMAGE = "import modal\n\nresult = modal.Image.debian_slim().{}\n"
_ENTER = "    def {}(self):\n        self.x = 1\n\n"
_EXIT = "    def {}(self{}):\n        self.x = 0\n\n"

_BODY = "def f():\n    pass\n"
_SHARED = "import modal\n\napp = modal.App('shop')\n"
_VOLUME = "modal.Volume.from_name('v')"

CASES = {
    "modal.Mount": (function(f"mounts=[{_FILE}]"), function('image=modal.Image.debian_slim().add_local_file("a.txt", "/data/a.txt")')),
    "mounts=": (
        function('image=modal.Image.debian_slim(), mounts=[modal.Mount.from_local_dir("src", remote_path="/src").add_local_file("b.txt")]'),
        function('image=modal.Image.debian_slim().add_local_dir("src", "/src").add_local_file("b.txt", "/b.txt")'),
    ),
    "modal.web_endpoint": (
        function("", '@modal.web_endpoint(method="POST", label="predict")\n'),
        function("", '@modal.fastapi_endpoint(method="POST", label="predict")\n'),
    ),
    "wait_for_response=": (
        f"{HEAD}@app.function()\n@modal.asgi_app(wait_for_response=True)\ndef f():\n    return None\n",
        f"{HEAD}@app.function()\n@modal.asgi_app()\ndef f():\n    return None\n",
    ),
    "modal.Stub": (
        "from modal import Stub\n\napp = Stub('shop')\n\n@app.function()\ndef f():\n    pass\n\nresult = type(app)\n",
        "from modal import App\n\napp = App('shop')\n\n@app.function()\ndef f():\n    pass\n\nresult = type(app)\n",
    ),
    "keep_warm=": (function("keep_warm=2"), function("min_containers=2")),
    "concurrency_limit=": (function("concurrency_limit=3"), function("max_containers=3")),
    "container_idle_timeout=": (function("container_idle_timeout=1"), function("scaledown_window=2")),
    "allow_concurrent_inputs=": (function("allow_concurrent_inputs=8"), function("", "@modal.concurrent(max_inputs=8)\n")),
    "_experimental_buffer_containers=": (function("_experimental_buffer_containers=1"), function("buffer_containers=1")),
    "checkpointing_enabled=": (function("checkpointing_enabled=True"), function("enable_memory_snapshot=True")),
    "allow_cross_region_volumes=": (function("allow_cross_region_volumes=True"), function("")),
    "interactive=": (function("interactive=True"), function("")),
    "modal.Function.lookup": (_LOOK.format("Function.lookup", '"shop", "f"'), _LOOK.format("Function.from_name", '"shop", "f"')),
    "modal.Cls.lookup": (_LOOK.format("Cls.lookup", '"shop", "Model"'), _LOOK.format("Cls.from_name", '"shop", "Model"')),
    "modal.Dict.lookup": (_LOOK.format("Dict.lookup", '"d"'), _LOOK.format("Dict.from_name", '"d"')),
    "modal.Queue.lookup": (_LOOK.format("Queue.lookup", '"q"'), _LOOK.format("Queue.from_name", '"q"')),
    "modal.Secret.lookup": (_LOOK.format("Secret.lookup", '"s"'), _LOOK.format("Secret.from_name", '"s"')),
    "modal.Volume.lookup": (
        _LOOK.format("Volume.lookup", '"v", create_if_missing=True'),
        _LOOK.format("Volume.from_name", '"v", create_if_missing=True'),
    ),
    "modal.Image.copy_local_dir": (
        _IMAGE.format('copy_local_dir("src", "/src")'),
        _IMAGE.format('add_local_dir("src", "/src", copy=True)'),
    ),
    "modal.Image.copy_mount": (
        _IMAGE.format(f"copy_mount({_FILE}, '/')"),
        _IMAGE.format('add_local_file("a.txt", "/data/a.txt", copy=True)'),
    ),
    "modal.gpu": (function('gpu=modal.gpu.A100(count=2, size="80GB")'), function('gpu="A100-80GB:2"')),
    "__enter__": (hooks(_ENTER.format("__enter__"), ""), hooks("    @modal.enter()\n" + _ENTER.format("enter"), "")),
    "__aenter__": (
        hooks(_ENTER.format("__aenter__").replace("def", "async def"), ""),
        hooks("    @modal.enter()\n" + _ENTER.format("enter").replace("def", "async def"), ""),
    ),
    "__exit__": (hooks("", _EXIT.format("__exit__", ", kind, error, trace")), hooks("", "    @modal.exit()\n" + _EXIT.format("exit", ""))),
    "__aexit__": (
        hooks("", _EXIT.format("__aexit__", ", *error").replace("def", "async def")),
        hooks("", "    @modal.exit()\n" + _EXIT.format("exit", "").replace("def", "async def")),
    ),
    "modal.build": (
        hooks("    @modal.build()\n" + _ENTER.format("load"), ""),
        hooks("    @modal.enter()\n" + _ENTER.format("load"), ""),
    ),
    "network_file_systems=": (
        f"{_SHARED}files = modal.NetworkFileSystem.from_name('n')\n\n@app.function(network_file_systems={{'/n': files}}, volumes={{'/v': {_VOLUME}}})\n{_BODY}",
        f"{_SHARED}files = modal.Volume.from_name('n')\n\n@app.function(volumes={{'/n': files, '/v': {_VOLUME}}})\ndef f():\n    pass\n",
    ),
}
# What comes with the ones above, and by itself would be no program.
CASES["modal.NetworkFileSystem"] = CASES["network_file_systems="]

# What only a person can rewrite; or what is the same in another way than in today's names.
OTHERS = {"stub", "modal.Function.web_url", "modal.Function.keep_warm", "modal.Image.copy_local_file"}
