"""What a reason code says where the reader's own words may not be kept: they can hold names."""

REASONS = {
    "missing-file": "a row of the label table without a readable file",
    "no-label-row": "a file without a row in the label table",
    "no-class-folder": "a picture outside the class folders",
    "no-split": "the label table does not say to which split it belongs",
    "not-a-picture": "not a picture by its name",
    "unreadable-picture": "damaged, or not a picture",
    "unsupported-shape": "an array that is neither grey nor colour",
    "unreadable-file": "the file cannot be opened",
    "not-dicom": "not a DICOM file",
    "truncated": "the file ends too early",
    "too-large": "larger than the reader's limit",
    "no-pixels": "a DICOM file without pixels",
    "bad-header": "required attributes are missing or contradict each other",
    "multi-frame": "several frames; only single frames are read",
    "unsupported-syntax": "a transfer syntax that is not read",
    "unsupported-pixels": "a pixel format that is not read",
    "decode-failed": "the compressed pixels cannot be decoded",
    "empty-image": "an image without pixels",
    "non-finite-pixels": "pixels that are not numbers",
    "contradicting-instance": "the same instance as another file, with other pixels or labels",
    "duplicate-instance": "the same instance as another file",
}


def reason(code: str) -> str:
    """A fixed sentence for a code."""
    return REASONS.get(code, "refused by the reader")
