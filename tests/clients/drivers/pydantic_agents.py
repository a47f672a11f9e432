"""pydantic-ai: agents that answer, stream, call tools and return checked objects."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.providers.google import GoogleProvider

from tests.clients.drivers.cases import Case, Target, play
from tests.clients.refusals import GENERATING, Refusal


class City(BaseModel):
    """The answer asked for in the structured case."""

    name: str
    inhabitants: int


def connect(target: Target, *, model: str = "gemini-2-5-flash", token: str = "good") -> GoogleModel:
    provider = GoogleProvider(api_key=target.tokens[token], base_url=target.base_url)
    return GoogleModel(model, provider=provider)


async def text(target: Target) -> Any:
    run = await Agent(connect(target)).run("What is a gateway?")
    return {"text": run.output, "input_tokens": run.usage.input_tokens}


async def stream(target: Target) -> Any:
    async with Agent(connect(target)).run_stream("What is a gateway?") as run:
        pieces = [piece async for piece in run.stream_text(delta=True, debounce_by=None)]
    return {"text": "".join(pieces), "chunks": len(pieces)}


async def tools(target: Target) -> Any:
    agent = Agent(connect(target))
    asked = []

    @agent.tool_plain
    def current_weather(city: str) -> str:
        """The weather in a city right now."""
        asked.append(city)
        return "rain, 11 degrees"

    return {"text": (await agent.run("What's the weather in Lisbon?")).output, "asked": asked}


async def structured(target: Target) -> Any:
    agent = Agent(connect(target), output_type=City)
    return (await agent.run("The largest city of Portugal")).output.model_dump()


def refused(refusal: Refusal) -> Case:
    async def case(target: Target) -> Any:
        agent = Agent(connect(target, model=refusal.model, token=refusal.token))
        return (await agent.run(refusal.prompt)).output

    return case


if __name__ == "__main__":
    play(
        {
            "text": text,
            "stream": stream,
            "tools": tools,
            "structured": structured,
            **{f"refused_{name}": refused(refusal) for name, refusal in GENERATING.items()},
        }
    )
