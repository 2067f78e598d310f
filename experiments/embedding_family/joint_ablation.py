"""The joint space on O*NET titles with each term of its loss switched off, and with a graph of shared technologies.

    python experiments/embedding_family/joint_ablation.py

Writes joint_ablation.csv: accuracy at every level, and triplet accuracies for the tree and for both graphs, whichever
of them a run was trained with. Runs that are there already are not repeated; delete the file to start over.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from onet_titles import MINILM, VECTORS, data_folder, encode_once, load
from prototypes import FROZEN, read, write

from hjc.classifiers.embedding import joint
from hjc.classifiers.embedding.joint import JointEmbeddingClassifier, title_graph
from hjc.classifiers.embedding.labels import LabelIndex, label_means, label_texts, node_label_vectors
from hjc.classifiers.embedding.prototype import PrototypeClassifier
from hjc.classifiers.embedding.settings import JointSettings, PrototypeSettings
from hjc.crosswalk.correspondence import Correspondence
from hjc.evaluation import evaluate_model
from hjc.nn.settings import TrainerSettings
from hjc.taxonomy import Taxonomy
from hjc.taxonomy.graph.category_graph import CategoryGraph
from hjc.taxonomy.graph.sources import item_graph

FOLDER = Path(__file__).resolve().parent
TECHNOLOGIES = VECTORS.parent / "technologies.npz"
#: None: the classifier of prototypes, fitted as long, for comparison
RUNS: dict[str, dict[str, Any] | None] = {
    "prototypes (leaves alone)": None,
    "joint, all terms (0.1, 0.1)": {},
    "no hierarchy triplets": {"hierarchy_weight": 0.0},
    "no similarity triplets": {"similarity_weight": 0.0},
    "classification alone": {"hierarchy_weight": 0.0, "similarity_weight": 0.0},
    "strong terms (3, 3)": {"hierarchy_weight": 3.0, "similarity_weight": 3.0},
    "graph of technologies (3, 3)": {
        "hierarchy_weight": 3.0,
        "similarity_weight": 3.0,
        "graph": str(TECHNOLOGIES),
    },
    "no linear map of the texts": {"projection": False},
    "topdown": {"hierarchy": "topdown"},
}


def technologies(tree: Taxonomy) -> CategoryGraph:
    """Occupations that share software and tools, the ten strongest links of each."""
    table = pd.read_csv(data_folder() / "onet" / "technology_skills.csv.gz", dtype=str)
    pairs = list(zip(table["code"], table["example"], strict=True))
    return item_graph(tree, Correspondence.from_pairs(pairs, name="technologies"), k=10, kind="technologies")


def title_vectors(tree: Taxonomy) -> Any:
    """(N, H) vectors of the titles of all nodes, as the classifier makes them."""
    settings = JointSettings(**MINILM)
    encoder = joint.load_pretrained(settings)
    texts = label_texts(tree, settings)
    index = LabelIndex(encoder.encode(texts.texts), texts.leaf, texts.texts)
    return node_label_vectors(tree, settings, encoder, label_means(index))


def main() -> None:
    encode_once()
    tree, train, valid, test = load()
    trainer = TrainerSettings(**{**FROZEN, "epochs": 3})
    other = technologies(tree)
    TECHNOLOGIES.parent.mkdir(parents=True, exist_ok=True)
    other.save(TECHNOLOGIES)
    titles = title_graph(tree, title_vectors(tree), MINILM["encoder"])
    rows = read(FOLDER / "joint_ablation.csv")
    for name, model in RUNS.items():
        if any(row["run"] == name for row in rows):
            continue
        row: dict[str, Any] = {"run": name, "train_rows": len(train), "test_rows": len(test)}
        classifier: Any
        if model is None:
            classifier = PrototypeClassifier(tree, PrototypeSettings(**MINILM), trainer).fit(train, valid)
        else:
            classifier = JointEmbeddingClassifier(tree, JointSettings(**{**MINILM, **model}), trainer)
            classifier.fit(train, valid)
            of_titles = classifier.triplet_accuracy(titles)
            row["triplets_hierarchy"] = of_titles["hierarchy"]
            row["triplets_similar_titles"] = of_titles["similarity"]
            row["triplets_shared_technologies"] = classifier.triplet_accuracy(other)["similarity"]
        found = evaluate_model(classifier, test, slices=(), bootstrap=100, progress=False)
        for level in range(1, tree.depth + 1):
            row[f"level_{level}/recall@1"] = f"{found.metrics[f'level_{level}/recall@1']:.4f}"
        for metric in ("recall@5", "macro_recall", "log_loss"):
            row[f"level_5/{metric}"] = f"{found.metrics[f'level_5/{metric}']:.4f}"
        for metric in ("recall@1", "log_loss"):
            low, high = found.intervals[f"level_5/{metric}"]
            row[f"level_5/{metric}_low"], row[f"level_5/{metric}_high"] = f"{low:.4f}", f"{high:.4f}"
        row |= {"epochs": classifier.fit_result.epochs, "status": classifier.fit_result.status}
        row["fit_seconds"] = f"{classifier.fit_result.seconds:.0f}"
        print(row, flush=True)
        rows.append(row)
        write(FOLDER / "joint_ablation.csv", rows)


if __name__ == "__main__":
    main()
