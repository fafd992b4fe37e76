"""The command line of `fulcrum complete`, apart from what runs it, so that reading arguments loads no library."""

import argparse

from services.cli.argument_types import number, schema, span, stop, text, whole


def add_complete_arguments(complete: argparse.ArgumentParser) -> None:
    """Adds the prompt, who may answer it, how, and what the cache may do."""
    complete.add_argument("prompt", type=text, help="what to ask; - reads standard input")
    complete.add_argument("--system", type=text, help="instructions that go before the prompt")
    complete.add_argument("--model", type=text, action="append", default=[], help="allow only this model (repeatable)")
    complete.add_argument("--deny", type=text, action="append", default=[], help="not this model (repeatable)")
    complete.add_argument("--goal", choices=("cheapest", "best", "fastest"), help="what to optimise within all limits")
    complete.add_argument(
        "--whole-answer", action="store_true", help="wait for the end, so that a cheaper model may be asked first"
    )
    complete.add_argument("--max-quality-loss", type=number(0, 1), help="share of requests that may be answered worse")
    complete.add_argument(
        "--confidence", type=number(0.001, 0.999), help="with which that is promised; else on average"
    )
    complete.add_argument("--max-cost", type=number(0, 1e6), metavar="USD", help="most that it may be expected to cost")
    complete.add_argument("--max-latency", type=number(0.001, 1e6), metavar="SECONDS", help="longest it should take")
    complete.add_argument("--max-output-tokens", type=whole(1, 2**20), help="most tokens of the answer")
    complete.add_argument("--temperature", type=number(0, 2), help="0 is greedy")
    complete.add_argument("--seed", type=whole(0, 2**64 - 1), help="equal seeds give equal answers on local models")
    complete.add_argument(
        "--stop", type=stop, action="append", default=[], metavar="TEXT", help="end the answer before it (repeatable)"
    )
    complete.add_argument(
        "--json-schema", type=schema, metavar="FILE", help="hold the answer to the JSON schema in this file"
    )
    complete.add_argument(
        "--logprobs",
        type=whole(0, 20),
        metavar="N",
        help="tell each token's probability, and the N likeliest in its place; such are not answered from the cache",
    )
    complete.add_argument("--no-cache", action="store_true", help="do not answer from the cache")
    complete.add_argument("--no-store", action="store_true", help="do not keep the answer")
    complete.add_argument("--only-if-cached", action="store_true", help="answer from the cache or not at all")
    complete.add_argument("--max-age", type=span, metavar="SPAN", help="oldest answer that will do, such as 1h")
    complete.add_argument("--ttl", type=span, metavar="SPAN", help="how long the answer may be served, such as 7d")
    complete.add_argument("--store-sampled", action="store_true", help="keep the answer though it was sampled hot")
    complete.add_argument("--json", action="store_true", help="print the receipt, and what --logprobs tells, as JSON")
