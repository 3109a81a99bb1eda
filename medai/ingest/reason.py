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
    "multi-frame": "several frames, and nothing says where they lie",
    "unsupported-syntax": "a transfer syntax that is not read",
    "unsupported-pixels": "a pixel format that is not read",
    "decode-failed": "the compressed pixels cannot be decoded",
    "empty-image": "an image without pixels",
    "non-finite-pixels": "pixels that are not numbers",
    "contradicting-instance": "the same instance as another file, with other pixels or labels",
    "not-selected": "a rule of the data set leaves the series out",
    "no-geometry": "slices without a usable position, orientation or pixel spacing",
    "mixed-orientation": "slices of one stack lie in different planes",
    "mixed-shape": "slices of one series differ in size or pixel spacing",
    "duplicate-positions": "several slices at one position and no tag that tells them apart",
    "missing-slices": "gaps of a multiple of the slice step",
    "uneven-spacing": "steps between slices that differ by more than 1 %",
    "jitter": "slices shifted within their plane by more than 0.1 mm",
    "gantry-tilt": "slices sheared by a tilted gantry",
    "too-few-slices": "a single slice beside the stack of its series",
    "mosaic": "a mosaic that is not taken apart",
    "dicomdir": "an index of other files, no image",
    "bad-archive": "an archive that cannot be read",
    "encrypted-member": "an encrypted member of an archive",
    "nested-archive": "an archive within an archive",
    "burned-in-text": "the pixels may show a name, and no rule says what to hide",
    "reader-crashed": "the decoder crashed or hung",
    "fetch-failed": "the server did not deliver it",
    "duplicate-instance": "the same instance as another file",
}


def reason(code: str) -> str:
    """A fixed sentence for a code."""
    return REASONS.get(code, "refused by the reader")
