//! The page of a link: plain HTML, no script.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;

use crate::clock::rfc3339;
use crate::store::OpenedLink;

/// What the page says.
pub(super) struct Words {
    language: &'static str,
    title: &'static str,
    made_by: &'static str,
    until: &'static str,
    download: &'static str,
    locked: &'static str,
    password: &'static str,
    open: &'static str,
    wrong: &'static str,
}

const ENGLISH: Words = Words {
    language: "en",
    title: "A recording for you",
    made_by: "Speech made by a machine.",
    until: "This link holds until",
    download: "Download",
    locked: "This recording has a password.",
    password: "Password",
    open: "Open",
    wrong: "That was not the password. Try again.",
};

const CHINESE: Words = Words {
    language: "zh-CN",
    title: "有人与你分享了一段语音",
    made_by: "此语音由机器合成。",
    until: "链接有效期至",
    download: "下载",
    locked: "此录音需要密码。",
    password: "密码",
    open: "打开",
    wrong: "密码不正确，请重试。",
};

/// In the language that the browser names first.
pub(super) fn words(headers: &HeaderMap) -> &'static Words {
    let wanted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_chinese = wanted.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("zh"));
    if is_chinese { &CHINESE } else { &ENGLISH }
}

/// The page of somebody who may listen.
pub(super) fn player(words: &Words, path: &str, link: &OpenedLink) -> String {
    let Words { made_by, until, download, .. } = words;
    let (text, end) = (escaped(&link.output.text), rfc3339(link.link.expires_at));
    let shown_end = end.get(..16).unwrap_or(&end).replace('T', " ");
    // Nothing is asked for before somebody presses play: looking is no download.
    let body = format!(
        "<p class=\"spoken whole\" dir=\"auto\">{text}</p>\n\
         <audio controls preload=\"none\" src=\"{path}/audio\"></audio>\n\
         <p><a href=\"{path}/audio?download=1\" download>{download}</a></p>\n\
         <p class=\"meta\">{made_by} {until} <time datetime=\"{end}\">{shown_end} UTC</time></p>"
    );
    page(words, &body)
}

/// The page of somebody who has yet to give the password.
pub(super) fn question(words: &Words, path: &str, was_wrong: bool) -> String {
    let Words { locked, password, open, wrong, .. } = words;
    let complaint = if was_wrong { format!("<p role=\"alert\">{wrong}</p>\n") } else { String::new() };
    let body = format!(
        "{complaint}<p>{locked}</p>\n\
         <form method=\"post\" action=\"{path}\">\n\
         <div class=\"field\"><label for=\"password\">{password}</label>\n\
         <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"off\" required autofocus></div>\n\
         <button class=\"primary\" type=\"submit\">{open}</button>\n</form>"
    );
    page(words, &body)
}

fn page(words: &Words, body: &str) -> String {
    let Words { language, title, .. } = words;
    format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"robots\" content=\"noindex, nofollow, noarchive\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}</title>\n\
         <link rel=\"icon\" type=\"image/svg+xml\" href=\"/assets/favicon.svg\">\n\
         <link rel=\"stylesheet\" href=\"/assets/style.css\">\n</head>\n<body>\n\
         <main class=\"entry shared\">\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )
}

/// Text as it stands in HTML, in elements and in attributes.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut html, letter| {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
        html
    })
}
