"""Rewrites templates so that what Jinja does without a call goes through the sandbox as well."""

from collections.abc import Sequence
from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer


class Watched(NodeTransformer):
    """Has every round of a loop or macro, and what is made without a call, go through the environment."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """`~`."""
        self.generic_visit(node)
        return _through("joined", node.nodes, node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """Slices."""
        self.generic_visit(node)
        return _through("made", [node], node) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.Expr) -> nodes.Node:
        """Literals, which may hold the same thing many times."""
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") != "load" else _through("made", [node], node)

    visit_Dict = visit_Tuple = visit_List  # noqa: N815 - as Jinja has it

    def visit_For(self, node: Any) -> nodes.Node:
        """The body's own text is paid for in each round."""
        written = sum(len(text.data) for one in node.body for text in one.find_all(nodes.TemplateData))
        self.generic_visit(node)
        look = _through("round", [nodes.Const(written, lineno=node.lineno)], node)
        node.body.insert(0, nodes.Output([look], lineno=node.lineno))
        return node  # type: ignore[no-any-return]

    visit_Macro = visit_CallBlock = visit_For  # noqa: N815 - as Jinja has it


def _through(method: str, arguments: Sequence[Any], node: nodes.Node) -> nodes.Call:
    """A call of the environment's method, which no variable of a template can hide."""
    at = node.lineno
    return nodes.Call(nodes.EnvironmentAttribute(method, lineno=at), list(arguments), [], None, None, lineno=at)
