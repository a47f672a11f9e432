"""`credentials revoke --now` ends the streams under way; without `--now` they finish."""

from __future__ import annotations

import json
from pathlib import Path

from tests.service.rig import EVENTS, SLOW_STREAM, ask, client, request, running
from tests.support.eventually import eventually
from tests.support.raw_upstream import RawUpstream


async def test_it_ends_the_streams_of_that_credential_alone(tmp_path: Path) -> None:
    with RawUpstream() as upstream, running(tmp_path, upstream) as gateway:
        upstream.answer_always(SLOW_STREAM)
        made = json.loads(gateway.command("credentials", "create", "--branch", "main", "--json"))
        async with client(gateway) as doomed, client(gateway) as spared:
            await doomed.send(request(made["api_token"]))
            cut = await doomed.read_head("POST")
            await doomed.read_body(cut, until=len(EVENTS[0]))
            await spared.send(request(gateway.token))
            whole = await spared.read_head("POST")
            await spared.read_body(whole, until=len(EVENTS[0]))

            gateway.command("credentials", "revoke", "--now", made["id"])

            await doomed.read_body(cut)
            assert cut.ended == "eof_without_terminator"
            told = json.loads(cut.body.removeprefix(EVENTS[0]).removeprefix(b"data: "))
            assert told["error"]["code"] == 401
            assert (await (await upstream.request(0)).closed()).kind in {"fin", "rst"}
            upstream.set("go")
            await spared.read_body(whole)
            assert whole.ended == "complete"
            assert whole.body == b"".join(EVENTS)


async def test_a_revocation_alone_lets_streams_finish_and_refuses_the_next_request(tmp_path: Path) -> None:
    with RawUpstream() as upstream, running(tmp_path, upstream) as gateway:
        upstream.answer_next(SLOW_STREAM)
        made = json.loads(gateway.command("credentials", "create", "--branch", "main", "--json"))
        async with client(gateway) as streaming:
            await streaming.send(request(made["api_token"]))
            response = await streaming.read_head("POST")
            await streaming.read_body(response, until=len(EVENTS[0]))
            gateway.command("credentials", "revoke", made["id"])
            # Found as soon as the cached answer is too old.
            await eventually("a 401", lambda: ask(gateway.url, made["api_token"]).status == 401)
            upstream.set("go")
            await streaming.read_body(response)
            assert response.ended == "complete"
