"""No request reaches an upstream of another project: not at first, not in a retry, not as a fallback."""

from __future__ import annotations

from tests.relay.attempts import attempts, error
from tests.relay.conftest import Start
from tests.relay.google_errors import ABOUT_THE_TARGET
from tests.relay.parts import UNARY, WHOLE, ask, refusal
from tests.support.places import Place
from tests.support.raw_upstream import RawUpstream
from tests.support.script import send

OVERLOAD = error(*ABOUT_THE_TARGET["503 overload"])
THEIRS = ("pr-misty-lake-e5f6g7h8",)
FLASH, PRO = "gemini-2-5-flash", "gemini-2-5-pro"


async def test_what_is_anothers_is_never_asked(
    start: Start, upstream: RawUpstream, second: RawUpstream
) -> None:
    stack = await start(
        [
            Place(upstream.url, name="theirs", priority=1, projects=THEIRS),
            Place(second.url, name="all", priority=2),
        ]
    )
    second.answer_next([send(WHOLE)])
    assert (await ask(stack)).body == UNARY
    second.answer_next(OVERLOAD)
    answer = await ask(stack)
    assert (answer.status, attempts(answer)) == (503, 1)
    assert (upstream.total_connections, second.total_requests) == (0, 2)


async def test_nor_for_another_model(start: Start, upstream: RawUpstream, second: RawUpstream) -> None:
    stack = await start(
        [
            Place(upstream.url, name="theirs", models=(PRO,), projects=THEIRS),
            Place(second.url, name="all", models=(FLASH,)),
        ],
        fallback={FLASH: (PRO,)},
    )
    second.answer_next(OVERLOAD)
    assert (await ask(stack)).status == 503
    async with stack.client() as client:
        await client.send(stack.request(model=PRO))
        assert refusal(await client.read_response()) == (400, "MODEL_NOT_ON_ENDPOINT")
    assert upstream.total_connections == 0
