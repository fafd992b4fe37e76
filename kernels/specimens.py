"""Every kernel at the shapes of a 7-8B decoder and a small sentence encoder: what is compiled and measured."""

from dataclasses import dataclass

from kernels.add_rms_norm import plugin as norm
from kernels.contract import Constants, Contract
from kernels.gqa_decode_attention import plugin as attention
from kernels.mean_pool_l2 import plugin as pool
from kernels.rope_kv_append import plugin as rope
from kernels.sample_top_k_top_p import plugin as sample
from kernels.similarity_top_k import plugin as similarity
from kernels.tuning import Configuration, configuration
from kernels.w4a16_gemv import plugin as gemv

HEADS, KV_HEADS, HEAD_DIM, HIDDEN, INTERMEDIATE, VOCABULARY = 32, 8, 128, 4096, 14336, 128256
MAX_POSITIONS, GROUP, EPSILON = 8192, 128, 1e-5
ENCODER_FEATURES, K = 384, 16


@dataclass(frozen=True)
class Specimen:
    """A kernel with all its constants for one architecture."""

    contract: Contract
    constants: Constants
    configuration: Configuration
    activation: str
    architecture: int


def specimens(architecture: int) -> list[Specimen]:
    """All kernels that the architecture can run, activations in bfloat16, memory linear."""
    splits = configuration(attention.GQA_DECODE_SPLIT, architecture).constants["SPLITS"]
    kept = configuration(sample.SAMPLE_CANDIDATES, architecture).constants
    features = configuration(similarity.SIMILARITY_TOP_K, architecture).constants["BLOCK_FEATURES"]
    fixed: list[tuple[Contract, Constants]] = [
        (norm.ADD_RMS_NORM, norm.constants(HIDDEN, EPSILON)),
        (norm.ADD_RMS_NORM_FP8, norm.constants(HIDDEN, EPSILON)),
        (rope.ROPE_KV_APPEND, rope.constants(HEADS, KV_HEADS, HEAD_DIM, MAX_POSITIONS)),
        (attention.GQA_DECODE_SPLIT, attention.split_constants(HEADS, KV_HEADS, HEAD_DIM, MAX_POSITIONS)),
        (attention.GQA_DECODE_REDUCE, attention.reduce_constants(HEADS, HEAD_DIM, splits)),
        (gemv.W4A16_GEMV, gemv.constants(HIDDEN, INTERMEDIATE, GROUP)),
        (pool.MEAN_POOL_L2, pool.constants(ENCODER_FEATURES)),
        (sample.SAMPLE_CANDIDATES, sample.candidate_constants(VOCABULARY)),
        (sample.SAMPLE_TOP_K_TOP_P, sample.draw_constants(VOCABULARY, kept["CAP"], kept["BLOCK"])),
        (similarity.SIMILARITY_TOP_K, similarity.constants(ENCODER_FEATURES, K, features)),
        (similarity.TOP_K_MERGE, {"K": K}),
    ]
    return [
        specimen(contract, constants, "bf16", architecture)
        for contract, constants in fixed
        if architecture >= contract.lowest_architecture
    ]


def specimen(contract: Contract, constants: Constants, activation: str, architecture: int) -> Specimen:
    """A kernel with the architecture's configuration added to the model's constants."""
    chosen = configuration(contract, architecture)
    return Specimen(contract, {**constants, **chosen.constants}, chosen, activation, architecture)
