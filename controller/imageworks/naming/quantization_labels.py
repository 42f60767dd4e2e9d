"""The vocabulary of quantization: every token that names one, and the one spelling that we keep of it.

Pure and below both `naming` and `detect`, so that a name can never hold a token that detection does not know.
"""

import re
from typing import Final, NamedTuple

# llama.cpp's own table, ik_llama.cpp's additions (K, KS, KSS, KT, R4/R8) and packagers' (L, XL, XXL), which llama.cpp
# writes into a file under the number of the plain one.
_GGML: Final = (
    r"i?q[1-9]_k(?:t|ss?)?(?:_(?:xxs|xs|xxl|xl|s|m|l))?(?:_r[48])?"
    r"|iq[1-9]_(?:xxs|xs|nl|s|m)(?:_r[48])?"
    r"|q[1-9]_[01](?:_[48]_[48]|_r[48]|_xl|_l)?"
    r"|t?q[12]_0|i2_s|tl[12]"
)
_SCHEMES: Final = (
    r"(?:auto)?awq|(?:auto)?gptq(?:_?v2)?|squeezellm|aqlm|quip|hqq|eetq|marlin|vptq|spqr|exl[23]|auto[-_]?round|torchao"
    r"|fp8[-_](?:dynamic|block|static)|(?:w[1-9]a(?:16|8|4)|w4afp8)(?:[-_]fp8)?|w[1-9]g(?:\d{2,4}|-1)"
    r"|bnb[-_]?(?:[48][-_]?bit|nf4|fp4|int8)?|nf4|fp4|mxfp[468](?:_moe)?|nvfp4|u?int[2348]"
    r"|q[0-9]b?f(?:16|32)(?:_(?:[0-9]|(?:auto)?awq))?"  # MLC and ONNX
    r"|\d(?:\.\d{1,2})?bpw|[2-8][-_]?bit"
)
_DTYPES: Final = r"fp8(?:_?e[45]m[23](?:fnu?z?)?)?|float8|b?fp?16|bfloat16|float16|fp?32|float32|fp?64"
_BARE: Final = r"i?q[2-8]"
_PREFIX: Final = r"(?:ud[-_]|i1[-_])?"

_ANY: Final = rf"{_PREFIX}(?:{_GGML})|{_SCHEMES}|{_DTYPES}|{_BARE}"
# Texts, which `re` compiles when they are first used: that takes longer than all else that `list` imports of ours.
_WHOLE: Final = rf"(?a)(?:{_ANY})"
_INSIDE: Final = rf"(?a)(?<![a-z0-9])(?:{_ANY})(?![a-z0-9])"
_GGML_WHOLE: Final = rf"(?a){_PREFIX}(?:{_GGML}|mxfp4(?:_moe)?|nvfp4|{_BARE}|{_DTYPES}|int[48])"

_SPELLINGS: Final = {
    "f16": "fp16",
    "float16": "fp16",
    "bfp16": "bf16",
    "bfloat16": "bf16",
    "f32": "fp32",
    "float32": "fp32",
    "f64": "fp64",
    "float8": "fp8",
    "mxfp4_moe": "mxfp4",
    "bnb-fp4": "bnb-4bit",
    "bnb-nf4": "bnb-4bit",
    "bnb-int8": "bnb-8bit",
    "bnb": "bnb-4bit",
    "autoawq": "awq",
    "autogptq": "gptq",
    "auto-round": "autoround",
    "auto_round": "autoround",
    "gptq-v2": "gptq",
    "gptq_v2": "gptq",
    "gptqv2": "gptq",
}


def quantization_label(text: str) -> str | None:
    """Return our spelling of a quantization when the whole text is one, else ``None``."""
    lowered = text.strip().lower()
    return _canonical(lowered) if re.fullmatch(_WHOLE, lowered) else None


def is_ggml_label(label: str) -> bool:
    """Tell whether a label of ours is one that a GGUF file can carry."""
    return re.fullmatch(_GGML_WHOLE, label) is not None


class FoundLabel(NamedTuple):
    """A quantization token inside a name.

    Args:
        label: Our spelling of it.
        start: Where it begins, in characters.
        end: Where it has ended.
    """

    label: str
    start: int
    end: int


def find_quantizations(text: str) -> tuple[FoundLabel, ...]:
    """Return all quantization tokens that stand on their own inside a name, from left to right."""
    return tuple(FoundLabel(_canonical(match.group()), *match.span()) for match in re.finditer(_INSIDE, text.lower()))


def plain_label(label: str) -> str:
    """Return a label without the packager's prefix: ``ud-q4_k_xl`` and ``i1-q4_k_xl`` become ``q4_k_xl``."""
    return label[3:] if label.startswith(("ud-", "i1-")) else label


def _canonical(token: str) -> str:
    """Return the one spelling that we keep of a lower-case token."""
    if token.startswith(("ud", "i1")) and token[2] in "-_":
        return f"{token[:2]}-{_canonical(token[3:])}"
    if token in _SPELLINGS:
        return _SPELLINGS[token]
    if token.startswith("bnb"):
        return f"bnb-{'4' if '4' in token else '8'}bit"
    if token.endswith("bit"):
        return f"{token[0]}bit"
    if token.startswith(("fp8_e", "fp8e")):
        return "fp8"
    return token.replace("_", "-") if token.startswith("fp8") else token
