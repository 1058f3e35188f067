"""Holds conversations through the official OpenAI client and writes what came back, one JSON object a round.

Greedy decoding, streamed, all conversations at once; the rounds of one conversation follow each other.
"""

import argparse
import asyncio
import json
import time

import openai

TOPICS = [
    ("the sea", "tides, currents, salt, waves, reefs, and the animals that live between the sand and the surface"),
    ("bread", "flour, water, yeast, salt, kneading, the first rise, the oven, and how a good crust is made"),
    ("trains", "rails, signals, stations, engines, tickets, timetables, and why a bridge needs a gap in summer"),
    ("the moon", "its phases, craters, dust, gravity, the far side, and the people who walked there long ago"),
    ("gardens", "soil, seeds, rain, bees, weeds, tools, and what to do in spring, summer, autumn and winter"),
    ("music", "strings, drums, voices, rhythm, harmony, rehearsal, and the silence between two notes"),
    ("cities", "streets, markets, parks, bridges, water pipes, buses, and the noise of an early morning"),
    ("books", "paper, ink, chapters, libraries, translators, and the pleasure of a long story at night"),
]


def question(conversation: int, number: int) -> str:
    """Long and short increments, so that both ends of every policy's range occur."""
    topic, details = TOPICS[conversation % len(TOPICS)]
    if number == 0:
        return f"Hello! I am number {conversation}. Let us talk about {topic}. What comes to your mind first?"
    if number % 2 == 1:
        return (
            f"Here are my notes about {topic}. They name {details}. I wrote them over many years, on trains and in "
            f"kitchens, and never put them in order. Please read them again: {details}. Then tell me which one of these "
            f"matters most for somebody who knows nothing about {topic}, and say why in one sentence."
        )
    return "Go on."


async def converse(client: openai.AsyncOpenAI, model: str, index: int, options: argparse.Namespace) -> None:
    session = f"{options.session}-{index}"
    messages = []
    for number in range(options.rounds):
        messages.append({"role": "user", "content": question(index, number)})
        result = {"conversation": index, "round": number + 1, "session": session}
        try:
            result |= await ask(client, model, session, messages, options)
        except openai.OpenAIError as error:
            result |= {"error": " <- ".join(f"{type(cause).__name__}: {cause}" for cause in causes(error))}
        print(json.dumps(result), file=options.output, flush=True)
        if "error" in result:
            return
        messages.append({"role": "assistant", "content": result["text"]})


def causes(error: BaseException | None):
    """An error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__


async def ask(client, model, session, messages, options) -> dict:
    start = time.monotonic()
    extra = {"logprobs": True, "top_logprobs": 2} if options.logprobs else {}
    response = await client.chat.completions.with_raw_response.create(
        model=model,
        messages=messages,
        temperature=0,
        max_tokens=options.max_tokens,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"x-session-id": session},
        **extra,
    )
    text, finish, usage, first, chunks, gaps = [], None, None, None, 0, []
    async for chunk in response.parse():
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            if choice.delta.content:
                first = first or time.monotonic() - start
                chunks += 1
                text.append(choice.delta.content)
            finish = choice.finish_reason or finish
            for token in (choice.logprobs and choice.logprobs.content) or []:
                top = [other.logprob for other in token.top_logprobs]
                gaps.append({"token": token.token, "gap": top[0] - top[1] if len(top) > 1 else None})
    headers = {name.lower(): value for name, value in response.headers.items()}
    return {
        "text": "".join(text),
        "finish_reason": finish,
        "chunks": chunks,
        "gaps": gaps,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.prompt_tokens_details.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "headers": {name: value for name, value in headers.items() if name.startswith("x-")},
        "first_s": first,
        "total_s": time.monotonic() - start,
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="base address of the service")
    parser.add_argument("--session", required=True, help="start of the sessions' names")
    parser.add_argument("--conversations", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=24)
    parser.add_argument("--logprobs", action="store_true", help="also tell how far apart the two best tokens were")
    parser.add_argument("--output", type=argparse.FileType("w"), default="-", help="where to write, by default standard output")
    options = parser.parse_args()
    # Retries would hide what the service does wrong.
    client = openai.AsyncOpenAI(base_url=f"{options.url}/v1", max_retries=0, timeout=120)
    model = (await client.models.list()).data[0].id
    await asyncio.gather(*(converse(client, model, index, options) for index in range(options.conversations)))


asyncio.run(main())
