"""google-genai for Python, versions 1, 2 and 3: every way of asking that its users know.

Without `from __future__ import annotations`: version 1 can't call a function whose annotations are strings.
"""

import base64
from collections.abc import Sequence
from typing import Any

from google import genai
from google.genai import types
from pydantic import BaseModel

from tests.clients.drivers.cases import Case, Target, play
from tests.clients.refusals import GENERATING, REFUSALS, Refusal

MODEL = "gemini-2-5-flash"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Recipe(BaseModel):
    """The answer asked for in the structured case."""

    name: str
    minutes: int
    ingredients: list[str]


def connect(
    target: Target, *, path: str = "/ai-gateway/gemini", token: str = "good", **options: Any
) -> genai.Client:
    """A client as a user makes one: base URL and key, nothing else unless the case is about it.

    The caller keeps it: a client that nothing names any more closes its connections, even amid a request.
    """
    http = types.HttpOptions(base_url=target.url + path, **options)
    return genai.Client(api_key=target.tokens[token], http_options=http)


def told(chunks: Sequence[types.GenerateContentResponse]) -> dict[str, Any]:
    """What one answer, whole or in chunks, says."""
    last = chunks[-1]
    assert last.candidates
    assert last.usage_metadata
    return {
        "text": "".join(chunk.text or "" for chunk in chunks),
        "chunks": len(chunks),
        "model_version": last.model_version,
        "finish_reason": str(getattr(last.candidates[0].finish_reason, "value", None)),
        "total_tokens": last.usage_metadata.total_token_count,
    }


def text(target: Target) -> Any:
    client = connect(target)
    return told([client.models.generate_content(model=MODEL, contents="What is a gateway?")])


async def text_async(target: Target) -> Any:
    async with connect(target).aio as client:
        return told([await client.models.generate_content(model=MODEL, contents="What is a gateway?")])


def stream(target: Target) -> Any:
    client = connect(target)
    return told(list(client.models.generate_content_stream(model=MODEL, contents="What is a gateway?")))


async def stream_async(target: Target) -> Any:
    async with connect(target).aio as client:
        chunks = await client.models.generate_content_stream(model=MODEL, contents="What is a gateway?")
        return told([chunk async for chunk in chunks])


def tools(target: Target) -> Any:
    """The client calls the function by itself and asks again with what it returned."""
    asked = []

    def current_weather(city: str) -> str:
        """The weather in a city right now."""
        asked.append(city)
        return "rain, 11 degrees"

    client = connect(target)
    answer = client.models.generate_content(
        model=MODEL,
        contents="What's the weather in Lisbon?",
        config=types.GenerateContentConfig(tools=[current_weather]),
    )
    return {"asked": asked, "text": answer.text}


def image(target: Target) -> Any:
    part = types.Part.from_bytes(data=PIXEL, mime_type="image/png")
    client = connect(target)
    return told([client.models.generate_content(model=MODEL, contents=[part, "What is in the picture?"])])


def structured(target: Target) -> Any:
    client = connect(target)
    answer = client.models.generate_content(
        model=MODEL,
        contents="A recipe for soup",
        config=types.GenerateContentConfig(response_mime_type="application/json", response_schema=Recipe),
    )
    assert isinstance(answer.parsed, Recipe)
    return answer.parsed.model_dump()


def chat(target: Target) -> Any:
    """A unary turn and a streamed one in the same conversation."""
    client = connect(target)
    conversation = client.chats.create(model=MODEL)
    first = conversation.send_message("My name is Ada.").text
    second = "".join(chunk.text or "" for chunk in conversation.send_message_stream("What is my name?"))
    return {"texts": [first, second], "roles": [turn.role for turn in conversation.get_history()]}


def configured_by_environment(_: Target) -> Any:
    """GOOGLE_GEMINI_BASE_URL and GEMINI_API_KEY alone, as for a program that can't be changed."""
    client = genai.Client()
    return told([client.models.generate_content(model=MODEL, contents="hello")])


def dummy_key_beside_bearer(target: Target) -> Any:
    """As Databricks documents it."""
    http = types.HttpOptions(
        base_url=target.base_url, headers={"Authorization": f"Bearer {target.tokens['good']}"}
    )
    client = genai.Client(api_key="databricks", http_options=http)
    return told([client.models.generate_content(model=MODEL, contents="hello")])


def at_path(path: str, model: str = MODEL, **options: Any) -> Case:
    def case(target: Target) -> Any:
        client = connect(target, path=path, **options)
        return told([client.models.generate_content(model=model, contents="hello")])

    return case


def refused(refusal: Refusal) -> Case:
    def case(target: Target) -> Any:
        client = connect(target, token=refusal.token)
        call = client.models.count_tokens if refusal.counts_tokens else client.models.generate_content
        return call(model=refusal.model, contents=refusal.prompt).model_dump_json()

    return case


def refused_stream(refusal: Refusal) -> Case:
    def case(target: Target) -> Any:
        client = connect(target, token=refusal.token)
        return len(list(client.models.generate_content_stream(model=refusal.model, contents=refusal.prompt)))

    return case


def refused_async(refusal: Refusal) -> Case:
    async def case(target: Target) -> Any:
        async with connect(target, token=refusal.token).aio as client:
            call = client.models.count_tokens if refusal.counts_tokens else client.models.generate_content
            return (await call(model=refusal.model, contents=refusal.prompt)).model_dump_json()

    return case


CASES: dict[str, Case] = {
    "version": lambda _: genai.__version__,
    "text": text,
    "text_async": text_async,
    "stream": stream,
    "stream_async": stream_async,
    "tools": tools,
    "image": image,
    "structured": structured,
    "chat": chat,
    "configured_by_environment": configured_by_environment,
    "dummy_key_beside_bearer": dummy_key_beside_bearer,
    "trailing_slash": at_path("/ai-gateway/gemini/"),
    "short_path": at_path("/v1/gemini"),
    "short_path_trailing_slash": at_path("/v1/gemini/"),
    "v1": at_path("/ai-gateway/gemini", api_version="v1"),
    "v1beta": at_path("/ai-gateway/gemini", api_version="v1beta"),
    "v1alpha": at_path("/ai-gateway/gemini", api_version="v1alpha"),
    "deadline_announced": at_path("/ai-gateway/gemini", timeout=20_000),
    "googles_model_name": at_path("/ai-gateway/gemini", model="gemini-2.5-flash"),
    "databricks_model_name": at_path("/ai-gateway/gemini", model="databricks-gemini-2-5-flash"),
    **{f"refused_{name}": refused(refusal) for name, refusal in REFUSALS.items()},
    **{f"refused_async_{name}": refused_async(refusal) for name, refusal in REFUSALS.items()},
    **{f"refused_stream_{name}": refused_stream(refusal) for name, refusal in GENERATING.items()},
}

if __name__ == "__main__":
    play(CASES)
