//! What CosyVoice wants of a prompt, whoever serves it.

use bytes::Bytes;

use super::CosyVoiceModel;

/// CosyVoice3 starts to speak only after this token. Without it in the right field the model
/// asserts in a thread of its own, and the request may never end.
pub(super) const END_OF_PROMPT: &str = "<|endofprompt|>";
pub(super) const SYSTEM_PROMPT: &str = "You are a helpful assistant.";

/// Longest text of one request, in units of [`super::sentences::split`]: some 20 seconds. The
/// model stops at 30 seconds, and no server cuts a text that holds a control token.
pub(super) const PIECE_BUDGET: usize = 240;

/// Longest name of a control token; longer spans are text.
const MAX_TOKEN_BYTES: usize = 64;

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
    fn a_long_text_without_an_end_is_cleaned_in_no_time() {
        let clean = without_tokens(&"<|".repeat(100_000));
        assert_eq!(clean, "< ".repeat(100_000));
    }
}
