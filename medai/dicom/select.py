"""`SeriesRules` applied to instances: which rule leaves a file out."""

import re

import polars as pl

from medai.dicom.series_rules import SeriesRules


def unselected(instances: pl.DataFrame, rules: SeriesRules) -> pl.Series:
    """For each instance the message of the first rule that leaves it out, or null. The text holds no value of the file."""
    described = pl.concat_str("series_description", "protocol_name", separator="\n", ignore_nulls=True).fill_null("")
    texts = instances.select(text=described, kernel=pl.col("kernel").fill_null(""))
    image_type = pl.col("image_type").fill_null("").str.to_uppercase().str.split("\\")
    thickness, (least, greatest) = pl.col("slice_thickness"), rules.thickness_mm
    leaves: list[pl.Expr] = []

    def leave(rule: str, why: str, out: pl.Expr) -> None:
        leaves.append(pl.when(out).then(pl.lit(f"rules.{rule} leaves it out: {why}")))

    if rules.modalities:
        leave("modalities", "another modality", ~pl.col("modality").fill_null("").is_in(rules.modalities))
    if rules.include:
        leave("include", "no pattern is in the description", ~pl.lit(_matching(texts["text"], rules.include)))
    if rules.exclude:
        leave("exclude", "a pattern is in the description", pl.lit(_matching(texts["text"], rules.exclude)))
    if rules.kernel:
        leave("kernel", "the pattern is not in the kernel", ~pl.lit(_matching(texts["kernel"], (rules.kernel,))))
    if least is not None:
        leave("thickness_mm", f"the slices are thinner than {least:g} mm, or of unknown thickness", ~(thickness >= least).fill_null(False))
    if greatest is not None:
        leave(
            "thickness_mm",
            f"the slices are thicker than {greatest:g} mm, or of unknown thickness",
            ~(thickness <= greatest).fill_null(False),
        )
    for value in rules.image_type:
        leave("image_type", f"the image type is not {value}", ~image_type.list.contains(value))
    for value in rules.not_image_type:
        leave("not_image_type", f"the image type is {value}", image_type.list.contains(value))
    return instances.select(message=pl.coalesce([*leaves, pl.lit(None, pl.String)])).to_series()


def choose_one(volumes: pl.DataFrame, rules: SeriesRules) -> pl.Series:
    """For each volume the message of the rule on slices or of `choose` where it leaves it out, or null.

    Args:
        volumes: `stack`, `patient_id`, `study_uid`, `slices`, `spacing_mm` of volumes without a fault.
        rules: The rules.
    """
    least, greatest = rules.slices
    few, many = (pl.col("slices") < (least or 0)), (pl.col("slices") > (greatest if greatest is not None else float("inf")))
    messages = volumes.select(
        "stack", "patient_id", "study_uid", "slices", "spacing_mm",
        message=pl.when(few).then(pl.format("rules.slices leaves it out: {} slices", "slices"))
        .when(many).then(pl.format("rules.slices leaves it out: {} slices", "slices")),
    ).with_row_index("row")  # fmt: skip
    if rules.choose == "all":
        return messages["message"]
    by = {
        "largest": (["slices", "spacing_mm", "stack"], [True, False, False]),
        "thinnest": (["spacing_mm", "slices", "stack"], [False, True, False]),
    }
    columns, descending = by[rules.choose]
    kept = messages.filter(pl.col("message").is_null()).sort(columns, descending=descending, nulls_last=True)
    first = kept.unique(["patient_id", "study_uid"], keep="first", maintain_order=True)["row"]
    other = pl.col("message").is_null() & ~pl.col("row").is_in(first.implode())
    text = f"rules.choose leaves it out: not the {rules.choose} volume of its study"
    return messages.select(pl.when(other).then(pl.lit(text)).otherwise("message").alias("message")).to_series()


def _matching(texts: pl.Series, patterns: tuple[str, ...]) -> pl.Series:
    """Whether one of the patterns is found; Python's expressions, on each distinct text once."""
    compiled = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
    found = [text for text in texts.unique() if any(pattern.search(text) for pattern in compiled)]
    return texts.is_in(found)
