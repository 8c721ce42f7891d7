//! What a program calls itself, for people who look at their logins.

/// Marks of browsers, those first that others bear, too.
const BROWSERS: [(&str, &str); 10] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("Mozilla/", "Browser"),
];
/// Marks of systems, those first that others bear, too.
const SYSTEMS: [(&str, &str); 8] = [
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];
/// The longest name of a program that is no browser, in characters.
const MAX_NAME: usize = 32;

/// `Firefox on Linux` for a browser's `User-Agent` (RFC 9110, section 10.1.5), `curl` for another
/// program's; empty if it does not say. Only a hint: anybody can call themselves anything.
pub(super) fn label(user_agent: &str) -> String {
    let find = |marks: &[(&str, &'static str)]| {
        marks.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name)
    };
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let program: String = match find(&BROWSERS) {
        Some(browser) => browser.to_owned(),
        None => user_agent.chars().take_while(is_plain).take(MAX_NAME).collect(),
    };
    match find(&SYSTEMS) {
        Some(system) if !program.is_empty() => format!("{program} on {system}"),
        Some(system) => system.to_owned(),
        None => program,
    }
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn browsers_and_programs_have_short_names() {
        for (user_agent, expected) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
                "Safari on macOS",
            ),
            ("curl/8.14.1", "curl"),
            ("python-requests/2.32.5", "python-requests"),
            ("<script>alert(1)</script>", ""),
            ("", ""),
        ] {
            assert_eq!(label(user_agent), expected);
        }
        assert_eq!(label(&"x".repeat(100)).len(), 32);
    }
}
