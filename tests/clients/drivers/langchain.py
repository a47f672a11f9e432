"""langchain-google-genai: a chat model that other programs build upon."""

from __future__ import annotations

from typing import Any

from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from pydantic import BaseModel

from tests.clients.drivers.cases import Case, Target, play
from tests.clients.refusals import GENERATING, Refusal


class City(BaseModel):
    """The answer asked for in the structured case."""

    name: str
    inhabitants: int


def connect(
    target: Target, *, model: str = "gemini-2-5-flash", token: str = "good"
) -> ChatGoogleGenerativeAI:
    """It tries six times by itself, which a test need not wait for."""
    return ChatGoogleGenerativeAI(
        model=model, google_api_key=target.tokens[token], base_url=target.base_url, max_retries=1
    )


@tool
def current_weather(city: str) -> str:
    """The weather in a city right now."""
    return f"rain in {city}"


def text(target: Target) -> Any:
    answer = connect(target).invoke("What is a gateway?")
    return {"text": answer.text, "total_tokens": answer.usage_metadata["total_tokens"]}


def stream(target: Target) -> Any:
    chunks = [chunk.text for chunk in connect(target).stream("What is a gateway?")]
    return {"text": "".join(chunks), "chunks": sum(1 for chunk in chunks if chunk)}


async def stream_async(target: Target) -> Any:
    chunks = [chunk.text async for chunk in connect(target).astream("What is a gateway?")]
    return {"text": "".join(chunks), "chunks": sum(1 for chunk in chunks if chunk)}


def tools(target: Target) -> Any:
    answer = connect(target).bind_tools([current_weather]).invoke("What's the weather in Lisbon?")
    return [current_weather.invoke(call["args"]) for call in answer.tool_calls]


def structured(target: Target) -> Any:
    return connect(target).with_structured_output(City).invoke("The largest city of Portugal").model_dump()


def refused(refusal: Refusal) -> Case:
    return lambda target: (
        connect(target, model=refusal.model, token=refusal.token).invoke(refusal.prompt).text
    )


if __name__ == "__main__":
    play(
        {
            "text": text,
            "stream": stream,
            "stream_async": stream_async,
            "tools": tools,
            "structured": structured,
            **{f"refused_{name}": refused(refusal) for name, refusal in GENERATING.items()},
        }
    )
