"""Features of prepared datasets."""

from datasets import Features, List, Value


# only in shards: split of the source row
SPLIT_COLUMN = "split"


def prepared_features(with_neighbors: bool = False, with_stretched: bool = False) -> Features:
    """
    Returns the features of a prepared dataset.

    Args:
        with_neighbors (`bool`, *optional*, defaults to `False`): Add the columns of imports: `neighbors`, ids of
            possible reference rows, and `neighbor_distances`, null if unknown.
        with_stretched (`bool`, *optional*, defaults to `False`): Add `codes_stretched`, one list of codes per speed
            factor.
    """
    features = {
        "id": Value("string"),
        "text": Value("string"),
        "codes": List(Value("uint16")),
        "speaker": Value("string"),
        "language": Value("string"),
        "num_frames": Value("int32"),
        "duration_seconds": Value("float32"),
        "start_seconds": Value("float32"),
    }
    if with_neighbors:
        features["neighbors"] = List(Value("string"))
        features["neighbor_distances"] = List(Value("float32"))
    if with_stretched:
        features["codes_stretched"] = List(List(Value("uint16")))
    return Features(features)


def shard_features(features: Features) -> Features:
    """Returns the features of shards: those of the dataset and the split."""
    return Features({**features, SPLIT_COLUMN: Value("string")})
