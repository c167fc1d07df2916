"""What a Dockerfile's build knows between two steps, and how commands that touch no file change it. Pure."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from freehold.domain.dockerfile import Arg, Cmd, Entrypoint, Env, Shell, Step, User, Workdir
from freehold.domain.ids import LayerId
from freehold.domain.images import ImageConfig
from freehold.wire.worker import BuiltImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The image so far. `args` are declared build arguments: seen by this stage's steps, kept in no image."""

    layers: tuple[LayerId, ...]
    config: ImageConfig
    args: Mapping[str, str] = field(default_factory=dict)
    has_own_cmd: bool = False

    @classmethod
    def of(cls, image: BuiltImage) -> "Stage":
        return cls(layers=image.layers, config=image.config)

    @property
    def variables(self) -> Mapping[str, str]:
        """What `$NAME` means in a command: ENV wins over ARG."""
        return {**self.args, **self.config.env}

    def with_layer(self, layer: LayerId) -> "Stage":
        return replace(self, layers=(*self.layers, layer))


def configured(stage: Stage, step: Step, build_args: Mapping[str, str], global_args: Mapping[str, str]) -> Stage:
    """The stage after a command that only changes settings; others leave it as it is."""
    config = stage.config
    match step:
        case Arg(name=name, default=default):
            return _with_arg(stage, name, build_args.get(name, default if default is not None else global_args.get(name)))
        case Cmd(command=command):
            return replace(stage, config=replace(config, cmd=_argv(command, config)), has_own_cmd=True)
        case Entrypoint(command=command):
            # As in Docker: a new entrypoint voids the arguments that were meant for another one.
            cmd = config.cmd if stage.has_own_cmd else ()
            return replace(stage, config=replace(config, entrypoint=_argv(command, config), cmd=cmd))
        case Env(pairs=pairs):
            config = replace(config, env={**config.env, **dict(pairs)})
        case Workdir(path=path):
            config = replace(config, workdir=posixpath.normpath(posixpath.join(config.workdir or "/", path)))
        case User(user=user):
            config = replace(config, user=user)
        case Shell(argv=argv):
            config = replace(config, shell=argv)
    return replace(stage, config=config)


def _with_arg(stage: Stage, name: str, value: str | None) -> Stage:
    return stage if value is None else replace(stage, args={**stage.args, name: value})


def _argv(command: str | tuple[str, ...], config: ImageConfig) -> tuple[str, ...]:
    return (*config.shell, command) if isinstance(command, str) else command
