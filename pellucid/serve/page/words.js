// The shell's words, and which language the reader wants. Each tab keeps words of its own.

const KEY = "pellucid-lang";
let now = null;

/** "en" or "zh": as chosen last, else as the browser asks. */
export function lang() {
  if (now) return now;
  let kept = null;
  try { kept = localStorage.getItem(KEY); } catch { /* storage is forbidden: follow the browser */ }
  const wanted = kept ?? (navigator.languages ?? [navigator.language]).find((l) => /^(en|zh)\b/i.test(l)) ?? "en";
  return (now = wanted.toLowerCase().startsWith("zh") ? "zh" : "en");
}

export function setLang(value) {
  now = value;
  try { localStorage.setItem(KEY, value); } catch { /* not remembered, then */ }
}

const WORDS = {
  en: {
    tabs: { explain: "Explain", highlight: "Highlight", lens: "Lens", chat: "Chat", documents: "Documents", history: "History" },
    parts: "Parts of the page", skip: "Skip to the content", model: "Model", notLoaded: "loads when used",
    other: "中文", otherTip: "切换到中文", dark: "Dark theme", light: "Light theme",
    cancel: "Cancel", cancelled: "Cancelled.", close: "Close", left: (s) => `about ${s} left`,
    queued: (n) => (n ? `Waiting: ${n} before this` : "Waiting: next in line"), starting: "Starting",
    busy: (s) => `The server is busy; trying again in ${s} s`, done: "Done.",
    seconds: (s) => (s < 60 ? `${Math.max(1, Math.round(s))} s` : `${Math.round(s / 60)} min`),
    lost: "The server cannot be reached. Is it still running?", cut: "The server stopped before the result was there.",
    odd: "The server answered with something that this page cannot read.",
    token: "Access token", tokenAsk: "This server asks for a token. It was printed when the server started.", enter: "Enter",
    tokenBad: "The server did not take this token.", noTab: "This part of the page could not be loaded.",
    loading: "Loading …", result: "Stored result", missing: "There is no stored result under this address.",
    copied: "Link copied.", copy: "Copy link", linkIs: "Link to this result", save: "Save as", saved: "Saved.", text: "Text",
  },
  zh: {
    tabs: { explain: "解释", highlight: "高亮", lens: "透视", chat: "对话", documents: "文档", history: "历史" },
    parts: "页面各部分", skip: "跳到正文", model: "模型", notLoaded: "使用时载入",
    other: "English", otherTip: "Switch to English", dark: "深色主题", light: "浅色主题",
    cancel: "取消", cancelled: "已取消。", close: "关闭", left: (s) => `约剩 ${s}`,
    queued: (n) => (n ? `等待中：前面还有 ${n} 个` : "等待中：下一个就是"), starting: "正在开始",
    busy: (s) => `服务器正忙，${s} 秒后重试`, done: "完成。",
    seconds: (s) => (s < 60 ? `${Math.max(1, Math.round(s))} 秒` : `${Math.round(s / 60)} 分钟`),
    lost: "连不上服务器。它还在运行吗？", cut: "结果出来之前服务器就停了。",
    odd: "服务器的回答本页无法读取。",
    token: "访问令牌", tokenAsk: "此服务器需要令牌。服务器启动时已打印出来。", enter: "进入",
    tokenBad: "服务器不接受这个令牌。", noTab: "页面的这一部分无法载入。",
    loading: "载入中……", result: "已存结果", missing: "这个地址下没有已存的结果。",
    copied: "链接已复制。", copy: "复制链接", linkIs: "此结果的链接", save: "另存为", saved: "已保存。", text: "文本",
  },
};

export const w = () => WORDS[lang()];

const STAGES = {
  "generating": "生成答案", "forward": "前向计算", "backward": "反向计算", "trust": "测量可信程度", "loading": "载入模型",
  "encoding": "编码", "reading": "阅读", "steps": "逐步计算", "layers": "逐层计算", "windows": "逐段计算", "positions": "逐位计算",
  "tokens": "逐词元计算", "words": "逐词计算", "next tokens": "下一个词元", "surprisal": "意外度", "comparing": "比较方法",
  "agreement": "计算一致性", "searching": "检索", "splitting": "切分", "embedding": "嵌入", "writing": "生成答案", "weighing": "衡量",
  "judging": "判断", "walking": "逐步遍历", "generate": "生成答案", "answers": "答案", "processing": "处理", "verifying": "核对", "explaining": "解释",
};

/** The name of a stage, as the server reports it ("saliency: backward"), for the reader. */
export function stage(name) {
  if (lang() === "zh") return name.split(": ").map((part) => STAGES[part] ?? part).join("：");
  return name.charAt(0).toUpperCase() + name.slice(1);
}
