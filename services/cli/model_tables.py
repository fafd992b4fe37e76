"""What the command line shows of models: where they run, what they cost, and what their precisions lose."""

from collections.abc import Sequence

from fulcrum.executor.v1 import executor_service_pb2 as executor_pb
from fulcrum.router.v1 import router_service_pb2 as router_pb
from rich.table import Table

from services.cli.printing import plain


def models_table(
    catalogue: Sequence[router_pb.CatalogueModel] | None, engines: Sequence[executor_pb.Model] | None
) -> Table:
    """Every model that the router or the executor knows; None stands for one that was not there to be asked."""
    table = Table(title="models", title_justify="left")
    for heading in ("name", "state", "runs", "context", "memory", "tokens/s", "price"):
        table.add_column(heading, justify="right" if heading in ("context", "memory", "tokens/s") else "left")
    by_name = {engine.name: engine for engine in engines or ()}
    priced = {model.name: model for model in catalogue or ()}
    for name in sorted({*by_name, *priced}):
        engine, model = by_name.get(name), priced.get(name)
        state = "" if engines is None else "no engine"
        if engine:
            state = executor_pb.ModelState.Name(engine.state).removeprefix("MODEL_STATE_").lower()
            state += f": {plain(engine.failure)}" if engine.failure else ""
        runs = "remote" if engine and engine.kind == executor_pb.MODEL_KIND_REMOTE else "here" if engine else ""
        runs += f", {engine.precision}" if engine and engine.precision else ""
        strong = " (strong)" if model and model.is_default else ""
        context = str(engine.context_tokens) if engine and engine.context_tokens else ""
        price = "" if catalogue is None else _price(model)
        memory = f"{engine.memory_bytes / 1e6:,.0f} MB" if engine and engine.memory_bytes else ""
        rate = f"{engine.tokens_per_second:,.1f}" if engine and engine.tokens_per_second else ""
        table.add_row(plain(name) + strong, state, runs, context, memory, rate, price)
    return table


def precisions_table(engines: Sequence[executor_pb.Model]) -> Table | None:
    """What precisions were measured to lose, empty where they were not; None where nothing was measured."""
    table = Table(title="what precisions lose", title_justify="left")
    for heading in ("name", "precision"):
        table.add_column(heading)
    for heading in ("exact answers", "perplexity", "questions", "error of a random model's logits"):
        table.add_column(heading, justify="right")
    for engine in engines:
        for found in engine.measured_precisions:
            runs = " (runs)" if found.precision == engine.precision else ""
            told = {"exact_match": ".1%", "perplexity": ".4f", "questions": ",", "random_logit_error": ".1%"}
            figures = [
                f"{getattr(found, name):{shape}}" if found.HasField(name) else "" for name, shape in told.items()
            ]
            table.add_row(plain(engine.name), plain(found.precision) + runs, *figures)
    return table if table.row_count else None


def _price(model: router_pb.CatalogueModel | None) -> str:
    if model is None:
        return "not in the router's catalogue"
    kind = model.WhichOneof("price")
    if kind == "list_price":
        price = model.list_price
        shown = f"${price.input_usd_per_million_tokens:g} in, ${price.output_usd_per_million_tokens:g} out per M tokens"
        return f"{shown}, more above {price.tiers[0].above_input_tokens:,} tokens" if price.tiers else shown
    return f"${model.machine_price.usd_per_hour:g} an hour" if kind == "machine_price" else "unpriced"
