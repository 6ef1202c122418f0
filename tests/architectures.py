"""One record for each decoder architecture, and the tiny random model that it is tested with.

A model is made from the architecture's own Transformers configuration: `COMMON`, those of
`WHERE_KNOWN` that the configuration has, and the record's own settings, which are there for what
has another name, or to switch on what sets the architecture apart.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import transformers
from transformers import PreTrainedModel

from tiny_models import COMMON, SPREAD


class Architecture(NamedTuple):
    """A decoder architecture of TransformerLens's registry.

    Attributes:
        name: In the registry; also the Transformers class, unless `built_as` names another.
        settings: What differs from the common settings.
        variant: What the settings switch on, where an architecture has several records.
        built_as: The Transformers class, where the name is an alias.
    """

    name: str
    settings: Mapping[str, Any] = MappingProxyType({})
    variant: str = ""
    built_as: str = ""

    @property
    def label(self) -> str:
        """The name, and the variant."""
        return f"{self.name} ({self.variant})" if self.variant else self.name


WHERE_KNOWN = {
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "sliding_window": 3,
}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "num_key_value_heads": 4}
ONE_WIDTH = {**LATENT, "qk_rope_head_dim": 8, "v_head_dim": 8, "head_dim": 8}
DEEPSEEK = {"first_k_dense_replace": 1, "n_group": 2, "topk_group": 1, "moe_intermediate_size": 16}
FULL = "full_attention"
LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

A = Architecture
ARCHITECTURES = (
    A("AfmoeForCausalLM", {"num_dense_layers": 1}),
    A("ApertusForCausalLM"),
    A("ArceeForCausalLM"),
    A("BambaForCausalLM", MAMBA),
    A("BertLMHeadModel", {"is_decoder": True}, "decoder"),
    A("BertLMHeadModel", {"is_decoder": False}, "encoder"),
    A("BitNetForCausalLM"),
    A("BloomForCausalLM"),
    A("BloomModel", built_as="BloomForCausalLM"),
    A("CodeGenForCausalLM", {"rotary_dim": 4, "n_ctx": 32}),
    A("CohereForCausalLM", {"logit_scale": 0.5, "use_qk_norm": True}),
    A("Cohere2ForCausalLM", {"logit_scale": 0.5}),
    A("DeepseekV2ForCausalLM", {**ONE_WIDTH, **DEEPSEEK}, "one width"),
    A("DeepseekV2ForCausalLM", {**ONE_WIDTH, **DEEPSEEK, "v_head_dim": 4}, "narrow values"),
    A("DeepseekV3ForCausalLM", {**ONE_WIDTH, **DEEPSEEK}, "one width"),
    A("DeepseekV3ForCausalLM", {**ONE_WIDTH, **DEEPSEEK, "v_head_dim": 4}, "narrow values"),
    A("DeepseekV4ForCausalLM"),
    A("Ernie4_5ForCausalLM"),
    A("Ernie4_5_MoeForCausalLM", {"moe_num_experts": 4, "moe_k": 2, "moe_num_shared_experts": 1}),
    A("Exaone4ForCausalLM"),
    A("FalconForCausalLM", {}, "multi-query"),
    A("FalconForCausalLM", {"new_decoder_architecture": True, "num_kv_heads": 2}, "two norms"),
    A("FalconForCausalLM", {"alibi": True, "parallel_attn": False}, "ALiBi"),
    A("FalconH1ForCausalLM", {**MAMBA, "mamba_d_ssm": 64}),
    A("FalconMambaForCausalLM"),
    A("FlexOlmoForCausalLM"),
    A("GemmaForCausalLM"),
    A("Gemma1ForCausalLM", built_as="GemmaForCausalLM"),
    A("Gemma2ForCausalLM", {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0}),
    A("Gemma3ForCausalLM", {"query_pre_attn_scalar": 10}),
    A(
        "Gemma4ForCausalLM",
        {"global_head_dim": 8, "vocab_size_per_layer_input": 60, "hidden_size_per_layer_input": 0},
    ),
    A(
        "Gemma4ForCausalLM",
        {"global_head_dim": 8, "vocab_size_per_layer_input": 60, "hidden_size_per_layer_input": 4},
        "embeddings per layer",
    ),
    A("GlmForCausalLM"),
    A("Glm4ForCausalLM"),
    A("Glm4MoeForCausalLM", {"first_k_dense_replace": 1}),
    A("Glm4MoeLiteForCausalLM", {**ONE_WIDTH, **DEEPSEEK}),
    A(
        "GlmMoeDsaForCausalLM",
        {**ONE_WIDTH, **DEEPSEEK, "index_n_heads": 16, "index_head_dim": 16, "index_topk": 4},
    ),
    A("GPT2LMHeadModel"),
    A("GPTBigCodeForCausalLM", {}, "multi-query"),
    A("GPTBigCodeForCausalLM", {"multi_query": False}, "multi-head"),
    A("GPTJForCausalLM", {"rotary_dim": 4}),
    A(
        "GPTNeoForCausalLM",
        {"attention_types": [[["global", "local", "global"], 1]], "window_size": 3},
    ),
    A(
        "NeoForCausalLM",
        {"attention_types": [[["global", "local", "global"], 1]], "window_size": 3},
        built_as="GPTNeoForCausalLM",
    ),
    A("GPTNeoXForCausalLM", {"use_parallel_residual": True}, "parallel"),
    A("GPTNeoXForCausalLM", {"use_parallel_residual": False}, "in turn"),
    A("NeoXForCausalLM", built_as="GPTNeoXForCausalLM"),
    A("GptOssForCausalLM"),
    A(
        "GraniteForCausalLM",
        {
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.3,
            "logits_scaling": 2.0,
        },
    ),
    A("GraniteMoeForCausalLM", {"embedding_multiplier": 3.0, "residual_multiplier": 0.5}),
    A("GraniteMoeHybridForCausalLM", {**MAMBA, "layer_types": ["mamba", "attention", "mamba"]}),
    A(
        "GraniteMoeHybridForCausalLM",
        {
            **MAMBA,
            "layer_types": ["attention"] * 3,
            "residual_multiplier": 0.5,
            "shared_intermediate_size": 16,
        },
        "attention only",
    ),
    A("HrmTextForCausalLM"),
    A("HunYuanDenseV1ForCausalLM"),
    A("Jais2ForCausalLM"),
    A("JambaForCausalLM", {"mamba_d_state": 8, "attn_layer_period": 2, "attn_layer_offset": 1}),
    A("JetMoeForCausalLM", {"kv_channels": 8, "num_attention_heads": 4, "num_key_value_heads": 2}),
    A(
        "JetMoEForCausalLM",
        {"kv_channels": 8, "num_attention_heads": 4, "num_key_value_heads": 2},
        built_as="JetMoeForCausalLM",
    ),
    A("LagunaForCausalLM"),
    A("Lfm2ForCausalLM", {"layer_types": ["conv", FULL, "conv"]}),
    A("Lfm2MoeForCausalLM", {"layer_types": ["conv", FULL, "conv"], "num_dense_layers": 1}),
    A("LlamaForCausalLM", {}, "grouped-query"),
    A(
        "LlamaForCausalLM",
        {"num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True},
        "biases",
    ),
    A(
        "Llama4ForCausalLM",
        {"intermediate_size_mlp": 64, "attention_chunk_size": 4, "interleave_moe_layer_step": 2},
    ),
    A("MambaForCausalLM"),
    A("Mamba2ForCausalLM", {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1}),
    A("MiniMaxM2ForCausalLM"),
    A("Ministral3ForCausalLM"),
    A("MistralForCausalLM"),
    A("MixtralForCausalLM"),
    A(
        "ModernBertDecoderForCausalLM",
        {
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
    ),
    A("MptForCausalLM"),
    A("MPTForCausalLM", built_as="MptForCausalLM"),
    A("NanoChatForCausalLM"),
    A("NemotronForCausalLM"),
    A("NemotronHForCausalLM"),
    A("OlmoForCausalLM"),
    A("Olmo2ForCausalLM"),
    A("Olmo3ForCausalLM"),
    A("OlmoeForCausalLM"),
    A("OlmoHybridForCausalLM"),
    A("OpenAIGPTLMHeadModel"),
    A("OPTForCausalLM", {"ffn_dim": 64, "word_embed_proj_dim": 32}, "norm before"),
    A(
        "OPTForCausalLM",
        {"ffn_dim": 64, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
        "norm after, projected embedding",
    ),
    A("PhiForCausalLM", {"num_key_value_heads": 4}),
    A("PhiForCausalLM", {"num_key_value_heads": 4, "qk_layernorm": True}, "normed queries"),
    A("Phi3ForCausalLM"),
    A("PhiMoEForCausalLM", built_as="PhimoeForCausalLM"),
    A("Qwen2ForCausalLM"),
    A("Qwen2MoeForCausalLM"),
    A("Qwen3ForCausalLM"),
    A("Qwen3MoeForCausalLM"),
    A("Qwen3NextForCausalLM", {**LINEAR, "layer_types": ["linear_attention", FULL, FULL]}),
    A("Qwen3_5ForCausalLM", {**LINEAR, "layer_types": ["linear_attention", FULL, FULL]}),
    A("Qwen3_5MoeForCausalLM", {**LINEAR, "layer_types": ["linear_attention", FULL, FULL]}),
    A("RecurrentGemmaForCausalLM"),
    A("RwkvForCausalLM"),
    A("SeedOssForCausalLM"),
    A("SmolLM3ForCausalLM", {"no_rope_layers": [1, 0, 1]}),
    A("StableLmForCausalLM", {}, "in turn"),
    A("StableLmForCausalLM", {"use_parallel_residual": True, "qk_layernorm": True}, "parallel"),
    A("Starcoder2ForCausalLM"),
    A("VaultGemmaForCausalLM"),
    A("XGLMForCausalLM", {"ffn_dim": 64}),
    A("YoutuForCausalLM", ONE_WIDTH, "one width"),
    A("YoutuForCausalLM", {**ONE_WIDTH, "v_head_dim": 4}, "narrow values"),
    A("Zamba2ForCausalLM", {"layers_block_type": ["mamba", "hybrid", "mamba"]}),
)


# Why models are refused: the reason, and a part of the message.
NO_HEADS = "layers without heads (state spaces, recurrences, convolutions)", "has no hook point"
NOT_SEEN = "TransformerLens has no hook points for its heads or MLPs", "has no hook point"
WIDTHS = "TransformerLens cuts its heads at the wrong width", "cannot be distinguished there"
OTHERS = "more than heads and MLPs writes to the residual stream", "something else writes"
NOT_LOADED = "TransformerLens cannot load it", "could not be loaded"
NOT_CAUSAL = "not causal", "is not a causal language model"
NO_DECODER = "no decoder of text alone", "is not a text-only decoder"
NO_CLASS = "Transformers has no code of its own for it", "not supported by this version"

REFUSED = {
    NO_HEADS: """BambaForCausalLM FalconMambaForCausalLM GraniteMoeHybridForCausalLM
        JambaForCausalLM Lfm2ForCausalLM Lfm2MoeForCausalLM MambaForCausalLM Mamba2ForCausalLM
        NemotronHForCausalLM OlmoHybridForCausalLM Qwen3NextForCausalLM Qwen3_5ForCausalLM
        Qwen3_5MoeForCausalLM RecurrentGemmaForCausalLM RwkvForCausalLM Zamba2ForCausalLM""",
    NOT_SEEN: """DeepseekV4ForCausalLM HrmTextForCausalLM JetMoeForCausalLM JetMoEForCausalLM
        GraniteMoeHybridForCausalLM:attention-only""",
    WIDTHS: """DeepseekV2ForCausalLM:narrow-values DeepseekV3ForCausalLM:narrow-values
        YoutuForCausalLM:narrow-values""",
    OTHERS: "FalconH1ForCausalLM Gemma4ForCausalLM:embeddings-per-layer",
    NOT_LOADED: """FalconForCausalLM:two-norms GPTBigCodeForCausalLM:multi-head
        PhiForCausalLM:normed-queries""",
    NOT_CAUSAL: "BertLMHeadModel:encoder",
    NO_DECODER: """ASTForAudioClassification AudioFlamingo3ForConditionalGeneration
        BartForConditionalGeneration BertForMaskedLM BlenderbotForConditionalGeneration
        DeiTForImageClassification DeiTModel Emu3ForConditionalGeneration
        Florence2ForConditionalGeneration Gemma3ForConditionalGeneration
        Gemma3nForConditionalGeneration Gemma4ForConditionalGeneration
        Gemma4UnifiedForConditionalGeneration Glm4vForConditionalGeneration
        GlmAsrForConditionalGeneration HubertForCTC HubertModel Idefics3ForConditionalGeneration
        LEDForConditionalGeneration Llama4ForConditionalGeneration LlavaForConditionalGeneration
        LlavaNextForConditionalGeneration LlavaOnevisionForConditionalGeneration
        LongT5ForConditionalGeneration M2M100ForConditionalGeneration MBartForConditionalGeneration
        MT5ForConditionalGeneration MarianMTModel Mistral3ForConditionalGeneration
        MuseGlimmerForConditionalGeneration MusicFlamingoForConditionalGeneration
        PegasusForConditionalGeneration Qwen2AudioForConditionalGeneration
        Qwen2_5_VLForConditionalGeneration Qwen3VLForConditionalGeneration
        Qwen3VLMoeForConditionalGeneration Qwen3_5ForConditionalGeneration
        Qwen3_5MoeForConditionalGeneration RobertaForMaskedLM
        SwitchTransformersForConditionalGeneration T5ForConditionalGeneration
        T5Gemma2ForConditionalGeneration T5GemmaForConditionalGeneration ViTForImageClassification
        ViTModel Wav2Vec2ForCTC Wav2Vec2ForPreTraining Wav2Vec2Model""",
    NO_CLASS: """BD3LM BaiChuanForCausalLM BaichuanForCausalLM DreamModel ExaoneForCausalLM
        GPT2LMHeadCustomModel GiddForDiffusionLM HyenaDNAForCausalLM InternLM2ForCausalLM
        LLaDA2MoeModelLM LLaDAModelLM MinGPTForCausalLM NanoGPTForCausalLM NeelSoluOldForCausalLM
        OpenELMForCausalLM OuroForCausalLM QwenForCausalLM RWKV7ForCausalLM RavenForCausalLM
        T5WithLMHeadModel TransformerLensNative TransformerLensPretrain""",
}
"""The architectures that are refused, by reason; a variant stands after a colon."""

NO_GRADIENT = "no gradient reaches its MLPs' hook points", "no gradient reaches"
OTHER_LOGITS = "TransformerLens computes other logits", "its logits differ from those of"
if version("transformer-lens").startswith("3."):
    REFUSED[NOT_LOADED] += " CohereForCausalLM"
    REFUSED |= {
        NO_GRADIENT: "GraniteForCausalLM GraniteMoeForCausalLM",
        OTHER_LOGITS: "Cohere2ForCausalLM HunYuanDenseV1ForCausalLM",
    }


def refusal_of(name: str, variant: str = "") -> tuple[str, str] | None:
    """The reason for which an architecture is refused and a part of the message, if it is."""
    key = f"{name}:{variant.replace(' ', '-')}" if variant else name
    return next((reason for reason, names in REFUSED.items() if key in names.split()), None)


NOT_BUILT = tuple((*REFUSED[NO_DECODER].split(), *REFUSED[NO_CLASS].split()))
"""Refused for their settings alone, before any weight is read: no model of these is built."""


def traits_of(config: Any) -> str:
    """What sets an architecture's attention and MLPs apart, in words."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    experts = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    layers = getattr(config, "layer_types", None) or ()
    traits = {
        "grouped-query attention": heads < config.num_attention_heads,
        "mixture of experts": any(getattr(config, name, None) for name in experts),
        "sliding window": "sliding_attention" in layers,
        "residual multiplier": getattr(config, "residual_multiplier", 1.0) != 1.0,
    }
    return ", ".join(trait for trait, there in traits.items() if there)


def architecture_model(architecture: Architecture, seed: int = 0) -> PreTrainedModel:
    """A random float32 model; every bias and gain is random, the random state is left alone."""
    model_class = getattr(transformers, architecture.built_as or architecture.name)
    config_class = model_class.config_class
    known = {
        *inspect.signature(config_class.__init__).parameters,
        *getattr(config_class, "__dataclass_fields__", ()),
    }
    where_known = {name: value for name, value in WHERE_KNOWN.items() if name in known}
    no_tokens = {f"{kind}_token_id": None for kind in ("bos", "eos", "pad")}
    settings = COMMON | where_known | no_tokens | dict(architecture.settings)
    config = config_class(**settings, attn_implementation="eager")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = model_class(config).float().eval()
        for parameter in model.parameters():
            # Gains keep the 1 or the 0 that they start at, and vary about it.
            start = 0.0 if parameter.ndim > 1 else parameter.clone()
            parameter.copy_(start + SPREAD * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith(("correction_bias", "layer_scalar")):
                buffer.add_(SPREAD * torch.randn_like(buffer))
    return model
