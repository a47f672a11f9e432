"""google-generativeai, the client before google-genai: a stream is a JSON array, enums are numbers."""

from __future__ import annotations

from typing import Any

import google.generativeai as genai

from tests.clients.drivers.cases import Case, Target, play
from tests.clients.refusals import REFUSALS, Refusal


def connect(target: Target, *, model: str = "gemini-2-5-flash", token: str = "good") -> genai.GenerativeModel:
    genai.configure(
        api_key=target.tokens[token], transport="rest", client_options={"api_endpoint": target.base_url}
    )
    return genai.GenerativeModel(model)


def text(target: Target) -> Any:
    answer = connect(target).generate_content("What is a gateway?")
    return {"text": answer.text, "total_tokens": answer.usage_metadata.total_token_count}


def stream(target: Target) -> Any:
    chunks = list(connect(target).generate_content("What is a gateway?", stream=True))
    return {"text": "".join(chunk.text for chunk in chunks), "chunks": len(chunks)}


def refused(refusal: Refusal) -> Case:
    def case(target: Target) -> Any:
        model = connect(target, model=refusal.model, token=refusal.token)
        # Its own retries would wait a minute for a 503 to go away.
        once = {"retry": None, "timeout": 30}
        if refusal.counts_tokens:
            return str(model.count_tokens(refusal.prompt, request_options=once))
        return model.generate_content(refusal.prompt, request_options=once).text

    return case


if __name__ == "__main__":
    play(
        {
            "text": text,
            "stream": stream,
            **{f"refused_{name}": refused(refusal) for name, refusal in REFUSALS.items()},
        }
    )
