"""A message that its contract takes for every method of the five services, where fuzzing begins."""

import struct

from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.embedding.v1 import embedding_pb2, embedding_service_pb2
from fulcrum.executor.v1 import chat_pb2
from fulcrum.executor.v1 import executor_service_pb2 as executor_pb
from fulcrum.router.v1 import objective_pb2
from fulcrum.router.v1 import router_service_pb2 as router_pb
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

SCOPE = cache_pb.Scope(tenant="fuzz")
FINGERPRINT = bytes(range(32))
PROMPT = "What is the capital of Norway?"
VECTOR = embedding_pb2.Embedding(
    values=struct.pack("<384f", 1.0, *(0.0,) * 383), dimension=384, encoder_digest="ab" * 32, token_count=9
)
ANSWER = cache_pb.Answer(text="Oslo", model="fulcrum-small", input_tokens=30, output_tokens=4, cost_nano_usd=10)
ENTRY = cache_pb.StoredEntry(
    scope=SCOPE,
    entry=cache_pb.Entry(text=PROMPT, fingerprint=FINGERPRINT, create_time=Timestamp(seconds=1)),
    answer=ANSWER,
    embedding=VECTOR,
)
TURNS = [chat_pb2.Message(role=chat_pb2.ROLE_USER, content=PROMPT)]
BRIEF = chat_pb2.Sampling(max_output_tokens=1)
CHEAP = objective_pb2.Objective(max_quality_loss=0.02, allowed_models=["fulcrum-small"])

SEEDS: dict[str, dict[str, Message]] = {
    "fulcrum.embedding.v1.EmbeddingService": {"Embed": embedding_service_pb2.EmbedRequest(texts=["Norway"])},
    "fulcrum.cache.v1.CacheService": {
        "Lookup": cache_pb.LookupRequest(
            scope=SCOPE, fingerprint=FINGERPRINT, text=PROMPT, embedding=VECTOR, max_wrong_share=0.01, lease=True
        ),
        "Store": cache_pb.StoreRequest(
            scope=SCOPE,
            fingerprint=FINGERPRINT,
            text=PROMPT,
            embedding=VECTOR,
            answer=ANSWER,
            ttl=Duration(seconds=60),
            request_id="fuzz",
        ),
        "Feedback": cache_pb.FeedbackRequest(scope=SCOPE, lookup_id="x", verdict=cache_pb.VERDICT_RIGHT, source="fuzz"),
        "Invalidate": cache_pb.InvalidateRequest(scope=SCOPE, entry_id="x", created_before=Timestamp(seconds=1)),
        "ListEntries": cache_pb.ListEntriesRequest(scope=SCOPE, page_size=10),
        "Stats": cache_pb.StatsRequest(),
        "HoldLease": cache_pb.HoldLeaseRequest(scope=SCOPE, lease_id="x"),
        "GetEntry": cache_pb.GetEntryRequest(scope=SCOPE, entry_id="x"),
        "ExportEntries": cache_pb.ExportEntriesRequest(tenant="fuzz", page_size=10),
        "ImportEntries": cache_pb.ImportEntriesRequest(entries=[ENTRY]),
        "EmbedEntries": cache_pb.EmbedEntriesRequest(
            vectors=[cache_pb.EntryVector(scope=SCOPE, entry_id="x", embedding=VECTOR)]
        ),
        "WarmUp": cache_pb.WarmUpRequest(
            scope=SCOPE, encoder_digest="ab" * 32, examples=[cache_pb.Example(text=PROMPT, answer=n) for n in range(2)]
        ),
    },
    "fulcrum.router.v1.RouterService": {
        "Route": router_pb.RouteRequest(
            text=PROMPT, embedding=VECTOR, objective=CHEAP, input_tokens=30, max_output_tokens=20
        ),
        "Assess": router_pb.AssessRequest(
            decision_id="x", signals=router_pb.Signals(model="fulcrum-small", complete=True, agreement=0.5)
        ),
        "Feedback": router_pb.FeedbackRequest(decision_id="x", model="fulcrum-small", score=1, source="fuzz"),
        "ListModels": router_pb.ListModelsRequest(page_size=10),
    },
    "fulcrum.executor.v1.ExecutorService": {
        "Generate": executor_pb.GenerateRequest(
            model="fulcrum-small", messages=TURNS, sampling=BRIEF, prefix_scope="fuzz"
        ),
        "ListModels": executor_pb.ListModelsRequest(page_size=10),
        "LoadModel": executor_pb.LoadModelRequest(name="nobody"),
        "UnloadModel": executor_pb.UnloadModelRequest(name="nobody"),
    },
    "fulcrum.edge.v1.EdgeService": {
        "Complete": edge_pb.CompleteRequest(
            messages=TURNS, objective=CHEAP, sampling=BRIEF, session_id="fuzz", request_id="fuzz"
        ),
        "GetUsage": edge_pb.GetUsageRequest(group_by=[edge_pb.USAGE_DIMENSION_MODEL], page_size=10),
        "Feedback": edge_pb.FeedbackRequest(
            lookup_id="x", decision_id="x", model="fulcrum-small", verdict=edge_pb.VERDICT_WRONG
        ),
    },
}
