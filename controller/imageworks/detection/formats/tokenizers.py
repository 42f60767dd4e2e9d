"""Whether a model reads text, and whether what turns text into numbers is there."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final

from imageworks.detection.file_names import Role, classify
from imageworks.foundation.json_values import part, text

_SETTINGS: Final = frozenset(
    {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "normalizer.json", "merges.txt",
     "tokenizer_checklist.chk"}
)  # fmt: skip
"""Files of a tokenizer that are none by themselves."""
_VOCABULARIES: Final = (".tiktoken", ".spm", ".vocab", ".bpe", ".sp", ".wordpiece")
_CODE: Final = re.compile(r"^(?:tokeni[sz]|processing_|processor)[a-z0-9_]*\.py$")
_WITH_VOCABULARY: Final = re.compile(
    r"(?<!By)(?:Llama|Qwen|GPT|Bert|PreTrained|XLM|Gemma|Mistral|Bart|T5|CLIP|Whisper|Deberta|Albert|Cohere|Phi|CodeGen|Falcon"
    r"|Bloom|Roberta|Electra|Marian|Opt|OPT)"
)
"""Classes of tokenizers that read a vocabulary; others may work on bytes or bring their own."""
_READS: Final = re.compile(
    r"(?:ForCausalLM|LMHeadModel|ForMaskedLM|ForSeq2SeqLM|ForSequenceClassification|ForTokenClassification"
    r"|ForQuestionAnswering|ForConditionalGeneration)$"
)
_OTHER_TASKS: Final = re.compile(
    r"time-series|audio-classification|audio-to-audio|image-classification|text-to-audio|tabular"
)
_OTHER_KINDS: Final = re.compile(
    r"^(?:wav2vec2|hubert|wavlm|unispeech|sew|data2vec-audio|data2vec-vision|audio-spectrogram|imagegpt|musicgen"
    r"|encodec|mimi|dac|moshi|csm|vit|beit|timesfm|patchtst|chronos|decision_transformer|trajectory|evo|hyena|bark|vision-encoder-decoder|cosmos"
    r"|time_series|speech_to_text_2|pop2piano|univnet|git_vision|eagle|medusa|mlp_speculator|timer)"
)
_DRAFTS: Final = re.compile(r"eagle|medusa|speculator|hydra|(?:^|[-_./])(?:draft|mtp)(?:[-_.]|$)", re.IGNORECASE)
_OTHER_LIBRARIES: Final = frozenset(
    {
        "timm",
        "chronos-forecasting",
        "nemo",
        "pyannote-audio",
        "speechbrain",
        "open_clip",
        "espnet",
        "fairseq",
        "lerobot",
    }
)


def reads_text(config: Mapping[str, object], task: str | None, library: str | None, name: str = "") -> bool:
    """Return whether a model is one that transformers gives a tokenizer; where that is not certain, it is not."""
    if _DRAFTS.search(name):  # heads that guess for another model, whose tokenizer it is
        return False
    if library in _OTHER_LIBRARIES or (task and _OTHER_TASKS.search(task)) or "chronos_config" in config:
        return False
    kind = (text(config, "model_type") or "").lower()
    if _OTHER_KINDS.match(kind) or part(config, "chronos_config"):
        return False
    classes = config.get("architectures")
    return isinstance(classes, list) and any(isinstance(name, str) and _READS.search(name) for name in classes)


def has_tokenizer(paths: Collection[str], read_json: Callable[[str], Mapping[str, object] | None]) -> bool:
    """Return whether a tokenizer is there: a vocabulary, code that brings one, or a class that needs none."""
    for path in paths:
        name = path.rpartition("/")[2].lower()
        if name in _SETTINGS:
            continue
        if classify(path).role is Role.TOKENIZER or name.endswith(_VOCABULARIES) or _CODE.match(name):
            return True
        if name.endswith(".model") or name.startswith(("vocab", "tokenizer", "tokeniser")):
            return True
    said = (text(read_json(name) or {}, "tokenizer_class") for name in ("tokenizer_config.json", "config.json"))
    return any(name and not _WITH_VOCABULARY.search(name) for name in said)
