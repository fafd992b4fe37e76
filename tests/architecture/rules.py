"""The rules of design.md that import-linter cannot state, as functions from source texts to what breaks them."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

WIRE = ("google.protobuf", "google.rpc", "fulcrum", "buf", "grpc", "grpc_health", "grpc_reflection", "grpc_status")
WIRE_FILES = ("service.py", "bindings.py", "messages.py", "requests.py", "__main__.py")
WIRE_FOLDERS = ("services/chassis/", "services/cli/")
SINGLE_HOME = ("faiss", "onnxruntime", "tensorrt")
VAGUE_NAMES = ("utils", "util", "common", "helpers", "helper", "misc", "shared", "base")
OURS = ("services", "fulcrum", "models", "benchmarks", "tests", "clients")
NOT_FOR_SERVICES = ("models", "benchmarks", "tests")


@dataclass(frozen=True)
class Import:
    """One imported module, absolute, and where it is imported."""

    path: str
    line: int
    module: str

    def of(self, package: str) -> bool:
        """Whether the module is `package` or lies below it."""
        return self.module == package or self.module.startswith(f"{package}.")

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def imports(path: str, source: str) -> Iterator[Import]:
    """Every import of a file, inside functions and by import_module("name") too; relative ones are resolved."""
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(path, node)
            for alias in node.names:
                yield Import(path, node.lineno, f"{origin}.{alias.name}" if origin else alias.name)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield Import(path, node.lineno, name.value)


def wire_outside_transport(files: Mapping[str, str]) -> list[str]:
    """Imports of protobuf, of a contract or of grpc in a file that is not transport."""
    return [
        str(one)
        for path, source in files.items()
        if not path.startswith(WIRE_FOLDERS) and PurePosixPath(path).name not in WIRE_FILES
        for one in imports(path, source)
        if any(one.of(package) for package in WIRE)
    ]


def several_homes(files: Mapping[str, str]) -> list[str]:
    """Libraries of SINGLE_HOME that more than one file imports."""
    found = [one for path, source in files.items() for one in imports(path, source)]
    homes = {library: sorted({one.path for one in found if one.of(library)}) for library in SINGLE_HOME}
    return [f"{library} is imported by {', '.join(paths)}" for library, paths in homes.items() if len(paths) > 1]


def vague_names(files: Mapping[str, str]) -> list[str]:
    """Modules and packages whose name says nothing."""
    return [path for path in files if any(part in VAGUE_NAMES for part in PurePosixPath(path).with_suffix("").parts)]


def without_docstring(files: Mapping[str, str]) -> list[str]:
    """Files that do not open with a sentence on why they exist."""
    return [path for path, source in files.items() if not (ast.get_docstring(ast.parse(source, path)) or "").strip()]


def kernels_import_ours(files: Mapping[str, str]) -> list[str]:
    """Imports of anything of ours in kernels, but of kernels itself."""
    return _of_any(files, "kernels/", OURS)


def services_import_development(files: Mapping[str, str]) -> list[str]:
    """Imports of training, benchmarks or tests in services."""
    return _of_any(files, "services/", NOT_FOR_SERVICES)


def _of_any(files: Mapping[str, str], folder: str, packages: tuple[str, ...]) -> list[str]:
    return [
        str(one)
        for path, source in files.items()
        if path.startswith(folder)
        for one in imports(path, source)
        if any(one.of(package) for package in packages)
    ]


def _origin(path: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = PurePosixPath(path).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""
