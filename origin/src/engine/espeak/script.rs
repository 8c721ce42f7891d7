//! Which espeak-ng voice reads which part of a text.
//!
//! One espeak-ng voice reads one writing system well: the Mandarin one takes English words for
//! pinyin, the English one spells Chinese out. So a text is cut where its script changes.

use super::super::{prompt, sentences};

/// Longest piece for one run of the program, in units of [`sentences::split`]: some 40 seconds.
const PIECE_BUDGET: usize = 600;

/// A writing system, as far as espeak-ng needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    Han,
    Kana,
    Hangul,
    Cyrillic,
    /// Latin and everything else.
    Other,
}

impl Script {
    /// `None` for what every voice reads: digits, punctuation, symbols, spaces.
    fn of(character: char) -> Option<Self> {
        match character {
            '\u{3005}'
            | '\u{3007}'
            | '\u{3400}'..='\u{4DBF}'
            | '\u{4E00}'..='\u{9FFF}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{20000}'..='\u{323AF}' => Some(Self::Han),
            '\u{3041}'..='\u{309F}'
            | '\u{30A1}'..='\u{30FA}'
            | '\u{30FC}'..='\u{30FF}'
            | '\u{31F0}'..='\u{31FF}'
            | '\u{FF66}'..='\u{FF9F}' => Some(Self::Kana),
            '\u{1100}'..='\u{11FF}' | '\u{3131}'..='\u{318E}' | '\u{A960}'..='\u{A97C}' | '\u{AC00}'..='\u{D7FB}' => {
                Some(Self::Hangul)
            }
            '\u{0400}'..='\u{052F}' | '\u{1C80}'..='\u{1C8F}' | '\u{A640}'..='\u{A69F}' => Some(Self::Cyrillic),
            other if other.is_alphabetic() => Some(Self::Other),
            _ => None,
        }
    }

    fn language(self) -> &'static str {
        match self {
            // Plain `cmn` is broken in espeak-ng 1.51: it reads Chinese characters as English.
            Self::Han => "cmn-latn-pinyin",
            Self::Kana => "ja",
            Self::Hangul => "ko",
            Self::Cyrillic => "ru",
            Self::Other => "en-us",
        }
    }
}

/// What one run of the program speaks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// espeak-ng's name of the language.
    pub(super) language: &'static str,
    /// Whether a pause follows.
    pub(super) pause: bool,
}

/// The pieces of a text in the order of speaking. Pieces without a letter or a digit are left out.
pub(super) fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = runs(text)
        .into_iter()
        .flat_map(|(script, run)| {
            sentences::split(run, PIECE_BUDGET).into_iter().map(move |piece| Piece {
                text: piece.to_owned(),
                language: script.language(),
                pause: sentences::ends_sentence(piece),
            })
        })
        .collect();
    if let Some(last) = pieces.last_mut() {
        last.pause = true;
    }
    pieces
}

/// Cuts where the script changes. What belongs to no script stays with what precedes it, or, at
/// the start, with what follows.
fn runs(text: &str) -> Vec<(Script, &str)> {
    let mut runs = Vec::new();
    let mut start = 0;
    let mut current = None;
    for (position, character) in text.char_indices() {
        let Some(script) = Script::of(character) else { continue };
        if let Some(previous) = current.replace(script).filter(|previous| *previous != script) {
            runs.push((previous, text.get(start..position).unwrap_or_default()));
            start = position;
        }
    }
    runs.push((current.unwrap_or(Script::Other), text.get(start..).unwrap_or_default()));
    runs
}

/// Makes a text harmless: what is left is read, never obeyed.
///
/// espeak-ng takes `[[…]]` as raw phonemes, control characters as commands and private-use
/// characters as its own marks.
pub(super) fn clean(text: &str) -> String {
    prompt::without_sounds(text)
        .chars()
        .map(|character| match character {
            '\n' => '\n',
            '[' | ']' | '\u{E000}'..='\u{F8FF}' => ' ',
            control if control.is_control() => ' ',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<(String, &'static str)> {
        pieces(text).into_iter().map(|piece| (piece.text, piece.language)).collect()
    }

    #[test]
    fn each_script_gets_its_voice() {
        let expected = [
            ("你好,", "cmn-latn-pinyin"),
            ("world", "en-us"),
            ("こんにちは", "ja"),
            ("안녕", "ko"),
            ("Привет!", "ru"),
            ("Γειά", "en-us"),
        ];
        let expected = expected.map(|(text, language)| (text.to_owned(), language));
        assert_eq!(said("你好, world こんにちは 안녕 Привет! Γειά"), expected);
    }

    #[test]
    fn digits_and_punctuation_follow_the_script_before_them() {
        assert_eq!(
            said("“今天是2026年”, at 9:30"),
            [("“今天是2026年”,".to_owned(), "cmn-latn-pinyin"), ("at 9:30".to_owned(), "en-us")]
        );
        assert_eq!(said("2026"), [("2026".to_owned(), "en-us")]);
        assert_eq!(said("3个"), [("3个".to_owned(), "cmn-latn-pinyin")]);
    }

    #[test]
    fn nothing_speakable_is_no_piece() {
        for text in ["", " \n", "。。。", "?!", "🎉"] {
            assert_eq!(pieces(text), [], "{text}");
        }
    }

    #[test]
    fn a_pause_follows_sentences_and_the_end() {
        let pauses: Vec<bool> = pieces("你好 world. 再见 friend").iter().map(|piece| piece.pause).collect();
        assert_eq!(pauses, [false, true, false, true]);
    }

    #[test]
    fn a_long_text_becomes_several_pieces() {
        assert!(pieces(&"One more sentence. ".repeat(100)).len() > 2);
    }

    #[test]
    fn cleaning_leaves_words_and_takes_commands() {
        assert_eq!(clean("a[[h@l'oU]]b"), "a  h@l'oU  b");
        assert_eq!(clean("a\u{1}5Sb\0c\td\re\u{E000}f\ng"), "a 5Sb c d e f\ng");
        assert_eq!(clean("[\u{0}[x]\u{0}]"), "   x   ");
    }
}
