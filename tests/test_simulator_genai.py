"""The simulated upstream taken for Google's by Google's own Python client, unmodified."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
from pydantic import BaseModel

from tests.support.simulator import simulator

pytest.importorskip("google.genai", reason="google-genai is not installed (extra: clients)")

from google import genai
from google.genai import errors, types

# The client's own doing, with the aiohttp of today.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession from ClientSession:DeprecationWarning"
)
MODEL = "gemini-2.5-flash"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Ingredient(BaseModel):
    name: str
    grams: float | None


class Recipe(BaseModel):
    title: str
    minutes: int
    ingredients: list[Ingredient]


@pytest.fixture(params=["v1", "v1beta"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[genai.Client]:
    async with simulator() as url:
        http = types.HttpOptions(base_url=url, api_version=request.param)
        client = genai.Client(api_key="x", http_options=http)
        try:
            yield client
        finally:
            await client.aio.aclose()
            client.close()


async def test_text_sync_and_async_unary_and_streamed(client: genai.Client) -> None:
    whole = await asyncio.to_thread(client.models.generate_content, model=MODEL, contents="What is Neon?")
    assert whole.text
    assert "What is Neon?" in whole.text
    assert whole.model_version == "gemini-2.5-flash-simulated"
    assert whole.candidates
    assert whole.candidates[0].finish_reason == types.FinishReason.STOP
    assert (
        await client.aio.models.generate_content(model=MODEL, contents="What is Neon?")
    ).text == whole.text

    def stream() -> list[types.GenerateContentResponse]:
        return list(client.models.generate_content_stream(model=MODEL, contents="What is Neon?"))

    chunks = await asyncio.to_thread(stream)
    again = [
        chunk
        async for chunk in await client.aio.models.generate_content_stream(
            model=MODEL, contents="What is Neon?"
        )
    ]
    for streamed in (chunks, again):
        assert 5 <= len(streamed) <= 10
        assert "".join(chunk.text or "" for chunk in streamed) == whole.text
        assert streamed[-1].usage_metadata == whole.usage_metadata


async def test_a_python_function_as_a_tool_is_called_and_its_result_told(client: genai.Client) -> None:
    asked: list[tuple[str, int]] = []

    def get_weather(city: str, days: int) -> str:
        """The weather of the next days."""
        asked.append((city, days))
        return "rain, 11 degrees"

    config = types.GenerateContentConfig(tools=[get_weather])
    answer = await asyncio.to_thread(
        client.models.generate_content, model=MODEL, contents="Weather in Lisbon?", config=config
    )
    assert asked == [("simulated city", 1)]
    assert answer.text
    assert "rain, 11 degrees" in answer.text

    chunks = await client.aio.models.generate_content_stream(model=MODEL, contents="Lisbon?", config=config)
    assert "rain, 11 degrees" in "".join([chunk.text or "" async for chunk in chunks])
    assert len(asked) == 2


@pytest.mark.parametrize("kind", [Recipe, list[Recipe]])
async def test_structured_output(client: genai.Client, kind: type) -> None:
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=kind)
    answer = await client.aio.models.generate_content(model=MODEL, contents="Soup", config=config)
    recipe = answer.parsed[0] if isinstance(answer.parsed, list) else answer.parsed
    assert isinstance(recipe, Recipe)
    assert recipe.ingredients


async def test_structured_output_by_json_schema(client: genai.Client) -> None:
    config = types.GenerateContentConfig(
        response_mime_type="application/json", response_json_schema=Recipe.model_json_schema()
    )
    answer = await client.aio.models.generate_content(model=MODEL, contents="Soup", config=config)
    assert Recipe.model_validate_json(answer.text or "").ingredients


async def test_thoughts(client: genai.Client) -> None:
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    answer = await client.aio.models.generate_content(model=MODEL, contents="hello", config=config)
    assert answer.parts
    assert [bool(part.thought) for part in answer.parts] == [True, False]
    assert answer.usage_metadata
    assert answer.usage_metadata.thoughts_token_count


async def test_a_chat_unary_and_streamed(client: genai.Client) -> None:
    chat = client.aio.chats.create(model=MODEL)
    assert (await chat.send_message("My name is Ada.")).text
    texts = [chunk.text or "" async for chunk in await chat.send_message_stream("What is my name?")]
    assert "The conversation has 3 turns" in "".join(texts)
    assert [turn.role for turn in chat.get_history()[:3]] == ["user", "model", "user"]


async def test_an_inline_image(client: genai.Client) -> None:
    image = types.Part.from_bytes(data=PIXEL, mime_type="image/png")
    answer = await client.aio.models.generate_content(model=MODEL, contents=[image, "What is it?"])
    assert answer.text
    assert "image/png" in answer.text
    assert answer.usage_metadata
    assert answer.usage_metadata.prompt_tokens_details
    modalities = {each.modality for each in answer.usage_metadata.prompt_tokens_details}
    assert modalities == {types.MediaModality.IMAGE, types.MediaModality.TEXT}


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (429, errors.ClientError, "You exceeded your current quota"),
        (503, errors.ServerError, "The model is overloaded"),
    ],
)
async def test_the_clients_exception_shows_googles_message(
    client: genai.Client, code: int, kind: type[errors.APIError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        await client.aio.models.generate_content(model=MODEL, contents=f"simulate-error:{code}")
    assert caught.value.code == code
    # A stream is asked for when it is first read.
    stream = await client.aio.models.generate_content_stream(model=MODEL, contents=f"simulate-error:{code}")
    with pytest.raises(kind, match=message) as caught:
        await anext(aiter(stream))
    assert caught.value.code == code
