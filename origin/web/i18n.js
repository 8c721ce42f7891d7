// Every sentence of the page, in both languages, and the switch between them.
//
// Sentences live under a key; `{name}` is filled in by `t`. Markup carries the key
// in `data-i18n` (text), `data-i18n-label` (aria-label) or `data-i18n-placeholder`.

const sentences = {
  en: {
    language_name: "English",
    skip: "Skip to content",
    dismiss: "Dismiss",
    loading: "Loading…",
    retry: "Try again",
    account: "Account",
    tagline: "Turn text into speech.",
    login: "Log in",
    logout: "Log out",
    register: "Create account",
    logging_in: "Logging in…",
    registering: "Creating account…",
    username: "Username",
    password: "Password",
    show: "Show",
    hide: "Hide",
    new_password: "New password",
    set_password: "Set password",
    setting_password: "Setting the password…",
    password_set: "Your new password counts from now on. Log in with it.",
    reset_gone: "This link was used, replaced, or is older than an hour. Ask for another one.",
    username_hint: "2 to 64 letters or digits of any one script, dots, dashes or underscores",
    password_hint: "At least 8 characters; words that do not belong together are good",
    password_more: "Characters still missing: {missing}",
    password_fair: "Long enough. Longer is stronger.",
    password_good: "A good length.",
    password_easy: "This password is common or follows a pattern. Choose one that is harder to guess.",
    username_missing: "Enter your username.",
    password_missing: "Enter your password.",
    username_length: "A username has 2 to 64 characters.",
    password_length: "A password has 8 to 256 characters.",
    login_wrong: "That username and password do not match. Try again.",
    registered: "Your account is ready. Log in to begin.",
    session_ended: "Your login has ended. Log in again; your text is still here.",
    login_too_old: "This asks for a fresh login. Log in again, then repeat it.",
    my_voices: "My voices",
    voices_empty: "None yet. A voice is made of a short recording and is yours alone.",
    voices_useless: "The engine in use cannot speak with voices of your own; they wait for one that can.",
    voice_new: "Make a voice of a recording",
    voice_sample: "Recording, 10 to 20 seconds",
    voice_sample_missing: "Choose a recording, or make one.",
    voice_record: "Record now",
    voice_stop: "Stop recording",
    voice_recording: "Recording…",
    voice_recorded: "Recorded.",
    voice_no_microphone: "There is no microphone, or this page may not use it.",
    voice_name: "Name",
    voice_transcript: "What is said in it, word for word",
    voice_consent: "Whose voice is it?",
    voice_make: "Make the voice",
    voice_making: "Making the voice…",
    voice_made: "The voice {name} is ready.",
    voice_delete: "Delete the voice {name}",
    voice_delete_sure: "Really delete?",
    voice_deleted: "The voice {name} was deleted.",
    compose: "Say something",
    text: "Text to speak",
    text_placeholder: "Type or paste the words to be spoken. Chinese and English may be mixed.",
    text_missing: "Write some text first.",
    text_too_long: "Too long by {excess}. Shorten the text.",
    count: "{used} / {limit}",
    count_label: "{used} of {limit} characters",
    shortcut: "{keys} to generate",
    voice: "Voice",
    speed: "Speed",
    generate: "Generate",
    generating: "Generating…",
    seconds_short: "{seconds} s",
    wait: "Wait {time}",
    ready_again: "You can try again now.",
    result: "Just made",
    result_ready: "The speech is ready and playing: {duration}.",
    audio_blocked: "The speech is ready. Press play to hear it.",
    audio_failed: "This recording could not be played. Try again in a moment.",
    usage: "Today",
    usage_resets: "Resets {when}",
    characters: "Characters",
    generations: "Generations",
    storage: "Storage, MB",
    of_limit: "{used} / {limit}",
    history: "History",
    history_empty: "Nothing here yet. What you generate is kept in this list.",
    more: "Show more",
    expand: "Show all",
    collapse: "Show less",
    play: "Play: {text}",
    pause: "Pause: {text}",
    download: "Download",
    history_search: "Search the history",
    history_none: "No recording has these words.",
    use_again: "Use again",
    share: "Share",
    share_title: "Share this recording",
    share_expiry: "The link holds for",
    share_hour: "One hour",
    share_day: "One day",
    share_week: "Seven days",
    share_month: "30 days",
    share_password: "Password, if you want one",
    share_make: "Make a link",
    share_made: "The link is ready. It is shown only now.",
    share_once: "The link, shown only now",
    share_copy: "Copy",
    share_copied: "The link was copied.",
    share_until: "Until {when}",
    share_downloads: "Downloads: {used}",
    share_locked: "With a password",
    share_end: "End",
    share_ended: "The link was ended.",
    delete: "Delete",
    delete_title: "Delete this recording?",
    delete_warning: "The audio and its entry are removed for good.",
    deleted: "The recording was deleted.",
    cancel: "Cancel",
    logins: "Logins",
    logins_title: "Where you are logged in",
    device_this: "{device} (this one)",
    device_unknown: "Unknown program",
    device_seen: "Last used {when}",
    end_login: "End",
    end_login_of: "End the login: {device}",
    login_ended: "The login was ended.",
    end_all_logins: "Log out everywhere",
    close: "Close",
    factor: "Second factor",
    factor_qr: "QR code of the secret",
    factor_off: "An authenticator app on your phone makes a code for every login, so that a stolen password is not enough. Enter your password to set it up.",
    factor_off_needed: "Your account needs a second factor before it can do anything else: an authenticator app that makes a code for every login. Enter your password to set it up.",
    factor_off_submit: "Set up",
    factor_offered: "Scan this with your authenticator app, or type the secret into it. Then enter the code that it shows.",
    factor_offered_submit: "Turn on",
    factor_codes: "It is on. Keep these recovery codes where you find them without your phone: each lets you in once. They are shown only now.",
    factor_codes_submit: "I have kept them",
    factor_on: "It is on. Recovery codes left: {left}. To remove it, enter your password and a code.",
    factor_on_submit: "Remove",
    code: "Code of your app, or a recovery code",
    code_wrong: "This code is wrong or was used before. Wait for the next one.",
    codes_too_many: "Too many wrong attempts. Wait an hour, or use a recovery code.",
    password_wrong: "The password is wrong.",
    provider_login: "Log in with {name}",
    provider_prove: "Prove it with {name}",
    provider_code: "Your account has a second factor. Enter its code, too.",
    provider_linked: "Linked. You can log in with it from now on.",
    provider_stepped_up: "Thank you. Now repeat what you were about to do.",
    provider_cancelled: "You did not log in there.",
    provider_expired: "This login took too long, or was begun elsewhere. Begin again.",
    provider_failed: "What the provider answered does not hold. Begin again; if it stays so, tell whoever runs this server.",
    provider_unavailable: "The provider does not answer at the moment. Try again in a few seconds.",
    provider_closed: "Nobody has linked this login to an account here, and no new accounts are made. Log in and link it first.",
    provider_disabled: "This account is disabled.",
    provider_role: "The provider gives you no role that you could have here.",
    provider_taken: "Somebody else has linked this login.",
    provider_full: "You have linked as many logins as there may be.",
    provider_other: "That was not the login that is linked to your account.",
    identities: "Other ways to log in",
    identity_link: "Link {name}",
    identity_unlink: "Unlink",
    identity_unlink_of: "Unlink {name}",
    identity_unlinked: "Unlinked.",
    identity_last: "You could not log in any more. Link another one first.",
    identity_since: "since {when}",
    step_up: "Is it you?",
    step_up_text: "Your login is too old for this. Prove once more who you are.",
    confirm: "Confirm",
    problem_network: "The server cannot be reached. Check your connection and try again.",
    problem_timeout: "The server took too long to answer. Try again.",
    problem_unreadable: "The server's answer could not be understood. Try again in a moment.",
    problem_server: "The server could not answer just now (status {status}). Try again in a moment.",
    problem_refused: "The server refused this request (status {status}).",
    problem_request_id: "Request id: {id}",
  },
  zh: {
    language_name: "中文",
    skip: "跳到正文",
    dismiss: "关闭提示",
    loading: "正在加载…",
    retry: "重试",
    account: "账号",
    tagline: "把文字变成声音。",
    login: "登录",
    logout: "退出登录",
    register: "注册",
    logging_in: "正在登录…",
    registering: "正在注册…",
    username: "用户名",
    password: "密码",
    show: "显示",
    hide: "隐藏",
    new_password: "新密码",
    set_password: "设置密码",
    setting_password: "正在设置密码…",
    password_set: "新密码已生效，请用它登录。",
    reset_gone: "此链接已被使用、已被替换或已超过一小时，请索取新的链接。",
    username_hint: "2 到 64 个字符：同一种文字的字母或数字，以及点、横线、下划线",
    password_hint: "至少 8 个字符，几个互不相关的词组合起来就很好",
    password_more: "还差 {missing} 个字符",
    password_fair: "长度够了，更长更安全。",
    password_good: "长度很好。",
    password_easy: "这个密码太常见或有规律可循，请换一个更难猜的。",
    username_missing: "请输入用户名。",
    password_missing: "请输入密码。",
    username_length: "用户名需要 2 到 64 个字符。",
    password_length: "密码需要 8 到 256 个字符。",
    login_wrong: "用户名和密码不匹配，请重试。",
    registered: "账号已创建，请登录。",
    session_ended: "登录已失效，请重新登录。您输入的文字还在。",
    login_too_old: "这项操作需要重新登录，请登录后再试一次。",
    my_voices: "我的音色",
    voices_empty: "还没有。用一小段录音即可制作，只有您自己能使用。",
    voices_useless: "当前引擎不支持声音克隆，您的音色暂时无法使用。",
    voice_new: "用录音制作音色",
    voice_sample: "录音，10 到 20 秒",
    voice_sample_missing: "请选择一段录音，或者现在录制。",
    voice_record: "现在录制",
    voice_stop: "停止录制",
    voice_recording: "正在录制…",
    voice_recorded: "录制完成。",
    voice_no_microphone: "没有麦克风，或此页面无权使用。",
    voice_name: "名称",
    voice_transcript: "录音中所说的原文",
    voice_consent: "这是谁的声音？",
    voice_make: "制作音色",
    voice_making: "正在制作…",
    voice_made: "音色 {name} 已可使用。",
    voice_delete: "删除音色 {name}",
    voice_delete_sure: "确定删除？",
    voice_deleted: "音色 {name} 已删除。",
    compose: "说点什么",
    text: "要朗读的文字",
    text_placeholder: "输入或粘贴要朗读的文字，中英文可以混排。",
    text_missing: "请先输入文字。",
    text_too_long: "超出 {excess} 个字符，请缩短文字。",
    count: "{used} / {limit}",
    count_label: "已输入 {used} 个字符，上限 {limit}",
    shortcut: "按 {keys} 生成",
    voice: "音色",
    speed: "语速",
    generate: "生成",
    generating: "正在生成…",
    seconds_short: "{seconds} 秒",
    wait: "请等待 {time}",
    ready_again: "现在可以重试了。",
    result: "刚刚生成",
    result_ready: "语音已生成并开始播放，时长 {duration}。",
    audio_blocked: "语音已生成，按播放键收听。",
    audio_failed: "这段录音暂时无法播放，请稍后重试。",
    usage: "今日用量",
    usage_resets: "{when} 重置",
    characters: "字符",
    generations: "生成次数",
    storage: "存储空间（MB）",
    of_limit: "{used} / {limit}",
    history: "历史记录",
    history_empty: "还没有记录。生成的语音会保存在这里。",
    more: "显示更多",
    expand: "展开全文",
    collapse: "收起",
    play: "播放：{text}",
    pause: "暂停：{text}",
    download: "下载",
    history_search: "搜索历史记录",
    history_none: "没有包含这些文字的录音。",
    use_again: "再次使用",
    share: "分享",
    share_title: "分享这段录音",
    share_expiry: "链接有效期",
    share_hour: "1 小时",
    share_day: "1 天",
    share_week: "7 天",
    share_month: "30 天",
    share_password: "密码（可不填）",
    share_make: "生成链接",
    share_made: "链接已生成，仅显示这一次。",
    share_once: "链接，仅显示这一次",
    share_copy: "复制",
    share_copied: "链接已复制。",
    share_until: "有效期至 {when}",
    share_downloads: "下载次数：{used}",
    share_locked: "有密码",
    share_end: "停用",
    share_ended: "链接已停用。",
    delete: "删除",
    delete_title: "删除这段录音？",
    delete_warning: "音频和这条记录将被永久删除。",
    deleted: "录音已删除。",
    cancel: "取消",
    logins: "登录设备",
    logins_title: "已登录的设备",
    device_this: "{device}（当前）",
    device_unknown: "未知程序",
    device_seen: "上次使用：{when}",
    end_login: "结束",
    end_login_of: "结束登录：{device}",
    login_ended: "已结束该登录。",
    end_all_logins: "在所有设备上退出",
    close: "关闭",
    factor: "两步验证",
    factor_qr: "密钥的二维码",
    factor_off: "手机上的验证器应用会为每次登录生成一个验证码，这样仅凭被盗的密码无法登录。请输入密码开始设置。",
    factor_off_needed: "您的账号必须先设置两步验证才能使用：由验证器应用为每次登录生成验证码。请输入密码开始设置。",
    factor_off_submit: "开始设置",
    factor_offered: "请用验证器应用扫描二维码，或手动输入密钥，然后填写应用显示的验证码。",
    factor_offered_submit: "启用",
    factor_codes: "两步验证已启用。请把这些恢复码保存在手机以外的地方：每个只能用一次，且只在此时显示。",
    factor_codes_submit: "我已保存",
    factor_on: "两步验证已启用，剩余恢复码：{left}。如需关闭，请输入密码和验证码。",
    factor_on_submit: "关闭",
    code: "验证码或恢复码",
    code_wrong: "验证码不正确或已使用过，请等待下一个。",
    codes_too_many: "错误次数过多，请等一小时再试，或使用恢复码。",
    password_wrong: "密码不正确。",
    provider_login: "使用 {name} 登录",
    provider_prove: "通过 {name} 验证",
    provider_code: "您的账户启用了第二重验证，请输入验证码。",
    provider_linked: "已关联，今后可以用它登录。",
    provider_stepped_up: "验证成功，请重新执行刚才的操作。",
    provider_cancelled: "您没有在那里完成登录。",
    provider_expired: "登录超时，或不是从此浏览器发起的。请重新开始。",
    provider_failed: "登录服务的答复无效。请重新开始；如果一直如此，请联系管理员。",
    provider_unavailable: "登录服务暂时没有响应，请稍后再试。",
    provider_closed: "此登录尚未关联任何账户，且不开放新账户。请先登录并关联。",
    provider_disabled: "此账户已停用。",
    provider_role: "登录服务没有给您可在此使用的角色。",
    provider_taken: "此登录已被他人关联。",
    provider_full: "您关联的登录已达上限。",
    provider_other: "这不是与您账户关联的登录。",
    identities: "其他登录方式",
    identity_link: "关联 {name}",
    identity_unlink: "取消关联",
    identity_unlink_of: "取消关联 {name}",
    identity_unlinked: "已取消关联。",
    identity_last: "这样您将无法登录。请先关联其他登录方式。",
    identity_since: "关联于 {when}",
    step_up: "请确认是您本人",
    step_up_text: "这项操作需要最近的身份验证，请再次验证。",
    confirm: "确认",
    problem_network: "无法连接服务器。请检查网络后重试。",
    problem_timeout: "服务器响应超时，请重试。",
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
      conflict: "这个名称已被使用，请换一个。",
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
