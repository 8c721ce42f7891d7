// Every sentence of the page, in both languages, and the switch between them. Those of one area
// have a file of their own.
//
// Sentences live under a key; `{name}` is filled in by `t`. Markup carries the key
// in `data-i18n` (text), `data-i18n-label` (aria-label) or `data-i18n-placeholder`.

import * as account from "./i18n-account.js";
import * as admin from "./i18n-admin.js";
import * as login from "./i18n-login.js";
import * as speech from "./i18n-speech.js";

export const sentences = {
  en: {
    ...account.en,
    ...admin.en,
    ...login.en,
    ...speech.en,
    language_name: "English",
    skip: "Skip to content",
    views: "Parts of this page",
    dismiss: "Dismiss",
    loading: "Loading…",
    retry: "Try again",
    account: "Account",
    tagline: "Turn text into speech.",
    cancel: "Cancel",
    seconds_short: "{seconds} s",
    wait: "Wait {time}",
    ready_again: "You can try again now.",
    more: "Show more",
    download: "Download",
    delete: "Delete",
    close: "Close",
    confirm: "Confirm",
    problem_network: "The server cannot be reached. Check your connection and try again.",
    problem_timeout: "The server took too long to answer. Try again.",
    problem_passkey: "The passkey was not used: your device did not confirm it, or has none for this account.",
    problem_unreadable: "The server's answer could not be understood. Try again in a moment.",
    problem_server: "The server could not answer just now (status {status}). Try again in a moment.",
    problem_refused: "The server refused this request (status {status}).",
    problem_request_id: "Request id: {id}",
  },
  zh: {
    ...account.zh,
    ...admin.zh,
    ...login.zh,
    ...speech.zh,
    language_name: "中文",
    skip: "跳到正文",
    views: "页面导航",
    dismiss: "关闭提示",
    loading: "正在加载…",
    retry: "重试",
    account: "账号",
    tagline: "把文字变成声音。",
    cancel: "取消",
    seconds_short: "{seconds} 秒",
    wait: "请等待 {time}",
    ready_again: "现在可以重试了。",
    more: "显示更多",
    download: "下载",
    delete: "删除",
    close: "关闭",
    confirm: "确认",
    problem_network: "无法连接服务器。请检查网络后重试。",
    problem_timeout: "服务器响应超时，请重试。",
    problem_passkey: "未使用通行密钥：设备没有确认，或设备上没有此账号的通行密钥。",
    problem_unreadable: "无法识别服务器的答复，请稍后重试。",
    problem_server: "服务器暂时无法响应（状态 {status}），请稍后重试。",
    problem_refused: "服务器拒绝了这个请求（状态 {status}）。",
    problem_request_id: "请求编号：{id}",
  },
};

// What the server says comes in English. These stand in for it in the other language.
const serverSentences = {
  zh: {
    notice: {
      espeak: "机器人音色（espeak-ng）：仅供试用，不支持声音克隆。",
    },
    advice: {
      quiet: "录音音量太低，请靠近麦克风或调高音量。",
      clipped: "录音音量过大，出现了削波失真，请调低麦克风音量。",
      short: "录音太短，10 到 20 秒效果更好。",
      pauses: "录音中停顿太多，请剪掉空白部分。",
    },
    code: {
      token_missing: "请先登录。",
      token_invalid: "登录凭证无效，请重新登录。",
      token_expired: "登录已过期，请重新登录。",
      token_revoked: "登录已被撤销，请重新登录。",
      step_up_required: "这项操作需要重新登录。",
      csrf_refused: "请求来自其他网站，已被拒绝。请刷新页面后重试。",
      role_forbidden: "您的账号没有权限进行这项操作。",
      scope_missing: "当前登录的权限范围不包括这项操作。",
      not_found: "找不到这条记录，它可能已被删除。",
      method_not_allowed: "服务器不支持这项操作。",
      request_invalid: "提交的内容不符合要求。",
      unsupported_media: "服务器不支持这种内容格式。",
      body_too_large: "提交的内容太大。",
      conflict: "无法完成：名称已被使用，或与现有内容冲突。",
      precondition_failed: "内容已被他人更改，请查看后重试。",
      rate_limited: "操作太频繁，请稍候再试。",
      concurrency_exceeded: "同时进行的任务太多，请等前面的任务完成。",
      quota_exhausted: "今天的额度不够了，请等额度恢复或缩短文字。",
      idempotency_conflict: "同一个请求编号已用于其他内容。",
      range_invalid: "请求的音频范围超出了文件长度。",
      keys_unavailable: "暂时无法验证登录，请稍后重试。",
      policy_unavailable: "服务暂时无法确认权限，请稍后重试。",
      origin_unavailable: "服务暂时不可用，请稍后重试。",
      engine_unavailable: "语音引擎暂时不可用，请稍后重试。",
      overloaded: "当前使用的人太多，请稍后重试。",
      engine_failed: "语音引擎未能朗读这段文字。没有保存，也没有扣除额度。",
      storage_full: "存储空间已满，请删除一些录音。",
      internal: "服务器出错了，这不是您的问题。",
    },
  },
};

const tags = { en: "en", zh: "zh-CN" };
const storageKey = "language";
const listeners = new Set();
let current = initialLanguage();

function initialLanguage() {
  const remembered = readRemembered();
  if (Object.hasOwn(sentences, remembered)) return remembered;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

// Storage may be switched off in the browser; then the choice lasts as long as the page.
function readRemembered() {
  try {
    return localStorage.getItem(storageKey) ?? "";
  } catch {
    return "";
  }
}

function remember(language) {
  try {
    localStorage.setItem(storageKey, language);
  } catch {
    // Nothing to do: the switch itself has worked.
  }
}

/** The locale for Intl: the reader's own region when it speaks the page's language. */
export function locale() {
  return navigator.languages.find((tag) => tag.toLowerCase().split("-")[0] === current) ?? tags[current];
}

/** The sentence under `key`, with each `{name}` replaced by `values.name`. */
export function t(key, values = {}) {
  const sentence = sentences[current][key] ?? key;
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** The sentence under `key`, or `other` when there is none. */
export const tOr = (key, other) => (Object.hasOwn(sentences[current], key) ? t(key) : other);

/** Our own wording for something the server says in English, or undefined when there is none. */
export function serverSentence(kind, name) {
  const known = serverSentences[current]?.[kind] ?? {};
  return Object.hasOwn(known, name) ? known[name] : undefined;
}

/** What the server advises about a recording, in the reader's language. */
export const adviceSentence = ({ code, detail }) => serverSentence("advice", code) ?? detail;

/** The language of the page: `en` or `zh`. */
export const language = () => current;

/** Fills the fixed texts under `root` in the current language. */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-i18n]")) {
    element.textContent = t(element.dataset.i18n);
  }
  for (const element of root.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", t(element.dataset.i18nLabel));
  }
  for (const element of root.querySelectorAll("[data-i18n-placeholder]")) {
    element.setAttribute("placeholder", t(element.dataset.i18nPlaceholder));
  }
}

/** Calls `render` after every change of language, for texts that depend on data. */
export function onLanguageChange(render) {
  listeners.add(render);
}

/** Makes `button` the language switch and shows the page in the first language. */
export function startLanguageSwitch(button) {
  const show = () => {
    const other = current === "en" ? "zh" : "en";
    document.documentElement.lang = tags[current];
    button.lang = tags[other];
    button.textContent = sentences[other].language_name;
    translate(document);
  };
  button.addEventListener("click", () => {
    current = current === "en" ? "zh" : "en";
    remember(current);
    show();
    for (const render of listeners) render();
  });
  show();
}
