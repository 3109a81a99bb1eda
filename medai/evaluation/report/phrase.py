"""The sentences of other parts of the program, in Chinese: methods, reasons, notes. A user's own words stay as they are."""

import re

EXACT = {
    # Methods.
    "no interval": "无置信区间",
    "C-index of the expected class": "期望类别的一致性指数（C指数）",
    "Newcombe score interval (DeLong's variance is zero)": "Newcombe得分区间（DeLong方差为零）",
    "logit scale": "logit尺度",
    "score interval": "得分区间",
    "calibration-in-the-large": "总体校准",
    "Mercaldo logit interval": "Mercaldo的logit区间",
    "Simel log interval": "Simel对数区间",
    "0.5 added to every cell": "每格加0.5",
    "variance by patient": "按患者的方差",
    "by patient": "按患者",
    "sandwich variance by patient": "按患者的稳健（三明治）方差",
    "unpaired": "非配对",
    "paired": "配对",
    "pointwise Wald band": "逐点Wald带",
    "pointwise Wald band by patient": "按患者的逐点Wald带",
    "logistic regression on a restricted cubic spline of the logit": "对logit的限制性立方样条作logistic回归",
    "difference to the rest": "与其余病例之差",
    "one-vs-rest AUROC weighted by the classes' shares": "按类别占比加权的一对其余AUROC",
    "mean over labels": "各标签的均值",
    "McNemar, exact": "McNemar精确检验",
    "McNemar, clustered by patient": "按患者聚类的McNemar检验",
    "Newcombe's interval (1998, method 10), chi-squared p": "Newcombe区间（1998，方法10），P值由卡方检验得出",
    "Newcombe's interval from those of the two parts (a variance is zero)": "由两部分的区间合成的Newcombe区间（有一方差为零）",
    "Newcombe's interval on effective sample sizes by patient, chi-squared p likewise": "按患者有效样本量的Newcombe区间，卡方检验的P值同此",
    "Hanley and McNeil 1982": "Hanley与McNeil（1982）",
    "MOVER of the Wilson intervals of sensitivity and specificity": "由灵敏度与特异度的Wilson区间合成（MOVER）",
    "McClish's correction": "McClish校正",
    "Newcombe score interval of the difference": "差值的Newcombe得分区间",
    "exact": "精确法",
    "withheld": "不公布",
    "superior": "优于参照",
    "non-inferior": "不劣于参照",
    "not shown": "未能证明",
    "the curve runs below the diagonal, where McClish's correction is not defined": "曲线位于对角线下方，McClish校正无定义",
    "percentile bootstrap": "百分位数自助法",
    "percentile bootstrap of patients": "按患者的百分位数自助法",
    "percentile bootstrap of cases": "按病例的百分位数自助法",
    "BCa bootstrap": "BCa自助法",
    "BCa bootstrap of patients": "按患者的BCa自助法",
    "BCa bootstrap of cases": "按病例的BCa自助法",
    "effective sample size by patient": "按患者的有效样本量",
    "of the highest probability": "对最高概率",
    "mean one-vs-rest AUROC": "一对其余AUROC的均值",
    "Newcombe score interval": "Newcombe得分区间",
    "Newcombe score interval on patients (Obuchowski's variance is zero)": "按患者的Newcombe得分区间（Obuchowski方差为零）",
    "Wilson at the assumed value": "假定值处的Wilson区间",
    "Newcombe score interval on patients (all replicates are equal)": "按患者的Newcombe得分区间（所有自助样本相同）",
    "Obuchowski (DeLong clustered by patient)": "Obuchowski（按患者聚类的DeLong）",
    "clustered by patient": "按患者聚类",
    # Reasons.
    "too few events": "阳性例数过少",
    "too few cases": "病例过少",
    "too few events in the rest": "其余病例中阳性例数过少",
    "no other cases": "没有其余病例",
    "no cases": "没有病例",
    "no positive cases": "没有阳性病例",
    "no negative cases": "没有阴性病例",
    "no cases of the class": "没有该类别的病例",
    "no case is called so": "没有病例被判为该类别",
    "no case is called positive": "没有病例被判为阳性",
    "no case is called negative": "没有病例被判为阴性",
    "fewer than two classes have cases": "有病例的类别不足两个",
    "fewer than two groups have enough events": "阳性例数足够的亚组不足两个",
    "no replicates": "没有自助样本",
    "no false positives, so it is infinite": "没有假阳性，因而为无穷大",
    "the probabilities separate the classes": "预测概率将两类完全分开",
    "too few events or different probabilities": "阳性例数或不同的概率值过少",
    "one patient": "仅一名患者",
    "too few replicates are defined": "有定义的自助样本过少",
    "all replicates are equal": "所有自助样本相同",
    "not in the table": "表中没有",
    "no case has a value": "没有病例有该指标",
    "the data show no variance": "数据无变异",
    "half of the cases or more have no distance, since one outline is empty": "半数或以上的病例因一侧轮廓为空而无距离",
    "the upper end is not bounded: one outline is empty in too many cases": "过多病例有一侧轮廓为空，置信区间无上限",
    # Patients.
    "Every patient has one case, so the cases are independent.": "每名患者只有一个病例，病例相互独立。",
    "The patients are unknown: intervals treat every case as independent, and are too narrow if patients repeat.": (
        "患者未知：置信区间把每个病例视为独立，若同一患者有多个病例，置信区间会过窄。"
    ),
    "Some cases name no patient: each of them counts as a patient of its own.": "部分病例未注明患者，每例各计为一名患者。",
    "Patients repeat: intervals allow for it (bootstrap of patients; proportions by effective sample size).": (
        "同一患者有多个病例，置信区间已考虑这一点（按患者抽样；率按有效样本量）。"
    ),
    # Notes of an evaluation, a training and a cohort.
    "The scores came as a table: how they were made is not known to this program.": "评分以表格给出，程序不知其如何产生。",
    "The measures came as a table: how they were made is not known to this program.": "测量值以表格给出，程序不知其如何产生。",
    "No saliency maps: a table of predictions holds no network.": "无显著性热图：预测表不含网络。",
    "Calibration, thresholds and the epoch were chosen on these very cases: the figures are optimistic.": (
        "校准、阈值和训练轮次正是在这些病例上选定的，结果偏乐观。"
    ),
    "Only a held-out test set shows what to expect.": "只有留出的测试集才能说明实际表现。",
    "The cohort of the model's development is not here: whether it has seen some of these images was not checked.": (
        "模型开发所用的队列不在本机，未核查模型是否见过其中的图像。"
    ),
    "Whether the model has seen some of these images was not checked: the two cohorts were keyed in different ways.": (
        "两个队列的标识方式不同，未核查模型是否见过其中的图像。"
    ),
    "The model was trained on validation cases too, in a cross-validation: the figures are too good.": (
        "模型在交叉验证中也用过验证病例训练，结果偏好。"
    ),
    "The model was made elsewhere: whether it has seen some of these images is not known to this program.": (
        "模型由他处提供，程序不知其是否见过其中的图像。"
    ),
    "given on the command line": "由命令行给出",
    "The worst of many groups looks worse than it is, since chance spreads the groups: compare it with the worst that is expected if "
    "all groups were equal, and read its interval, which allows for the choice.": (
        "许多亚组中最差者看上去比实际更差，因为抽样误差会使各亚组分散：请与各亚组实际相同时预期的最差值比较，并参看其置信区间（已考虑挑选的影响）。"
    ),
    # Facts about a model.
    "Kind": "类型",
    "Hash": "哈希",
    "Trained on": "训练数据",
    "Name": "名称",
    "Code": "代码版本",
    "Checkpoint": "检查点",
    "Contract": "接口约定",
    "Runtime": "运行时",
    "Network": "网络",
    "Parameters": "参数量",
    "Input": "输入",
    "Intensity": "灰度处理",
    "Epoch": "轮次",
    "Seed": "种子",
    "Weights": "权重",
    "checkpoint": "检查点",
    "package": "部署包",
    "onnx": "ONNX文件",
    "torch": "torch权重",
    "validation split": "验证集",
    "test split": "测试集",
    # Tests of a comparison.
    "DeLong paired": "配对DeLong",
    "McNemar exact": "McNemar精确检验",
    "Tango": "Tango",
}
PATTERNS = (
    (r"The bootstrap has ([\d,]+) replicates?: below (\d+) the ends of its intervals are mostly chance; 2,000 are usual\.",
     r"自助法仅抽样{0}次：少于{1}次时，区间的端点主要由偶然决定；通常为2,000次。"),
    (r"label '(.+)': the interval of the AUROC lies below 0\.5, so the scores rank the cases upside down; "
     r"check the order of the classes, and which of them the truth calls 1",
     r"标签“{0}”：AUROC的区间低于0.5，评分的排序是颠倒的；请核对类别的次序，以及参考标准中何者记为1"),
    (r"no subgroups by '(.+?)': (.+)", r"没有按“{0}”的亚组：{*1}"),
    (r"The output '(.+)' comes out of a (.+), with no sigmoid or softmax behind it, and the contract applies none: if these are "
     r"logits, activation is sigmoid or softmax\.",
     r"输出“{0}”由{1}给出，其后没有sigmoid或softmax，接口约定也未施加：若为logit，activation应为sigmoid或softmax。"),
    (r"pointwise (.+)", r"逐点，{*0}"),
    (r"(\d+) equal-width bins", r"{0}个等宽分箱"),
    (r"(\d+) equal-mass bins|(\d+) bins of equally many cases", r"{0}个等频分箱"),
    (r"Test of (.+)", r"{0}的测试"),
    (r"Validation of (.+)", r"{0}的验证"),
    (r"Validation split of (.+)", r"{0}验证集的评估"),
    (r"Training cases of (.+)", r"{0}训练病例的评估"),
    (r"Evaluation of (.+)", r"{0}的评估"),
    (r"(.+), ([\d,]+) replicates", r"{*0}，{1}次抽样"),
    (r"(.+), ([\d,]+) replicates \(([\d,]+) defined\)", r"{*0}，{1}次抽样（{2}次有定义）"),
    (r"(.+), t with ([\d,.]+) degrees of freedom", r"{*0}，自由度{1}的t检验"),
    (r"(.+), simultaneous over ([\d,]+) groups \(Bonferroni\)", r"{*0}，{1}个亚组的同时置信区间（Bonferroni）"),
    (r"simultaneous interval over all pairs of ([\d,]+) groups \(Tukey-Kramer\)", r"{0}个亚组两两之间的同时置信区间（Tukey-Kramer）"),
    (r"permutation of (cases|patients), ([\d,]+) swaps", r"按{*0}置换{1}次"),
    (r"cases", "病例"),
    (r"patients", "患者"),
    (r"(\d+) of (\d+) classes", r"{1}个类别中的{0}个"),
    (r"mean of (\d+) labels, (.+)", r"{0}个标签的均值，{*1}"),
    (r"mean of (\d+) labels", r"{0}个标签的均值"),
    (r"mean one-vs-rest AUROC of (\d+) of (\d+) classes, (.+)", r"{1}个类别中{0}个的一对其余AUROC均值，{*2}"),
    (r"(.+) with the effective sample size by patient", r"{*0}，按患者的有效样本量"),
    (r"suppressed: (.+)", r"已隐去：{*0}"),
    (r"([\d,]+) different values, at most (\d+) are shown", r"有{0}个不同的值，最多显示{1}个"),
    (r"chosen on these cases by the rule “(.+)”", r"按规则“{0}”在这些病例上选定"),
    (r"chosen on (.+) of (.+) \(([\d,]+) cases\), rule (.+?); 0\.5 assumed for (.+) \(one class only there\)",
     r"在{1}的{*0}（{2}例）上按规则{3}选定；{4}取0.5（该处仅一个类别）"),
    (r"chosen on (.+) of (.+) \(([\d,]+) cases\), rule (.+)", r"在{1}的{*0}（{2}例）上按规则{3}选定"),
    (r"(.+); (.+) given on the command line", r"{*0}；{1}由命令行给出"),
    (r"(?:largest Youden index) on (.+)", r"{*0}集上约登指数最大处"),
    (r"0\.5, since none was given for (.+)", r"0.5，因未给出{0}的阈值"),
    (r"chosen on (.+) \(([\d,]+) cases\), rule (.+), frozen in operating_point\.json ([0-9a-f]+)",
     r"在{*0}集（{1}例）上按规则{2}选定，冻结于operating_point.json {3}"),
    (r"chosen on (.+) \(([\d,]+) cases\), (.+), frozen in operating_point\.json ([0-9a-f]+)",
     r"在{*0}集（{1}例）上选定（{2}），冻结于operating_point.json {3}"),
    (r"declared with the seal for (.+)", r"随封存声明（{0}）"),
    (r"([\d,]+) cases of the cohort are not in the table and not in the figures; the first is (.+)\.",
     r"队列中有{0}例不在表中，未计入指标；第一例为{1}。"),
    (r"label '(.+)' has no known truth: it has no figures; fill in (.+)", r"标签“{0}”没有已知的参考标准，因而没有指标；请补充{1}"),
    (r"label '(.+)' has one class only, all ([\d,]+) known cases are '(.+)': AUROC and whatever needs the other class are not known",
     r"标签“{0}”只有一个类别，已知的{1}例均为“{2}”：AUROC及需要另一类别的指标未知"),
    (r"In half of the images (.+) or more of the pixels lie beyond the window and are cut off\.",
     r"半数图像中有{0}或更多的像素超出窗口而被截去。"),
    (r"The ([\d,]+) images give the same answer: the model may not see them as it should\.",
     r"{0}幅图像的结果相同：模型所见的图像可能有误。"),
    (r"Every probability is exactly 0 or 1: these may be decisions and no probabilities, which cannot be calibrated\.",
     r"所有概率恰为0或1：这可能是判定而非概率，无法校准。"),
    (r"The model sees (.+) as one grey level: look at the intensity\.", r"模型所见的{0}只有一个灰阶：请检查灰度处理。"),
    (r"([\d x]+), (\w+), values (\S+) to (\S+), median (\S+)", r"{0}，{1}，取值{2}至{3}，中位数{4}"),
    (r"the image's values lie in \[(.+), (.+)\]; this model accepts \[(.+), (.+)\]", r"图像取值在[{0}, {1}]内；该模型接受[{2}, {3}]"),
    (r"the image has (\d+) channels; this model accepts grey images only", r"图像有{0}个通道；该模型仅接受灰度图像"),
    (r"(.+\.ya?ml): (.+)", r"{0}：{*1}"),
    (r"output '(.+)' gives values in \[(.+), (.+)\] for '(.+)', which are no probabilities: set activation: (\w+) where they are "
     r"logits; percent and the like have to become probabilities",
     r"输出“{0}”对“{3}”给出[{1}, {2}]内的值，不是概率：若为logit，请设activation: {4}；百分数等须先换算为概率"),
    (r"output '(.+)' gives values in \[(.+), (.+)\] for '(.+)', which are no probabilities; these look like log probabilities: set "
     r"activation: softmax, which takes them as they are",
     r"输出“{0}”对“{3}”给出[{1}, {2}]内的值，不是概率，似为对数概率：请设activation: softmax，可直接使用"),
    (r"the (\d+) columns of '(.+)' in output '(.+)' add up to (.+) and not to 1; set activation: softmax where they are logits, and "
     r"look at order and column", r"输出“{2}”中“{1}”的{0}列之和为{3}而非1；若为logit，请设activation: softmax，并检查order与column"),
    (r"output '(.+)' is NaN or infinite for (\d+) of (\d+) image\(s\); look at input\.intensity with dry_run=true",
     r"输出“{0}”在{2}幅图像中有{1}幅为NaN或无穷大；请检查input.intensity"),
    (r"Half of the images fill (.+) or less of the model's scale: the window may be of another range\.",
     r"半数图像只占模型灰阶的{0}或更少：窗口范围可能不对。"),
    (r"Every value of the output '(.+)' lies in \[(.+), (.+)\], and the contract applies (.+) to it: if the model has done so itself, "
     r"activation is none\.", r"输出“{0}”的所有值都在[{1}, {2}]内，而接口约定又施加{3}：若模型自身已施加，activation应为none。"),
    (r"([\d,]+) of these images were in the development set of the model: the figures are too good\.",
     r"其中{0}幅图像属于模型的开发集，结果偏好。"),
    (r"([\d,]+) of these images were in the development set of the reference: the figures are too good\.",
     r"其中{0}幅图像属于参照模型的开发集，结果偏好。"),
    (r"The reference came as a table: whether its model has seen some of these images is not known to this program\.",
     r"参照为一张表格：本程序不知道其模型是否见过其中一些图像。"),
    (r"The reference was made elsewhere: whether it has seen some of these images is not known to this program\.",
     r"参照模型由他处制作：本程序不知道它是否见过其中一些图像。"),
    (r"Compared with the reference (\w+) in (\S+), margin ([\d.]+): (superior|non-inferior|not shown), "
     r"difference (\S+) \((\S+) to (\S+)\)\.",
     r"与参照模型{0}比较（{1}，界值{2}）：{*3}，差值{4}（{5}至{6}）。"),
    (r"Compared with the reference (\w+) in (\S+), margin ([\d.]+): (superior|non-inferior|not shown), difference (\S+)\.",
     r"与参照模型{0}比较（{1}，界值{2}）：{*3}，差值{4}。"),
    (r"Compared with the reference (\w+) in (\S+), margin ([\d.]+): (superior|non-inferior|not shown) is the strongest conclusion of any "
     r"candidate so far\.", r"与参照模型{0}比较（{1}，界值{2}）：迄今所有候选模型的最强结论为{*3}。"),
    (r"Compared with the reference (\w+) in (\S+), margin ([\d.]+): withheld, a class has fewer than 11 persons\.",
     r"与参照模型{0}比较（{1}，界值{2}）：不公布，某一类别不足11人。"),
    (r"([\d,]+) of the sealed cases were not scored, and are not in the figures\.", r"封存病例中有{0}例未被评分，未计入指标。"),
    (r"The model refused ([\d,]+) images, which are not in the figures; the first is (.+?): (.+)\.",
     r"模型拒绝了{0}幅图像，未计入指标；第一幅为{1}：{2}。"),
    (r"No saliency maps: a (.+) gives no gradients; evaluate the run to see them\.",
     r"无显著性热图：{*0}不提供梯度；对训练结果评估即可看到。"),
    (r"Patients unknown for ([\d,]+) of ([\d,]+) cases: images of one patient may lie in two splits unseen\.",
     r"{1}例中有{0}例患者未知：同一患者的图像可能落入两个划分而未被发现。"),
    (r"([\d,]+) development images are left out of training: (.+)\.", r"{0}幅开发图像未用于训练：{1}。"),
    (r"A hard stop was overridden: (.+)\.", r"已越过一项强制检查：{0}。"),
    (r"validation", "验证"),
    (r"(\d+) x (\d+) pixels, grey", r"{0} × {1}像素，灰度"),
    (r"(\d+) x (\d+) pixels, colour", r"{0} × {1}像素，彩色"),
    (r"ensemble of (\d+): (.+)", r"{0}个网络的集成：{1}"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(english), chinese) for english, chinese in PATTERNS)


def chinese(text: str) -> str:
    """A phrase of the program in Chinese, as far as it is known; a list of phrases part by part.

    Example:
        >>> chinese("10 equal-width bins, no interval")
        '10个等宽分箱，无置信区间'
    """
    if text in EXACT:
        return EXACT[text]
    for pattern, form in _PATTERNS:
        found = pattern.fullmatch(text)
        if found:
            return _filled(form, [part for part in found.groups() if part is not None])
    for separator, joint in ((". ", ""), ("; ", "；"), (", ", "，")):
        if separator in text:
            parts = _sentences(text) if separator == ". " else text.split(separator)
            said = [chinese(part) for part in parts]
            if any(new != old for new, old in zip(said, parts, strict=True)):
                return joint.join(said)
    return text


def _filled(form: str, parts: list[str]) -> str:
    for index, part in enumerate(parts):
        form = form.replace(f"{{*{index}}}", chinese(part)).replace(f"{{{index}}}", part)
    return form


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=\.) ", text)
