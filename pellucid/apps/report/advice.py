"""What each condition says and what to try, in English and Chinese. Commands and options are those that there are.

SAYS["punctuation"]["en"].format(value="40 %", threshold="25 %"); TRIES["punctuation"]["zh"]
"""

from __future__ import annotations

from collections.abc import Mapping

#: With ``{value}`` and ``{threshold}``.
SAYS: Mapping[str, Mapping[str, str]] = {
    "punctuation": {
        "en": "Punctuation and line breaks hold {value} of the attribution (over {threshold} is noted, by their part "
        "of the tokens).",
        "zh": "标点与换行占归因总量的 {value}（超过 {threshold} 即提示，阈值由其词元占比得出）。",
    },
    "stop_words": {
        "en": "Function words hold {value} of the attribution (over {threshold} is noted, by their part of the "
        "tokens).",
        "zh": "停用词占归因总量的 {value}（超过 {threshold} 即提示，阈值由其词元占比得出）。",
    },
    "template": {
        "en": "The template's own tokens hold {value} of the attribution (over {threshold} is noted): more than what "
        "the user wrote, and more than their part of the tokens.",
        "zh": "模板自身的词元占归因总量的 {value}（超过 {threshold} 即提示）：多于用户所写的内容，也多于其词元占比。",
    },
    "first_token": {
        "en": "The very first token holds {value} of the attribution of all tokens (over {threshold} is noted): "
        "models park attention there (Xiao et al. 2024, arXiv:2309.17453).",
        "zh": "序列的第一个词元占全部归因的 {value}（超过 {threshold} 即提示）：模型常把注意力停放在那里（Xiao et "
        "al. 2024, arXiv:2309.17453）。",
    },
    "first_user_token": {
        "en": "The first token that the user wrote holds {value} of the attribution (over {threshold} is noted).",
        "zh": "用户所写的第一个词元占归因总量的 {value}（超过 {threshold} 即提示）。",
    },
    "disagreement": {
        "en": "Methods rank the same prompt differently: mean Spearman correlation {value} (up to {threshold} is "
        "noted).",
        "zh": "各方法对同一提示词的排序不一致：平均 Spearman 相关 {value}（不高于 {threshold} 即提示）。",
    },
    "trust": {
        "en": "Taking the top tenth away does no more than taking random tenths: {value} nats a token beyond them.",
        "zh": "去掉得分最高的十分之一，效果不比随机去掉十分之一更大：每词元相差 {value} 奈特。",
    },
    "even": {
        "en": "Scores are as even as noise: {value} of the tokens are in effect at work (noise: {threshold}).",
        "zh": "得分与噪声一样平均：相当于 {value} 的词元都在起作用（噪声为 {threshold}）。",
    },
    "not_measured": {
        "en": "{value} of the tokens that the user wrote have no score (null in the file).",
        "zh": "用户所写的词元中有 {value} 没有得分（文件中为 null）。",
    },
    "unlikely": {
        "en": "The answer is {value} nats a token more surprising than what the model writes by itself (over "
        "{threshold} is noted): it was given, and is not the model's own.",
        "zh": "该回答每词元比模型自己所写的出人意料 {value} 奈特（超过 {threshold} 即提示）：它是给定的，不是模型自己"
        "的话。",
    },
}

TRIES: Mapping[str, Mapping[str, str]] = {
    "punctuation": {
        "en": "Score larger parts: `--unit word` or `--unit sentence`; or take them away instead of following "
        "gradients: `--method leave_one_out --unit word`.",
        "zh": "对更大的单元评分：`--unit word` 或 `--unit sentence`；或直接去掉单元而不看梯度：`--method "
        "leave_one_out --unit word`。",
    },
    "stop_words": {
        "en": "Look at phrases: `--unit sentence`; or ask what this answer has beyond another one: `--objective "
        "contrast --instead-of TEXT`.",
        "zh": "以句子为单元：`--unit sentence`；或问此回答比另一回答多出什么：`--objective contrast --instead-of 文本"
        "`。",
    },
    "template": {
        "en": "Ask what this answer has beyond another one, of which the template's part is the same: `--objective "
        "contrast --instead-of TEXT`; for a text to go on with, leave the template out: `--raw`.",
        "zh": "问此回答比另一回答多出什么，模板对两者的作用相同：`--objective contrast --instead-of 文本`；若是续写，"
        "不用模板：`--raw`。",
    },
    "first_token": {
        "en": "Use a method that follows what flows and not the attention itself: `--method ifr`, `--method gim`, or "
        "`--method value_zeroing`; rankings leave the template out already.",
        "zh": "改用跟踪信息流动而非注意力本身的方法：`--method ifr`、`--method gim` 或 `--method value_zeroing`；排序"
        "本已不计模板。",
    },
    "first_user_token": {
        "en": "See whether it is what the answer rests on: `--method leave_one_out --unit word`; with `--raw`, a "
        "model without a beginning-of-text token parks attention there.",
        "zh": "看回答是否真的依赖它：`--method leave_one_out --unit word`；用 `--raw` 时，没有起始词元的模型会把注意"
        "力停放在那里。",
    },
    "disagreement": {
        "en": "Measure which one holds: `pellucid bench`, or the trust line of each; side by side with `pellucid "
        "compare --methods`; what-if runs are the referee: `--method leave_one_out --unit word`.",
        "zh": "测量哪一种成立：`pellucid bench`，或看各自的可信度一行；并排比较用 `pellucid compare --methods`；以实"
        "际去除为准：`--method leave_one_out --unit word`。",
    },
    "trust": {
        "en": "Another method (`--method auto --budget thorough`), or what-if runs of larger parts: `--method "
        "leave_one_out --unit sentence`.",
        "zh": "换一种方法（`--method auto --budget thorough`），或对更大的单元做去除实验：`--method leave_one_out "
        "--unit sentence`。",
    },
    "even": {
        "en": "Explain a part of the answer, because a sum over many answer tokens evens out: `--span TEXT`; or ask "
        "what this answer has beyond another one: `--objective contrast --instead-of TEXT`.",
        "zh": "只解释回答的一部分，因为对许多回答词元求和会使得分趋于平均：`--span 文本`；或问此回答比另一回答多出什"
        "么：`--objective contrast --instead-of 文本`。",
    },
    "not_measured": {
        "en": "Runs that overflow leave holes: `--precision full --dtype float32`. guided_leave_one_out measures "
        "only the parts that its guide names; all of them: `--method leave_one_out`.",
        "zh": "数值溢出会留下空缺：`--precision full --dtype float32`。guided_leave_one_out 只测其向导所选的部分；测"
        "全部用 `--method leave_one_out`。",
    },
    "unlikely": {
        "en": "Explain the model's own answer (leave `--target` out), or what your answer has beyond it: "
        "`--objective contrast --instead-of TEXT`.",
        "zh": "解释模型自己的回答（不给 `--target`），或问给定的回答比它多出什么：`--objective contrast --instead-of "
        "文本`。",
    },
}
