"""One answer to what a set of files is: used alike before a download, after it, by scans and by the Python API."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from operator import attrgetter
from typing import Final

from imageworks.detection.adapters import Adapter, adapter_of
from imageworks.detection.architecture import architecture_of_config, text_part
from imageworks.detection.capabilities import Capabilities, CapabilityHints, capabilities_of
from imageworks.detection.claims.config_claims import claims_of_config, claims_of_recipe, claims_of_side_file
from imageworks.detection.claims.evidence import Claim, Detection, Evidence, Level, decide
from imageworks.detection.claims.gguf_config import config_of_gguf
from imageworks.detection.claims.name_claims import claim_of_files, claim_of_repository
from imageworks.detection.claims.projectors import fitting_projectors, is_projector, senses_of
from imageworks.detection.claims.tensor_claims import claim_of_gguf, claims_of_names, claims_of_safetensors
from imageworks.detection.completeness import SERVING_BACKENDS, Looked, missing_parts, preflight
from imageworks.detection.components import WeightSet, main_containers, one_copy, read_part, weight_sets
from imageworks.detection.containers import (
    PROCESSORS,
    ArtifactKind,
    RankedContainer,
    kind_of,
    rank_containers,
    refined_container,
)
from imageworks.detection.file_names import Container, NamedFile, QuantGroups, Role, classify, group_quants
from imageworks.detection.formats.chat_template import FoundTemplate, find_chat_template
from imageworks.detection.formats.executable_files import safety_of
from imageworks.detection.formats.file_contents import (
    HEAD,
    WeightsContent,
    external_data,
    look_into,
    pointer,
    what_it_is,
)
from imageworks.detection.formats.gguf_header import GgufHeader
from imageworks.detection.formats.range_reader import FIRST_PIECE, FIRST_PIECE_HERE
from imageworks.detection.formats.readme import Readme, license_of_file, read_readme
from imageworks.detection.formats.safetensors_header import SafetensorsHeader
from imageworks.detection.model_facts import HeaderReader, ListedFile, ModelFacts, SmallReader, Subject, read_nothing
from imageworks.detection.problems import UNCERTAIN, MissingPart
from imageworks.detection.sizes.estimated_parameters import estimate_parameters
from imageworks.detection.sizes.memory import demand_of
from imageworks.detection.sizes.parameters import Weights, count_parameters
from imageworks.detection.sizes.shape import shape_of
from imageworks.foundation.bounded_json import LARGEST
from imageworks.foundation.json_values import EMPTY, parse_object, part, text, whole
from imageworks.naming import model_names
from imageworks.naming.quantization_labels import quantization_label

_MOST_SMALL: Final = 32  # files too small for weights that are read because of that
_MOST_GRAPHS: Final = 16
_LARGEST_GRAPH: Final = 32 << 20  # one with its weights elsewhere is smaller
_LARGEST_REMOTE_GRAPH: Final = 2 << 20
POINTER_SIZES: Final = range(90, 300)
"""Bytes that a pointer to a file elsewhere may have."""


def describe(
    files: Iterable[ListedFile],
    read_small: SmallReader = read_nothing,
    read_header: HeaderReader | None = None,
    *,
    subject: Subject | None = None,
    most_headers: int = 2,
    heads: Mapping[str, bytes] | None = None,
    every_file: bool = False,
) -> ModelFacts:
    """Return what a set of files is; give the files of one variant for an answer about that variant."""
    listed = sorted(files, key=lambda file: file.path)  # the answer does not depend on their order
    listing = {file.path: file.size for file in listed}
    known = subject or Subject()
    return _Description(listed, listing, read_small, read_header, known, most_headers, heads or {}, every_file).facts()


@dataclass
class _Description:
    """One listing while it is being looked at; each thing is read once, when first needed."""

    listed: Sequence[ListedFile]
    files: Mapping[str, int]
    read_small: SmallReader
    read_header: HeaderReader | None
    subject: Subject
    most_headers: int
    heads: Mapping[str, bytes]
    every_file: bool = False
    warnings: list[str] = field(default_factory=list)
    contents: dict[str, WeightsContent] = field(default_factory=dict)
    parsed: dict[str, Mapping[str, object] | None] = field(default_factory=dict)
    small: dict[str, bytes | None] = field(default_factory=dict)

    @cached_property
    def named(self) -> dict[str, NamedFile]:
        """What each file's name says."""
        return {path: classify(path) for path in self.files}

    @cached_property
    def sets(self) -> tuple[WeightSet, ...]:
        """The weights by component, container, precision and sharding."""
        paths = frozenset(self.files)
        return weight_sets(filter(None, (read_part(file, paths) for file in self.listed)))

    @cached_property
    def candidates(self) -> tuple[RankedContainer, ...]:
        """The containers, ranked."""
        found = {one.container: one for one in rank_containers(self.files, self.named)}
        ranked = [one for one in main_containers(self.sets) if one in found]
        ordered = [found[one] for one in dict.fromkeys((*ranked, *found))]
        return tuple(replace(one, confidence=round(0.95 / (place + 1), 2)) for place, one in enumerate(ordered))

    @cached_property
    def kind(self) -> ArtifactKind:
        """What kind of thing it is."""
        kind = kind_of(self.files)
        if kind is ArtifactKind.MODEL and self.gguf and self.gguf[1].text("general.type") == "adapter":
            return ArtifactKind.ADAPTER
        towers = self.quants.projectors
        if kind is not ArtifactKind.MODEL or not towers:
            return kind
        alone = all(path in towers for path, file in self.named.items() if file.role is Role.WEIGHTS)
        return ArtifactKind.PROJECTOR if alone else kind

    @cached_property
    def config(self) -> Mapping[str, object]:
        """The parsed ``config.json``, else the one of a pipeline's main part, else nothing."""
        for path in _CONFIGS:
            found = self._json(path)
            if found:
                return found
        return EMPTY

    @cached_property
    def weights(self) -> list[str]:
        """The paths of the weights in the first container, of each component one copy."""
        if not self.candidates:
            return []
        first = self.candidates[0].container
        of_role = ((path, file) for path, file in self.named.items() if file.role is Role.WEIGHTS)
        found = [path for path, file in of_role if self._container_of(path, file) is first]
        if first is Container.SAFETENSORS and len(found) > 1:
            held = set(found)
            sets = [
                one for one in self.sets if one.container is first and held.issuperset(part.path for part in one.parts)
            ]
            found = [
                part.path
                for one in one_copy(sets, in_folders=kind_of(self.files) is ArtifactKind.PIPELINE)
                for part in one.parts
            ]
        return sorted(found)

    def _container_of(self, path: str, file: NamedFile) -> Container | None:
        return refined_container(path, file.container, self.files) if file.container else None

    @cached_property
    def gguf(self) -> tuple[str, GgufHeader] | None:
        """The header of the model's (first) GGUF file, when the listing holds one variant."""
        if not self.most_headers or not self.candidates or self.candidates[0].container is not Container.GGUF:
            return None
        variants = self.quants.variants
        path = variants[0].files[0] if variants else ""
        content = self._content(path) if path else None
        return (path, content.gguf) if content is not None and content.gguf is not None else None

    @cached_property
    def quants(self) -> QuantGroups:
        """GGUF files by quantization."""
        paths = [path for path, file in self.named.items() if file.container is Container.GGUF]
        towers = [path for path in paths if self.named[path].role is Role.WEIGHTS and self._is_projector(path)]
        return group_quants(paths, projectors=towers)

    def _is_projector(self, path: str) -> bool:
        """Return whether a file is a projector by its header; over a network names must do."""
        if not self.every_file or self.read_header is None or not self.files[path]:
            return False
        return is_projector(self.read_header(path, 0, min(HEAD, self.files[path])))

    @cached_property
    def headers(self) -> list[tuple[str, SafetensorsHeader]]:
        """Headers of safetensors files, largest files first, as many as may be read."""
        wanted = [path for path in self.weights if path.endswith(".safetensors")]
        first = sorted(wanted, key=lambda path: (-self.files[path], path))[: self.most_headers]
        looked = [(path, content) for path in first if (content := self._content(path)) is not None]
        return [(path, content.safetensors) for path, content in looked if content.safetensors is not None]

    @cached_property
    def indexes(self) -> dict[str, Mapping[str, object]]:
        """Parsed shard indexes of the weights."""
        paths = [path for path, file in self.named.items() if file.role is Role.INDEX and "safetensors" in path]
        return {path: found for path in paths if (found := self._json(path))}

    @cached_property
    def readme_path(self) -> str | None:
        """The README at the root."""
        found = sorted(path for path, file in self.named.items() if file.role is Role.README and "/" not in path)
        return found[0] if found else None

    @cached_property
    def readme(self) -> Readme | None:
        """What the README says."""
        data = self.read_small(self.readme_path) if self.readme_path else None
        return read_readme(data) if data is not None else None

    def facts(self) -> ModelFacts:
        """Put it all together."""
        detection = self._detection()
        card = self.readme.card if self.readme else None
        template = find_chat_template(self.files, self.read_small, self.gguf)
        task = self.subject.task or (card.task if card else None)
        library = self.subject.library or (card.library if card else None)
        weights, (config, source) = self._weights(detection), self.figures
        shape = shape_of(config) if self.kind is not ArtifactKind.PIPELINE else None
        parameters = count_parameters(weights, config, estimate_parameters(shape, config), self.subject.repo)
        architecture = architecture_of_config(config, source)
        if parameters:
            architecture["parameter_count"] = parameters.total
        context = architecture.get("context_length")
        configs = [found for path in _CONFIGS_WITH_CODE if (found := self._json(path))]
        problems, doubts = self._lacks(library, task)
        warnings = [*detection.warnings, *self.warnings, *(card.warnings if card else ())]
        facts = ModelFacts(
            detection=detection,
            candidates=self.candidates,
            kind=self.kind,
            family=self._family(detection),
            producer=model_names.producer_of(repo=self.subject.repo) if self.subject.repo else None,
            quants=self.quants,
            capabilities=self._capabilities(template, task),
            chat_template=template,
            architecture=architecture,
            license=self._license(),
            readme_file=self.readme_path,
            readme=self.readme,
            safety=safety_of(self.files, configs, heads=self.heads),
            problems=problems,
            doubts=doubts,
            adapter=self.adapter,
            warnings=tuple(dict.fromkeys(warnings)),
            total_size=sum(self.files.values()),
            parameters=parameters,
            memory=demand_of(
                shape,
                weights.size,
                context if isinstance(context, int) else None,
                cached=self.kind is not ArtifactKind.PIPELINE,
            ),
            library=library,
            task=task,
        )
        missing = {
            backend: preflight(self.files, backend, chat=facts.chats, has_template=template.source != "none")
            for backend in SERVING_BACKENDS
        }
        return replace(facts, preflight={backend: told for backend, told in missing.items() if told})

    @cached_property
    def figures(self) -> tuple[Mapping[str, object], str]:
        """The config that the model's figures are read from, and its path; a GGUF header has them in its own words."""
        if self.gguf and (found := config_of_gguf(self.gguf[1])):
            classes = self.config.get("architectures")
            return {**found, **({"architectures": classes} if classes else {})}, self.gguf[0]
        return self.config, "config.json"

    def _weights(self, detection: Detection) -> Weights:
        """Return what is known of the weights that a loader takes."""
        paths = self.weights
        if self.quants.variants and detection.container is Container.GGUF:
            paths = list(self.quants.variants[0].files)
        elif self.candidates and self.candidates[0].container is not Container.SAFETENSORS:
            copies = one_copy(one for one in self.sets if one.container is self.candidates[0].container)
            paths = sorted(part.path for one in copies for part in one.parts) or paths
        contents = [self._content(path) for path in paths[: self.most_headers]] if self.gguf or self.headers else []
        safetensors = [content.safetensors for content in contents if content and content.safetensors]
        gguf = [content.gguf for content in contents if content and content.gguf]
        broken = any(content.problem for path in paths if (content := self.contents.get(path)) is not None)
        said = (
            whole(part(index, "metadata"), "total_parameters")
            for path, index in self.indexes.items()
            if "/" not in path
        )
        return Weights(
            size=0 if broken else sum(self.files[path] for path in paths),
            quantization=detection.quantization,
            details=detection.details,
            headers=tuple(safetensors),
            gguf=tuple(gguf),
            complete=not broken and len(safetensors) + len(gguf) == len(paths),
            said=next((count for count in said if count and count > 0), None),
            indexed=bool(self.indexes),
        )

    def _json(self, path: str) -> Mapping[str, object] | None:
        """Return a JSON file of the listing, or ``None``; each is read once."""
        if path not in self.parsed:
            self.parsed[path] = parse_object(self._read_once(path))
        return self.parsed[path]

    def _read_once(self, path: str) -> bytes | None:
        """Return a small file of the listing, or ``None``; each is read once."""
        if path not in self.small:
            readable = 0 < self.files.get(path, 0) <= LARGEST
            self.small[path] = self.read_small(path) if readable else None
        return self.small[path]

    def _detection(self) -> Detection:
        """Return container and quantization, with everything that speaks for them."""
        container = self.candidates[0].container if self.candidates else None
        told = [candidate.evidence for candidate in self.candidates[:1]]
        claims = list(self._claims(container))
        found = decide(container, claims, container_evidence=told)
        if container is Container.SAFETENSORS and found.container is container and self._is_mlx():
            found = decide(Container.MLX, claims, container_evidence=told)
        if found.container is None and self.subject.fallback_container:
            fallback = self.subject.fallback_container.lower()
            if fallback in {container.value for container in Container}:
                found = decide(Container(fallback), claims)
        if found.quantization is None and self.subject.fallback_quantization:
            label = quantization_label(self.subject.fallback_quantization)
            if label:
                claims.append(Claim(label, Evidence(Level.DTYPE, "--format", "what the user said")))
                found = decide(found.container, claims, container_evidence=told)
        return found

    def _claims(self, container: Container | None) -> Iterable[Claim]:
        """Yield what every source says of the quantization."""
        if container is Container.GGUF:
            if len(self.quants.variants) <= 1:
                claim = claim_of_gguf(self.gguf[1], self.gguf[0]) if self.gguf else None
                if claim:
                    yield claim
        else:
            if container is Container.SAFETENSORS:
                yield from claims_of_safetensors(self.headers, complete=len(self.headers) == len(self.weights))
                for path, index in self.indexes.items():
                    if "/" not in path:
                        yield from claims_of_names(part(index, "weight_map"), path)
            yield from claims_of_config(self.config, next((path for path in _CONFIGS if self._json(path)), _CONFIGS[0]))
            yield from self._side_claims()
            yield from self._dtype_claims()
        named = claim_of_files(self.weights, self.named)
        if named:
            yield named
        if len(self.quants.files) <= 1 or container is not Container.GGUF:  # else one name cannot speak for all of them
            repository = claim_of_repository(self.subject.repo, container)
            if repository:
                yield repository

    def _side_claims(self) -> Iterable[Claim]:
        """Yield what the quantization's own files say."""
        for path, file in self.named.items():
            if file.role is not Role.QUANTIZATION_CONFIG or "/" in path:
                continue
            if path.endswith(".yaml"):
                data = self.read_small(path)
                if data and len(data) <= 1 << 20:
                    yield from claims_of_recipe(data.decode(errors="replace"), path)
            else:
                yield from claims_of_side_file(path.lower(), self._json(path) or EMPTY, path)

    def _dtype_claims(self) -> Iterable[Claim]:
        """Yield the type that the config says the weights have."""
        for holder in (self.config, text_part(self.config)):
            for key in ("dtype", "torch_dtype"):
                value = text(holder, key)
                label = quantization_label(value.removeprefix("torch.")) if value else None
                if label:
                    yield Claim(label, Evidence(Level.DTYPE, "config.json", f"{key} {value}"))
                    return

    def _is_mlx(self) -> bool:
        """Tell whether safetensors are MLX's: the library says so, or the header's own note, or the publisher."""
        card = self.readme.card if self.readme else None
        library = self.subject.library or (card.library if card else None)
        noted = any(header.metadata.get("format") == "mlx" for _, header in self.headers)
        tagged = card is not None and "mlx" in card.tags
        return library == "mlx" or noted or tagged or self.subject.repo.lower().startswith("mlx-community/")

    def _family(self, detection: Detection) -> str | None:
        """Return the family, or ``None`` when nothing names it."""
        if not self.subject.repo:
            return None
        container = detection.container.value if detection.container else None
        with suppress(model_names.NamingError):  # a name without letters or digits names no family
            return model_names.family_of(
                self.subject.repo,
                revision=self.subject.revision,
                download_format=container,
                quantization=detection.quantization,
            )
        return None

    def _capabilities(self, template: FoundTemplate, task: str | None) -> Capabilities:
        """Return what it can do."""
        header = self.gguf[1] if self.gguf else None
        made = (self._json("model_index.json") or self._json("modular_model_index.json") or EMPTY).get("_class_name")
        adapter = (self._json("adapter_config.json") or EMPTY) if self.adapter else EMPTY
        return capabilities_of(
            CapabilityHints(
                config=self.config or adapter,
                processors={path: found for path in PROCESSORS if (found := self._json(path))},
                template=template.text,
                names={path.rpartition("/")[2].lower() for path in self.files},
                task=task,
                gguf_architecture=header.architecture if header else None,
                pooling=header.number(f"{header.architecture}.pooling_type") if header else None,
                projector=self._senses(),
                ollama=self.subject.ollama_capabilities,
                name=self.subject.repo,
                base=(self.adapter.base or "") if self.adapter else "",
                pipeline=str(made)[:80] if self.kind is ArtifactKind.PIPELINE else None,
            )
        )

    def _senses(self) -> frozenset[str]:
        """Return what the projectors of the model take in; one that belongs to another model gives it nothing."""
        if not self.quants.projectors:
            return frozenset()
        paths = frozenset(self.files)
        parts = [
            part for file in self.listed if file.path in self.quants.projectors and (part := read_part(file, paths))
        ]
        for variant in self.quants.variants[:1]:
            parts = fitting_projectors(parts, variant, self.quants.variants)
        senses: set[str] = set()
        for part in parts[: self.most_headers or 1]:
            content = self._content(part.path) if self.most_headers else None
            senses |= senses_of(part.path, content.gguf if content else None)
        return frozenset(senses)

    def _license(self) -> str | None:
        """Return the licence: the card's, the Hub's, GGUF's, the LICENSE file's, else what the README mentions."""
        if self.readme and self.readme.card.license:
            return self.readme.card.license
        if self.subject.license:
            return self.subject.license
        if self.gguf and (held := self.gguf[1].text("general.license")):
            return held[:80].lower()
        for path, file in sorted(self.named.items()):
            if file.role is Role.LICENSE and "/" not in path and "policy" not in path.lower():
                data = self.read_small(path)
                found = license_of_file(data[: 1 << 16].decode(errors="replace")) if data else None
                if found:
                    return found
        hint = self.readme.signals.get("license_hint") if self.readme else None
        return hint if isinstance(hint, str) else None

    @cached_property
    def adapter(self) -> Adapter | None:
        """What it says of itself as an adapter, if it is one."""
        bases = self.readme.card.base_model if self.readme else ()
        return adapter_of(self.files, self._json, base=bases[0] if bases else None)

    def _lacks(self, library: str | None, task: str | None) -> tuple[tuple[MissingPart, ...], tuple[MissingPart, ...]]:
        """Return what it lacks, and what cannot be told."""
        broken = self._broken()
        looked = Looked(
            self.files,
            self._read_once,
            library=library,
            task=task,
            base=self.adapter.base if self.adapter else None,
            name=self.subject.repo,
            broken=broken,
            external=self._external(),
            sets=self.sets,
            parsed=self._json,
        )
        found = missing_parts(looked)
        problems = tuple(problem for problem in found if problem.kind not in UNCERTAIN)
        spare = [problem for problem in broken.values() if problem not in problems]
        self.warnings += [f"{problem.message}; another copy of it is whole" for problem in spare]
        doubts = tuple(problem for problem in found if problem.kind in UNCERTAIN)
        doubts += tuple(content.doubt for content in self.contents.values() if content.doubt is not None)
        self.warnings += [doubt.message for doubt in doubts]
        return problems, doubts

    def _broken(self) -> dict[str, MissingPart]:
        """Return the files that are not what their names say, as far as they may be looked into."""
        heavy = [path for path, file in self.named.items() if file.role in {Role.WEIGHTS, Role.PROJECTOR}]
        heavy.sort(key=lambda path: (-self.files[path], path))
        small = [path for path in heavy if 0 < self.files[path] <= HEAD][:_MOST_SMALL]
        for number, path in enumerate(heavy if self.every_file else small):
            self._content(path, whole=number < self.most_headers or path in small)
        broken = {path: content.problem for path, content in self.contents.items() if content.problem is not None}
        broken |= {path: MissingPart("empty-file", f"{path} is empty", path) for path in heavy if not self.files[path]}
        for path, file in self.named.items():
            if file.role is Role.TOKENIZER and self.files[path] in POINTER_SIZES:
                what = pointer(self._read_once(path) or b"")
                if what is not None:
                    broken[path] = MissingPart(*what_it_is(path, what), path)
        return broken

    def _external(self) -> dict[str, tuple[str, ...]]:
        """Return the files that ONNX graphs say their weights are in."""
        read = self.read_header
        most = _LARGEST_GRAPH if self.every_file else _LARGEST_REMOTE_GRAPH
        graphs = [path for path in self.files if path.endswith(".onnx") and 0 < self.files[path] <= most]
        if read is None:
            return {}
        return {path: external_data(read(path, 0, self.files[path])) for path in graphs[:_MOST_GRAPHS]}

    def _content(self, path: str, *, whole: bool = True) -> WeightsContent | None:
        """Return what a file of weights holds; each is looked into once."""
        if self.read_header is None or not self.files[path]:
            return None
        if path not in self.contents:
            container, read = self.named[path].container, partial(self.read_header, path)
            first = FIRST_PIECE_HERE if self.every_file else FIRST_PIECE
            self.contents[path] = look_into(path, container, self.files[path], read, whole=whole, first_piece=first)
        return self.contents[path]


_CONFIGS: Final = ("config.json", "params.json", "mlc-chat-config.json", "transformer/config.json", "unet/config.json")
_path_of: Final = attrgetter("path")
_CONFIGS_WITH_CODE: Final = (
    "config.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
)
