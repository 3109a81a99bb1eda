"""The words of the dry run's page in each language."""

from collections.abc import Sequence

from medai.evaluation.report.text import Words, words_of

ENGLISH = {
    "language": "en",
    "other_language": "中文",
    "title": "Dry run",
    "of": "Dry run of {model}",
    "about": ("{model}, {count} {split} case(s) of {cohort}. No label was read, and this counts as no look at the test set."),
    "doubts": "Look at this before you go on",
    "fine": (
        "Nothing looks wrong by its figures. Whether the classes stand in the right order, and whether the images look as the vendor "
        "shows them, only you can see."
    ),
    "model": "Model",
    "hash": "{kind}, hash {hash}",
    "label": "Label {name}",
    "binary": "binary",
    "multiclass": "multiclass",
    "ordinal": "ordinal",
    "from": "; {name} from {threshold} on",
    "thresholds": "Thresholds",
    "none": "none",
    "stored_alt": "As it is stored",
    "stored_caption": "as it is stored, between its own extremes",
    "seen_alt": "As the model sees it",
    "seen_caption": "as the model sees it",
    "seen_package": ": its own graph resizes and scales",
    "seen_scale": ", black and white at the ends of its scale",
    "stored": "Stored",
    "given": "Given",
    "channel": "{low} to {high}, mean {mean}, deviation {deviation}",
    "clipped": "Cut off",
    "clipped_share": "{share} % of the pixels",
    "more": " and {count} more",
    "fault": "Fault",
    "probability": "Probability",
    "decision": "Decision",
    "decided": "{label}: {value}",
    "refused": "Refused",
}
CHINESE = {
    "language": "zh-CN",
    "other_language": "English",
    "title": "试运行",
    "of": "{model}的试运行",
    "about": "{model}，{cohort}的{split}病例{count}例。未读取任何标签，不计为对测试集的查看。",
    "doubts": "继续之前请先查看",
    "fine": "从数值上未见异常。类别顺序是否正确、图像是否与厂商所示一致，只有您能判断。",
    "model": "模型",
    "hash": "{kind}，哈希 {hash}",
    "label": "标签{name}",
    "binary": "二分类",
    "multiclass": "多分类",
    "ordinal": "有序分级",
    "from": "；概率不低于{threshold}判为{name}",
    "thresholds": "阈值",
    "none": "无",
    "stored_alt": "存储的图像",
    "stored_caption": "存储的图像，以自身最小值与最大值为黑与白",
    "seen_alt": "模型所见的图像",
    "seen_caption": "模型所见的图像",
    "seen_package": "：缩放与灰度处理在模型自身的计算图中完成",
    "seen_scale": "，黑与白为其灰阶两端",
    "stored": "存储",
    "given": "输入",
    "channel": "{low}至{high}，均值{mean}，标准差{deviation}",
    "clipped": "截去",
    "clipped_share": "{share}%的像素",
    "more": "，另有{count}个",
    "fault": "错误",
    "probability": "概率",
    "decision": "判定",
    "decided": "{label}：{value}",
    "refused": "被拒绝",
}
_TABLES = {"en": ENGLISH, "zh": CHINESE}


def dry_run_words(language: str) -> Words:
    """The words of a language; a split's name is that of the report.

    Raises:
        MedaiError: there is no such language.
    """
    report = words_of(language)
    splits = {key: text for key, text in report.table.items() if key.startswith("split_")}
    return Words(report.code, splits | _TABLES[language], report.phrase, report.comma, report.space)


def page_names(languages: Sequence[str]) -> dict[str, str]:
    """The page of each language, the first without its code.

    Raises:
        MedaiError: there is no such language.

    Example:
        >>> page_names(("en", "zh"))
        {'en': 'dry_run.html', 'zh': 'dry_run.zh.html'}
    """
    codes = [words_of(language).code for language in dict.fromkeys(languages)]
    return {code: "dry_run.html" if place == 0 else f"dry_run.{code}.html" for place, code in enumerate(codes)}
