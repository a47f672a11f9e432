"""A GenerateContentRequest as the simulated upstream reads it: the fields that shape an answer, checked.

As Google does, it takes camelCase and snake_case names, a single object where a list is meant, numbers
written as strings, and null for absent; it refuses what Google refuses, in the same words.
Source: the `GenerateContentRequest` message of the public API.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.simulator.errors import bad_payload, invalid

_TOP_LEVEL = {
    "model",
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "serviceTier",
    "store",
    "labels",
    "modelArmorConfig",
}
# Below these the names are the client's own (arguments, JSON schemas), not fields of the API.
_FREE_FORM = {
    "args",
    "response",
    "parameters",
    "parametersJsonSchema",
    "responseSchema",
    "responseJsonSchema",
    "labels",
}
# "function" and "tool" are no documented roles, but Google takes them and its own examples send them.
_ROLES = {"", "user", "model", "function", "tool"}
# The older clients send enums as numbers (`$alt=json;enum-encoding=int`).
_MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
_PROTO_TYPES = {"int": "TYPE_INT32", "str": "TYPE_STRING", "bool": "TYPE_BOOL"}


class Message(msgspec.Struct, rename="camel", frozen=True):
    """Shared by all: camelCase on the wire."""


class Media(Message, frozen=True):
    """`inlineData` or `fileData`: of its content only the type matters here."""

    mime_type: str = ""


class Call(Message, frozen=True):
    """A `functionCall` or `functionResponse`."""

    name: str = ""
    args: Any = None
    response: Any = None


class Part(Message, frozen=True):
    """One part of a turn."""

    text: str = ""
    inline_data: Media | None = None
    file_data: Media | None = None
    function_call: Call | None = None
    function_response: Call | None = None

    @property
    def media(self) -> Media | None:
        return self.inline_data or self.file_data


class Content(Message, frozen=True):
    """One turn. `role` is empty where the client named none, which means the user."""

    role: str = ""
    parts: list[Part] | Part = []

    @property
    def each_part(self) -> list[Part]:
        return self.parts if isinstance(self.parts, list) else [self.parts]

    @property
    def text(self) -> str:
        return " ".join(part.text for part in self.each_part if part.text)

    @property
    def answers_function(self) -> bool:
        return any(part.function_response for part in self.each_part)


class FunctionDeclaration(Message, frozen=True):
    name: str = ""
    description: str = ""
    parameters: dict[str, Any] = {}
    parameters_json_schema: Any = None

    @property
    def schema(self) -> Any:
        return self.parameters or self.parameters_json_schema


class Tool(Message, frozen=True):
    """Function declarations, or one of Google's own tools (of which only the presence matters)."""

    function_declarations: list[FunctionDeclaration] | FunctionDeclaration = []
    google_search: Any = None
    code_execution: Any = None
    url_context: Any = None

    @property
    def declarations(self) -> list[FunctionDeclaration]:
        declared = self.function_declarations
        return declared if isinstance(declared, list) else [declared]

    @property
    def built_in(self) -> bool:
        return any(tool is not None for tool in (self.google_search, self.code_execution, self.url_context))


class FunctionCallingConfig(Message, frozen=True):
    mode: str | int = "AUTO"
    allowed_function_names: list[str] = []


class ToolConfig(Message, frozen=True):
    function_calling_config: FunctionCallingConfig = FunctionCallingConfig()


class ThinkingConfig(Message, frozen=True):
    include_thoughts: bool = False
    thinking_budget: int = -1


class GenerationConfig(Message, frozen=True):
    candidate_count: int = 1
    max_output_tokens: int = 65536
    stop_sequences: list[str] = []
    response_mime_type: str = ""
    response_schema: dict[str, Any] = {}
    response_json_schema: Any = None
    thinking_config: ThinkingConfig = ThinkingConfig()

    @property
    def schema(self) -> Any:
        return self.response_schema or self.response_json_schema


class Request(Message, frozen=True):
    """The whole. `contents` has at least one turn, and every turn at least one part."""

    contents: list[Content] | Content = []
    system_instruction: Content | None = None
    tools: list[Tool] | Tool = []
    tool_config: ToolConfig = ToolConfig()
    generation_config: GenerationConfig = GenerationConfig()
    cached_content: str = ""

    @property
    def turns(self) -> list[Content]:
        return self.contents if isinstance(self.contents, list) else [self.contents]

    @property
    def each_tool(self) -> list[Tool]:
        return self.tools if isinstance(self.tools, list) else [self.tools]

    @property
    def prompt(self) -> str:
        """The text of the user's last turn that has any."""
        return next((turn.text for turn in reversed(self.turns) if turn.role != "model" and turn.text), "")

    @property
    def calling_mode(self) -> str:
        mode = self.tool_config.function_calling_config.mode
        if isinstance(mode, int):
            return _MODES[mode] if 0 <= mode < len(_MODES) else "AUTO"
        return mode.upper()


def parse(body: bytes) -> Request:
    """The request that `body` is.

    Raises GoogleError with what Google answers to a bad one, RecursionError for one nested too deep.
    """
    message = _decode(body)
    unknown = [name for name in message if _camel_name(name) not in _TOP_LEVEL]
    if unknown:
        words = 'Invalid JSON payload received. Unknown name "{}": Cannot find field.'
        raise bad_payload(*(("", words.format(name)) for name in unknown))
    try:
        request = msgspec.convert(_camel(message), Request, strict=False)
    except msgspec.ValidationError as error:
        raise _bad_value(str(error)) from None
    _check(request)
    return request


def _decode(body: bytes) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(body) if body.strip() else {}
    except msgspec.DecodeError as error:
        raise bad_payload(("", _syntax_error(body, str(error)))) from None
    except UnicodeDecodeError:
        raise bad_payload(("", "Invalid JSON payload received. Invalid UTF-8.")) from None
    if not isinstance(message, dict):
        words = 'Invalid JSON payload received. Unknown name "": Root element must be a message.'
        raise bad_payload(("", words))
    return message


def _syntax_error(body: bytes, problem: str) -> str:
    """Google quotes the place and puts a caret under it."""
    found = re.search(r"\(byte (\d+)\)", problem)
    if not found:
        return "Invalid JSON payload received. Unexpected end of string. Expected a value or closing bracket."
    at = int(found[1])
    before = body[max(0, at - 20) : at].decode("utf-8", "replace")
    after = body[at : at + 20].decode("utf-8", "replace")
    return f"Invalid JSON payload received. Unexpected token.\n{before}{after}\n{' ' * len(before)}^"


def _camel(value: Any) -> Any:
    """The same message with camelCase names and without nulls, down to where names are the client's own."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {_camel_name(name): item for name, item in value.items() if item is not None}
    return {name: item if name in _FREE_FORM else _camel(item) for name, item in named.items()}


def _camel_name(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name) if "_" in name else name


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda found: "_" + found[1].lower(), name)


def _bad_value(problem: str) -> Exception:
    """Google's words for a value of the wrong type, from msgspec's."""
    expected = re.search(r"Expected `(\w+)", problem)
    path = re.search(r"`\$\.?(.*)`$", problem)
    field = _snake(path[1]) if path else ""
    kind = _PROTO_TYPES.get(expected[1] if expected else "", "message")
    return bad_payload((field, f"Invalid value at '{field}' ({kind})"))


def _check(request: Request) -> None:
    if not request.turns:
        raise invalid("* GenerateContentRequest.contents: contents is not specified\n")
    for number, turn in enumerate(request.turns):
        if turn.role not in _ROLES:
            raise invalid("Please use a valid role: user, model.")
        if not turn.each_part:
            raise invalid(
                f"* GenerateContentRequest.contents[{number}].parts: contents.parts must not be empty.\n"
            )
    config = request.generation_config
    for name, value, end in (
        ("candidateCount", config.candidate_count, 9),
        ("maxOutputTokens", config.max_output_tokens, 65537),
    ):
        if not 1 <= value < end:
            raise invalid(
                f"Unable to submit request because it has a {name} value of {value} but the supported range "
                f"is from 1 (inclusive) to {end} (exclusive). Update the value and try again."
            )
