"""Parts by name: those of hjc, those that a call registers, those that installed packages declare as entry points.

A file stores a name, never a module. Names of hjc and of calls are looked up first; an entry point is imported only
when its own name is asked for, and only where the metadata of an installed distribution declares it.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any


class Registry:
    """Names of one kind of part.

    Args:
        kind: what the parts are, in messages.
        group: of entry points in a plugin's ``pyproject.toml``.
        own: name -> (module, attribute) of hjc's parts, imported on first use.
    """

    def __init__(self, kind: str, group: str, own: dict[str, tuple[str, str]]) -> None:
        self.kind, self.group, self.own = kind, group, own
        self.registered: dict[str, Any] = {}

    def register(self, name: str, part: Any) -> None:
        """Give a part a name for this process.

        Raises:
            ValueError: the name is no word, or another part has it.
        """
        if not name.isidentifier():
            raise ValueError(f"a {self.kind} is named by a word of letters, digits and _, got {name!r}")
        if name in self.own or self.registered.get(name, part) is not part:
            raise ValueError(f"there is a {self.kind} {name!r} already: choose another name")
        self.registered[name] = part

    def outside(self) -> list[str]:
        """Names that are not hjc's own; nothing is imported for it."""
        declared = {found.name for found in entry_points(group=self.group)}
        return sorted((declared | set(self.registered)) - set(self.own))

    def __iter__(self) -> Iterator[str]:
        return iter([*self.own, *self.outside()])

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.registered or name in self.outside()

    def __getitem__(self, name: str) -> Any:
        """The part of a name.

        Raises:
            ValueError: nobody has it, or two installed packages do.
            ImportError: the package that declares it cannot be imported.
        """
        if name in self.own:
            module, attribute = self.own[name]
            return getattr(import_module(module), attribute)
        return self.registered[name] if name in self.registered else self._load(self._declared(name))

    def _declared(self, name: str) -> EntryPoint:
        found = list(entry_points(group=self.group, name=name))
        if not found:
            raise ValueError(f"{self.kind}: got {name!r}, allowed are {', '.join(self)}; {self.absent(name)}")
        if len({point.value for point in found}) > 1:
            places = ", ".join(sorted(f"{_package(point)} ({point.value})" for point in found))
            raise ValueError(f"the {self.kind} {name!r} is declared by several packages: {places}; keep one of them")
        return found[0]

    def _load(self, point: EntryPoint) -> Any:
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise ImportError(
                f"the {self.kind} {point.name!r} ({point.value}) of the package {_package(point)} cannot be imported: "
                f"{error}"
            ) from error

    def absent(self, name: str) -> str:
        """What to say and do where nobody has the name."""
        return (
            f"no installed package registers the {self.kind} {name!r}: install the one that has it (entry points "
            f"{self.group}), or upgrade hjc"
        )


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "?"
