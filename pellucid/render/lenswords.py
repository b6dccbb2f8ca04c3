"""The sentences of lens views, in English and Chinese.

tell("next_title", "en", model="smollm2", prompt="The capital")
"""

from __future__ import annotations

SENTENCES: dict[str, dict[str, str]] = {
    "made": {"en": "{model}; {seconds} s", "zh": "{model}；{seconds} 秒"},
    # Next tokens
    "next_title": {"en": "What {model} could say next", "zh": "{model} 接下来可能说什么"},
    "prompt": {"en": "Prompt", "zh": "提示"},
    "said": {"en": "Said", "zh": "说了"},
    "step": {"en": "step", "zh": "步"},
    "so_far": {"en": "said so far", "zh": "已说"},
    "rank_n": {"en": "{n}.", "zh": "第 {n}"},
    "entropy": {"en": "entropy", "zh": "熵"},
    "total": {"en": "log-probability", "zh": "对数概率"},
    "strategy": {"en": "Strategy: {strategy}; seed {seed}.", "zh": "策略：{strategy}；种子 {seed}。"},
    "ended": {"en": "The text ended here (end-of-text token).", "zh": "文本在此结束（结束词元）。"},
    "next_note": {
        "en": "Probabilities are the model's own, before the strategy; what was chosen is set off. Entropy and "
        "log-probability (of all that was said) in nats.",
        "zh": "概率是模型自己的，未经策略处理；被选中的已突出。熵和对数概率（所说的全部）以奈特计。",
    },
    "other": {"en": "chosen: {token} {prob} (rank {rank})", "zh": "选中：{token} {prob}（第 {rank} 位）"},
    # Decodings
    "decode_title": {"en": "What {model} says, by {n} strategies", "zh": "{model} 用 {n} 种策略说的话"},
    "strategy_name": {"en": "strategy", "zh": "策略"},
    "per_token": {"en": "nats a token", "zh": "奈特/词元"},
    "tokens": {"en": "tokens", "zh": "词元数"},
    "distinct": {"en": "distinct-2", "zh": "distinct-2"},
    "seconds": {"en": "seconds", "zh": "秒"},
    "text": {"en": "text", "zh": "文本"},
    "tree_title": {"en": "Beams of {strategy}: kept and dropped", "zh": "{strategy} 的束：保留的与放弃的"},
    "tree_note": {
        "en": "Log-probabilities of the whole beginning, in nats. ● best, ○ kept, · dropped, g on the greedy path.",
        "zh": "数字是整个开头的对数概率（奈特）。● 最佳，○ 保留，· 放弃，g 在贪心路径上。",
    },
    "parted": {
        "en": "The greedy path and the best one part after “{text}”.",
        "zh": "贪心路径与最佳路径在“{text}”之后分开。",
    },
    "same_path": {"en": "The greedy path is the best one.", "zh": "贪心路径就是最佳路径。"},
    "beams_found": {"en": "Found, best first", "zh": "结果，最佳在前"},
    # Surprisal
    "surprisal_title": {"en": "How surprising each token was to {model}", "zh": "每个词元对 {model} 有多意外"},
    "surprisal_totals": {
        "en": "{token} bits a token, {byte} bits a byte, perplexity {perplexity}; {n} tokens scored, {bytes} bytes.",
        "zh": "每词元 {token} 比特，每字节 {byte} 比特，困惑度 {perplexity}；计分 {n} 个词元，{bytes} 字节。",
    },
    "surprisal_windows": {
        "en": "Read in {n} windows of at most {window} tokens; each token is scored once, with at least {least} before "
        "it.",
        "zh": "分 {n} 个窗口阅读，每窗至多 {window} 个词元；每个词元只计一次，前面至少有 {least} 个。",
    },
    "surprisal_bos": {
        "en": "The first token is predicted from {bos}.",
        "zh": "第一个词元由 {bos} 预测。",
    },
    "surprisal_first": {
        "en": "The first token is not scored: nothing stands before it.",
        "zh": "第一个词元前面没有内容，不计分。",
    },
    "surprisal_tip": {
        "en": "{token}: {bits} bits, rank {rank}, entropy {entropy} bits. Expected: {expected}",
        "zh": "{token}：{bits} 比特，第 {rank} 位，熵 {entropy} 比特。预期：{expected}",
    },
    "surprising": {"en": "Most surprising", "zh": "最意外的"},
    "bits": {"en": "bits", "zh": "比特"},
    "rank": {"en": "rank", "zh": "名次"},
    "token": {"en": "token", "zh": "词元"},
    "expected": {"en": "expected", "zh": "预期"},
    # Positions
    "positions_title": {"en": "What {model} expects after each token", "zh": "{model} 在每个词元之后预期什么"},
    "position": {"en": "position", "zh": "位置"},
    "after": {"en": "after", "zh": "在…之后"},
    "follows": {"en": "follows", "zh": "实际"},
    # Logit lens
    "lens_title": {
        "en": "What each layer of {model} would say ({kind})",
        "zh": "{model} 的每一层会说什么（{kind}）",
    },
    "residual": {"en": "residual stream", "zh": "残差流"},
    "attention": {"en": "attention output", "zh": "注意力输出"},
    "mlp": {"en": "MLP output", "zh": "MLP 输出"},
    "layer": {"en": "layer", "zh": "层"},
    "lens_tip": {
        "en": "layer {layer}, after {after}: {token} {prob}, entropy {entropy} nats; answer {answer}: {answer_prob}, "
        "rank {rank}",
        "zh": "第 {layer} 层，{after} 之后：{token} {prob}，熵 {entropy} 奈特；答案 {answer}：{answer_prob}，"
        "第 {rank} 位",
    },
    "lens_note": {
        "en": "Each cell: the likeliest token of that layer, shaded by its probability; set off if it is the answer.",
        "zh": "每格为该层最可能的词元，颜色深浅为其概率；若就是答案则突出显示。",
    },
    "lens_answer": {"en": "answer", "zh": "答案"},
    "lens_lead": {"en": "leads from layer", "zh": "自此层领先"},
    "lens_first": {"en": "first leads in", "zh": "首次领先"},
    "lens_tuned": {"en": "Tuned lens of {name}.", "zh": "{name} 的调谐透镜。"},
    "lens_left": {
        "en": "{n} of {of} positions are drawn, the last ones; the JSON file holds all.",
        "zh": "共 {of} 个位置，只画出最后 {n} 个；JSON 文件含全部。",
    },
    # Anatomy
    "anatomy_title": {"en": "{model}: {parameters} parameters, {bytes}", "zh": "{model}：{parameters} 个参数，{bytes}"},
    "facts": {"en": "Facts", "zh": "概况"},
    "by_role": {"en": "Parameters by what they do", "zh": "按作用统计的参数"},
    "role": {"en": "what", "zh": "作用"},
    "share": {"en": "share", "zh": "占比"},
    "parameters": {"en": "parameters", "zh": "参数"},
    "modules": {"en": "Modules", "zh": "模块"},
    "module": {"en": "module", "zh": "模块"},
    "kind": {"en": "kind", "zh": "类型"},
    "shapes": {"en": "own shapes", "zh": "自身形状"},
    "shared_with": {"en": "shared with {name}", "zh": "与 {name} 共享"},
    "run": {"en": "Shapes of a run on “{sentence}” ({n} tokens)", "zh": "在“{sentence}”上运行时的形状（{n} 个词元）"},
    "tensor": {"en": "tensor", "zh": "张量"},
    "shape": {"en": "shape", "zh": "形状"},
    "what": {"en": "what it is", "zh": "含义"},
    "shape_ids": {"en": "token ids [texts, tokens]", "zh": "词元编号 [文本, 词元]"},
    "shape_embeddings": {"en": "embeddings of the ids", "zh": "编号的嵌入"},
    "shape_positions": {"en": "position embeddings, added", "zh": "位置嵌入，相加"},
    "shape_before": {"en": "into the first layer", "zh": "进入第一层"},
    "shape_state": {"en": "after the layer of that number", "zh": "该层之后"},
    "shape_backbone": {
        "en": "what the backbone gives: the last state, normed",
        "zh": "主干网络的输出：归一化后的最后状态",
    },
    "shape_keys": {
        "en": "keys kept for later tokens [texts, heads, tokens, size]",
        "zh": "为后续词元保存的键 [文本, 头, 词元, 大小]",
    },
    "shape_values": {"en": "values kept", "zh": "保存的值"},
    "shape_logits": {
        "en": "what the head gives: a number for each token of the vocabulary",
        "zh": "输出头给出的：词表中每个词元一个数",
    },
    "same_yes": {
        "en": "Checked: last_hidden_state equals the last of hidden_states, which is behind the final norm.",
        "zh": "已核对：last_hidden_state 等于 hidden_states 的最后一个，即最终归一化之后的状态。",
    },
    "same_no": {
        "en": "Checked: last_hidden_state and the last of hidden_states differ by up to {by}: the one is normed, the "
        "other is not.",
        "zh": "已核对：last_hidden_state 与 hidden_states 的最后一个相差至多 {by}：前者经过归一化，后者没有。",
    },
    # Flow
    "flow_title": {"en": "Which token fed which ({model}, {method})", "zh": "哪个词元供给了哪个（{model}，{method}）"},
    "flow_note": {
        "en": "Of each answer token the strongest sources: of the {top} strongest, those that make {share} of them, "
        "none below {least} of the strongest.",
        "zh": "每个答案词元的最强来源：前 {top} 个中累计占 {share} 的部分，且不低于最强者的 {least}。",
    },
    "flow_prompt": {"en": "prompt", "zh": "提示"},
    "flow_answer": {"en": "answer", "zh": "回答"},
    "arcs": {"en": "arcs", "zh": "弧线"},
    # A run's checkpoints
    "watch_title": {"en": "How {run} came to say “{answer}”", "zh": "{run} 是怎样学会说“{answer}”的"},
    "watch_said": {
        "en": "The answer is what the last checkpoint says; it is the same at every checkpoint.",
        "zh": "回答取自最后一个检查点所说的话；每个检查点都用同一回答。",
    },
    "watch_given": {
        "en": "The answer was given; it is the same at every checkpoint.",
        "zh": "回答是给定的；每个检查点都用同一回答。",
    },
    "watch_step": {"en": "Checkpoint", "zh": "检查点"},
    "watch_across": {"en": "step", "zh": "步"},
    "watch_at": {
        "en": "Step {step}: held-out loss {held}, log-probability of the answer {logprob} nats a token",
        "zh": "第 {step} 步：留出集损失 {held}，回答的对数概率每词元 {logprob} 奈特",
    },
    "watch_token": {"en": "next token", "zh": "下一词元"},
    "watch_prob": {"en": "probability", "zh": "概率"},
    "watch_written": {"en": "Goes on: {text}", "zh": "接着写：{text}"},
    "watch_loss": {"en": "Loss, nats a token", "zh": "损失，每词元奈特"},
    "watch_train": {"en": "training", "zh": "训练"},
    "watch_held": {"en": "held out", "zh": "留出"},
    "watch_next": {"en": "Probability of the next token", "zh": "下一词元的概率"},
    "watch_logprob": {"en": "Log-probability of the answer, nats a token", "zh": "回答的对数概率，每词元奈特"},
    "watch_logprob_line": {"en": "answer", "zh": "回答"},
    "watch_like": {
        "en": "How alike the attribution is to the last one (Spearman's rank correlation of magnitudes)",
        "zh": "归因与最后一个检查点有多相似（得分大小的斯皮尔曼秩相关）",
    },
    "watch_like_line": {"en": "attribution", "zh": "归因"},
    "watch_grid": {"en": "What mattered, checkpoint by checkpoint", "zh": "逐个检查点：哪些词元起作用"},
    "watch_note": {
        "en": "Method: {method}. Shades are shares of the largest score of the same checkpoint.",
        "zh": "方法：{method}。深浅为占同一检查点最大得分的比例。",
    },
    "watch_signed": {
        "en": "Scores have a sign, which stands beside a token when it is pointed at; the shade is its size.",
        "zh": "得分有正负，指向词元时显示；深浅表示大小。",
    },
    "watch_left": {
        "en": "{n} checkpoints between these were passed over.",
        "zh": "其间有 {n} 个检查点未列出。",
    },
    "steps_layout": {"en": "steps", "zh": "逐步"},
    "layers_layout": {"en": "layers", "zh": "分层"},
    "score": {"en": "score", "zh": "得分"},
    "from": {"en": "from", "zh": "来源"},
    "to": {"en": "to", "zh": "去向"},
}


def tell(key: str, lang: str, **facts: object) -> str:
    """The sentence ``key``, with its facts filled in."""
    return SENTENCES[key][lang].format(**facts)
