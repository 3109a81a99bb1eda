"""The model card: what a doctor, an engineer and an auditor want to know of a package, on one page."""

from collections.abc import Iterator, Mapping
from typing import Any

# The figures of a label that the card shows, in this order; metrics.json of the evaluation has them all.
FIGURES = {
    "auroc": "AUROC",
    "macro_auroc": "Macro AUROC",
    "average_precision": "Average precision",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "quadratic_kappa": "Quadratic kappa",
    "mean_absolute_error": "Mean absolute error (classes)",
    "ece": "Expected calibration error",
    "brier": "Brier score",
}


def model_card(record: Mapping[str, Any]) -> str:
    """Render the card from package.json, as Markdown."""
    sections = (_head, _use, _labels, _accuracy, _input, _data, _limits, _running, _provenance)
    return "\n\n".join("\n".join(section(record)) for section in sections) + "\n"


def _head(record: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {_text(record['name'])}"
    yield ""
    names = ", ".join(f"**{_text(label['name'])}**" for label in record["labels"])
    yield (
        f"A model that estimates {names} from a single 2-D image. It is one ONNX graph, from the image's native pixels to a calibrated "
        f"probability and a decision. Packaged {_text(record['created'])}."
    )


def _use(record: Mapping[str, Any]) -> Iterator[str]:
    yield "## Intended use"
    yield ""
    yield _text(record["intended_use"])


def _labels(record: Mapping[str, Any]) -> Iterator[str]:
    yield "## What it answers"
    yield ""
    yield from _table(("Label", "Kind", "Classes", "Meaning", "Decides"), [_label_row(record, label) for label in record["labels"]])
    yield ""
    if record["thresholds"]:
        yield f"The thresholds are fixed in the graph. They were chosen on: {_text(record['threshold_source'])}."
    method = record["calibration"].get("method")
    if method and method != "none":
        yield f"The probabilities are calibrated by {_text(method)}; see `calibration` in `package.json`."
    else:
        yield "The probabilities are as the network gives them: they were not calibrated."


def _label_row(record: Mapping[str, Any], label: Mapping[str, Any]) -> tuple[str, ...]:
    if label["kind"] == "binary":
        decides = f"{label['classes'][1]} from a probability of {record['thresholds'][label['name']]:.4g}"
    else:
        decides = "the most probable class"
    return label["name"], label["kind"], ", ".join(label["classes"]), label.get("meaning") or "-", decides


def _accuracy(record: Mapping[str, Any]) -> Iterator[str]:
    yield "## How good it is"
    yield ""
    if not record["measured"]:
        yield "**No accuracy was measured for this package.** Do not use it for anything before it is evaluated."
        return
    if "test" not in record["measured"]:
        yield "**This package holds no figure on held-out test data.** What follows was seen while choosing the model, and flatters."
        yield ""
    for split, metrics in record["measured"].items():
        cases = f", {metrics['cases']:,} cases" if isinstance(metrics.get("cases"), int) else ""
        yield f"### On the {_text(split)} split{cases}"
        yield ""
        rows = [row for name, figures in metrics.get("labels", {}).items() for row in _figure_rows(name, figures)]
        yield from _table(("Label", "Figure", "Value", "Interval", "n", "Method"), rows)
        yield ""
        if isinstance(metrics.get("confidence"), float):
            yield f"Intervals cover {metrics['confidence']:.0%}. The wider an interval, the fewer the cases behind it."
            yield ""
    yield "Other hospitals, machines and patients give other figures: measure on your own cases before you rely on these."


def _figure_rows(name: str, figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for key, title in FIGURES.items():
        figure = figures.get(key)
        if not isinstance(figure, Mapping) or "value" not in figure:
            continue
        if figure["value"] is None:
            rows.append((name, title, "not known", "-", str(figure.get("n", "-")), str(figure.get("reason", "-"))))
            continue
        interval = "-" if figure.get("low") is None else f"{figure['low']:.3f} to {figure['high']:.3f}"
        rows.append((name, title, f"{figure['value']:.3f}", interval, str(figure.get("n", "-")), str(figure.get("method", "-"))))
    return rows


def _input(record: Mapping[str, Any]) -> Iterator[str]:
    contract = record["input"]
    low, high = contract["value_range"]
    yield "## What it accepts"
    yield ""
    yield f"- {'Grey' if contract['channels'] == 1 else 'Colour'} images of any height and width."
    yield f"- Modality values from {low:g} to {high:g}, with a contrast of at least {contract['min_contrast']:g} ({contract['contrast']})."
    yield f"- Modality: {', '.join(contract['modalities']) or 'any'}. Body part: {', '.join(contract['body_parts']) or 'any'}."
    if contract["channels"] == 1:
        yield f"- Colour images are {'weighted to grey' if contract['colour_to_grey'] else 'refused, unless their channels are equal'}."
    yield ""
    yield "Anything else is refused with the figures. From a DICOM file to the model:"
    yield ""
    yield from (f"{number}. {_text(step)}" for number, step in enumerate(contract["steps"], start=1))


def _data(record: Mapping[str, Any]) -> Iterator[str]:
    yield "## What it was trained on"
    yield ""
    if not record["data"]:
        yield "Not recorded."
    for key, value in record["data"].items():
        if value not in (None, "", {}, []):
            yield f"- {_text(key).replace('_', ' ').capitalize()}: {_text(_flat(value))}"


def _limits(record: Mapping[str, Any]) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield from (f"- {_text(limit)}" for limit in record["limits"])
    yield "- It knows only the labels above. An image without them may still show another disease."
    yield "- It sees one image: no history, no earlier examination, no second view."
    yield "- An image that differs from the training data in a way that its values do not show is not recognised as such."


def _running(record: Mapping[str, Any]) -> Iterator[str]:
    parity = record["parity"]
    yield "## How to run it"
    yield ""
    yield "```"
    yield "medai verify PACKAGE          # on the device: unchanged files, and the same answers as when it was exported"
    yield "medai predict PACKAGE FILE…   # DICOM, PNG, JPEG, TIFF or npy"
    yield "```"
    yield ""
    yield (
        f"Any runtime that loads ONNX opset {record['onnx']['opset']} (IR {record['onnx']['ir_version']}) runs `model.onnx`; `vectors/` "
        f"proves that it does so rightly. At the export, ONNX and torch differed by at most {parity['max_probability_difference']:.1e} in "
        f"probability over {parity['cases']:,} cases, with {parity['decision_flips']} decisions that differ."
    )


def _provenance(record: Mapping[str, Any]) -> Iterator[str]:
    yield "## Where it comes from"
    yield ""
    rows: list[tuple[str, ...]] = [(f"{key} hash", str(value)) for key, value in record["hashes"].items()]
    rows += [(f"{key} version", str(value)) for key, value in record["versions"].items()]
    yield from _table(("What", "Value"), rows or [("-", "not recorded")])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(_text(cell).replace("|", "\\|") for cell in row) + " |"


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_flat(part) for part in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _text(value: Any) -> str:
    """One line, whatever it holds, and no markup from outside."""
    return " ".join(str(value).split()).replace("<", "&lt;")
