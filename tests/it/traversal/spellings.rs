//! Names of what lies elsewhere, and text that would end a header.

use std::collections::BTreeSet;

/// One step up, as one program or another reads it.
const UP: [&str; 18] = [
    "../",
    "..\\",
    "..%2f",
    "..%5c",
    "%2e%2e/",
    "%2e%2e%2f",
    "%2E%2E%5C",
    "%252e%252e%252f",
    "%25252e%25252e%25252f",
    "..%c0%af",
    "%c0%ae%c0%ae/",
    "%e0%80%ae%e0%80%ae%c0%af",
    "%u002e%u002e%u002f",
    "%uff0e%uff0e%u2215",
    "..;/",
    "....//",
    "..%00/",
    "\u{ff0e}\u{ff0e}\u{2215}",
];
const DEPTHS: usize = 12;
/// What stands before a name that needs no steps.
const ROOTS: [&str; 12] = [
    "/",
    "//",
    "%2f",
    "%252f",
    "%5c",
    "\\\\localhost\\c$\\",
    "c:\\",
    "C:/",
    "c%3a%5c",
    "file:///",
    "file:%2f%2f%2f",
    "/proc/self/root/",
];
/// What is wanted: of the machine, of the data folder, of another user. `{folder}`, `{user}` and `{id}` stand for what
/// the test knows.
const WANTED: [&str; 10] = [
    "etc/passwd",
    "etc/shadow",
    "proc/self/environ",
    "windows/win.ini",
    "{folder}/outside.txt",
    "outside.txt",
    "data/inside.txt",
    "blobs/users/{user}/{id}",
    "{user}/{id}",
    "{user}/inside.txt",
];
const ENDS: [&str; 11] = ["", "%00", "%00.wav", ".wav", "%2500", ";.wav", "%23", "?", "/.", "%20", "::$DATA"];

/// All of them, each once.
pub(super) fn paths(folder: &str, user: &str, id: &str) -> Vec<String> {
    let fill = |text: &str| text.replace("{folder}", folder).replace("{user}", user).replace("{id}", id);
    let steps = UP.iter().flat_map(|up| (1..=DEPTHS).map(move |depth| up.repeat(depth)));
    let starts: Vec<String> = steps.chain(ROOTS.map(str::to_owned)).collect();
    let mut all = BTreeSet::new();
    for start in &starts {
        for wanted in WANTED {
            for end in ENDS {
                all.insert(format!("{start}{}{end}", fill(wanted)));
                // Behind something that may be.
                if end.is_empty() {
                    all.insert(format!("{id}/{start}{}", fill(wanted)));
                }
            }
        }
    }
    all.into_iter().collect()
}

/// What no header of an answer may have.
pub(super) const INJECTED: &str = "x-injected";

/// Ends of a line, as one program or another reads them, each with a header behind it.
pub(super) fn line_breaks() -> Vec<String> {
    [
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "\r\n\t",
        "%0d%0a",
        "%0D%0A",
        "%0a",
        "%0d",
        "%250d%250a",
        "%25250d%25250a",
        "%%0a0a",
        "%u000d%u000a",
        "%c4%8d%c4%8a",
        "%e5%98%8d%e5%98%8a",
        "%e2%80%a8",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\u{10d}\u{10a}",
        "\u{560d}\u{560a}",
        "\u{b}",
        "\u{c}",
        "\0\r\n",
        "\\r\\n",
    ]
    .iter()
    .flat_map(|end| {
        let header = format!("{INJECTED}: 1");
        [format!("a{end}{header}"), format!("{end}{header}{end}{end}HTTP/1.1 200 OK{end}{header}{end}{end}")]
    })
    .collect()
}
