"""Every string of the report in one place, so that another language is another dictionary."""

ENGLISH: dict[str, str] = {
    "language": "en",
    "overline": "Evaluation report",
    "summary": "Summary",
    "careful": "Read with care",
    "key_figures": "Key figures",
    "interval": "{confidence:.0f}%\u00a0CI\u00a0{low}\u2060\u2013\u2060{high}",
    "no_interval": "no interval",
    "not_known": "\u2013",
    "flow": "Flow of cases",
    "found": "found",
    "quarantined": "refused",
    "excluded": "left out",
    "elsewhere": "in other splits",
    "analysed": "analysed",
    "patients": "patients",
    "patients_unknown": "unknown",
    "lowest_auroc": "Lowest AUROC: {label}",
    "highest_auroc": "Highest AUROC: {label}",
    "overview": "All labels",
    "label": "Label",
    "class": "Class",
    "cases": "Cases",
    "events": "Events",
    "events_of": "{events:,} / {n:,}",
    "auroc": "AUROC",
    "macro_auroc": "Mean AUROC",
    "average_precision": "Average precision",
    "macro_average_precision": "Mean average precision",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "ppv_short": "PPV",
    "accuracy": "Accuracy",
    "ece": "Calibration error",
    "mce": "Largest calibration error",
    "brier": "Brier score",
    "prevalence": "Prevalence",
    "quadratic_kappa": "Quadratic kappa",
    "mean_absolute_error": "Mean absolute error",
    "threshold": "Threshold",
    "roc": "ROC curve",
    "roc_note": "The dot marks the frozen threshold. The dashed line is chance.",
    "roc_rest_note": "ROC curve of the class against the rest.",
    "reliability_top_note": "Of the highest probability: how often it is right.",
    "precision_recall": "Precision and recall",
    "precision_recall_note": "The dashed line is the prevalence, {value}: what calling cases at random would give.",
    "reliability": "Reliability",
    "reliability_note": "On the diagonal, probabilities mean what they say. Bars below: number of cases.",
    "distribution": "Distribution of probabilities",
    "distribution_note": "Share of each class by predicted probability, in steps of 0.05.",
    "axis_fpr": "1 \u2212 specificity",
    "axis_tpr": "Sensitivity",
    "axis_recall": "Recall (sensitivity)",
    "axis_precision": "Precision (PPV)",
    "axis_predicted": "Predicted probability",
    "axis_observed": "Observed share",
    "axis_probability": "Predicted probability",
    "axis_share": "Share of the class",
    "threshold_line": "threshold {value}",
    "confusion": "Decisions",
    "confusion_note": "Rows: truth. Columns: what the model calls{threshold}. Percentages are of the row.",
    "at_threshold": " at the threshold of {threshold}",
    "truth": "Truth",
    "called": "Called",
    "all_figures": "All figures",
    "figure": "Figure",
    "value": "Value",
    "ci": "{confidence:.0f}% interval",
    "method": "Interval by",
    "by_group": "By {column}",
    "group_note": "Groups with fewer than 10 cases of a class get no figure. The upright line is the figure for all cases.",
    "class_note": "Each class against the rest. The upright line is the mean.",
    "false_negatives": "Missed: cases with {label} that got the lowest probability",
    "false_positives": "False alarms: cases without {label} that got the highest probability",
    "true_positives": "Found: cases with {label} that got the highest probability",
    "true_negatives": "Cleared: cases without {label} that got the lowest probability",
    "errors": "Wrong calls that got the highest probability",
    "right_calls": "Right calls that got the highest probability, of every class in turn",
    "gallery_probability": "probability {value}",
    "gallery_threshold": "probability {value}, threshold {threshold}",
    "gallery_none": "None.",
    "gallery_caption": "truth: {truth} \u00b7 called: {called}",
    "no_image": "no image",
    "no_map": "no map",
    "map_of": "map of {case_id}",
    "maps": "Where the network looked",
    "maps_low": "nothing",
    "maps_high": "most",
    "maps_gradcam": (
        "Right of each image, as the network takes it, its Grad-CAM (Selvaraju et al. 2017): the regions that raised the network's "
        "output for the label, as coarse as its last map of the image. Of a label with several classes it is the output for the class "
        "that was called, of grades the output for a higher one."
    ),
    "maps_integrated_gradients": (
        "Right of each image, as the network takes it, its integrated gradients (Sundararajan et al. 2017): the pixels that raised "
        "the network's output for the label, compared with a dark image; single pixels mean little. Of a label with several classes "
        "it is the output for the class that was called, of grades the output for a higher one."
    ),
    "maps_read": (
        "Every map is scaled to its own largest value, so that two maps do not compare; in an empty one nothing raised the output."
    ),
    "maps_limits": (
        "Such a map shows where the output comes from. It does not show why, nor that a finding lies there, nor that the call is right: "
        "it can leave out what else was used, and a wrong model has plausible maps too. A map that lies on a marker, a "
        "tube or the border is a reason to look for a short cut."
    ),
    "images_note": "This report shows images of patients: handle it as patient data.",
    "methods": "How this was computed",
    "provenance": "Provenance",
    "intended_use": "Intended use",
    "cohort": "Cohort",
    "cohort_hash": "Cohort hash",
    "split": "Split",
    "threshold_origin": "Thresholds",
    "looks": "Looks at the held-out labels",
    "created": "Created",
    "seed": "Seed",
    "notes": "Notes",
    # The summary.
    "s_cases": "{n:,} {split} cases{patients} of {cohort} were analysed.",
    "s_patients": " from {patients:,} patients",
    "s_events": "{events:,} of {n:,} ({share}) show {label}.",
    "s_unknown": "{unknown:,} further cases, whose truth for {label} is not known, are left out.",
    "s_auroc": (
        "The AUROC is {value} ({interval}): shown one case with {label} and one without, the model gives the "
        "higher probability to the right one {share} of the time."
    ),
    "s_point": (
        "At the threshold of {threshold}{origin} it finds {found:,} of {positives:,} cases with {label} "
        "(sensitivity {sensitivity}, {sensitivity_interval}) and clears {cleared:,} of {negatives:,} without "
        "(specificity {specificity}, {specificity_interval})."
    ),
    "s_origin": " ({origin})",
    "s_wrong": "Missed: {missed:,}. False alarms: {alarms:,}.",
    "s_ppv": (
        "Where {prevalence} of cases show it, as here, a positive call is right {ppv} of the time and a "
        "negative call {npv}; both change with the prevalence."
    ),
    "s_calibration": ("On average its probabilities are off by {ece} percentage points (mean prediction {mean}, observed {observed})."),
    "s_macro": (
        "Over the {count} labels the mean AUROC is {value} ({interval}) and the mean average precision {precision} ({precision_interval})."
    ),
    "s_best": ("It does best on {best} (AUROC {best_value}, {best_interval}) and worst on {worst} ({worst_value}, {worst_interval})."),
    "s_thresholds": (
        "At the frozen thresholds{origin} sensitivity runs from {lowest} ({lowest_label}) to {highest} "
        "({highest_label}), specificity from {low_specificity} ({low_specificity_label}) to "
        "{high_specificity} ({high_specificity_label})."
    ),
    "s_multiclass": (
        "For {label}, the model names the right one of {classes} classes in {right:,} of {n:,} cases (accuracy {value}, {interval})."
    ),
    "s_macro_classes": "The mean one-against-rest AUROC is {value} ({interval}).",
    "s_ordinal": (
        "Its grades agree with the truth with a quadratic kappa of {kappa} ({kappa_interval}); on average they are off by {error} grades."
    ),
    "s_confused": 'The commonest error: {count:,} of {n:,} cases of "{truth}" are called "{called}".',
    # Warnings.
    "w_few": (
        "{label}: with only {events:,} positive and {rest:,} negative cases the set is too small for a claim. "
        "Its figures show that the way works, not how good the model is."
    ),
    "w_few_classes": "{label}: fewer than 10 cases of {classes}. Figures of these classes are too small for a claim.",
    "w_wide": (
        "{label}: the interval of the {figure} runs from {low} to {high}. The set is too small for a claim; a "
        "larger one may give a clearly different figure."
    ),
    "w_wide_many": (
        "Some intervals are so wide that the set is too small for a claim on these labels: {labels}. A larger set may "
        "give clearly different figures."
    ),
    "w_wide_each": "{label} ({figure} {low} to {high})",
    "w_chance": "{label}: the AUROC's interval is not above 0.5, so the model is not shown to be better than chance.",
    "w_absent": "{label}: {reason}, so that there is no AUROC.",
    "w_looks": ("The held-out labels have been looked at {looks:,} times. With every look the figures become more hopeful than the truth."),
    "w_validation": (
        "These are figures of the {split} split. Where it chose the checkpoint or the thresholds, they are more hopeful than the truth."
    ),
    # The methods.
    "m_decision": (
        "A case is called positive where its probability is at or above the threshold. Thresholds were frozen "
        "before this evaluation{origin}; nothing was chosen on the cases shown here."
    ),
    "m_argmax": "The decision of a label with several classes is the class with the highest probability.",
    "m_auroc_delong": (
        "AUROC counts ties half; its intervals are DeLong's (1988). Where DeLong's variance is zero, "
        "Newcombe's score interval (2006) is given."
    ),
    "m_auroc_bootstrap": ("AUROC counts ties half. Since patients repeat, its intervals are percentiles of the bootstrap of patients."),
    "m_bootstrap": (
        "The bootstrap draws {unit} with replacement, {replicates:,} times (seed {seed}); average precision, "
        "means over labels or classes, the Brier score and agreement take their intervals from it."
    ),
    "m_patients": "patients",
    "m_cases": "cases",
    "m_proportion": "Sensitivity, specificity, predictive values and accuracy have Wilson's intervals (1927){cluster}.",
    "m_cluster": ", with the effective sample size where patients repeat (Rao and Scott 1992)",
    "m_calibration": (
        "The calibration error is the mean distance between predicted and observed share over 10 bins of "
        "equal width; reliability bins have Wilson's intervals."
    ),
    "m_macro": (
        "Means over labels or classes are plain, every one counts the same. No interval is corrected for the number of labels or groups."
    ),
    "m_unknown": "Cases without a known truth for a label are left out for that label alone.",
}
