"""Jobs and the categories of every level in one space, with hierarchy triplets and a similarity graph.

After "Hierarchical Job Classification with Similarity Graph Integration" (arXiv:2507.09949); the loss is
:class:`hjc.nn.spaces.JointSpace`. Prediction needs no torch where the encoder does not.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from hjc.arrays import Float32
from hjc.calibration.conditionals import sum_paths
from hjc.classifiers.embedding.base import MAX_ROWS, fit_scale
from hjc.classifiers.embedding.encoders import load_pretrained
from hjc.classifiers.embedding.labels import category_means, label_means, label_texts, node_label_vectors
from hjc.classifiers.embedding.prototype import Encoded, SpaceClassifier, SpaceFit, one_each
from hjc.classifiers.embedding.settings import EmbeddingSettings, JointSettings
from hjc.classifiers.fitting import check_data, draw
from hjc.classifiers.storage import ModelDir, load_arrays, save_arrays
from hjc.classifiers.treemath import group_log_softmax, log_softmax
from hjc.data.jobdata import JobData
from hjc.errors import TaxonomyError
from hjc.index import normalise
from hjc.metrics.triplets import triplet_accuracy
from hjc.taxonomy import Taxonomy
from hjc.taxonomy.graph.category_graph import CategoryGraph
from hjc.taxonomy.graph.sources import vector_graph
from hjc.taxonomy.graph.triplets import HierarchyTriplets, SimilarityTriplets

SPACE, GRAPH = "joint_space.safetensors", "category_graph.npz"
#: links a node of the graph that is built from titles where none is given
TITLE_LINKS = 10
#: triplets that the reported accuracies are counted on
ACCURACY_TRIPLETS = 20_000


@dataclass(frozen=True, kw_only=True)
class JointFit(SpaceFit):
    """As :class:`SpaceFit`.

    Attributes:
        hierarchy_triplet_accuracy, similarity_triplet_accuracy: see :meth:`JointEmbeddingClassifier.triplet_accuracy`;
            ``start_...``: of the vectors that the fit started from.
        graph: kinds of sources of the similarity graph; ``graph_links``: pairs in it.
    """

    hierarchy_triplet_accuracy: float | None
    similarity_triplet_accuracy: float | None
    start_hierarchy_triplet_accuracy: float | None
    start_similarity_triplet_accuracy: float | None
    graph: str
    graph_links: int


class JointEmbeddingClassifier(SpaceClassifier):
    """Vectors for the nodes of every level; log-probabilities by ``pathsum`` or ``topdown`` of their scaled cosines.

    A node starts as the unit mean of the training vectors under it and of its label's vector. ``vectors(texts)`` are
    places in the joint space (after the linear map of the jobs), comparable with ``nodes``.

    Attributes:
        nodes: (N, H) float32 unit vectors.
        projection: (H, H) map of the texts' vectors, or None.
        level_scale: (D,) what the cosines of a level weigh against those of the others.
        graph: the similarity graph that was trained with.
    """

    name: ClassVar[str] = "joint"
    settings_class: ClassVar[type[EmbeddingSettings]] = JointSettings

    nodes: Float32
    level_scale: Float32
    projection: Float32 | None = None
    graph: CategoryGraph
    _matrix: Float32

    # ------------------------------------------------------------------ fitting

    def fit_data(self, train: JobData, valid: JobData | None = None, *, run_dir: Path | None = None) -> Self:
        """Fit node vectors (and the encoder, with ``freeze_encoder=False``), then the scale on ``valid``.

        Raises:
            ValueError: no rows, unlabelled rows, another taxonomy than the classifier's, a graph of another tree, or an
                encoder that cannot be fitted with ``freeze_encoder=False``.
            FileNotFoundError: there is no ``model.graph``.
        """
        from hjc.nn.spaces import JointSpace  # torch

        valid = check_data(train, valid, self.taxonomy)
        s, t, started = self.settings, self.trainer, time.monotonic()
        self._check_trainable()
        given = CategoryGraph.load(Path(s.graph).expanduser(), self.taxonomy) if s.graph else None
        texts = self._label_texts()
        self.labels = None  # a second fit starts from nothing
        self.encoder = load_pretrained(s, train.texts, texts.texts, seed=t.seed)
        index = self._index(texts)
        titles = node_label_vectors(self.taxonomy, s, self.encoder, label_means(index))
        vectors = self.encoder.encode(train.texts, "encoding training texts")
        valid_vectors = self._encode_valid(valid)
        encode_seconds = time.monotonic() - started
        encoded = Encoded(texts, index, train, vectors, valid, valid_vectors)
        self.graph = levelled(given) if given is not None else title_graph(self.taxonomy, titles, s.encoder)
        start = category_means(train, vectors, titles)
        self.take(start, None, np.ones(self.taxonomy.depth, dtype=np.float32))
        samplers = triplet_samplers(self.taxonomy, self.graph)
        before = self.triplet_accuracy()
        space = JointSpace(
            self.taxonomy,
            self.nodes,
            hierarchy=s.hierarchy,
            scale=self._start_scale(encoded),
            level_scale=self._level_scale(train, vectors),
            weights=(s.classification_weight, s.hierarchy_weight, s.similarity_weight),
            margin=s.margin,
            draws=(drawing(samplers[0]), drawing(samplers[1])),
            triplets=s.triplets,
            projection=s.projection,
            seed=t.seed,
        )
        details = self._fit_space(space, encoded, 1.0, run_dir)
        if not s.freeze_encoder:
            valid_vectors = self._encode_valid(valid)
        linear = None if space.projection is None else space.projection.detach().cpu().numpy()
        scales = space.log_scale.detach().exp().cpu().numpy()
        self.scale = float(scales.mean())
        self.take(normalise(space.nodes.detach().cpu().numpy()), linear, scales / np.float32(self.scale))
        placed = None if valid_vectors is None else self._place(valid_vectors)
        self._fit_scale(valid, placed)
        accuracy: dict[str, Any] = {f"start_{kind}_triplet_accuracy": value for kind, value in before.items()}
        accuracy |= {f"{kind}_triplet_accuracy": value for kind, value in self.triplet_accuracy().items()}
        self.fit_result = JointFit(
            **self._what_happened(details, started, encode_seconds, valid, placed),
            **accuracy,
            graph=", ".join(str(source.get("kind")) for source in self.graph.provenance.get("sources", [])),
            graph_links=self.graph.links,
        )
        return self

    def category_vectors(self) -> Float32:
        """(N, H) unit vectors of all nodes."""
        self.check_fitted()
        return self.nodes

    def take(self, nodes: Float32, projection: Float32 | None, level_scale: Float32) -> None:
        """Set the space: (N, H) unit vectors, the (H, H) map of the jobs, and (D,) what a level's cosines weigh."""
        self.nodes, self.projection, self.level_scale = nodes, projection, level_scale
        self.labels = one_each(nodes[self.taxonomy.leaves])
        weighted = nodes * level_scale[self.taxonomy.level - 1][:, None]
        self._matrix = weighted if self.settings.hierarchy == "topdown" else sum_paths(weighted.T, self.taxonomy).T

    def _level_scale(self, train: JobData, vectors: Float32) -> float:
        """The scale at which the leaves' own vectors fit (a sample of) the training rows."""
        assert self.labels is not None
        some = draw(len(train), MAX_ROWS, self.trainer.seed)
        return fit_scale(self.taxonomy, self.labels.scores(vectors[some]), train.gold[some], train.weight[some])

    # ------------------------------------------------------------------ prediction

    def vectors(self, texts: Sequence[str], *, progress: bool = True) -> Float32:
        """(n, H) float32 unit vectors: where texts lie in the joint space."""
        return self._place(super().vectors(texts, progress=progress))

    def _place(self, encoded: Float32) -> Float32:
        return encoded if self.projection is None else normalise(encoded @ self.projection.T)

    def _scores(self, vectors: Float32) -> Float32:
        """(n, L) weighted sums of cosines along each leaf's path (pathsum), or (n, N) weighted cosines (topdown)."""
        return np.asarray(vectors @ self._matrix.T)

    def _to_log_proba(self, scaled: Float32) -> Float32:
        if self.settings.hierarchy == "topdown":
            return sum_paths(group_log_softmax(scaled, self.taxonomy), self.taxonomy)
        return log_softmax(scaled)

    def triplet_accuracy(self, graph: CategoryGraph | None = None, *, seed: int = 0) -> dict[str, float | None]:
        """Share of 20,000 triplets of nodes that the space ranks rightly, by kind.

        ``hierarchy``: a child is nearer to its parent than to another parent of that level. ``similarity``: a node is
        nearer to a similar node than to one that is at most half as similar, by ``graph`` (default: the one trained
        with). None: the tree or the graph has no such triplet.
        """
        self.check_fitted()
        found: dict[str, float | None] = {}
        samplers = triplet_samplers(self.taxonomy, self.graph if graph is None else levelled(graph))
        for kind, sampler in zip(("hierarchy", "similarity"), samplers, strict=True):
            found[kind] = None
            if sampler is not None:
                triplets = sampler.sample(ACCURACY_TRIPLETS, np.random.default_rng(seed))
                found[kind] = round(triplet_accuracy(self.nodes, triplets), 5)
        return found

    def for_taxonomy(self, taxonomy: Taxonomy) -> Self:
        """See the base class. Nodes of codes that both trees have stay; others lie where a job with the text of their
        label would. The similarity graph is built anew from titles."""
        encoder, _ = self._fitted()
        made, texts = self._on(taxonomy), label_texts(taxonomy, self.settings)
        index = self._index(texts)
        titles = node_label_vectors(taxonomy, self.settings, encoder, label_means(index))
        level_scale = np.ones(taxonomy.depth, dtype=np.float32)  # levels that the old tree has not: 1, the mean
        level_scale[: self.taxonomy.depth] = self.level_scale[: taxonomy.depth]
        known = np.array([self.taxonomy.index_of.get(code, -1) for code in taxonomy.codes])
        nodes = np.where(known[:, None] >= 0, self.nodes[known], self._place(titles))
        made.graph = title_graph(taxonomy, titles, self.settings.encoder)
        made.take(nodes, self.projection, level_scale)
        return made

    # ------------------------------------------------------------------ persistence

    def write_files(self, folder: Path) -> None:
        super().write_files(folder)
        arrays = {"nodes": self.nodes, "level_scale": self.level_scale}
        save_arrays(folder / SPACE, arrays | ({} if self.projection is None else {"projection": self.projection}))
        self.graph.save(folder / GRAPH)

    def _restore(self, state: Mapping[str, Any], model: ModelDir) -> None:
        arrays = load_arrays(model.file(SPACE))
        nodes, level_scale, projection = arrays["nodes"], arrays["level_scale"], arrays.get("projection")
        self.graph = CategoryGraph.load(model.file(GRAPH), model.taxonomy)
        assert self.encoder is not None
        width = self.encoder.dim
        shapes = [(nodes.shape, (len(model.taxonomy), width)), (level_scale.shape, (model.taxonomy.depth,))]
        if projection is not None:
            shapes.append((projection.shape, (width, width)))
        if any(found != expected for found, expected in shapes):
            raise ValueError(
                f"{SPACE}: arrays of shape {', '.join(str(found) for found, _ in shapes)} do not fit "
                f"{len(model.taxonomy)} nodes, {model.taxonomy.depth} levels and an encoder {width} wide"
            )
        self.take(nodes, projection, level_scale)


# ---------------------------------------------------------------------- pieces


def title_graph(taxonomy: Taxonomy, titles: Float32, encoder: str) -> CategoryGraph:
    """Each node with its 10 nearest of its level by the cosine of label vectors (N, H)."""
    return vector_graph(taxonomy, titles, k=TITLE_LINKS, encoder=encoder)


def levelled(graph: CategoryGraph) -> CategoryGraph:
    """The graph with links at every level: lifted from the leaves where no inner node has one."""
    return graph if graph.linked[~graph.taxonomy.is_leaf].any() else graph.lift()


Sampler = HierarchyTriplets | SimilarityTriplets


def triplet_samplers(taxonomy: Taxonomy, graph: CategoryGraph) -> tuple[Sampler | None, Sampler | None]:
    """Samplers of both kinds of triplets; None where there are none (one level; a graph without dissimilar nodes)."""
    found: list[Sampler | None] = []
    for make in (lambda: HierarchyTriplets(taxonomy), lambda: SimilarityTriplets(graph)):
        try:
            found.append(make())
        except TaxonomyError:
            found.append(None)
    return found[0], found[1]


def drawing(sampler: Sampler | None) -> Any:
    """The sampler as a plain function: copies of a network (a moving average of weights) share it."""
    return None if sampler is None else lambda size, rng: sampler.sample(size, rng)
