"""Checks requests and replies against a vendor's OpenAPI 3.0 document, strictly.

The documents are not part of this project: BUILD_USB_OPENAPI names a folder that holds
`digitalocean.json` and `cloudflare.json`, each bundled into one file. Where it names none, they are
looked for in `shared/openapi` beside the checkout.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from openapi_schema_validator import OAS30ReadValidator, OAS30WriteValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

VARIABLE = "BUILD_USB_OPENAPI"
BESIDE = Path(__file__).parents[3] / "shared" / "openapi"


@cache
def document(name: str) -> Document | None:
    """Return a vendor's document, None where it is not at hand."""
    path = Path(os.environ.get(VARIABLE) or BESIDE) / f"{name}.json"
    return Document(json.loads(path.read_text())) if path.exists() else None


def needed(name: str) -> Document:
    """Return a vendor's document; skip the test where it is not at hand."""
    found = document(name)
    if found is None:
        pytest.skip(f"no {name}.json in the folder that {VARIABLE} names, nor in {BESIDE}")
    return found


class Document:
    """One bundled document. Checks return what is wrong, in words."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.prefix = urlsplit(content["servers"][0]["url"]).path.rstrip("/")
        self._paths = [
            (re.compile("^" + re.sub(r"{[^}]+}", "[^/]+", path) + "/?$"), path, item)
            for path, item in content["paths"].items()
        ]
        # literal segments before placeholders
        self._paths.sort(key=lambda entry: entry[1].count("{"))
        resource: Any = Resource(contents=content, specification=DRAFT4)
        self._registry: Any = Registry().with_resource("urn:document", resource)
        self.seen: set[str] = set()

    def check_request(self, method: str, path: str, query: dict[str, str], raw: bytes) -> list[str]:
        """Return what the document does not allow in a request."""
        item, operation, template = self._find(method, path)
        if operation is None:
            return ["the document has no such operation"]
        self.seen.add(f"{method} {template}")
        problems = []
        known = {
            parameter["name"]: parameter
            for parameter in map(
                self._resolved, [*item.get("parameters", []), *operation.get("parameters", [])]
            )
            if parameter["in"] == "query"
        }
        for name, text in query.items():
            if name not in known:
                problems.append(f"query {name!r} is not declared")
            else:
                schema = known[name].get("schema", {})
                problems += self._invalid(schema, self._typed(schema, text), f"query {name!r}")
        body = self._resolved(operation.get("requestBody", {}))
        schema = self._schema(body)
        if raw and schema is None:
            problems.append("a body, but the document declares none")
        elif raw and schema is not None:
            value = json.loads(raw)
            problems += self._invalid(schema, value, "body")
            problems += self._unknown([schema], value, "body")
        elif body.get("required"):
            problems.append("no body")
        return problems

    def check_reply(self, method: str, path: str, status: int, body: Any) -> list[str]:
        """Return where an emulator's reply is not what the document promises."""
        _, operation, _ = self._find(method, path)
        if operation is None:
            return []
        replies = operation["responses"]
        reply = replies.get(str(status)) or replies.get(f"{status // 100}XX")
        if reply is None:
            # vendors declare few of the errors they send
            return [] if status >= 400 else [f"status {status} is not declared"]
        schema = self._schema(self._resolved(reply))
        if schema is None:
            return [] if body is None else [f"reply {status} has a body"]
        return self._invalid(schema, body, f"reply {status}", write=False)

    # -- the document ------------------------------------------------------------------------------

    def _find(self, method: str, path: str) -> tuple[dict[str, Any], dict[str, Any] | None, str]:
        for pattern, template, item in self._paths:
            if pattern.match(path) and method.lower() in item:
                return item, item[method.lower()], template
        return {}, None, ""

    def _resolved(self, node: Any) -> Any:
        while isinstance(node, dict) and "$ref" in node:
            target: Any = self.content
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = target
        return node

    def _schema(self, holder: dict[str, Any]) -> dict[str, Any] | None:
        for kind, media in (holder.get("content") or {}).items():
            if "json" in kind:
                schema: dict[str, Any] = media.get("schema", {})
                return schema
        return None

    def _typed(self, schema: dict[str, Any], text: str) -> Any:
        kind = self._resolved(schema).get("type")
        if kind == "integer" and re.fullmatch(r"-?\d+", text):
            return int(text)
        if kind == "number" and re.fullmatch(r"-?\d+(\.\d+)?", text):
            return float(text)
        if kind == "boolean" and text in ("true", "false"):
            return text == "true"
        return text

    def _invalid(
        self, schema: dict[str, Any], value: Any, where: str, *, write: bool = True
    ) -> list[str]:
        validator: Any = OAS30WriteValidator if write else OAS30ReadValidator
        checker = validator(_absolute(schema), registry=self._registry)
        return [
            f"{where}{''.join(f'[{part!r}]' for part in error.absolute_path)}: "
            f"{error.message[:200]}"
            + "".join(f" | {cause.message[:120]}" for cause in (error.context or [])[:3])
            for error in checker.iter_errors(value)
        ]

    # -- properties that the document never mentions -----------------------------------------------

    def _branches(self, schema: Any) -> list[dict[str, Any]]:
        """Return a schema and all that it is put together from."""
        schema = self._resolved(schema)
        if not isinstance(schema, dict):
            return []
        parts = [part for key in ("allOf", "anyOf", "oneOf") for part in schema.get(key) or []]
        return [schema, *(branch for part in parts for branch in self._branches(part))]

    def _unknown(self, schemas: list[Any], value: Any, where: str) -> list[str]:
        branches = [branch for schema in schemas for branch in self._branches(schema)]
        problems = []
        if isinstance(value, dict):
            declared = {name for branch in branches for name in branch.get("properties") or {}}
            free = not declared or any(branch.get("additionalProperties") for branch in branches)
            for name, inner in value.items():
                if name not in declared:
                    problems += [] if free else [f"{where}[{name!r}] is not in the document"]
                    continue
                inside = [
                    b["properties"][name] for b in branches if name in b.get("properties", {})
                ]
                problems += self._unknown(inside, inner, f"{where}[{name!r}]")
        elif isinstance(value, list):
            inside = [branch["items"] for branch in branches if "items" in branch]
            for number, inner in enumerate(value):
                problems += self._unknown(inside, inner, f"{where}[{number}]")
        return problems


def _absolute(schema: Any) -> Any:
    """Return a schema whose references are found in the registry; examples are no schemas."""
    if isinstance(schema, dict):
        return {
            key: f"urn:document{value}"
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _absolute(value)
            for key, value in schema.items()
            if key not in ("example", "examples", "discriminator")
        }
    if isinstance(schema, list):
        return [_absolute(item) for item in schema]
    return schema
