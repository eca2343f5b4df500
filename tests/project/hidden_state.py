"""Find hidden channels in source code: state that distant code can change, but no signature mentions.

These kinds are found by reading the syntax tree:

- `global`: a function assigns a name of its module.
- `container`: a module has a mutable container that is empty at first, or a buffer.
- `object`: a module has an object of one of our classes whose methods change it.
- `changed`: a function changes the value of a name in its own or an imported module, or an attribute of a class or
  module.
- `completed`: an attribute that its class sets to None or a lambda at construction is assigned from outside.
  Attributes that a dataclass has too are left out, because records are made to be filled.
- `replaced`: a function is assigned to an attribute of another object, or an attribute that holds a function is
  assigned.
- `once`: a function without a result is cached, so that it does something only once.

A finding is written `file: kind: code`, without a line number.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

_MUTATORS = frozenset(
    "add append appendleft clear discard extend insert pop popitem popleft remove setdefault update".split()  # noqa: SIM905
)
_CONTAINERS = frozenset(
    "dict list set deque Counter defaultdict OrderedDict bytearray ContextVar local"  # noqa: SIM905
    " WeakKeyDictionary WeakValueDictionary WeakSet".split()
)
_CACHES = frozenset({"cache", "lru_cache"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
#: Names of the first parameter of a method.
_OWN = frozenset({"self", "cls"})


@dataclass
class _Classes:
    """Names of classes and attributes, found in all files that are searched."""

    #: Classes with methods that modify `self`.
    changing: set[str] = field(default_factory=set)
    #: Attributes that a class other than a dataclass sets to None or a lambda at construction.
    open: set[str] = field(default_factory=set)
    #: Fields of dataclasses.
    fields: set[str] = field(default_factory=set)
    #: Attributes that a class or protocol annotates as functions.
    callables: set[str] = field(default_factory=set)


def findings(sources: Mapping[str, str]) -> set[str]:
    """Return the findings in source files, given as text by path."""
    trees = {path: ast.parse(text) for path, text in sources.items()}
    classes = _Classes()
    for tree in trees.values():
        _learn(tree, classes)
    names = {path: set(_module_names(tree)) for path, tree in trees.items()}
    variables = {name for each in names.values() for name in each}
    return {
        f"{path}: {kind}: {ast.unparse(node)}"
        for path, tree in trees.items()
        for kind, node in _found(tree, names[path], variables, classes)
    }


@cache
def _nodes(of: ast.AST) -> tuple[ast.AST, ...]:
    """Return a node and all nodes below it; cached, because several checks search the same function."""
    # Like `ast.walk`, but in another order and in half the time.
    found, waiting = [], [of]
    while waiting:
        found.append(node := waiting.pop())
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                waiting.append(value)
            elif isinstance(value, list):
                waiting += [each for each in value if isinstance(each, ast.AST)]
    return tuple(found)


def _learn(tree: ast.Module, classes: _Classes) -> None:
    for definition in _nodes(tree):
        if not isinstance(definition, ast.ClassDef):
            continue
        record = any("dataclass" in ast.unparse(each) for each in definition.decorator_list)
        for method in definition.body:
            if isinstance(method, ast.AnnAssign) and isinstance(method.target, ast.Name):
                if record:
                    classes.fields.add(method.target.id)
                if ast.unparse(method.annotation).startswith("Callable"):
                    classes.callables.add(method.target.id)
            if not isinstance(method, _FUNCTIONS):
                continue
            for target, value in _assignments(method):
                if not (isinstance(target, ast.Attribute) and _is_own(target.value)):
                    continue
                if method.name not in ("__init__", "__new__", "__post_init__"):
                    classes.changing.add(definition.name)
                elif not record and _leaves_open(value):
                    classes.open.add(target.attr)
            if method.name not in ("__init__", "__new__", "__post_init__") and any(
                isinstance(call.func, ast.Attribute) and _is_of_self(call.func.value)
                for call in _mutations(method)
            ):
                classes.changing.add(definition.name)


Found = Iterator[tuple[str, ast.AST]]


def _found(tree: ast.Module, own: set[str], variables: set[str], classes: _Classes) -> Found:
    yield from _held(tree, classes)
    imported, modules = _imports(tree)
    types = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = [node for node in _nodes(tree) if isinstance(node, _FUNCTIONS)]
    names = {function.name for function in functions}
    for function in functions:
        if _returns_nothing(function) and any(
            _called_name(each) in _CACHES for each in function.decorator_list
        ):
            yield "once", ast.Name(function.name)
        yield from (("global", node) for node in _nodes(function) if isinstance(node, ast.Global))
        local = _local_names(function)
        yield from _assigned(function, (own | imported | types) - local, names - local, classes)
        yield from _set(function)
        # A call such as `library.update()` is no finding if `library` is a module: it calls a function whose name only
        # looks like a mutating method. If `library` is a value of one of our modules, the call does change it.
        shared = own | (imported & variables)
        for call in _mutations(function):
            assert isinstance(call.func, ast.Attribute)
            of, root = call.func.value, _root(call.func.value)
            if root in local or _has_call(of):
                continue
            plain = isinstance(of, ast.Name)
            if (root in shared and not (plain and root in modules)) or (root in imported and not plain):
                yield "changed", call.func


def _held(tree: ast.Module, classes: _Classes) -> Found:
    """Yield the names in a module that hold mutable values."""
    fixed = set(_fixed(tree))
    for target, value in _assignments_of(tree.body):
        if not isinstance(target, ast.Name) or target.id in fixed:
            continue
        empty = isinstance(value, ast.Dict | ast.List | ast.Set) and not _items(value)
        if empty or _called(value) in _CONTAINERS:
            yield "container", target
        elif _called(value) in classes.changing:
            yield "object", target


def _assigned(function: ast.AST, shared: set[str], functions: set[str], classes: _Classes) -> Found:
    """Yield assignments of a function to anything but attributes of its own object."""
    for target, value in _assignments(function):
        if not isinstance(target, ast.Attribute | ast.Subscript) or _has_call(target):
            continue
        of_class = isinstance(target.value, ast.Name) and target.value.id == "cls"
        if _root(target) in shared or (of_class and isinstance(target, ast.Attribute)):
            yield "changed", target
        elif isinstance(target, ast.Attribute) and not _is_own(target.value):
            if target.attr in classes.callables or _is_function(value, functions):
                yield "replaced", target
            elif target.attr in classes.open - classes.fields:
                yield "completed", target


def _set(function: ast.AST) -> Found:
    for node in _nodes(function):
        if (
            isinstance(node, ast.Call)
            and _called_name(node) in ("setattr", "delattr", "__setattr__")
            and node.args
            and not _is_own(node.args[0])
            and not _is_super(node)
        ):
            yield "changed", node


def _module_names(tree: ast.Module) -> Iterator[str]:
    for target, _ in _assignments_of(tree.body):
        if isinstance(target, ast.Name):
            yield target.id


def _imports(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Return all names that a module imports, and those names that `import` statements (not `from`) define."""
    names: set[str] = set()
    modules: set[str] = set()
    for node in _nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                name = (alias.asname or alias.name).partition(".")[0]
                names.add(name)
                if isinstance(node, ast.Import):
                    modules.add(name)
    return names, modules


def _assignments(function: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Yield (target, value) of all assignments within a function; an unknown value is None."""
    for node in _nodes(function):
        if isinstance(node, ast.stmt):
            yield from _assignments_of([node])


def _assignments_of(body: Iterable[ast.stmt]) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    for node in body:
        targets: list[ast.expr] = []
        value: ast.expr | None = None
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign):
            targets, value = [node.target], node.value
        elif isinstance(node, ast.AugAssign):
            targets = [node.target]
        elif isinstance(node, ast.Delete):
            targets = node.targets
        elif isinstance(node, ast.For | ast.AsyncFor):
            targets = [node.target]
        elif isinstance(node, ast.With | ast.AsyncWith):
            targets = [item.optional_vars for item in node.items if item.optional_vars is not None]
        for target in targets:
            if isinstance(target, ast.Tuple | ast.List):
                yield from ((each, None) for each in target.elts)
            else:
                yield target, value


def _mutations(function: ast.AST) -> Iterator[ast.Call]:
    for node in _nodes(function):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _MUTATORS
        ):
            yield node


def _local_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    named = {name for node in _nodes(function) if isinstance(node, ast.Global) for name in node.names}
    found = set()
    for node in _nodes(function):
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found - named


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _has_call(node: ast.expr) -> bool:
    """Return True if the expression is a call, or an attribute or item of a call's result."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return isinstance(node, ast.Call)


def _fixed(tree: ast.Module) -> Iterator[str]:
    """Yield the names that are annotated with an immutable type."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            said = ast.unparse(node.annotation).removeprefix("Final[")
            if said.startswith(("Mapping", "Sequence", "frozenset", "tuple")):
                yield node.target.id


def _is_function(value: ast.expr | None, functions: set[str]) -> bool:
    if isinstance(value, ast.Attribute):
        return _is_own(value.value) and value.attr in functions
    if isinstance(value, ast.Name):
        return value.id in functions
    return isinstance(value, ast.Lambda) or (value is not None and _called(value) == "partial")


def _is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in _OWN


def _is_of_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and _root(node) == "self"


def _is_super(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and _root(call.func) == "super"


def _leaves_open(value: ast.expr | None) -> bool:
    """Return True for None or a lambda, with which a class leaves an attribute to be set later."""
    return isinstance(value, ast.Lambda) or (isinstance(value, ast.Constant) and value.value is None)


def _items(value: ast.expr) -> list[ast.expr]:
    return (
        value.values
        if isinstance(value, ast.Dict)
        else value.elts
        if isinstance(value, ast.List | ast.Set)
        else []
    )


def _called(value: ast.expr | None) -> str | None:
    return _called_name(value) if isinstance(value, ast.Call) else None


def _called_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def _returns_nothing(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return isinstance(function.returns, ast.Constant) and function.returns.value is None
