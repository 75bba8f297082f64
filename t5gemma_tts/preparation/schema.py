"""The columns of a prepared dataset."""

from datasets import Features, List, Value


# of the shards only: which split an imported row had
SPLIT_COLUMN = "split"


def prepared_features(with_neighbors: bool = False, with_stretched: bool = False) -> Features:
    """
    The features of a prepared dataset.

    Args:
        with_neighbors (`bool`, *optional*, defaults to `False`): For imports: `neighbors`, the ids of rows that may be
            the reference of this one, and `neighbor_distances`, in the unit of the source, null where it says none.
        with_stretched (`bool`, *optional*, defaults to `False`): `codes_stretched`, one list of codes for each of
            `speed_factors`.
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
    return Features({**features, SPLIT_COLUMN: Value("string")})
