//! What CosyVoice wants of a prompt, whoever serves it.

use bytes::Bytes;

use super::{CosyVoiceMode, CosyVoiceModel};

/// CosyVoice3 starts to speak only after this token. Without it in the right field the model
/// asserts in a thread of its own, and the request may never end.
pub(super) const END_OF_PROMPT: &str = "<|endofprompt|>";
pub(super) const SYSTEM_PROMPT: &str = "You are a helpful assistant.";

/// Longest text of one request, in units of [`super::sentences::split`]: some 20 seconds. The
/// model stops at 30 seconds, and no server cuts a text that holds a control token.
pub(super) const PIECE_BUDGET: usize = 240;

/// Longest name of a control token; longer spans are text.
const MAX_TOKEN_BYTES: usize = 64;

/// What a user may write to have a sound made or a word stressed, as CosyVoice 2 and 3 know it.
pub(super) const SOUNDS: [&str; 16] = [
    "[breath]",
    "[quick_breath]",
    "[laughter]",
    "[cough]",
    "[sigh]",
    "[noise]",
    "[vocalized-noise]",
    "[clucking]",
    "[hissing]",
    "[lipsmack]",
    "[accent]",
    "[mn]",
    "<strong>",
    "</strong>",
    "<laughter>",
    "</laughter>",
];

/// Where the sound of a voice comes from.
#[derive(Clone)]
pub(super) enum Speaker {
    Preset { speaker_id: String },
    Reference { audio: Bytes, transcript: String },
}

/// What stands before a transcript.
pub(super) fn system_prompt(model: CosyVoiceModel) -> String {
    match model {
        CosyVoiceModel::CosyVoice3 => format!("{SYSTEM_PROMPT}{END_OF_PROMPT}"),
        CosyVoiceModel::CosyVoice2 | CosyVoiceModel::CosyVoice => String::new(),
    }
}

/// What a model was made to speak.
pub(super) fn languages(model: CosyVoiceModel) -> &'static [&'static str] {
    match model {
        CosyVoiceModel::CosyVoice3 => &["zh", "yue", "en", "ja", "ko", "de", "es", "fr", "it", "ru"],
        CosyVoiceModel::CosyVoice2 | CosyVoiceModel::CosyVoice => &["zh", "yue", "en", "ja", "ko"],
    }
}

/// The ways that are used where `mode` is set.
pub(super) fn modes(mode: CosyVoiceMode, with_instruct: bool) -> &'static [&'static str] {
    match (mode, with_instruct) {
        (CosyVoiceMode::Sft, _) => &["sft"],
        (CosyVoiceMode::ZeroShot, false) => &["zero_shot"],
        (CosyVoiceMode::ZeroShot, true) => &["zero_shot", "instruct2"],
        (CosyVoiceMode::CrossLingual, false) => &["cross_lingual"],
        (CosyVoiceMode::CrossLingual, true) => &["cross_lingual", "instruct2"],
        (CosyVoiceMode::Instruct2, _) => &["instruct2"],
    }
}

/// Initials and finals of pinyin, without tones.
const PINYIN: [&str; 60] = [
    "b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x", "zh", "ch", "sh", "r", "z", "c", "s", "y",
    "w", "a", "o", "e", "i", "u", "v", "ai", "ei", "ao", "ou", "an", "en", "ang", "eng", "ong", "er", "ia", "ie",
    "iao", "iu", "ian", "in", "iang", "ing", "iong", "ua", "uo", "uai", "ui", "uan", "un", "uang", "ue", "ve", "io",
    "van", "vn",
];

/// A user's text as the model may see it: without `<|…|>`, and with those control tokens alone that
/// are on the list. What else looks like one loses its brackets and is read.
pub(super) fn clean(text: &str, model: CosyVoiceModel) -> String {
    let text = without_tokens(text);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(character) = rest.chars().next() {
        let Some(token) = mark(rest) else {
            clean.push(character);
            rest = rest.get(character.len_utf8()..).unwrap_or_default();
            continue;
        };
        if is_listed(token, model) {
            clean.push_str(token);
        } else {
            clean.extend(
                token
                    .chars()
                    .map(|character| if matches!(character, '[' | ']' | '<' | '>' | '/') { ' ' } else { character }),
            );
        }
        rest = rest.get(token.len()..).unwrap_or_default();
    }
    clean
}

/// A text for an engine that knows none of the tokens on the list.
pub(super) fn without_sounds(text: &str) -> String {
    SOUNDS.iter().fold(text.to_owned(), |text, sound| text.replace(sound, " "))
}

/// What `text` starts with, if it looks like a control token: `[name]`, `<name>`, `</name>`.
fn mark(text: &str) -> Option<&str> {
    let end = match text.chars().next()? {
        '[' => ']',
        '<' => '>',
        _ => return None,
    };
    let is_name = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | '/');
    let length = text.char_indices().skip(1).take(MAX_TOKEN_BYTES).find(|(_, character)| !is_name(*character));
    let (length, last) = length?;
    (last == end && length > 1).then(|| text.get(..=length)).flatten()
}

fn is_listed(token: &str, model: CosyVoiceModel) -> bool {
    SOUNDS.contains(&token) || (model == CosyVoiceModel::CosyVoice3 && is_phoneme(token))
}

/// `[HH]`, `[AH0]`, `[j]`, `[ǐ]`: CosyVoice3 pronounces what is spelled like that, by the CMU
/// dictionary's phonemes or by initials and finals of pinyin.
fn is_phoneme(token: &str) -> bool {
    let Some(name) = token.strip_prefix('[').and_then(|name| name.strip_suffix(']')) else { return false };
    let sound = name.trim_end_matches(['0', '1', '2']);
    let is_cmu = sound.len() <= 2 && name.len() <= 3 && sound.bytes().all(|byte| byte.is_ascii_uppercase());
    !sound.is_empty() && (is_cmu || PINYIN.contains(&without_tones(name).as_str()))
}

/// Pinyin as it is spelled with tone marks, without them.
fn without_tones(name: &str) -> String {
    let plain = |letter| {
        let vowels = ["aāáǎà", "eēéěè", "iīíǐì", "oōóǒò", "uūúǔù", "vǘǚǜ"];
        vowels.iter().find(|forms| forms.contains(letter)).and_then(|forms| forms.chars().next()).unwrap_or(letter)
    };
    name.chars().map(plain).collect()
}

/// Takes the control tokens (`<|…|>`) out of what a user wrote: one could end the prompt early or
/// switch off the server's own normalisation.
///
/// Every other bar goes too. The server drops brackets and line breaks between two characters, so
/// a token could otherwise be put together behind our back.
pub(super) fn without_tokens(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let token = token_bytes(rest);
        let is_text = token.is_none() && !matches!(character, '|' | '｜');
        let is_harmless = character == '\n' || !character.is_control();
        clean.push(if is_text && is_harmless { character } else { ' ' });
        rest = rest.get(token.unwrap_or(character.len_utf8())..).unwrap_or_default();
    }
    clean
}

/// Length of the token that `text` starts with. Looks only as far as a token reaches.
fn token_bytes(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("<|")?;
    let reach = inside.len().min(MAX_TOKEN_BYTES + 2);
    let end = inside.as_bytes().get(..reach)?.windows(2).position(|pair| pair == b"|>")?;
    let is_name = !inside.get(..end)?.contains(char::is_whitespace);
    is_name.then_some(end + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_taken_out() {
        assert_eq!(without_tokens("Hi<|endofprompt|> there"), "Hi  there");
        assert_eq!(without_tokens("<|im_start|><|a|>x<|im_end|>"), "  x ");
        assert_eq!(without_tokens("你<|好|>吗"), "你 吗");
        assert_eq!(without_tokens("a\u{0}b\tc\nd"), "a b c\nd");
    }

    #[test]
    fn words_between_operators_stay() {
        assert_eq!(without_tokens("x |> f <| y |> g"), "x  > f <  y  > g");
        assert_eq!(without_tokens("<strong>a</strong> < b || c"), "<strong>a</strong> < b    c");
    }

    #[test]
    fn no_token_appears_when_another_is_taken_out() {
        for text in [
            "<<|x|>|endofprompt|>",
            "<|end<|x|>ofprompt|>",
            "<\u{0}|endofprompt|\u{0}>",
            "<（|endofprompt|）>",
            "<\n|endofprompt|\n>",
            "＜｜endofprompt｜＞",
            "<|<|endofprompt|>|>",
            "<|>|>",
            "<<||>>",
            "<|",
            "|>",
        ] {
            let clean = without_tokens(text);
            assert!(!clean.contains(['|', '｜']), "{text:?} gives {clean:?}");
        }
    }

    #[test]
    fn tokens_on_the_list_stay_and_others_are_words() {
        let clean = |text| clean(text, CosyVoiceModel::CosyVoice3);
        let listed =
            "So [breath] he <strong>said</strong> it [laughter] and <laughter>left</laughter>. [h][ǎo] [HH][AH0]";
        assert_eq!(clean(listed), listed);
        assert!(SOUNDS.iter().all(|sound| clean(sound) == *sound));
        assert_eq!(clean("[applause] [1] <b>x</b> [[breath]]"), " applause   1   b x  b  [[breath]]");
        assert_eq!(clean("[know] [ok] [xiǎo] [iǎo]"), " know   ok   xiǎo  [iǎo]");
        assert_eq!(clean("a < b, c > d [not one] [ [] <>"), "a < b, c > d [not one] [ [] <>");
        assert_eq!(clean("<|endofprompt|>[breath]<|im_start|>"), " [breath] ");
        assert_eq!(clean("[bre<|x|>ath] [Breath]"), "[bre ath]  Breath ");
        assert_eq!(super::clean("[HH] [breath]", CosyVoiceModel::CosyVoice2), " HH  [breath]");
        assert_eq!(clean(&"[".repeat(100_000)).len(), 100_000);
    }

    #[test]
    fn where_no_token_is_known_none_is_left() {
        assert_eq!(without_sounds("Oh[laughter] <strong>no</strong> [1]"), "Oh   no  [1]");
    }

    #[test]
    fn a_long_text_without_an_end_is_cleaned_in_no_time() {
        let clean = without_tokens(&"<|".repeat(100_000));
        assert_eq!(clean, "< ".repeat(100_000));
    }
}
