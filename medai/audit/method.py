"""How the audit works, in words for its page."""

METHODS = (
    """A patient, study, series or SOP instance counts as leaking where its name occurs in two of train, validation and test; names of
    hospital data are keyed, and equal names have equal keys. Equal pixels are equal hashes over type, shape and values.""",
    """Near-duplicates: every image's 64-bit perceptual hash (32 x 32 grey pixels, DCT-II, 8 x 8 coefficients against their median) is
    compared with the hashes of the whole and of ten windows of every other image, of 95 % and 90 % of its sides. Pairs within 10 bits are
    laid over each other, registered (four edges, contrast and brightness free) and judged on their pixels at 64 x 64: the details must
    correlate with at least 0.95, and the mean of that correlation (counted twice) and of the one after every region was given the same
    contrast must be 0.943. Where an image has so few grey levels that a noise of half a level shows, both thresholds fall by what that
    noise takes from a correlation, not below 0.9. Featureless images take no part. Of volumes, the mean over the slices is compared.""",
    """Association: Cramer's V with Bergsma's correction for bias over all cases; its p is of one case a patient, from the chi-square
    distribution where every cell expects 5 cases, else from 2,000 permutations, corrected for the number of tests after Holm. A warning
    needs V of at least 0.2 and p below 0.05.""",
    """Metadata alone: ridge logistic regression on all categories, fitted on four fifths of the patients and applied to the others; the
    AUROC of these scores has a score interval on DeLong's variance, or where patients repeat that of a bootstrap of patients. A warning
    needs an AUROC of at least 0.65 and an interval above 0.5.""",
)
