"""Whether the files that settings name can be used, read by the code that reads them when the services start."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from services.chassis.errors import FulcrumError
from services.chassis.keys import KeyRing
from services.chassis.settings import ConfigError, ServerSettings
from services.chassis.tls import ClientCertificates, ServerCertificates
from services.cli.assembly import SuiteSettings, check_judges
from services.executor.chat_text import ChatText, load_tokenizer
from services.executor.memory_budget import MemoryBudget, estimate
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import decoder_shape
from services.executor.models.encoder import encoder_shape
from services.executor.models.header_check import check_decoder, check_encoder
from services.executor.precision_report import load_precision_report
from services.executor.registry import make_registry
from services.executor.settings import EncoderSettings, ExecutorSettings, LocalModel
from services.router.artefact import load_artefact
from services.router.catalogue import load_catalogue
from services.router.settings import RouterSettings

Reads: TypeAlias = Iterator[tuple[str, Callable[[], object]]]  # the setting that names a file, and what reads it


def problems(settings: SuiteSettings, service: str | None = None) -> list[str]:
    """A line for each file that cannot be used, with the setting that names it.

    Args:
        settings: of the suite.
        service: looks at the files of this one's server and section alone.
    """
    reads = {"server": _of_server(settings.server), "edge": _of_edge(settings)}
    reads |= {"router": _of_router(settings.router), "executor": _of_executor(settings.executor)}
    found = []
    for setting, read in (one for name, some in reads.items() if name in (service or name, "server") for one in some):
        try:
            read()
        except (ConfigError, FulcrumError, InvalidCheckpoint, OSError) as error:
            found.append(str(error) if str(error).startswith(setting) else f"{setting}: {error}")
    return found


def _of_server(settings: ServerSettings) -> Reads:
    if settings.tls:
        yield "server.tls", partial(ServerCertificates, settings.tls)
    if "keys" in settings.identity.accept:
        yield "server.identity.keys", partial(KeyRing, settings.identity.keys)


def _of_edge(settings: SuiteSettings) -> Reads:
    edge = settings.edge
    for name in ("encoder", "cache", "router", "executor"):
        if tls := getattr(edge, name).tls:
            yield f"edge.{name}.tls", partial(ClientCertificates, tls, f"edge.{name}.tls")
    yield "edge", partial(check_judges, settings)
    if edge.router.in_process and settings.router.catalogue.exists():
        for setting, model in edge.judges.items():
            yield setting, partial(_look_up, model, settings.router)


def _look_up(model: str, router: RouterSettings) -> None:
    catalogue = load_catalogue(router.catalogue, router.prices)
    if model not in catalogue:
        raise ConfigError(f"got {model!r}, expected a model of {router.catalogue}: {', '.join(catalogue.names)}")


def _of_router(settings: RouterSettings) -> Reads:
    yield "router.catalogue", partial(load_catalogue, settings.catalogue)
    if settings.prices and settings.catalogue.exists():
        yield "router.prices", partial(load_catalogue, settings.catalogue, settings.prices)
    if settings.predictor:
        yield "router.predictor", partial(load_artefact, settings.predictor)


def _of_executor(settings: ExecutorSettings) -> Reads:
    yield "executor.models", partial(make_registry, settings.models)
    if settings.precision_report:
        yield "executor.precision_report", partial(load_precision_report, settings.precision_report)
    if settings.encoder:
        yield "executor.encoder.folder", partial(_read_encoder, settings.encoder)
    budget = MemoryBudget(settings.memory_bytes)
    for name, model in sorted(settings.models.items()):  # in the order of loading
        if isinstance(model, LocalModel):
            yield f"executor.models.{name}.folder", partial(_read_decoder, name, model, budget)


def _read_encoder(settings: EncoderSettings) -> None:
    checkpoint = open_checkpoint(settings.folder)
    check_encoder(checkpoint, encoder_shape(checkpoint))
    load_tokenizer(settings.folder)


def _read_decoder(name: str, model: LocalModel, budget: MemoryBudget) -> None:
    checkpoint = open_checkpoint(model.folder)
    shape = decoder_shape(checkpoint, model.context_tokens)
    check_decoder(checkpoint, shape)
    text = ChatText(model.folder)
    text.check_template()
    text.check_vocabulary(shape.vocabulary)
    budget.take(name, estimate(model))
    if not model.load_at_start:
        budget.give(name)
