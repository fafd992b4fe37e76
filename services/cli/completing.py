"""`fulcrum complete`: asks a running suite one thing, and shows the answer as it comes."""

import argparse
import sys
from collections.abc import Sequence

from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from fulcrum.executor.v1 import chat_pb2, executor_service_pb2
from fulcrum.router.v1 import objective_pb2
from google.protobuf.json_format import MessageToJson

from services.chassis.settings import ConfigError
from services.cli.asking import suite
from services.cli.printing import harmless, show
from services.cli.tables import logprobs_table, receipt_table


async def complete(arguments: argparse.Namespace) -> None:
    """Streams one answer, then prints its tokens' probabilities where asked for, and its receipt."""
    prompt = _standard_input() if arguments.prompt == "-" else arguments.prompt
    turns = [chat_pb2.Message(role=chat_pb2.ROLE_USER, content=prompt)]
    if arguments.system:
        turns.insert(0, chat_pb2.Message(role=chat_pb2.ROLE_SYSTEM, content=arguments.system))
    request = edge_pb.CompleteRequest(
        messages=turns,
        objective=_objective(arguments),
        sampling=_sampling(arguments),
        cache_control=edge_pb.CacheControl(
            no_cache=arguments.no_cache,
            no_store=arguments.no_store,
            only_if_cached=arguments.only_if_cached,
            store_sampled=arguments.store_sampled,
            max_age=arguments.max_age,
            ttl=arguments.ttl,
        ),
    )
    logprobs: list[chat_pb2.TokenLogprob] = []
    to_terminal = sys.stdout.isatty()
    async with suite(arguments) as asked:
        async for event in asked.stream(request):
            if event.WhichOneof("event") == "text_delta":
                print(harmless(event.text_delta.text) if to_terminal else event.text_delta.text, end="", flush=True)
                logprobs += event.text_delta.logprobs
            elif event.WhichOneof("event") == "receipt":
                print()
                _show_end(event.receipt, logprobs, arguments.json)


def _show_end(receipt: receipt_pb2.Receipt, logprobs: Sequence[chat_pb2.TokenLogprob], as_json: bool) -> None:
    if as_json:
        if logprobs:
            print(MessageToJson(executor_service_pb2.TextDelta(logprobs=logprobs), preserving_proto_field_name=True))
        print(MessageToJson(receipt, preserving_proto_field_name=True))
        return
    if logprobs:
        show(logprobs_table(logprobs))
    show(receipt_table(receipt))


def _sampling(arguments: argparse.Namespace) -> chat_pb2.Sampling:
    schema = arguments.json_schema
    return chat_pb2.Sampling(
        max_output_tokens=arguments.max_output_tokens,
        temperature=arguments.temperature,
        seed=arguments.seed,
        stop=arguments.stop,
        response_format=None if schema is None else chat_pb2.ResponseFormat(json_schema=schema),
        top_logprobs=arguments.logprobs,
    )


def _objective(arguments: argparse.Namespace) -> objective_pb2.Objective:
    objective = objective_pb2.Objective(
        max_quality_loss=arguments.max_quality_loss,
        confidence=arguments.confidence,
        max_cost_nano_usd=None if arguments.max_cost is None else round(arguments.max_cost * 1e9),
        allowed_models=arguments.model,
        denied_models=arguments.deny,
        goal=f"GOAL_{arguments.goal.upper()}" if arguments.goal else None,
        whole_answer=arguments.whole_answer,
    )
    if arguments.max_latency is not None:
        objective.max_latency.FromNanoseconds(round(arguments.max_latency * 1e9))
    return objective


def _standard_input() -> str:
    content = sys.stdin.buffer.read()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        found = content[error.start : error.end]
        raise ConfigError(f"prompt: got {found!r} at byte {error.start} of the input, expected UTF-8") from None
